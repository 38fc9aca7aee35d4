"""The recurrent inference machine, held to its laws on problems of every kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn

from lensrim.rim.core import RIM, Trajectory, sizes
from lensrim.rim.fields import (
    Aux,
    Field,
    Fields,
    Log10,
    ScoreFn,
    State,
    linked,
    score_of,
    to_physical,
)
from lensrim.rim.losses import trajectory_loss
from lensrim.rim.networks import Hidden, UNet
from lensrim.rim.preconditioning import Adam, Arcsinh, Normalized, Preconditioner, Raw, RMSProp

BATCH, STEPS = 3, 4


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@dataclass(frozen=True)
class Problem:
    """A kind of problem: what the state is, and what the network sees."""

    fields: Fields
    size: tuple[int, ...]
    precondition: tuple[Preconditioner, ...] = (Raw(),)
    observation: int = 1
    aux: Mapping[str, int] = field(default_factory=dict)
    conditioning: int = 0

    @property
    def sizes(self) -> dict[str, int]:
        return sizes(
            self.fields,
            encodings=len(self.precondition),
            observation=self.observation,
            aux=self.aux,
            conditioning=self.conditioning,
        )

    def rim(self, network: object = None) -> RIM:
        """A machine, by default with an untrained U-Net."""
        torch.manual_seed(1)
        if network is None:
            small = {"widths": (6, 10), "lift": 5, "embedding": 7}
            network = UNet(len(self.size), **self.sizes, **small)
        return RIM(
            network,
            self.fields,
            steps=STEPS,
            precondition=self.precondition,
            observation=self.observation,
            aux=self.aux,
            conditioning=self.conditioning,
        ).double()

    def state(self, seed: int) -> dict[str, Tensor]:
        return {
            name: 0.4 * random(BATCH, f.channels, *(self.size if f.dims else ()), seed=seed + i)
            for i, (name, f) in enumerate(self.fields.items())
        }

    def given(self) -> "Given":
        # An observation that the network does not see may have any shape.
        shape = (self.observation, *self.size) if self.observation else (5, 13)
        conditioning = random(BATCH, self.conditioning, seed=61) if self.conditioning else None
        return Given(random(BATCH, *shape, seed=60), self.state(70), self.state(80), conditioning)


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
        name = next(name for name, x in state.items() if x.ndim > 2)
        seen = pull[name][:, :1]
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

    def run(self, rim: RIM, **options: int) -> Trajectory:
        return rim(self.observation, self.score, self.start, self.conditioning, **options)


LENS = {
    "source": Field(2, 2, spread=0.5, step=0.3),
    "shear": Field(2, 0, spread=0.2, step=0.1),
    "log_kappa": Field(1, 2, step=0.2, link=Log10()),
}
AUX = {"residual": 1, "both": 2}
PROBLEMS = {
    "1-D": Problem({"x": Field(2, 1, step=0.5), "mean": Field(1, 0)}, (37,), (Adam(), Raw(0.5))),
    "2-D": Problem(LENS, (19, 22), (Arcsinh(), Normalized()), 4, AUX, 3),
    "3-D": Problem({"x": Field(1, 3, step=0.5), "bias": Field(1, 0)}, (9, 10, 7), observation=0),
    "maps": Problem({"x": Field(2, 1, step=0.5), "y": Field(1, 1)}, (11,), (RMSProp(),)),
    "blind": Problem({"y": Field(1, 2), "shift": Field(2, 0)}, (8, 5), (), 1, {"residual": 1}),
}
EVERY = pytest.mark.parametrize("problem", PROBLEMS.values(), ids=PROBLEMS)


def awake(problem: Problem) -> RIM:
    """A machine as if trained: no parameter is zero."""
    rim = problem.rim()
    for i, parameter in enumerate(rim.parameters()):
        parameter.data += 0.2 * random(*parameter.shape, seed=i)
    return rim


def assert_equal(one: State, two: State, tolerance: float = 0.0):
    assert list(one) == list(two)
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=0, atol=tolerance)


class Sized:
    """A network of the sizes of a problem."""

    maps_in: int
    vectors_in: int
    maps_out: int
    vectors_out: int

    def __init__(self, problem: Problem):
        self.problem, self.dims = problem, len(problem.size)
        for name, number in problem.sizes.items():
            setattr(self, name, number)


class Follower(Sized):
    """A network that returns the last encoding of every field's score, and remembers nothing."""

    def init_hidden(self, maps: Tensor) -> Hidden:
        return ()

    def __call__(
        self, maps: Tensor, vectors: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Tensor, Hidden]:
        ours = {True: maps[:, self.problem.observation :], False: vectors[:, 2:]}
        out: dict[bool, list[Tensor]] = {True: [maps[:, :0]], False: [vectors[:, :0]]}
        for f in self.problem.fields.values():
            kind, width = f.dims > 0, (2 + len(self.problem.precondition)) * f.channels
            out[kind].append(ours[kind][:, width - f.channels : width])
            ours[kind] = ours[kind][:, width:]
        return torch.cat(out[True], 1), torch.cat(out[False], 1), hidden


