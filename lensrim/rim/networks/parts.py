"""The parts that a network can be made of, and their names in a configuration.

A network takes its cell, normalisation and activation as objects. Its ``config``, which can be
written as JSON, has their names; so a network also takes the name of a part of this package. The
name of any other part is that of its module and itself, and cannot be turned back: whoever reads
such a configuration passes the object in its place,
``UNet(**{**config, "cell": mine.Cell})``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeVar

from torch import nn

from ..cells import CELLS, CellMaker, group_norm, layer_norm

Part = TypeVar("Part")

NormMaker = Callable[[int], nn.Module]
"""Takes the channels of the maps."""
ActivationMaker = Callable[[], nn.Module]

NORMS: Mapping[str, NormMaker] = MappingProxyType(
    {"group_norm": group_norm, "layer_norm": layer_norm, "Identity": nn.Identity}
)
ACTIVATIONS: Mapping[str, ActivationMaker] = MappingProxyType(
    {a.__name__: a for a in (nn.SiLU, nn.GELU, nn.ReLU, nn.ELU, nn.LeakyReLU, nn.Tanh)}
)


@dataclass(frozen=True)
class Parts:
    """Creates the parts that a network is made of.

    Arguments:
        cell: Makes the cell of a level.
        norm: Makes the normalisation of a number of channels.
        activation: Makes the activation.
    """

    cell: CellMaker
    norm: NormMaker
    activation: ActivationMaker

    @property
    def names(self) -> dict[str, str]:
        """What a configuration holds in the place of the parts."""
        return {
            "cell": name_of(self.cell, CELLS),
            "norm": name_of(self.norm, NORMS),
            "activation": name_of(self.activation, ACTIVATIONS),
        }


def parts_of(
    cell: CellMaker | str, norm: NormMaker | str, activation: ActivationMaker | str
) -> Parts:
    """Collects the parts of a network, given themselves or their names: see :func:`part_of`."""
    return Parts(
        part_of("cell", cell, CELLS),
        part_of("norm", norm, NORMS),
        part_of("activation", activation, ACTIVATIONS),
    )


def part_of(argument: str, given: Part | str, known: Mapping[str, Part]) -> Part:
    """Returns a part, given itself or its name.

    Arguments:
        argument: Name of the network's argument.
        given: The part or its name.
        known: The parts that have names.

    Raises:
        ValueError: If there is no part of that name.
    """
    if not isinstance(given, str):
        return given
    if given not in known:
        raise ValueError(
            f"{argument} must be one of {sorted(known)} or the object itself, got {given!r}: pass "
            "the object in place of its name"
        )
    return known[given]


def name_of(part: object, known: Mapping[str, object]) -> str:
    """Returns the name of a part: see the module's docstring."""
    names = [name for name, other in known.items() if other is part]
    # A partial function, and any other object, is called by its class.
    called = getattr(part, "__qualname__", type(part).__qualname__)
    return names[0] if names else f"{part.__module__}.{called}"
