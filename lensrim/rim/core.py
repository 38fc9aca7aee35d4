r"""The recurrent inference machine.

.. math::
    \Delta x_t, h_{t+1} = g_\theta(y, x_t, \nabla \log p(y | x_t), h_t) , \qquad
    x_{t+1} = x_t + \Delta x_t , \qquad t = 0, \dots, T - 1 .

Trained on squared errors it estimates the posterior *mean* under the prior of its training data.
The score is a constant in training. Nothing is kept between calls: the memory begins anew with
each, and one sample never sees another.

References:
    Putzky & Welling 2017, arXiv:1706.04008.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .fields import Aux, Fields, ScoreFn, State, check_state, to_physical
from .networks import Hidden, Network
from .preconditioning import Memory, Preconditioner, Raw


@dataclass(frozen=True)
class Trajectory:
    """Holds all steps of a machine.

    Arguments:
        states: States of free variables, the start first: T + 1 of them.
        scores: Scores at the states before each step: T of them.
        fields: The fields.
    """

    states: Sequence[State]
    scores: Sequence[State]
    fields: Fields

    @property
    def last(self) -> State:
        """The last state, in free variables."""
        return self.states[-1]

    def physical(self, step: int = -1) -> dict[str, Tensor]:
        """Computes the physical values of a step."""
        return to_physical(self.states[step], self.fields)

    def score_norms(self) -> dict[str, Tensor]:
        """Computes the norm of the score of each field at each step, with shape (T, B)."""
        return {
            name: torch.stack([score[name].flatten(1).norm(dim=1) for score in self.scores])
            for name in self.fields
        }


@dataclass(frozen=True)
class Progress:
    """Holds what goes from one step to the next.

    Arguments:
        start: Free variables before the first step.
        state: Free variables now.
        memories: Memory of each encoding of the score, by field.
        hidden: Memory of the network.
        step: Number of steps made.
    """

    start: State
    state: State
    memories: Mapping[str, tuple[Memory, ...]]
    hidden: Hidden
    step: int


class RIM(nn.Module):
    """Creates a recurrent inference machine.

    Arguments:
        network: The network, for the sizes of :func:`sizes`.
        fields: The fields of the state, by name. All maps have one size.
        steps: Number T of steps it is trained with.
        precondition: Encodings of the score that the network sees.
        observation: Channels of the observation that the network sees, of the size of the fields'
            maps; 0 if it sees the observation only through the score.
        aux: Channels of the maps that ``score_fn`` returns beside the score, by name.
        conditioning: Length of the vector that describes an observation (noise, resolution).

    Raises:
        ValueError: If the network has other sizes.
    """

    def __init__(
        self,
        network: Network,
        fields: Fields,
        *,
        steps: int = 8,
        precondition: Sequence[Preconditioner] = (Raw(),),
        observation: int = 1,
        aux: Mapping[str, int] | None = None,
        conditioning: int = 0,
    ):
        super().__init__()
        self.network, self.fields, self.steps = network, dict(fields), steps
        self.precondition = tuple(precondition)
        self.observation, self.aux = observation, dict(aux or {})
        self.conditioning = conditioning
        dims = {field.dims for field in fields.values() if field.dims}
        if dims != {network.dims}:
            raise ValueError(
                f"the network must have the one number of dimensions of all maps, {sorted(dims)}, "
                f"got {network.dims}"
            )
        wanted = sizes(
            fields,
            encodings=len(self.precondition),
            observation=observation,
            aux=self.aux,
            conditioning=conditioning,
        )
        found = {name: getattr(network, name) for name in wanted}
        if found != wanted:
            raise ValueError(f"the network must have the sizes {wanted}, got {found}")

    def forward(
        self,
        observation: Tensor,
        score_fn: ScoreFn,
        start: State,
        conditioning: Tensor | None = None,
        *,
        steps: int | None = None,
    ) -> Trajectory:
        r"""Runs the machine.

        Arguments:
            observation: Observations :math:`y`, with shape :math:`(B, ...)`.
            score_fn: The score :math:`\nabla_x \log p(y | x)` and the maps of ``aux``.
            start: The start :math:`x_0`, in free variables.
            conditioning: Descriptions of the observations, with shape :math:`(B, K)`.
            steps: Number of steps, those of the training by default.
        """
        progress = self.begin(start, conditioning)
        states, scores = [progress.state], []
        for _ in range(self.steps if steps is None else steps):
            score, aux = score_fn({name: x.detach() for name, x in progress.state.items()})
            progress = self.step(progress, observation, score, aux, conditioning)
            states.append(progress.state)
            scores.append(score)
        return Trajectory(states, scores, self.fields)

    @torch.no_grad()
    def predict(
        self,
        observation: Tensor,
        score_fn: ScoreFn,
        start: State,
        conditioning: Tensor | None = None,
        *,
        steps: int | None = None,
    ) -> State:
        """Runs the machine and keeps only the last state, without a graph: see :meth:`forward`."""
        progress = self.begin(start, conditioning)
        for _ in range(self.steps if steps is None else steps):
            with torch.enable_grad():
                score, aux = score_fn({name: x.detach() for name, x in progress.state.items()})
            progress = self.step(progress, observation, score, aux, conditioning)
        return progress.state

    def begin(self, start: State, conditioning: Tensor | None = None) -> Progress:
        """Checks what a run is given, and returns what its first step needs.

        Raises:
            ValueError: If the start or the conditioning is not of the machine's form.
        """
        check_state(start, self.fields)
        given = 0 if conditioning is None else conditioning.shape[-1]
        if given != self.conditioning:
            raise ValueError(
                f"conditioning must have {self.conditioning} numbers for each sample, got {given}"
            )
        memories = {
            name: tuple(p.init(start[name]) for p in self.precondition) for name in self.fields
        }
        maps = [start[name] for name, field in self.fields.items() if field.dims]
        return Progress(start, start, memories, self.network.init_hidden(maps[0]), 0)

    def step(
        self,
        progress: Progress,
        observation: Tensor,
        score: State,
        aux: Aux,
        conditioning: Tensor | None = None,
    ) -> Progress:
        """Makes one step from a score that was taken at ``progress.state``."""
        like = next(iter(progress.state.values()))
        maps: list[Tensor] = [observation] if self.observation else []
        vectors = [_clock(progress.step, self.steps, like)]
        memories = {}
        for name, field in self.fields.items():
            into = maps if field.dims else vectors
            x, start = progress.state[name], progress.start[name]
            into += [x / field.spread, (x - start) / field.step]
            pairs = zip(self.precondition, progress.memories[name], strict=True)
            encoded = [p.update(memory, score[name].detach()) for p, memory in pairs]
            memories[name] = tuple(memory for memory, _ in encoded)
            into += [direction for _, direction in encoded]
        maps += [aux[name] for name in self.aux]
        if conditioning is not None:
            vectors.append(conditioning)
        out_maps, out_vectors, hidden = self.network(
            torch.cat(maps, 1), torch.cat(vectors, 1), progress.hidden
        )
        state = self._moved(progress.state, out_maps, out_vectors)
        return Progress(progress.start, state, memories, hidden, progress.step + 1)

    def _moved(self, state: State, maps: Tensor, vectors: Tensor) -> dict[str, Tensor]:
        """Adds the network's output to the state, field by field."""
        moved, at = {}, {True: 0, False: 0}
        for name, field in self.fields.items():
            source, first = (maps if field.dims else vectors), at[bool(field.dims)]
            change = source[:, first : first + field.channels]
            moved[name] = state[name] + field.step * change
            at[bool(field.dims)] = first + field.channels
        return moved


def sizes(
    fields: Fields,
    *,
    encodings: int,
    observation: int = 1,
    aux: Mapping[str, int] | None = None,
    conditioning: int = 0,
) -> dict[str, int]:
    """Returns the sizes that a network must have: its keyword arguments.

    Arguments:
        fields: The fields.
        encodings: Number of encodings of the score.
        observation, aux, conditioning: As for :class:`RIM`.
    """
    maps = sum(field.channels for field in fields.values() if field.dims)
    vectors = sum(field.channels for field in fields.values() if not field.dims)
    return {
        "maps_in": observation + sum((aux or {}).values()) + (2 + encodings) * maps,
        "vectors_in": CLOCK + conditioning + (2 + encodings) * vectors,
        "maps_out": maps,
        "vectors_out": vectors,
    }


CLOCK = 2
"""Numbers that tell the network which step it makes."""


def _clock(step: int, steps: int, like: Tensor) -> Tensor:
    """Tells the step: whether it is the first, and how many of those trained are over."""
    times = [float(step == 0), min(step, steps) / steps]
    return like.new_tensor(times).expand(len(like), CLOCK)