class Spy(Sized):
    """A network that writes down what it is shown, and moves by 0.1 in its first step, 0.2 in the
    second, and so on; its memory is the number of steps."""

    def __init__(self, problem: Problem):
        super().__init__(problem)
        self.maps: list[Tensor] = []
        self.vectors: list[Tensor] = []
        self.begun: list[torch.Size] = []

    def init_hidden(self, maps: Tensor) -> Hidden:
        self.begun.append(maps.shape)
        return (maps.new_zeros(()),)

    def __call__(
        self, maps: Tensor, vectors: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Tensor, Hidden]:
        self.maps.append(maps)
        self.vectors.append(vectors)
        count = hidden[0] + 1
        out_maps = (0.1 * count).expand(len(maps), self.maps_out, *maps.shape[2:])
        out_vectors = (0.1 * count).expand(len(maps), self.vectors_out)
        return out_maps, out_vectors, (count,)


# What it computes.


@EVERY
def test_steps_are_single_steps_with_the_memory_carried_over(problem: Problem):
    rim, given = awake(problem), problem.given()
    path = given.run(rim)
    assert len(path.states) == STEPS + 1 and len(path.scores) == STEPS
    assert_equal(path.states[0], given.start)
    progress = rim.begin(given.start, given.conditioning)
    for t in range(STEPS):
        score, aux = given.score(progress.state)
        assert_equal(path.scores[t], score)
        progress = rim.step(progress, given.observation, score, aux, given.conditioning)
        assert progress.step == t + 1
        assert_equal(path.states[t + 1], progress.state)
        assert_equal(progress.start, given.start)
    predicted = rim.predict(given.observation, given.score, given.start, given.conditioning)
    assert_equal(predicted, path.last)
    assert not any(x.requires_grad for x in predicted.values())


@EVERY
def test_going_on_is_not_beginning_again(problem: Problem):
    rim, given = awake(problem), problem.given()
    whole = given.run(rim)
    short = given.run(rim, steps=2)
    for one, two in zip(short.states, whole.states[:3], strict=True):
        assert_equal(one, two)
    anew = replace(given, start=short.last).run(rim, steps=2)
    for name in problem.fields:
        assert not torch.allclose(anew.last[name], whole.last[name], atol=1e-4)


@EVERY
def test_the_memory_changes_at_every_level_and_every_step(problem: Problem):
    rim, given = awake(problem), problem.given()
    progress = rim.begin(given.start, given.conditioning)
    for _ in range(STEPS):
        before = progress
        progress = rim.step(
            progress, given.observation, *given.score(progress.state), given.conditioning
        )
        for old, new in zip(before.hidden, progress.hidden, strict=True):
            assert (old != new).double().mean() > 0.99
        for name in problem.fields:
            assert not torch.equal(before.state[name], progress.state[name])


