r"""The state of a recurrent inference machine: named fields, each with a link.

A *state* is a mapping of named tensors of *free* variables :math:`x`, the batch first: maps with
shape :math:`(B, C, N_1, \dots, N_d)`, and vectors with shape :math:`(B, C)`. A link
(:mod:`lensrim.rim.links`) gives the physical value, :math:`v = f(x)`. Maps of one number of
dimensions have one size.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from .links import Identity, Link, PerChannel
from .preconditioning import Preconditioner

State = Mapping[str, Tensor]
Aux = Mapping[str, Tensor]
ScoreFn = Callable[[State], tuple[State, Aux]]
"""Takes free variables; returns the score in them, :math:`+\\nabla_x \\log p`, and maps or numbers
that the network may see. :mod:`lensrim.rim.problem` makes them."""


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
        precondition: Encodings of its score that the network sees; those of the machine if
            ``None``.

    Raises:
        ValueError: If a number is out of range, or there are not as many links as channels.
    """

    channels: int = 1
    dims: int = 2
    spread: float = 1.0
    step: float = 1.0
    link: Link = Identity()
    precondition: Sequence[Preconditioner] | None = None

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
        if isinstance(self.link, PerChannel) and len(self.link.links) != self.channels:
            raise ValueError(
                f"a field of {self.channels} channels must have as many links, got "
                f"{len(self.link.links)}"
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
            raise ValueError(
                f"all maps must have one size in each number of dimensions, got {sorted(maps)}"
            )


def to_physical(state: State, fields: Fields) -> dict[str, Tensor]:
    """Computes the physical values of a state.

    Arguments:
        state: Free variables by field, with shape (B, C, ...).
        fields: The fields; a state may have fewer.

    Raises:
        KeyError: If the state has another.
    """
    return {name: fields[name].link.physical(x) for name, x in state.items()}


def to_free(values: State, fields: Fields) -> dict[str, Tensor]:
    """Computes the free variables of physical values: not finite beyond the range of a link.

    Arguments:
        values: Physical values by field, with shape (B, C, ...).
        fields: The fields; there may be fewer values.

    Raises:
        KeyError: If there is a value of another.
    """
    return {name: fields[name].link.free(value) for name, value in values.items()}
