r"""The recurrent inference machine.

.. math::
    \Delta x_t, h_{t+1} = g_\theta(y, x_t, \nabla \log p(y | x_t), h_t) , \qquad
    x_{t+1} = x_t + \Delta x_t , \qquad t = 0, \dots, T - 1 .

Trained on squared errors it estimates the posterior *mean* under the prior of its training data,
not the maximum of the posterior that the seed literature speaks of. The score is a constant in
training unless :class:`~lensrim.rim.unroll.Unroll` says otherwise. Nothing is kept between calls:
the memory begins anew with each, and one sample never sees another.

References:
    Putzky & Welling 2017, arXiv:1706.04008.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from .checks import (
    check_encodings,
    check_network,
    check_output,
    check_start,
    check_use,
    like_state,
)
from .fields import Aux, Field, Fields, ScoreFn, State, check_state
from .layout import Channels, Layout, Shown, check_shapes, clock, sizes
from .networks import Hidden, Network
from .preconditioning import Preconditioner, Raw
from .problem import LOG_PROB
from .starts import Start, Zeros
from .trajectory import Progress, Trajectory
from .unroll import Unroll

__all__ = ["RIM", "Progress", "Trajectory", "sizes"]


class RIM(nn.Module):
    """Creates a recurrent inference machine.

    Arguments:
        network: The network, for the sizes of :func:`~lensrim.rim.layout.sizes`; or, where maps
            have several numbers of dimensions, one module for each number, for those of
            :func:`~lensrim.rim.layout.sizes_by_dims`. Vectors are seen by all, and moved by the
            one of 0 dimensions if there is one, else by that of the largest maps, which sees the
            observation.
        fields: The fields of the state, by name.
        steps: Number T of steps it is trained with.
        precondition: Encodings of the score that the network sees, of fields without their own.
        observation: Channels of the observation that the network sees: a map, resized linearly to
            the size of the state's maps, or numbers where the network has 0 dimensions; 0 if it
            sees the observation only through the score. As ``(channels, dims)`` it goes to another
            network than that of the largest maps, or with 0 to all as numbers.
        aux: Channels of the maps that ``score_fn`` returns beside the score, by name; likewise.
        conditioning: Length of the vector that describes an observation (noise, resolution).
        start: How the machine begins where a call gives no start.
        learn_memory: Whether the hidden memory begins with what the network makes of the
            observation alone, by a call before the first score; otherwise with the network's own.
        encoder: Turns an observation of any shape into what ``observation`` says.
        unroll: How the steps are computed where a call does not say it.

    Raises:
        ValueError: If the network has other sizes, a network has no field to move, or there are
            no steps.
    """

    def __init__(
        self,
        network: Network | Mapping[int, nn.Module],
        fields: Fields,
        *,
        steps: int = 8,
        precondition: Sequence[Preconditioner] = (Raw(),),
        observation: Channels = 1,
        aux: Mapping[str, Channels] | None = None,
        conditioning: int = 0,
        start: Start = Zeros(),
        learn_memory: bool = False,
        encoder: nn.Module | None = None,
        unroll: Unroll = Unroll(),
    ):
        super().__init__()
        if steps < 1:
            raise ValueError(f"steps must be 1 or more, got {steps}")
        several = isinstance(network, Mapping)
        for each in network.values() if several else [network]:
            check_network(each)
        own = [field.precondition for field in fields.values() if field.precondition is not None]
        for encodings in (precondition, *own):
            check_encodings(encodings)
        check_start(start)
        self.network = (
            nn.ModuleDict({str(d): n for d, n in network.items()}) if several else network
        )
        self.fields, self.steps = dict(fields), steps
        self.precondition = tuple(precondition)
        self.observation, self.aux = observation, dict(aux or {})
        self.conditioning = conditioning
        self.start, self.learn_memory = start, learn_memory
        self.encoder, self.unroll = encoder, unroll
        networks = self.networks
        encodings = len(self.precondition)
        self.layout = Layout(
            self.fields, tuple(networks), encodings, observation, self.aux, conditioning
        )
        for dims, each in networks.items():
            check_use(dims, self.layout)
            wanted = {"dims": dims, **self.layout.sizes(dims)}
            found = {name: getattr(each, name) for name in wanted}
            if found != wanted:
                raise ValueError(f"the network must have the sizes {wanted}, got {found}")

    @property
    def networks(self) -> dict[int, Network]:
        """The networks, by their dimensions."""
        if isinstance(self.network, nn.ModuleDict):
            return {int(dims): each for dims, each in self.network.items()}  # pyright: ignore
        return {self.network.dims: self.network}

    @property
    def config(self) -> dict[str, Any]:
        """The arguments that make this machine again."""
        several = isinstance(self.network, nn.ModuleDict)
        names = ("fields", "steps", "precondition", "observation", "aux", "conditioning")
        more = ("start", "learn_memory", "encoder", "unroll")
        network = self.networks if several else self.network
        return {"network": network, **{name: getattr(self, name) for name in (*names, *more)}}

    def forward(
        self,
        observation: Tensor,
        score_fn: ScoreFn,
        start: State | Start | None = None,
        conditioning: Tensor | None = None,
        *,
        args: Sequence[Any] = (),
        steps: int | None = None,
        unroll: Unroll | None = None,
        judged: bool = False,
    ) -> Trajectory:
        r"""Runs the machine.

        Arguments:
            observation: Observations :math:`y`, with shape :math:`(B, ...)`.
            score_fn: The score :math:`\nabla_x \log p(y | x)` and the maps of ``aux``.
            start: The start :math:`x_0`, in free variables, or how to make it; the machine's own
                way by default.
            conditioning: Descriptions of the observations, with shape :math:`(B, K)`.
            args: What the way to make the start is called with beside the observation.
            steps: Number of steps, those of the training by default.
            unroll: How to compute them, the machine's own way by default.
            judged: Whether the score of the answer is taken, too, by one more call of
                ``score_fn``: the trajectory then has as many scores and log-probabilities as
                states.

        Raises:
            ValueError: If something that is given, or that ``score_fn`` returns, is not of the
                machine's form.
        """
        unroll = self.unroll if unroll is None else unroll
        states, met = [], []
        for progress, score, aux in self._run(
            observation, score_fn, start, conditioning, args, steps, unroll
        ):
            states.append(progress.state)
            met += [(score, aux)] if progress.step else []
        met += [unroll.score(score_fn, states[-1])] if judged else []
        scores = [score for score, _ in met]
        log_probs = [aux[LOG_PROB] for _, aux in met if LOG_PROB in aux]
        known = bool(scores) and len(log_probs) == len(scores)
        return Trajectory(states, scores, self.fields, torch.stack(log_probs) if known else None)

    @torch.no_grad()
    def predict(
        self,
        observation: Tensor,
        score_fn: ScoreFn,
        start: State | Start | None = None,
        conditioning: Tensor | None = None,
        *,
        args: Sequence[Any] = (),
        steps: int | None = None,
        unroll: Unroll | None = None,
    ) -> State:
        """Runs the machine and keeps only the last state, without a graph: see :meth:`forward`.

        Returns:
            Free variables by field, with shape (B, C, ...); :func:`~.fields.to_physical` makes
            physical values of them.
        """
        last: State = {}
        for progress, *_ in self._run(
            observation, score_fn, start, conditioning, args, steps, unroll
        ):
            last = progress.state
        return last

    def _run(
        self,
        observation: Tensor,
        score_fn: ScoreFn,
        start: State | Start | None,
        conditioning: Tensor | None,
        args: Sequence[Any],
        steps: int | None,
        unroll: Unroll | None,
    ) -> Iterator[tuple[Progress, State, Aux]]:
        """Makes the steps one by one; the start comes first, with no score."""
        unroll = self.unroll if unroll is None else unroll
        steps = self.steps if steps is None else steps
        if steps < 0:
            raise ValueError(f"steps must be 0 or more, got {steps}")
        progress = self.begin(observation, start, conditioning, args=args, unroll=unroll)
        yield progress, {}, {}
        for t in range(steps):
            progress = progress.detached() if unroll.cuts(t) else progress
            score, aux = unroll.score(score_fn, progress.state)
            progress = self.step(progress, score, aux, unroll=unroll)
            yield progress, score, aux

    def begin(
        self,
        observation: Tensor,
        start: State | Start | None = None,
        conditioning: Tensor | None = None,
        *,
        args: Sequence[Any] = (),
        unroll: Unroll | None = None,
    ) -> Progress:
        """Checks what a run is given, and returns what its first step needs.

        Raises:
            ValueError: If the observation, the start or the conditioning is not of the machine's
                form.
        """
        if not isinstance(observation, Tensor):
            raise ValueError(
                f"the observation must be a tensor, got a {type(observation).__name__}; give "
                "torch.as_tensor(...)"
            )
        unroll = self.unroll if unroll is None else unroll
        way = self.start if start is None else start
        check_start(way)
        learnt = not isinstance(way, Mapping) and way.learnt
        found = way if isinstance(way, Mapping) else way(observation, args, self.fields)
        check_state(found, self.fields)
        state = {name: found[name] for name in self.fields}
        if self.encoder is not None:
            observation = unroll.encode(self.encoder, observation)
        seen = self.layout.seen(observation, state)
        self._check(state, seen, conditioning)
        hiddens = {
            dims: network.init_hidden(self.layout.map_like(dims, state, seen))
            for dims, network in self.networks.items()
        }
        if learnt or self.learn_memory:
            change, hiddens = self._unscored(state, hiddens, seen, conditioning, unroll)
            if learnt:
                state = {
                    name: x + self.fields[name].spread * change[name] for name, x in state.items()
                }
        memories = {
            name: tuple(p.init(state[name]) for p in self._encodings(field))
            for name, field in self.fields.items()
        }
        return Progress(state, state, memories, hiddens, seen, conditioning)

    def step(
        self, progress: Progress, score: State, aux: Aux, *, unroll: Unroll | None = None
    ) -> Progress:
        """Makes one step from a score that was taken at ``progress.state``.

        Raises:
            ValueError: If scores or maps are missing or of another shape.
        """
        check_shapes("the score must have", score, {n: x.shape for n, x in progress.state.items()})
        score = {name: like_state(name, score[name], x) for name, x in progress.state.items()}
        wanted = self.layout.shapes(progress.state, progress.observation)
        check_shapes("beside the score there must be", aux, wanted)
        seen, memories = {}, {}
        for name, field in self.fields.items():
            x, start = progress.state[name], progress.start[name]
            pairs = zip(self._encodings(field), progress.memories[name], strict=True)
            encoded = [p.update(memory, score[name]) for p, memory in pairs]
            memories[name] = tuple(memory for memory, _ in encoded)
            seen[name] = [x / field.spread, (x - start) / field.step]
            seen[name] += [direction for _, direction in encoded]
        like, over = next(iter(progress.state.values())), min(progress.step, self.steps)
        time = clock(like, progress.step == 0, over / self.steps)
        shown = Shown(time, seen, progress.observation, aux, progress.conditioning)
        unroll = self.unroll if unroll is None else unroll
        change, hiddens = self._propose(shown, progress.hiddens, unroll)
        state = {
            name: x + self.fields[name].step * change[name] for name, x in progress.state.items()
        }
        return replace(
            progress, state=state, memories=memories, hiddens=hiddens, step=progress.step + 1
        )

    def _check(self, state: State, seen: Tensor | None, conditioning: Tensor | None) -> None:
        """Checks the shape of the conditioning, and that all lives where the networks do."""
        batch = len(next(iter(state.values())))
        found = (batch, 0) if conditioning is None else tuple(conditioning.shape)
        if found != (batch, self.conditioning):
            raise ValueError(
                f"conditioning must have {self.conditioning} numbers for each sample, with shape "
                f"{(batch, self.conditioning)}, got "
                f"{'none' if conditioning is None else found}"
            )
        weights = [p for p in self.network.parameters() if p.is_floating_point()]  # pyright: ignore
        kinds = [(p.dtype, p.device) for p in weights]
        given = {"the observation": seen, "conditioning": conditioning}
        given |= {f"the start of {name}": x for name, x in state.items()}
        for name, x in given.items():
            if x is not None and x.is_complex():
                raise ValueError(
                    f"{name} must be real for the network, got {x.dtype}: give the machine "
                    "observation=0, so that the score alone knows it, or an encoder that returns "
                    "torch.cat([y.real, y.imag], 1)"
                )
            if x is not None and kinds and (x.dtype, x.device) not in kinds:
                raise ValueError(
                    f"{name} must have the precision and the device of the network, "
                    f"{kinds[0][0]} on {kinds[0][1]}, got {x.dtype} on {x.device}: convert it, or "
                    "the machine, as by y.float(), rim.double(), rim.to(y.device)"
                )

    def _encodings(self, field: Field) -> Sequence[Preconditioner]:
        return self.precondition if field.precondition is None else field.precondition

    def _unscored(
        self,
        state: State,
        hiddens: Mapping[int, Hidden],
        seen: Tensor | None,
        conditioning: Tensor | None,
        unroll: Unroll,
    ) -> tuple[dict[str, Tensor], dict[int, Hidden]]:
        """Calls the networks with the observation alone: all else is zero, the clock too."""
        like = next(iter(state.values()))
        zeros = {
            name: [torch.zeros_like(state[name])] * (2 + len(self._encodings(field)))
            for name, field in self.fields.items()
        }
        shapes = self.layout.shapes(state, seen)
        aux = {name: like.new_zeros(shape) for name, shape in shapes.items()}
        shown = Shown(clock(like, False, 0.0), zeros, seen, aux, conditioning)
        return self._propose(shown, hiddens, unroll)

    def _propose(
        self, shown: Shown, hiddens: Mapping[int, Hidden], unroll: Unroll
    ) -> tuple[dict[str, Tensor], dict[int, Hidden]]:
        """Calls every network; returns what is for each field, and the memories."""
        given, networks = self.layout.gather(shown), self.networks
        out = {d: unroll.call(networks[d], *given[d], hiddens[d]) for d in networks}
        for d, found in out.items():
            check_output(networks[d], given[d], found[:2])
        change = self.layout.scatter({d: (maps, vectors) for d, (maps, vectors, _) in out.items()})
        return change, {d: hidden for d, (*_, hidden) in out.items()}
