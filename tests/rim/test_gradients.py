"""Gradients of a machine: what they contain, and the ways to compute them."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from machines import (
    EVERY,
    FEW,
    PROBLEMS,
    STEPS,
    Problem,
    Spy,
    assert_equal,
    awake,
    log_prob_of,
    random,
)
from torch import Tensor, nn

from lensrim.grid import PixelGrid
from lensrim.lensing import likelihood
from lensrim.lensing.simulator import Simulator
from lensrim.rim.core import RIM
from lensrim.rim.fields import Aux, Field, State
from lensrim.rim.links import Exp, Softplus
from lensrim.rim.losses import trajectory_loss
from lensrim.rim.networks import Hidden
from lensrim.rim.preconditioning import Adam, Arcsinh, Normalized, Raw, RMSProp
from lensrim.rim.problem import energy_score, linked_score
from lensrim.rim.unroll import Unroll


def gradients(rim: RIM, problem: Problem, **options: object) -> dict[str, Tensor]:
    """The gradient of the loss of a problem in every parameter."""
    rim.zero_grad()
    loss, _ = trajectory_loss(problem.given().run(rim, **options), problem.state(90))
    loss.backward()
    return {n: p.grad for n, p in rim.named_parameters() if p.grad is not None}


def check_slope(rim: RIM, loss: Callable[[], Tensor], rel: float = 1e-5) -> Tensor:
    """Compares a gradient with a finite difference along a random direction."""
    parameters = list(rim.parameters())
    found = torch.autograd.grad(loss(), parameters)
    directions = [random(*p.shape, seed=i) for i, p in enumerate(parameters)]
    slope = sum((g * d).sum() for g, d in zip(found, directions, strict=True))
    values = []
    for sign in (1, -1):
        for p, d in zip(parameters, directions, strict=True):
            p.data += sign * 1e-6 * d
        values.append(loss().item())
        for p, d in zip(parameters, directions, strict=True):
            p.data -= sign * 1e-6 * d
    assert float(slope) == pytest.approx((values[0] - values[1]) / 2e-6, rel=rel)
    return torch.as_tensor(slope)


@EVERY
def test_gradients_reach_every_parameter(problem: Problem):
    rim = awake(problem)
    gradients(rim, problem)
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
    fields = {"x": Field(1, 1, step=0.5), "mean": Field(1, 0)}
    problem = Problem(fields, ((7,),), (Raw(), Arcsinh()))
    rim, given, truth = awake(problem), problem.given(), problem.state(90)
    score = problem.state(95)

    def loss() -> Tensor:
        path = rim(given.observation, lambda _: (score, {}), given.start)
        return trajectory_loss(path, truth)[0]

    check_slope(rim, loss)


# Through the score.

THROUGH = Unroll(through_score=True)


def test_through_the_score_the_derivative_has_the_curvature():
    """With :math:`x_{t+1} = x_t + a (1 - x_t)`, :math:`1 - x_T = (1 - a)^T (1 - x_0)`."""
    rate = Rate()
    rim = RIM(rate, {"x": Field(1, 1)}, steps=3, observation=0, unroll=THROUGH).double()
    start = random(2, 1, 5)
    path = rim(torch.zeros(2), lambda state: ({"x": 1 - state["x"]}, {}), {"x": start})
    path.last["x"].sum().backward()
    expected = 3 * (1 - rate.rate.detach()) ** 2 * (1 - start).sum()
    torch.testing.assert_close(rate.rate.grad, expected)


def test_through_a_score_without_a_graph_is_refused():
    """The curvature would be missing, without a word."""
    rim = RIM(Rate(), {"x": Field(1, 1)}, steps=3, observation=0, unroll=THROUGH).double()
    start = {"x": random(2, 1, 5)}
    score = lambda state: ({"x": (1 - state["x"]).detach()}, {})  # noqa: E731
    with pytest.raises(ValueError, match=r"through_score=True needs a score .* create_graph=True"):
        rim(torch.zeros(2), score, start)
    with torch.no_grad():
        rim(torch.zeros(2), score, start)


@pytest.mark.parametrize(
    "encodings",
    [(Raw(0.1), Arcsinh()), (Adam(eps=0.1),), (RMSProp(eps=0.1), Normalized())],
    ids=["without memory", "Adam", "RMSProp"],
)
@pytest.mark.parametrize("way", ["score", "energy"])
def test_through_the_score_gradients_are_those_of_finite_differences(encodings: tuple, way: str):
    fields = {"x": Field(1, 1, step=0.5, link=Softplus()), "a": Field(1, 0, link=Exp())}
    problem = Problem(fields, ((7,),), encodings)
    rim, given, truth = awake(problem), problem.given(), problem.state(90)
    height = log_prob_of(given)
    if way == "energy":
        score_fn = energy_score(lambda x, _: -height(x), None, fields=fields)
    else:
        score_fn = linked_score(lambda x, _: given.score(x), None, fields=fields)

    def loss(unroll: Unroll = THROUGH) -> Tensor:
        path = rim(given.observation, score_fn, given.start, unroll=unroll)
        return trajectory_loss(path, truth)[0]

    slope = check_slope(rim, loss)
    plain = torch.autograd.grad(loss(Unroll()), list(rim.parameters()))
    other = sum((g * random(*g.shape, seed=i)).sum() for i, g in enumerate(plain))
    assert abs(float(slope - other)) > 1e-3 * abs(float(slope))


@pytest.mark.parametrize("encoding", [Adam(), RMSProp(), Normalized(), Arcsinh(), Raw()], ids=repr)
def test_through_a_score_of_zero_no_gradient_is_lost(encoding):
    problem = Problem({"x": Field(1, 1), "y": Field(1, 1)}, ((7,),), (encoding,))
    rim, given = awake(problem), problem.given()

    def score_fn(state: State) -> tuple[State, Aux]:
        return {"x": 0 * state["x"], "y": -state["y"]}, {}

    path = rim(given.observation, score_fn, given.start, unroll=THROUGH)
    path.last["y"].square().sum().backward()
    assert all(bool(p.grad.isfinite().all()) for p in rim.parameters() if p.grad is not None)


@pytest.mark.usefixtures("second_derivatives")
def test_through_the_score_of_a_lens():
    grid = PixelGrid((6, 6), 0.5)
    sim = Simulator(grid, grid, dtype=torch.float64)
    fields = {"source": Field(), "kappa": Field()}
    problem = Problem(fields, ((6, 6),), (Raw(0.1),), 0)
    rim, truth = awake(problem), problem.state(90)
    start = {name: 0.3 * x.abs() for name, x in problem.state(80).items()}
    image = sim(truth["source"], truth["kappa"].abs())
    sigma = torch.tensor(0.3, dtype=torch.float64)

    def loss(through: bool = True) -> Tensor:
        score_fn = likelihood.score(sim, image, sigma, create_graph=through)
        unroll = Unroll(through_score=through)
        path = rim(image, score_fn, start, steps=2, unroll=unroll)
        return trajectory_loss(path, truth)[0]

    slope = check_slope(rim, loss, rel=1e-4)
    plain = torch.autograd.grad(loss(False), list(rim.parameters()))
    other = sum((g * random(*g.shape, seed=i)).sum() for i, g in enumerate(plain))
    assert abs(float(slope - other)) > 1e-3 * abs(float(slope))


# Less memory.


@FEW
@pytest.mark.parametrize("through", [False, True])
def test_a_checkpointed_gradient_is_the_plain_one(problem: Problem, through: bool):
    rim, calls = awake(problem), []
    for network in rim.networks.values():
        assert isinstance(network, nn.Module)
        network.register_forward_pre_hook(lambda *_: calls.append(1))
    plain = gradients(rim, problem, unroll=Unroll(through_score=through))
    once = len(calls)
    again = gradients(rim, problem, unroll=Unroll(checkpoint=True, through_score=through))
    assert len(calls) == 3 * once  # each call of the second run was made twice
    assert_equal(again, plain, tolerance=1e-12)
    with torch.no_grad():
        problem.given().run(rim, unroll=Unroll(checkpoint=True))
    assert len(calls) == 4 * once


@FEW
def test_a_gradient_cut_off_after_all_steps_is_the_plain_one(problem: Problem):
    rim = awake(problem)
    assert_equal(gradients(rim, problem, unroll=Unroll(truncate=STEPS)), gradients(rim, problem))


@FEW
def test_a_gradient_cut_off_after_every_step_is_the_sum_of_single_steps(problem: Problem):
    problem = replace(problem, options={})  # no call before the first score
    rim, given = awake(problem), problem.given()
    found = gradients(rim, problem, unroll=Unroll(truncate=1))
    rim.zero_grad()
    for t in range(STEPS):
        with torch.no_grad():
            progress = rim.begin(given.observation, given.start, given.conditioning)
            for _ in range(t):
                progress = rim.step(progress, *given.score(progress.state))
        if rim.encoder is not None:
            progress = replace(progress, observation=rim.encoder(given.observation))
        after = rim.step(progress, *given.score(progress.state))
        path = replace(given.run(rim, steps=0), states=[progress.state, after.state])
        (trajectory_loss(path, problem.state(90))[0] / STEPS).backward()
    by_hand = {n: p.grad for n, p in rim.named_parameters() if p.grad is not None}
    assert_equal(found, {name: by_hand[name] for name in found}, tolerance=1e-12)
    for name in by_hand.keys() - found.keys():
        assert not by_hand[name].any(), name


@pytest.mark.parametrize("truncate", [1, 2, 3, 4, 5, 0])
@pytest.mark.parametrize("through", [False, True])
def test_a_gradient_is_cut_off_between_blocks(truncate: int, through: bool):
    """With :math:`x_{t+1} = x_t + a s_t`, the sum of the scores since the block's beginning."""
    rate = Rate()
    rim = RIM(rate, {"x": Field(1, 1)}, steps=5, observation=0).double()
    unroll = Unroll(truncate=truncate, through_score=through)
    start = random(2, 1, 5)
    path = rim(torch.zeros(2), lambda s: ({"x": 1 - s["x"]}, {}), {"x": start}, unroll=unroll)
    sum(state["x"].sum() for state in path.states[1:]).backward()
    a, expected = float(rate.rate.detach()), 0.0
    for last in range(5):
        first = last - last % truncate if truncate else 0
        for t in range(first, last + 1):
            carried = (1 - a) ** (last - t) if through else 1.0
            expected += carried * float((1 - path.states[t]["x"].detach()).sum())
    assert float(rate.rate.grad) == pytest.approx(expected)


