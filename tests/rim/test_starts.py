"""How a machine begins: zeros, a rough inverse, what the network reads off the observation."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from machines import (
    BATCH,
    EVERY,
    FEW,
    PROBLEMS,
    STEPS,
    Given,
    Problem,
    Spy,
    assert_equal,
    awake,
    random,
)
from torch import Tensor

from lensrim.rim.core import RIM
from lensrim.rim.fields import Fields, State, to_physical
from lensrim.rim.losses import trajectory_loss
from lensrim.rim.preconditioning import Memory
from lensrim.rim.starts import ApproximateInverse, Learnt, Start, Zeros


def sized(problem: Problem) -> Zeros:
    """Zeros of the sizes of a problem."""
    return Zeros(sizes=problem.sizes)


def rough(problem: Problem) -> ApproximateInverse:
    """Some physical values, larger where the observation or what comes with it is."""

    def inverse(y: Tensor, *args: Tensor) -> State:
        bright = y.flatten(1).mean(1) + sum(a.flatten(1).sum(1) for a in args)
        state = problem.state(75)
        shift = {n: bright.reshape(-1, *[1] * (x.ndim - 1)) for n, x in state.items()}
        return to_physical({n: x + 0.1 * shift[n] for n, x in state.items()}, problem.fields)

    return ApproximateInverse(inverse)


WAYS = {
    "zeros": sized,
    "inverse": rough,
    "learnt": lambda problem: Learnt(sized(problem)),
    "learnt inverse": lambda problem: Learnt(rough(problem)),
}
EVERY_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def run(rim: RIM, given: Given, **options: Any):
    return rim(given.observation, given.score, None, given.conditioning, **options)


@EVERY_WAY
@FEW
def test_a_start_is_a_start_like_any_other(problem: Problem, way):
    start = way(problem)
    assert isinstance(start, Start)
    rim, given = awake(problem, start=start), problem.given()
    path = run(rim, given)
    assert len(path.states) == STEPS + 1
    predicted = rim.predict(given.observation, given.score, None, given.conditioning)
    assert_equal(predicted, path.last, tolerance=1e-12)
    if not start.learnt:
        found = start(given.observation, (), problem.fields)
        assert_equal(path.states[0], found)
        assert_equal(replace(given, start=found).run(rim).last, path.last)
    elif not rim.learn_memory:
        # The memory of the call is kept: the state alone does not make the same run.
        anew = replace(given, start=path.states[0]).run(rim)
        assert not all(torch.allclose(anew.last[n], x) for n, x in path.last.items())
    # A way that a call names is that of the machine itself.
    named = awake(problem)(given.observation, given.score, start, given.conditioning)
    assert_equal(named.last, path.last)


@FEW
@pytest.mark.parametrize("way", [WAYS["learnt"], WAYS["learnt inverse"]])
def test_samples_do_not_know_each_other_at_the_start(problem: Problem, way):
    rim, given = awake(problem, start=way(problem)), problem.given()
    before, after = (run(rim, each, steps=0).last for each in (given, given.disturbed(1)))
    for name in problem.fields:
        torch.testing.assert_close(before[name][[0, 2]], after[name][[0, 2]], rtol=0, atol=1e-12)


@EVERY
def test_zeros_have_the_kind_of_the_observation(problem: Problem):
    given = problem.given()
    for y, dtype in [
        (given.observation, torch.float64),
        (given.observation.float(), torch.float32),
        (given.observation.to(torch.complex128), torch.float64),
        (given.observation.int(), torch.float32),
    ]:
        for name, x in sized(problem)(y, (), problem.fields).items():
            assert x.dtype == dtype and (x == 0).all()
            assert x.shape == given.start[name].shape


def test_the_size_is_that_of_the_observation_unless_it_is_said():
    problem = PROBLEMS["2-D"]
    y = random(BATCH, 4, 7, 5)
    assert Zeros()(y, (), problem.fields)["source"].shape == (BATCH, 2, 7, 5)
    assert Zeros([(3, 2)])(y, (), problem.fields)["source"].shape == (BATCH, 2, 3, 2)
    with pytest.raises(ValueError, match=r"in 2 dimensions must be known.*has shape \(3, 4\)"):
        Zeros([(3,)])(y[..., 0, 0], (), problem.fields)


def test_an_inverse_is_given_what_belongs_to_the_samples():
    problem = PROBLEMS["0-D"]
    rim, given = awake(problem, start=rough(problem)), problem.given()
    args = (random(BATCH, 2), random(BATCH, 3))
    path = run(rim, given, args=args)
    expected = rough(problem)(given.observation, args, problem.fields)
    assert_equal(path.states[0], expected)
    assert not torch.allclose(path.states[0]["x"], run(rim, given).states[0]["x"])
    last = rim.predict(given.observation, given.score, None, given.conditioning, args=args)
    assert_equal(last, path.last)


@pytest.mark.parametrize("name", ["0-D", "2-D", "3-D", "mixed", "encoded"])
@pytest.mark.parametrize("learn_memory", [False, True])
def test_what_the_call_before_the_first_score_is_shown(name: str, learn_memory: bool):
    """The observation and the conditioning alone: every other number is zero."""
    problem = PROBLEMS[name]
    spies, given = Spy.all(problem), problem.given()
    rim = problem.rim(spies, start=Learnt(rough(problem)), learn_memory=learn_memory)
    path = run(rim, given)
    # Corrections count from the learnt start.
    begun = rim.begin(given.observation, None, given.conditioning)
    assert_equal(begun.start, path.states[0])
    base = rough(problem)(given.observation, (), problem.fields)
    for field_name, f in problem.fields.items():
        torch.testing.assert_close(path.states[0][field_name], base[field_name] + 0.1 * f.spread)
        moved = path.states[1][field_name] - path.states[0][field_name]
        torch.testing.assert_close(moved, torch.full_like(moved, 0.2 * f.step))
    channels, at = problem.layout.placed(problem.observation)
    seen = rim.encoder(given.observation) if rim.encoder else given.observation
    seen = seen if at else seen.flatten(1)
    for dims, spy in spies.items():
        assert len(spy.maps) == len(spy.vectors) == STEPS + 1 + 1
        maps, vectors = spy.maps[0].clone(), spy.vectors[0].clone()
        if channels and at == dims:
            place = maps[:, :channels] if dims else vectors[:, 2 : 2 + channels]
            torch.testing.assert_close(place, seen)
            place.zero_()
        if given.conditioning is not None:
            place = vectors[:, -problem.conditioning :]
            torch.testing.assert_close(place, given.conditioning)
            place.zero_()
        assert (maps == 0).all() and (vectors == 0).all()
        # The clock tells the calls apart.
        assert [v[0, :2].tolist() for v in spy.vectors[:2]] == [[0, 0], [1, 0]]


def test_an_untrained_machine_begins_with_the_base_of_its_start():
    problem = PROBLEMS["2-D"]
    start = rough(problem)
    given = problem.given()
    path = run(problem.rim(start=Learnt(start)), given)
    for state in path.states:
        assert_equal(state, start(given.observation, (), problem.fields))


def test_memory_is_learnt_whatever_the_start():
    problem = PROBLEMS["2-D"]
    given = problem.given()
    rim, other = awake(problem, learn_memory=True), awake(problem)
    progress = rim.begin(given.observation, given.start, given.conditioning)
    assert_equal(progress.state, given.start)
    assert all((h != 0).double().mean() > 0.99 for h in progress.hidden)
    plain = other.begin(given.observation, given.start, given.conditioning)
    assert all((h == 0).all() for h in plain.hidden)
    bright = rim.begin(given.observation + 1, given.start, given.conditioning)
    far = {name: x + 1 for name, x in given.start.items()}
    elsewhere = rim.begin(given.observation, far, given.conditioning)
    for one, two, three in zip(progress.hidden, bright.hidden, elsewhere.hidden, strict=True):
        assert not torch.allclose(one, two)
        assert torch.equal(one, three)  # from the observation alone


@dataclass(frozen=True)
class FromStart:
    """An encoding that remembers the variable that it begins with."""

    def init(self, x: Tensor) -> Memory:
        return (x,)

    def update(self, memory: Memory, score: Tensor) -> tuple[Memory, Tensor]:
        return memory, score


def test_encodings_begin_where_the_learnt_start_is():
    problem = replace(PROBLEMS["2-D"], precondition=(FromStart(),))
    given = problem.given()
    rim = awake(problem, start=Learnt())
    progress = rim.begin(given.observation, None, given.conditioning)
    for name, ((memory,),) in progress.memories.items():
        assert torch.equal(memory, progress.state[name]) and memory.any()


def test_a_given_start_goes_before_a_learnt_one():
    problem = PROBLEMS["2-D"]
    given = problem.given()
    one = given.run(awake(problem, start=Learnt()))
    assert_equal(one.last, given.run(awake(problem)).last)


@pytest.mark.parametrize("name", ["2-D", "0-D", "mixed"])
def test_a_learnt_start_is_trained(name: str):
    """Through the start alone: of no step, nothing else is left."""
    problem = PROBLEMS[name]
    rim, given = awake(problem, start=Learnt(sized(problem))), problem.given()
    path = run(rim, given, steps=0)
    sum(x.square().sum() for x in path.last.values()).backward()
    moved = [p for p in rim.parameters() if p.grad is not None and (p.grad != 0).any()]
    assert len(moved) > len(list(rim.parameters())) / 2
    rim.zero_grad()
    path = run(rim, given)
    assert all(x.requires_grad for x in path.states[0].values())
    trajectory_loss(path, problem.state(90))[0].backward()


@dataclass(frozen=True)
class Brightest:
    """A start of the user's own: all is the brightest number of the observation."""

    learnt: bool = False

    def __call__(self, observation: Tensor, args: Any, fields: Fields) -> State:
        peak = observation.flatten(1).amax(1)
        return {n: peak.reshape(-1, 1, 1).expand(-1, f.channels, 11) for n, f in fields.items()}


def test_a_start_may_be_the_users_own():
    problem = PROBLEMS["maps"]
    given = problem.given()
    path = run(problem.rim(start=Brightest()), given)
    peak = given.observation.flatten(1).amax(1)
    assert torch.equal(path.last["x"], peak[:, None, None].expand(BATCH, 2, 11))


def test_a_start_must_be_whole():
    problem = PROBLEMS["2-D"]
    start = ApproximateInverse(lambda y: {"shear": y.flatten(1)[:, :2]})
    with pytest.raises(ValueError, match="the state must have the fields"):
        run(problem.rim(start=start), problem.given())