@EVERY
def test_no_sample_sees_another(problem: Problem):
    rim, given = awake(problem), problem.given()
    before, after = given.run(rim).last, given.disturbed(1).run(rim).last
    for name in problem.fields:
        others = [0, 2]
        torch.testing.assert_close(before[name][others], after[name][others], rtol=0, atol=1e-12)
        assert not torch.allclose(before[name][1], after[name][1])


@EVERY
def test_samples_in_another_order_are_the_answers_in_that_order(problem: Problem):
    rim, given = awake(problem), problem.given()
    for order in ([2, 0, 1], [1], [0, 0]):  # one alone, too
        expected = {name: x[order] for name, x in given.run(rim).last.items()}
        assert_equal(given.of(order).run(rim).last, expected, tolerance=1e-12)


@EVERY
def test_nothing_is_kept_between_calls(problem: Problem):
    rim, given = awake(problem), problem.given()
    kept = {name: dict(vars(module)) for name, module in rim.named_modules()}
    weights = {name: x.clone() for name, x in rim.state_dict().items()}
    start = {name: x.clone() for name, x in given.start.items()}
    first = given.run(rim).last
    given.disturbed(1).run(rim, steps=STEPS + 1)
    rim.predict(given.observation, given.score, given.start, given.conditioning)
    assert_equal(given.run(rim).last, first)
    for name, module in rim.named_modules():
        assert vars(module).keys() == kept[name].keys()
        assert all(value is kept[name][key] for key, value in vars(module).items())
    assert_equal(rim.state_dict(), weights)
    assert_equal(given.start, start)


@EVERY
@pytest.mark.parametrize("steps", [0, 1, STEPS + 3])
def test_it_runs_for_other_steps_than_those_of_the_training(problem: Problem, steps: int):
    rim, given = awake(problem), problem.given()
    path = given.run(rim, steps=steps)
    assert len(path.states) == steps + 1 and len(path.scores) == steps
    assert all(x.isfinite().all() for x in path.last.values())
    predicted = rim.predict(
        given.observation, given.score, given.start, given.conditioning, steps=steps
    )
    assert_equal(predicted, path.last)


@EVERY
def test_an_untrained_machine_returns_its_start(problem: Problem):
    given = problem.given()
    for state in given.run(problem.rim()).states:
        assert_equal(state, given.start)


@EVERY
def test_single_precision_is_the_same_to_rounding(problem: Problem):
    rim, given = awake(problem), problem.given()
    expected = given.run(rim).last
    assert all(x.dtype == torch.float64 for x in expected.values())
    single = Given(
        given.observation.float(),
        {name: x.float() for name, x in given.target.items()},
        {name: x.float() for name, x in given.start.items()},
        None if given.conditioning is None else given.conditioning.float(),
    )
    for name, x in single.run(rim.float()).last.items():
        assert x.dtype == torch.float32
        torch.testing.assert_close(x.double(), expected[name], rtol=0, atol=1e-3)


def test_an_observation_of_another_shape_is_seen_through_the_score_alone():
    problem = PROBLEMS["3-D"]
    rim, given = awake(problem), problem.given()
    assert given.observation.shape == (BATCH, 5, 13)
    other = replace(given, observation=random(BATCH, 2, 3, 4, 5, seed=5))
    assert_equal(other.run(rim).last, given.run(rim).last)


def test_conditioning_and_aux_maps_change_the_answer():
    problem = PROBLEMS["2-D"]
    rim, given = awake(problem), problem.given()
    assert given.conditioning is not None
    expected = given.run(rim).last
    described = replace(given, conditioning=given.conditioning + 0.5).run(rim).last

    def other_maps(state: State) -> tuple[State, Aux]:
        score, aux = given.score(state)
        return score, {name: 2 * x for name, x in aux.items()}

    shown = rim(given.observation, other_maps, given.start, given.conditioning).last
    for name in problem.fields:
        assert not torch.allclose(described[name], expected[name], atol=1e-4)
        assert not torch.allclose(shown[name], expected[name], atol=1e-4)