# Half precision.


@FEW
@pytest.mark.parametrize("outer", [False, True])
def test_in_half_precision_only_the_networks_are(problem: Problem, outer: bool):
    """By the machine's own option, or under the caller's autocast."""
    rim, given = awake(problem).float(), problem.given()
    single = type(given)(
        given.observation.float(),
        {name: x.float() for name, x in given.target.items()},
        {name: x.float() for name, x in given.start.items()},
        None if given.conditioning is None else given.conditioning.float(),
    )
    expected = single.run(rim)
    inside: list[torch.dtype] = []
    layer = next(m for m in rim.modules() if isinstance(m, nn.Linear))
    layer.register_forward_hook(lambda *given: inside.append(given[-1].dtype))

    def score_fn(state: State) -> tuple[State, Aux]:
        assert all(x.dtype == torch.float32 for x in state.values())
        assert not torch.is_autocast_enabled("cpu")
        return single.score(state)

    with torch.autocast("cpu", torch.bfloat16, enabled=outer):
        path = rim(
            single.observation,
            score_fn,
            single.start,
            single.conditioning,
            unroll=Unroll(autocast=not outer),
        )
    assert set(inside) == {torch.bfloat16}
    progress = rim.begin(single.observation, single.start, single.conditioning)
    after = rim.step(progress, *single.score(progress.state), unroll=Unroll(autocast=True))
    assert {h.dtype for h in after.hidden} == {torch.float32}
    for name, x in path.last.items():
        assert x.dtype == torch.float32
        torch.testing.assert_close(x, expected.last[name], rtol=0.1, atol=0.3)
    loss, _ = trajectory_loss(path, {n: x.float() for n, x in problem.state(90).items()})
    loss.backward()
    for parameter in rim.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None and parameter.grad.isfinite().all()


