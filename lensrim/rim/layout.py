"""What each network of a machine is shown, and what becomes of what it returns.

Maps of one number of dimensions go to the network of that number; vectors are shown to all
networks, after two numbers that tell the step. A state without maps has a network of 0 dimensions,
which takes and returns maps of shape (B, 0) and finds everything among the vectors.

Of each field the network sees its value, its correction so far and the encodings of its score, in
the order of the fields; the observation comes before them, what the score function returns after,
the conditioning last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .fields import Fields, State
from .networks import resize

Channels = int | tuple[int, int]
"""Channels of a tensor that a network sees; or channels and dimensions, where these are not those
of the machine's main network. With 0 dimensions they are numbers that all networks see."""

CLOCK = 2
"""Numbers that tell the network which step it makes."""


@dataclass(frozen=True)
class Shown:
    """Holds what the networks see at a step.

    Arguments:
        clock: The step, with shape (B, CLOCK).
        fields: By field its value, its correction and its score's encodings, in the shape of the
            field.
        observation: The observation as it is shown, or ``None``.
        aux: Maps and numbers beside the score, by name.
        conditioning: Numbers that describe the observation, or ``None``.
    """

    clock: Tensor
    fields: Mapping[str, Sequence[Tensor]]
    observation: Tensor | None
    aux: Mapping[str, Tensor]
    conditioning: Tensor | None