# What the network is shown.


@EVERY
def test_the_network_is_shown_what_is_written(problem: Problem):
    spy, given = Spy(problem), problem.given()
    path = given.run(problem.rim(spy), steps=STEPS + 2)
    first = next(f.channels for f in problem.fields.values() if f.dims)
    assert spy.begun == [(BATCH, first, *problem.size)]
    memory = {name: [p.init(x) for p in problem.precondition] for name, x in given.start.items()}
    for t in range(STEPS + 2):
        state, (score, aux) = path.states[t], given.score(path.states[t])
        clock = torch.tensor([float(t == 0), min(t / STEPS, 1.0)]).double()
        maps = [given.observation] if problem.observation else []
        vectors = [clock.expand(BATCH, 2)]
        for name, f in problem.fields.items():
            shown = [state[name] / f.spread, (state[name] - given.start[name]) / f.step]
            for i, p in enumerate(problem.precondition):
                memory[name][i], direction = p.update(memory[name][i], score[name])
                shown.append(direction)
            (maps if f.dims else vectors).extend(shown)
        maps += [aux[name] for name in problem.aux]
        vectors += [] if given.conditioning is None else [given.conditioning]
        torch.testing.assert_close(spy.maps[t], torch.cat(maps, 1))
        torch.testing.assert_close(spy.vectors[t], torch.cat(vectors, 1))


@EVERY
def test_the_output_moves_each_field_by_its_step(problem: Problem):
    given = problem.given()
    path = given.run(problem.rim(Spy(problem)))
    for name, f in problem.fields.items():
        for t in range(STEPS):
            moved = path.states[t + 1][name] - path.states[t][name]
            torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * (t + 1) * f.step))


@pytest.mark.parametrize("order", [["residual", "both"], ["both", "residual"]])
def test_aux_maps_come_in_the_order_of_the_machine(order: list[str]):
    problem = replace(PROBLEMS["2-D"], aux={name: AUX[name] for name in order})
    spy, given = Spy(problem), problem.given()
    given.run(problem.rim(spy), steps=1)
    _, aux = given.score(given.start)
    expected = torch.cat([aux[name] for name in order], 1)
    torch.testing.assert_close(spy.maps[0][:, -3:], expected)


# Scores.


def log_prob_of(given: Given) -> Callable[[State], Tensor]:
    """The log-probability whose gradient is ``given.score``."""

    def log_prob(state: State) -> Tensor:
        each = [given.target[name] * x - x**2 / 2 - x**4 / 4 for name, x in state.items()]
        return sum((e.flatten(1).sum(1) for e in each), torch.zeros(len(each[0])))

    return log_prob


@EVERY
def test_a_log_probability_and_its_score_give_one_trajectory(problem: Problem):
    problem = replace(problem, aux={})
    rim, given = awake(problem), problem.given()
    by_hand = given.run(rim)
    score_fn = score_of(log_prob_of(given))
    derived = rim(given.observation, score_fn, given.start, given.conditioning)
    for one, two in zip(by_hand.states, derived.states, strict=True):
        assert_equal(one, two, tolerance=1e-10)
    predicted = rim.predict(given.observation, score_fn, given.start, given.conditioning)
    assert_equal(predicted, derived.last)


@pytest.mark.parametrize("name", [name for name, p in PROBLEMS.items() if p.precondition])
def test_a_network_that_follows_the_score_is_gradient_ascent(name: str):
    problem = replace(PROBLEMS[name], precondition=(Arcsinh(), Raw(0.2)), aux={})
    given = problem.given()
    log_prob = log_prob_of(given)
    rim = problem.rim(Follower(problem))
    path = rim(given.observation, score_of(log_prob), given.start, given.conditioning)
    x = dict(given.start)
    for state in path.states:
        assert_equal(state, x, tolerance=1e-12)
        score, _ = given.score(x)
        x = {key: x[key] + problem.fields[key].step * 0.2 * score[key] for key in x}
    heights = torch.stack([log_prob(state) for state in path.states])
    assert (heights.diff(dim=0) > 0).all()