class Careless(Spy):
    """A network that returns all in half precision."""

    def forward(self, *given: Any) -> Any:
        maps, vectors, hidden = super().forward(*given)
        return maps.bfloat16(), vectors.bfloat16(), tuple(h.bfloat16() for h in hidden)


def test_memory_and_state_keep_their_precision_whatever_a_network_returns():
    problem = PROBLEMS["1-D"]
    rim, given = problem.rim(Careless.all(problem)), problem.given()
    progress = rim.begin(given.observation, given.start)
    after = rim.step(progress, *given.score(progress.state))
    assert {x.dtype for x in (*after.hidden, *after.state.values())} == {torch.float64}


class Counting(Spy):
    """A network that counts its calls in whole numbers."""

    def init_hidden(self, maps: Tensor) -> Hidden:
        return (torch.zeros((), dtype=torch.int64),)


@pytest.mark.parametrize("unroll", [Unroll(), Unroll(checkpoint=True, truncate=1)], ids=repr)
def test_a_counter_stays_a_whole_number(unroll: Unroll):
    problem = PROBLEMS["1-D"]
    rim, given = problem.rim(Counting.all(problem)), problem.given()
    progress = rim.begin(given.observation, given.start)
    after = rim.step(progress, *given.score(progress.state), unroll=unroll)
    assert [(h.dtype, int(h)) for h in after.hidden] == [(torch.int64, 1)]
    given.run(rim, unroll=unroll)