@dataclass(frozen=True)
class Layout:
    """Describes who sees and who moves what.

    Arguments:
        fields: The fields.
        dims: Dimensions of the networks.
        encodings: Number of encodings of the score of a field that has none of its own.
        observation: Channels of the observation; 0 if no network sees it.
        aux: Channels of what the score function returns beside the score, by name.
        conditioning: Numbers that describe an observation.

    Raises:
        ValueError: If there is no network for a map, or none at all.
    """

    fields: Fields
    dims: tuple[int, ...]
    encodings: int
    observation: Channels = 1
    aux: Mapping[str, Channels] | None = None
    conditioning: int = 0

    def __post_init__(self):
        wanted = {field.dims for field in self.fields.values() if field.dims}
        placed = {dims for _, dims in self._beside()} if self.dims else set()
        wanted |= placed
        if not self.dims or wanted - {0} != set(self.dims) - {0}:
            raise ValueError(
                "the network must have the number of dimensions of the maps, or there must be one "
                "for each, those of the observation and of aux among them, "
                f"{sorted(wanted) or [0]}, got {sorted(self.dims)}"
            )

    @property
    def main(self) -> int:
        """Dimensions of the network that sees the observation: the one of the largest maps."""
        return max(self.dims)

    @property
    def mover(self) -> int:
        """Dimensions of the network that moves the vectors: 0 if there is one that has nothing
        else to do, else the one that sees the observation."""
        return 0 if 0 in self.dims else self.main

    def placed(self, channels: Channels) -> tuple[int, int]:
        """Returns channels and dimensions."""
        return (channels, self.main) if isinstance(channels, int) else channels

    def sizes(self, dims: int) -> dict[str, int]:
        """Returns the sizes that the network of so many dimensions must have."""
        vectors = {name: field for name, field in self.fields.items() if not field.dims}
        own = {name: f for name, f in self.fields.items() if f.dims == dims and f.dims}
        beside = {d: sum(c for c, at in self._beside() if at == d) for d in (0, dims)}
        moved = vectors if dims == self.mover else {}
        return {
            "maps_in": self._seen(own) + (beside[dims] if dims else 0),
            "vectors_in": CLOCK + self._seen(vectors) + beside[0] + self.conditioning,
            "maps_out": sum(field.channels for field in own.values()),
            "vectors_out": sum(field.channels for field in moved.values()),
        }

    def gather(self, shown: Shown) -> dict[int, tuple[Tensor, Tensor]]:
        """Returns the maps and vectors that each network is called with, by its dimensions."""
        parts: dict[int, list[Tensor]] = {d: [] for d in (0, *self.dims)}
        parts[0].append(shown.clock)
        if shown.observation is not None:
            parts[self.placed(self.observation)[1]].append(shown.observation)
        for name, field in self.fields.items():
            parts[field.dims] += shown.fields[name]
        for name, channels in (self.aux or {}).items():
            parts[self.placed(channels)[1]].append(shown.aux[name])
        if shown.conditioning is not None:
            parts[0].append(shown.conditioning)
        vectors = torch.cat(parts[0], 1)
        return {d: (torch.cat(parts[d], 1) if d else vectors[:, :0], vectors) for d in self.dims}

    def scatter(self, out: Mapping[int, tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        """Returns the part of each field of what the networks returned, maps and vectors."""
        at = dict.fromkeys((0, *self.dims), 0)
        parts = {}
        for name, field in self.fields.items():
            source = out[field.dims][0] if field.dims else out[self.mover][1]
            first = at[field.dims]
            parts[name] = source[:, first : first + field.channels]
            at[field.dims] = first + field.channels
        return parts

    def seen(self, observation: Tensor, state: State) -> Tensor | None:
        """Returns the observation as the networks see it, in the size of the maps.

        Raises:
            ValueError: If it has another number of channels or dimensions.
        """
        channels, dims = self.placed(self.observation)
        if not channels:
            return None
        # One number for each sample may come without an axis of its own.
        alone = dims or not observation.ndim
        y = observation if alone else observation[:, None].flatten(1)
        batch = len(next(iter(state.values())))
        if y.shape[:2] != (batch, channels) or y.ndim != 2 + dims:
            size = "".join(f", n{i + 1}" for i in range(dims))
            raise ValueError(
                f"the observation must have shape ({batch}, {channels}{size}) for the network, "
                f"got {tuple(y.shape)}: give the machine an encoder, or observation=0"
            )
        size = self.map_sizes(state, None).get(dims, y.shape[2:])
        return y if y.shape[2:] == tuple(size) else resize(y, size)

    def map_like(self, dims: int, state: State, seen: Tensor | None) -> Tensor:
        """Returns any map of the size that a network works on; (B, 0) for 0 dimensions."""
        maps = [state[name] for name, field in self.fields.items() if field.dims == dims]
        if dims and (maps or seen is not None):
            return maps[0] if maps else seen  # pyright: ignore[reportReturnType]
        like = next(iter(state.values()))
        return like.new_zeros(len(like), 0)

    def shapes(self, state: State, observation: Tensor | None) -> dict[str, tuple[int, ...]]:
        """Returns the shapes of what the score function must return beside the score."""
        batch, found = len(next(iter(state.values()))), self.map_sizes(state, observation)
        placed = {name: self.placed(channels) for name, channels in (self.aux or {}).items()}
        return {name: (batch, c, *found[d]) for name, (c, d) in placed.items()}

    def map_sizes(self, state: State, observation: Tensor | None) -> dict[int, Sequence[int]]:
        """Returns the sizes of the maps, by their dimensions; () for 0."""
        found: dict[int, Sequence[int]] = {0: ()}
        if observation is not None:
            found[observation.ndim - 2] = observation.shape[2:]
        return found | {f.dims: state[name].shape[2:] for name, f in self.fields.items()}

    def _seen(self, fields: Fields) -> int:
        """Counts the channels that are shown of fields."""
        return sum(
            (2 + (self.encodings if f.precondition is None else len(f.precondition))) * f.channels
            for f in fields.values()
        )

    def _beside(self) -> list[tuple[int, int]]:
        """Lists channels and dimensions of what is shown beside fields and conditioning."""
        seen = (self.observation, *(self.aux or {}).values())
        return [(c, d) for c, d in map(self.placed, seen) if c]


def clock(like: Tensor, first: bool, over: float) -> Tensor:
    """Tells the step: whether it is the first, and how many of those trained are over."""
    return like.new_tensor([float(first), over]).expand(len(like), CLOCK)


def check_shapes(
    rule: str, found: Mapping[str, Tensor], wanted: Mapping[str, Sequence[int]]
) -> None:
    """Checks that there is a tensor of each name and shape.

    Raises:
        ValueError: If there is not.
    """
    for name, shape in wanted.items():
        got = tuple(found[name].shape) if name in found else "none"
        if got != tuple(shape):
            raise ValueError(f"{rule} {name} with shape {tuple(shape)}, got {got}")


def sizes(
    fields: Fields,
    *,
    encodings: int,
    observation: Channels = 1,
    aux: Mapping[str, Channels] | None = None,
    conditioning: int = 0,
    dims: int | None = None,
) -> dict[str, Any]:
    """Returns the sizes that a network must have: its keyword arguments, whole numbers.

    Arguments:
        fields: The fields.
        encodings: Number of encodings of the score.
        observation, aux, conditioning: As for :class:`~lensrim.rim.core.RIM`.
        dims: Dimensions of the network; those of the maps by default, if they all have the same,
            and 0 if there are none.

    Raises:
        ValueError: If there are maps of several dimensions: see :func:`sizes_by_dims`.
    """
    found = {field.dims for field in fields.values() if field.dims} or {0}
    if dims is None and len(found) > 1:
        raise ValueError(
            f"maps of one network must have one number of dimensions, got {sorted(found)}: use "
            "sizes_by_dims, and give the machine a network for each"
        )
    dims = max(found) if dims is None else dims
    return Layout(fields, (dims,), encodings, observation, aux, conditioning).sizes(dims)


def sizes_by_dims(
    fields: Fields,
    dims: Sequence[int] | None = None,
    *,
    encodings: int,
    observation: Channels = 1,
    aux: Mapping[str, Channels] | None = None,
    conditioning: int = 0,
) -> dict[int, dict[str, Any]]:
    """Returns the sizes that the networks of a machine must have, by their dimensions.

    Arguments:
        fields: The fields.
        dims: Dimensions of the networks; by default one for each kind of map, those of the
            observation and of ``aux`` among them.
        encodings, observation, aux, conditioning: As for :func:`sizes`.
    """
    beside = [c for c in (observation, *(aux or {}).values()) if not isinstance(c, int)]
    own = {f.dims for f in fields.values() if f.dims} | {d for c, d in beside if c and d}
    found = sorted(own) if dims is None else dims
    layout = Layout(fields, tuple(found), encodings, observation, aux, conditioning)
    return {d: layout.sizes(d) for d in layout.dims}