@pytest.mark.parametrize("encoding", [Adam(), RMSProp(0.9)], ids=repr)
def test_a_network_that_follows_adam_is_adam(encoding: Preconditioner):
    """The whole iteration against an optimiser of torch that descends the negative."""
    problem = Problem({"x": Field(1, 1, step=0.05), "shift": Field(2, 0, step=0.05)}, (9,))
    problem = replace(problem, precondition=(encoding,))
    given = problem.given()
    log_prob = log_prob_of(given)
    rim = problem.rim(Follower(problem))
    path = rim(given.observation, score_of(log_prob), given.start, steps=6)
    x = {name: value.clone().requires_grad_() for name, value in given.start.items()}
    values = list(x.values())
    optimiser = (
        torch.optim.Adam(values, lr=0.05)
        if isinstance(encoding, Adam)
        else torch.optim.RMSprop(values, lr=0.05, alpha=0.9)
    )
    for state in path.states:
        assert_equal(state, {name: value.detach() for name, value in x.items()}, tolerance=1e-10)
        optimiser.zero_grad()
        (-log_prob(x)).sum().backward()
        optimiser.step()


def test_with_a_link_the_score_is_that_of_the_free_variable():
    problem = replace(PROBLEMS["2-D"], aux={})
    rim, given = awake(problem), problem.given()

    def log_prob(values: State) -> Tensor:
        pulls = [(given.target[name] - v).square().flatten(1).sum(1) for name, v in values.items()]
        return -torch.stack(pulls).sum(0) / 2

    def physical(values: State) -> tuple[State, Aux]:
        return {name: given.target[name] - v for name, v in values.items()}, {}

    def free(state: State) -> Tensor:
        return log_prob(to_physical(state, problem.fields))

    def run(score_fn: ScoreFn) -> Trajectory:
        return rim(given.observation, score_fn, given.start, given.conditioning)

    path, same = run(linked(physical, problem.fields)), run(score_of(free))
    for one, two in zip(path.states, same.states, strict=True):
        assert_equal(one, two, tolerance=1e-10)
    torch.testing.assert_close(path.physical()["log_kappa"], 10 ** path.last["log_kappa"])
    torch.testing.assert_close(path.physical(0)["source"], given.start["source"])


def test_norms_of_the_scores():
    problem = PROBLEMS["2-D"]
    path = problem.given().run(awake(problem))
    norms = path.score_norms()
    assert list(norms) == list(problem.fields)
    for name, norm in norms.items():
        assert norm.shape == (STEPS, BATCH)
        for t in range(STEPS):
            for b in range(BATCH):
                expected = (path.scores[t][name][b] ** 2).sum() ** 0.5
                torch.testing.assert_close(norm[t, b], expected)


# Gradients.


@EVERY
def test_gradients_reach_every_parameter(problem: Problem):
    rim, given = awake(problem), problem.given()
    loss, _ = trajectory_loss(given.run(rim), problem.state(90))
    loss.backward()
    for name, parameter in rim.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).double().mean() > 0.9, name


class Rate(nn.Module):
    """A network that follows the score at a rate to be learnt."""

    dims, maps_in, vectors_in, maps_out, vectors_out = 1, 3, 2, 1, 0

    def __init__(self):
        super().__init__()
        self.rate = nn.Parameter(torch.tensor(0.3))

    def init_hidden(self, maps: Tensor) -> Hidden:
        return ()

    def forward(
        self, maps: Tensor, vectors: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Tensor, Hidden]:
        return self.rate * maps[:, 2:], vectors[:, :0], hidden