# The compiler.

CODE = """
import torch
from lensrim.rim import RIM, Field, UNet, Unroll, sizes

torch.set_default_dtype(torch.float64)
fields = {"x": Field(1, %(dims)d), "v": Field(2, 0)}
network = UNet(%(dims)d, **sizes(fields, encodings=1), widths=(6, 8), lift=4, embedding=5)
for i, parameter in enumerate(network.parameters()):
    torch.manual_seed(i)
    torch.nn.init.normal_(parameter, std=0.2)
rim = RIM(network, fields, steps=3)
shape = %(size)r
y, start = torch.randn(2, 1, *shape), {"x": torch.randn(2, 1, *shape), "v": torch.randn(2, 2)}

def run(**options):
    path = rim(y, lambda x: ({n: y.mean() - v for n, v in x.items()}, {}), start, **options)
    loss = sum(x.square().sum() for state in path.states for x in state.values())
    return [path.last["x"], path.last["v"], *torch.autograd.grad(loss, list(rim.parameters()))]

before, keys = run(), list(rim.state_dict())
rim.network.compile(fullgraph=True, backend="aot_eager")
for options in ({}, {"unroll": Unroll(checkpoint=True)}):
    for one, two in zip(before, run(**options), strict=True):
        torch.testing.assert_close(one, two)
assert list(rim.state_dict()) == keys
"""


@pytest.mark.slow
@pytest.mark.parametrize("size", [(13,), (9, 6), (4, 5, 3)], ids=str)
def test_the_network_compiles_as_one_graph(size: tuple[int, ...]):
    # The compiler cannot see through the types' checks, so it runs in a program of its own.
    code = CODE % {"dims": len(size), "size": size}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Groups.


@EVERY
@pytest.mark.parametrize("steps", [1, STEPS])
def test_every_parameter_has_a_gradient_in_every_step(problem: Problem, steps: int):
    """Zero where nothing reads what it made: processes that share gradients wait for each."""
    rim = awake(problem)
    gradients(rim, problem, steps=steps, unroll=Unroll(truncate=1))
    assert not [name for name, p in rim.named_parameters() if p.grad is None]


# Refusing.


def test_blocks_have_steps():
    with pytest.raises(ValueError, match="truncate must be 0 or a number of steps, got -1"):
        Unroll(truncate=-1)
