"""Problems of every kind for machines, draws of them, and networks that tell what they are shown.

Laws are tested on all :data:`PROBLEMS`: states of 0 to 3 dimensions, of several at once, with
links, encodings of their own, observations of another shape than the state.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lensrim.rim.core import RIM, Trajectory
from lensrim.rim.fields import Aux, Field, Fields, State
from lensrim.rim.layout import CLOCK, Channels, Layout
from lensrim.rim.links import Bounded, Exp, Identity, Log10, PerChannel, Sinh, Softplus
from lensrim.rim.networks import MLP, Hidden, UNet
from lensrim.rim.preconditioning import Adam, Arcsinh, Normalized, Preconditioner, Raw, RMSProp

BATCH, STEPS = 3, 4


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


class Flat(nn.Module):
    """An encoder: numbers of an observation of any shape to maps of one channel."""

    def __init__(self, inputs: int, size: tuple[int, ...]):
        super().__init__()
        self.inputs, self.size = inputs, size
        self.layer = nn.Linear(inputs, torch.Size(size).numel())

    @property
    def config(self) -> dict[str, Any]:
        return {"inputs": self.inputs, "size": self.size}

    def forward(self, y: Tensor) -> Tensor:
        return self.layer(y.flatten(1)).reshape(len(y), 1, *self.size)


@dataclass(frozen=True)
class Problem:
    """A kind of problem: what the state is, and what the network sees.

    Arguments:
        fields: The fields.
        sizes: Sizes of the maps, for each number of dimensions; none for 0.
        precondition, observation, aux, conditioning: As for the machine.
        seen: Shape of a sample's observation; that of the largest maps by default.
        encoder: Makes the encoder.
        options: More options of the machine.
        widths: Levels of the U-Nets.
    """

    fields: Fields
    sizes: tuple[tuple[int, ...], ...]
    precondition: tuple[Preconditioner, ...] = (Raw(),)
    observation: Channels = 1
    aux: Mapping[str, Channels] = field(default_factory=dict)
    conditioning: int = 0
    seen: tuple[int, ...] | None = None
    encoder: Callable[[], nn.Module] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    widths: tuple[int, ...] = (6, 10)

    @property
    def size(self) -> dict[int, tuple[int, ...]]:
        """Sizes by dimensions."""
        return {0: (), **{len(size): size for size in self.sizes}}

    @property
    def layout(self) -> Layout:
        """Who sees what."""
        return Layout(
            self.fields,
            tuple(len(size) for size in self.sizes) or (0,),
            len(self.precondition),
            self.observation,
            self.aux,
            self.conditioning,
        )

    def networks(self) -> dict[int, nn.Module]:
        """Untrained networks."""
        small = {"widths": self.widths, "lift": 5, "embedding": 7}
        sizes = {d: self.layout.sizes(d) for d in self.layout.dims}
        return {d: UNet(d, **s, **small) if d else MLP(**s, widths=(8,)) for d, s in sizes.items()}

    def rim(self, networks: Mapping[int, nn.Module] | None = None, **options: Any) -> RIM:
        """A machine, by default with untrained networks."""
        torch.manual_seed(1)
        networks = self.networks() if networks is None else networks
        return RIM(
            networks if len(networks) > 1 else next(iter(networks.values())),  # pyright: ignore
            self.fields,
            precondition=self.precondition,
            observation=self.observation,
            aux=self.aux,
            conditioning=self.conditioning,
            encoder=self.encoder() if self.encoder else None,
            **{"steps": STEPS, **self.options, **options},
        ).double()

    def state(self, seed: int) -> dict[str, Tensor]:
        return {
            name: 0.4 * random(BATCH, f.channels, *self.size[f.dims], seed=seed + i)
            for i, (name, f) in enumerate(self.fields.items())
        }

    def given(self) -> "Given":
        channels, dims = self.layout.placed(self.observation)
        # An observation that the network does not see may have any shape.
        plain = (channels, *self.size[dims]) if channels else (5, 13)
        observation = random(BATCH, *(self.seen or plain), seed=60)
        conditioning = random(BATCH, self.conditioning, seed=61) if self.conditioning else None
        return Given(observation, self.state(70), self.state(80), conditioning)


@dataclass(frozen=True)
class Given:
    """Draws of a problem: observations, what the score pulls to, starts, conditioning."""

    observation: Tensor
    target: State
    start: State
    conditioning: Tensor | None

    def score(self, state: State) -> tuple[State, Aux]:
        """A score that is not linear, and maps."""
        pull = {name: self.target[name] - x - x**3 for name, x in state.items()}
        seen = max(pull.values(), key=Tensor.dim)[:, :1]
        return pull, {"residual": seen, "both": torch.cat([seen.square(), -seen], 1)}

    def of(self, samples: list[int]) -> "Given":
        return Given(
            self.observation[samples],
            {name: x[samples] for name, x in self.target.items()},
            {name: x[samples] for name, x in self.start.items()},
            None if self.conditioning is None else self.conditioning[samples],
        )

    def disturbed(self, sample: int) -> "Given":
        """Everything of one sample is another."""

        def other(x: Tensor) -> Tensor:
            x = x.clone()
            x[sample] = 5 - 3 * x[sample]
            return x

        return Given(
            other(self.observation),
            {name: other(x) for name, x in self.target.items()},
            {name: other(x) for name, x in self.start.items()},
            None if self.conditioning is None else other(self.conditioning),
        )

    def run(self, rim: RIM, **options: Any) -> Trajectory:
        return rim(self.observation, self.score, self.start, self.conditioning, **options)

    def predict(self, rim: RIM, **options: Any) -> State:
        return rim.predict(self.observation, self.score, self.start, self.conditioning, **options)


def log_prob_of(given: Given) -> Callable[[State], Tensor]:
    """The log-probability of free variables whose gradient is ``given.score``."""

    def log_prob(state: State) -> Tensor:
        each = [given.target[name] * x - x**2 / 2 - x**4 / 4 for name, x in state.items()]
        return sum((e.flatten(1).sum(1) for e in each), torch.zeros(len(each[0])))

    return log_prob


LENS = {
    "source": Field(2, 2, spread=0.5, step=0.3),
    "shear": Field(2, 0, spread=0.2, step=0.1),
    "log_kappa": Field(1, 2, step=0.2, link=Log10()),
}
AUX = {"residual": 1, "both": 2}
MIXED = {
    "spectrum": Field(1, 1, step=0.5, link=Softplus()),
    "ratio": Field(1, 0, step=0.5, link=Bounded(-1.0, 2.0), precondition=(Adam(),)),
    "image": Field(2, 2, link=PerChannel((Exp(), Identity())), precondition=()),
    "cube": Field(1, 3, spread=2.0),
}
PROBLEMS = {
    "0-D": Problem(
        {"x": Field(3, 0, step=0.5, link=Sinh(0.5)), "age": Field(1, 0, link=Exp())},
        (),
        (Raw(), Normalized()),
        6,
        {"residual": 1},
        conditioning=2,
        seen=(2, 3),
    ),
    "1-D": Problem({"x": Field(2, 1, step=0.5), "a": Field(1, 0)}, ((37,),), (Adam(), Raw(0.5))),
    "2-D": Problem(LENS, ((19, 22),), (Arcsinh(), Normalized()), 4, AUX, 3),
    "3-D": Problem({"x": Field(1, 3, step=0.5), "b": Field(1, 0)}, ((7, 8, 6),), observation=0),
    "maps": Problem({"x": Field(2, 1, step=0.5), "y": Field(1, 1)}, ((11,),), (RMSProp(),)),
    "blind": Problem({"y": Field(1, 2), "shift": Field(2, 0)}, ((8, 5),), (), 1, {"residual": 1}),
    "mixed": Problem(
        MIXED,
        ((7,), (5, 4), (3, 4, 3)),
        (Raw(), Arcsinh()),
        (2, 2),
        {"residual": (1, 3)},
        1,
        widths=(6,),
    ),
    "resized": Problem({"x": Field(1, 2)}, ((9, 7),), seen=(1, 6, 8)),
    "encoded": Problem(
        {"x": Field(1, 2), "shift": Field(1, 0)},
        ((6, 5),),
        seen=(7, 3),
        encoder=lambda: Flat(21, (6, 5)),
    ),
    "learnt": Problem(LENS, ((8, 9),), (Adam(),), options={"learn_memory": True}),
}
EVERY = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)
DIFFERENT = ("0-D", "2-D", "mixed", "encoded")
FEW = pytest.mark.parametrize("problem", [PROBLEMS[n] for n in DIFFERENT], ids=DIFFERENT)
"""Those that differ most, for what is tested in several ways each."""


def awake(problem: Problem, **options: Any) -> RIM:
    """A machine as if trained: no parameter is zero."""
    rim = problem.rim(**options)
    for i, parameter in enumerate(rim.parameters()):
        parameter.data += 0.2 * random(*parameter.shape, seed=i)
    return rim


def assert_equal(one: State, two: State, tolerance: float = 0.0):
    assert list(one) == list(two)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=tolerance)


class Sized(nn.Module):
    """A network of the sizes of a problem."""

    maps_in: int
    vectors_in: int
    maps_out: int
    vectors_out: int

    def __init__(self, problem: Problem, dims: int):
        super().__init__()
        self.problem, self.dims = problem, dims
        for name, number in problem.layout.sizes(dims).items():
            setattr(self, name, number)

    @classmethod
    def all(cls, problem: Problem) -> dict[int, Any]:
        """One for each kind of maps."""
        return {dims: cls(problem, dims) for dims in problem.layout.dims}


class Follower(Sized):
    """A network that returns the last encoding of every field's score, and remembers nothing."""

    def init_hidden(self, maps: Tensor) -> Hidden:
        return ()

    def forward(
        self, maps: Tensor, vectors: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Tensor, Hidden]:
        channels, at = self.problem.layout.placed(self.problem.observation)
        maps_of = maps[:, channels:] if at == self.dims else maps
        ours = {True: maps_of, False: vectors[:, CLOCK + (channels if at == 0 else 0) :]}
        out: dict[bool, list[Tensor]] = {True: [maps[:, :0]], False: [vectors[:, :0]]}
        for f in self.problem.fields.values():
            if f.dims not in (0, self.dims):
                continue
            encodings = self.problem.precondition if f.precondition is None else f.precondition
            kind, width = f.dims > 0, (2 + len(encodings)) * f.channels
            out[kind].append(ours[kind][:, width - f.channels : width])
            ours[kind] = ours[kind][:, width:]
        moved = torch.cat(out[False], 1)[:, : self.vectors_out]
        return torch.cat(out[True], 1), moved, hidden


class Spy(Sized):
    """A network that writes down what it is shown, and moves by 0.1 in its first call, 0.2 in the
    second, and so on; its memory is the number of calls."""

    def __init__(self, problem: Problem, dims: int):
        super().__init__(problem, dims)
        self.maps: list[Tensor] = []
        self.vectors: list[Tensor] = []
        self.begun: list[torch.Size] = []

    def init_hidden(self, maps: Tensor) -> Hidden:
        self.begun.append(maps.shape)
        return (maps.new_zeros(()),)

    def forward(
        self, maps: Tensor, vectors: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Tensor, Hidden]:
        self.maps.append(maps)
        self.vectors.append(vectors)
        count = hidden[0] + 1
        out_maps = (0.1 * count).expand(len(maps), self.maps_out, *maps.shape[2:])
        out_vectors = (0.1 * count).expand(len(maps), self.vectors_out)
        return out_maps, out_vectors, (count,)