def test_the_score_is_a_constant_in_training():
    """With :math:`x_{t+1} = x_t + a s_t`, the last state's derivative is the sum of scores."""
    rate = Rate()
    rim = RIM(rate, {"x": Field(1, 1)}, steps=3, observation=0).double()
    start, hung = random(2, 1, 5), torch.ones((), dtype=torch.float64, requires_grad=True)

    def score_fn(state: State) -> tuple[State, Aux]:
        assert not state["x"].requires_grad
        return {"x": hung * (1 - state["x"])}, {}

    path = rim(torch.zeros(2), score_fn, {"x": start})
    (gradient,) = torch.autograd.grad(path.last["x"].sum(), rate.rate, retain_graph=True)
    expected = torch.stack([score["x"] for score in path.scores]).sum()
    torch.testing.assert_close(gradient, expected.detach())
    path.last["x"].sum().backward()
    assert hung.grad is None


def test_gradients_are_those_of_finite_differences():
    """The score of a constant does not change with the state, so that nothing is left out."""
    problem = Problem({"x": Field(1, 1, step=0.5), "mean": Field(1, 0)}, (7,), (Raw(), Arcsinh()))
    rim, given, truth = awake(problem), problem.given(), problem.state(90)
    score = problem.state(95)

    def loss() -> Tensor:
        path = rim(given.observation, lambda _: (score, {}), given.start)
        return trajectory_loss(path, truth)[0]

    parameters = list(rim.parameters())
    gradients = torch.autograd.grad(loss(), parameters)
    directions = [random(*p.shape, seed=i) for i, p in enumerate(parameters)]
    slope = sum((g * d).sum() for g, d in zip(gradients, directions, strict=True))
    values = []
    for sign in (1, -1):
        for p, d in zip(parameters, directions, strict=True):
            p.data += sign * 1e-5 * d
        values.append(loss().item())
        for p, d in zip(parameters, directions, strict=True):
            p.data -= sign * 1e-5 * d
    assert float(slope) == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)


# Storing, and refusing.


@EVERY
def test_weights_and_configuration_make_the_machine_again(problem: Problem):
    rim, given = awake(problem), problem.given()
    assert isinstance(rim.network, UNet)
    again = problem.rim(UNet(**rim.network.config))
    again.load_state_dict(rim.state_dict())
    assert_equal(given.run(again).last, given.run(rim).last)


@pytest.mark.parametrize("name", ["maps_in", "vectors_in", "maps_out", "vectors_out"])
@EVERY
def test_a_network_of_other_sizes_is_refused(problem: Problem, name: str):
    wrong = Spy(problem)
    setattr(wrong, name, problem.sizes[name] + 1)
    with pytest.raises(ValueError, match="the network must have the sizes"):
        problem.rim(wrong)


def test_a_network_of_other_dimensions_is_refused():
    problem = PROBLEMS["2-D"]
    wrong = Spy(problem)
    wrong.dims = 1
    with pytest.raises(ValueError, match="the network must have"):
        problem.rim(wrong)


def test_a_start_must_have_the_fields_in_their_shapes():
    problem = PROBLEMS["2-D"]
    rim, given = awake(problem), problem.given()
    less = {name: x for name, x in given.start.items() if name != "shear"}
    with pytest.raises(ValueError, match="the state must have the fields"):
        replace(given, start=less).run(rim)
    flat = {**given.start, "shear": random(BATCH, 1)}
    with pytest.raises(ValueError, match=r"shear must have shape \(batch, 2\)"):
        rim.predict(given.observation, given.score, flat, given.conditioning)
    with pytest.raises(ValueError, match=r"source must have shape \(batch, 2, n1, n2\)"):
        rim.begin({**given.start, "source": random(BATCH, 1, 19, 22)})


def test_conditioning_must_be_what_the_machine_was_made_for():
    problem = PROBLEMS["2-D"]
    rim, given = awake(problem), problem.given()
    with pytest.raises(ValueError, match="must have 3 numbers for each sample, got 0"):
        rim(given.observation, given.score, given.start)
    with pytest.raises(ValueError, match="must have 3 numbers for each sample, got 4"):
        rim(given.observation, given.score, given.start, random(BATCH, 4))
