r"""How a machine begins where it is given no start: how :math:`x_0` comes from the observation.

A start is a function of the observation, of what belongs to each sample beside it (``args`` of the
call) and of the fields; it returns free variables. One that is *learnt* is moved by a first call
of the network on the observation alone, with state and scores zero, before any score is taken:
:math:`x_0 \leftarrow x_0 + s \, g_\theta(y)`, with the typical size :math:`s` of each field
(``Field.spread``), as in Adam+ 2023. The hidden memory of that call is kept.

References:
    Adam+ 2023, arXiv:2301.04168.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from .fields import Fields, State, to_free


@runtime_checkable
class Start(Protocol):
    """What makes the state :math:`x_0`."""

    @property
    def learnt(self) -> bool:
        """Whether the network moves it before the first score."""
        ...

    def __call__(self, observation: Tensor, args: Sequence[Any], fields: Fields) -> State:
        """Returns free variables for observations (B, ...)."""
        ...


@dataclass(frozen=True)
class Zeros:
    """Creates the start where every free variable is zero.

    Arguments:
        sizes: Sizes of the maps, at most one for each number of dimensions: ``[(64, 64)]``. Maps
            of other dimensions have the size of the observation.
    """

    sizes: Sequence[Sequence[int]] = ()
    learnt: bool = False

    def __call__(self, observation: Tensor, args: Sequence[Any], fields: Fields) -> State:
        """Returns zeros, of the observation's device and precision.

        Raises:
            ValueError: If the size of a map is not known.
        """
        known: Mapping[int, Sequence[int]] = {
            len(observation.shape[2:]): observation.shape[2:],
            **{len(size): size for size in self.sizes},
        }
        missing = sorted({field.dims for field in fields.values()} - {0, *known})
        if missing:
            raise ValueError(
                f"the size of the maps in {missing[0]} dimensions must be known: the observation "
                f"has shape {tuple(observation.shape)}; give sizes to the start, or a start"
            )
        kind = observation.dtype.to_real()
        zeros = torch.zeros(
            (), device=observation.device, dtype=kind if kind.is_floating_point else None
        )
        return {
            name: zeros.new_zeros(
                len(observation), field.channels, *(known[field.dims] if field.dims else ())
            )
            for name, field in fields.items()
        }


@dataclass(frozen=True)
class ApproximateInverse:
    """Creates the start that a rough solution of the problem gives.

    Arguments:
        inverse: Takes ``(y, *args)``; returns physical values of every field, within the range of
            its link.
    """

    inverse: Callable[..., State]
    learnt: bool = False

    def __call__(self, observation: Tensor, args: Sequence[Any], fields: Fields) -> State:
        """Returns the free variables of the solution.

        Raises:
            ValueError: If a value is beyond the range of its link, whose free variable is none.
        """
        free = to_free(self.inverse(observation, *args), fields)
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return free  # neither may look at values
        for name, x in free.items():
            if not bool(torch.isfinite(x).all()):
                raise ValueError(
                    f"{name} of the approximate inverse must be within the range of its link, "
                    f"{fields[name].link}, got {int((~torch.isfinite(x)).sum())} values that are "
                    "not; clamp it"
                )
        return free


@dataclass(frozen=True)
class Learnt:
    """Creates the start that the network reads off the observation.

    Arguments:
        base: What it is counted from, and what an untrained machine starts with.
    """

    base: Start = Zeros()
    learnt: bool = True

    def __call__(self, observation: Tensor, args: Sequence[Any], fields: Fields) -> State:
        return self.base(observation, args, fields)
