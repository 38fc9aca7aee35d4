"""The parts that a network can be made of, and their names in a configuration.

A network takes its cell, normalisation and activation as objects, or by their names if they are
of this package. Its ``config`` has the names, so that it can be written as JSON, and in the place
of any other part the object itself, of which whoever writes it makes what they like.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

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
    def names(self) -> dict[str, Any]:
        """What a configuration holds of the parts: their names, or themselves."""
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


def name_of(part: Part, known: Mapping[str, Part]) -> Part | str:
    """Returns the name of a part if it has one, and itself otherwise."""
    return next((name for name, other in known.items() if other is part), part)
