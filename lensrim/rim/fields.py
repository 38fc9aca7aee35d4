r"""The state of a recurrent inference machine: named fields, each with a link.

A *state* is a mapping of named tensors of *free* variables :math:`x`, the batch first: maps with
shape :math:`(B, C, N_1, \dots, N_d)`, and vectors with shape :math:`(B, C)`. A link gives the
physical value, :math:`v = f(x)`; where scores are taken in :math:`v`, those in :math:`x` are
:math:`f'(x) \, \nabla_v \log p`.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

State = Mapping[str, Tensor]
Aux = Mapping[str, Tensor]
ScoreFn = Callable[[State], tuple[State, Aux]]
"""Takes free variables; returns the score in them and maps that the network may see."""


@runtime_checkable
class Link(Protocol):
    """An element-wise, increasing function from free variables to physical values."""

    def physical(self, x: Tensor) -> Tensor:
        """Computes :math:`v = f(x)`."""
        ...

    def free(self, value: Tensor) -> Tensor:
        """Computes :math:`x = f^{-1}(v)`."""
        ...


@dataclass(frozen=True)
class Identity:
    """Creates the link :math:`v = x`."""

    def physical(self, x: Tensor) -> Tensor:
        return x

    def free(self, value: Tensor) -> Tensor:
        return value


@dataclass(frozen=True)
class Log10:
    """Creates the link :math:`v = 10^x`, for positive values."""

    def physical(self, x: Tensor) -> Tensor:
        return (x * math.log(10)).exp()

    def free(self, value: Tensor) -> Tensor:
        return value.log10()


@dataclass(frozen=True)
class Field:
    r"""Creates the description of a field.

    Arguments:
        channels: Channels of a map, or components of a vector.
        dims: Dimensions :math:`d` of a map, 1 to 3; 0 for a vector.
        spread: Typical size of the free variable; the network sees :math:`x / \mathrm{spread}`.
        step: Typical size of its correction; the network's output is multiplied by it, and it sees
            what has been corrected so far in units of it.
        link: Link to the physical value.

    Raises:
        ValueError: If a number is out of range.
    """

    channels: int = 1
    dims: int = 2
    spread: float = 1.0
    step: float = 1.0
    link: Link = Identity()

    def __post_init__(self):
        if self.channels < 1 or not 0 <= self.dims <= 3:
            raise ValueError(
                f"a field has 1 channel or more and 0 to 3 dimensions, got {self.channels} and "
                f"{self.dims}"
            )
        if not (self.spread > 0 and self.step > 0):
            raise ValueError(
                f"spread and step must be positive, got {self.spread} and {self.step}"
            )


Fields = Mapping[str, Field]


def check_state(state: State, fields: Fields) -> None:
    """Checks that a state has the fields it should have, in their shapes.

    Raises:
        ValueError: If it has not.
    """
    if set(state) != set(fields):
        raise ValueError(
            f"the state must have the fields {sorted(fields)}, got {sorted(state)}: give each one "
            "a start"
        )
    for name, field in fields.items():
        shape = tuple(state[name].shape)
        if len(shape) != 2 + field.dims or shape[1] != field.channels:
            dims = "".join(f", n{i + 1}" for i in range(field.dims))
            raise ValueError(
                f"{name} must have shape (batch, {field.channels}{dims}), got {shape}"
            )
    sizes = {len(value) for value in state.values()}
    if len(sizes) > 1:
        raise ValueError(f"all fields must have one batch size, got {sorted(sizes)}")
    for dims in (1, 2, 3):
        maps = {tuple(state[name].shape[2:]) for name, f in fields.items() if f.dims == dims}
        if len(maps) > 1:
            raise ValueError(f"all maps must have one size, got {sorted(maps)}")


def to_physical(state: State, fields: Fields) -> dict[str, Tensor]:
    """Computes the physical values of a state."""
    return {name: fields[name].link.physical(x) for name, x in state.items()}


def to_free(values: State, fields: Fields) -> dict[str, Tensor]:
    """Computes the free variables of physical values."""
    return {name: fields[name].link.free(value) for name, value in values.items()}


def linked(score_fn: ScoreFn, fields: Fields) -> ScoreFn:
    r"""Turns a score of physical values into that of the free variables.

    Arguments:
        score_fn: Takes physical values :math:`v`; returns :math:`\nabla_v \log p` and maps.
        fields: The fields, with their links.
    """

    def free_score(state: State) -> tuple[State, Aux]:
        with torch.enable_grad():
            x = {name: value.detach().requires_grad_() for name, value in state.items()}
            values = to_physical(x, fields)
        score, aux = score_fn({name: value.detach() for name, value in values.items()})
        names = list(values)
        pulled = torch.autograd.grad(
            [values[name] for name in names],
            [x[name] for name in names],
            grad_outputs=[score[name] for name in names],
        )
        return dict(zip(names, pulled, strict=True)), aux

    return free_score


def score_of(log_prob: Callable[[State], Tensor]) -> ScoreFn:
    r"""Creates a score from a log-probability, by differentiation.

    Arguments:
        log_prob: Takes a state; returns :math:`\log p`, with shape :math:`(B)`. For an energy
            :math:`E = -\log p`, pass its negative.
    """

    def score_fn(state: State) -> tuple[State, Aux]:
        with torch.enable_grad():
            x = {name: value.detach().requires_grad_() for name, value in state.items()}
            score = torch.autograd.grad(
                log_prob(x).sum(), list(x.values()), allow_unused=True, materialize_grads=True
            )
        return dict(zip(x, score, strict=True)), {}

    return score_fn
