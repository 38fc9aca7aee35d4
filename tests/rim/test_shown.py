"""What networks are shown, what becomes of what they return, and what is refused."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from machines import (
    AUX,
    BATCH,
    EVERY,
    LENS,
    PROBLEMS,
    STEPS,
    Follower,
    Given,
    Problem,
    Spy,
    assert_equal,
    awake,
    log_prob_of,
    random,
)
from torch import Tensor, nn
from torch.nn import functional as F

from lensrim.rim.core import RIM
from lensrim.rim.fields import Field, State, to_free
from lensrim.rim.layout import sizes, sizes_by_dims
from lensrim.rim.networks import MLP, Hidden
from lensrim.rim.preconditioning import Adam, Arcsinh, Preconditioner, Raw, RMSProp
from lensrim.rim.problem import log_prob_score

PLAIN = {name: problem for name, problem in PROBLEMS.items() if not problem.options}
EVERY_PLAIN = pytest.mark.parametrize("problem", PLAIN.values(), ids=PLAIN)


def encodings_of(problem: Problem, name: str) -> Sequence[Preconditioner]:
    own = problem.fields[name].precondition
    return problem.precondition if own is None else own


@EVERY_PLAIN
def test_the_networks_are_shown_what_is_written(problem: Problem):
    spies, given = Spy.all(problem), problem.given()
    rim = problem.rim(spies)
    path = given.run(rim, steps=STEPS + 2)
    channels, at = problem.layout.placed(problem.observation)
    memory = {n: [p.init(x) for p in encodings_of(problem, n)] for n, x in given.start.items()}
    y = given.observation if rim.encoder is None else rim.encoder(given.observation)
    y = y if at else y.flatten(1)
    if channels and at and y.shape[2:] != problem.size[at]:
        y = F.interpolate(y, problem.size[at], mode="bilinear", align_corners=False)
    for t in range(STEPS + 2):
        state, (score, aux) = path.states[t], given.score(path.states[t])
        clock = torch.tensor([float(t == 0), min(t / STEPS, 1.0)]).double()
        shown: dict[int, list[Tensor]] = {d: [] for d in (0, *spies)}
        shown[0].append(clock.expand(BATCH, 2))
        shown[at] += [y] if channels else []
        for name, f in problem.fields.items():
            each = [state[name] / f.spread, (state[name] - given.start[name]) / f.step]
            for i, p in enumerate(encodings_of(problem, name)):
                memory[name][i], direction = p.update(memory[name][i], score[name])
                each.append(direction)
            shown[f.dims] += each
        for name, place in problem.aux.items():
            shown[problem.layout.placed(place)[1]].append(aux[name])
        shown[0] += [] if given.conditioning is None else [given.conditioning]
        for d, spy in spies.items():
            torch.testing.assert_close(spy.vectors[t], torch.cat(shown[0], 1))
            maps = torch.cat(shown[d], 1) if d else torch.empty(BATCH, 0).double()
            torch.testing.assert_close(spy.maps[t], maps)
    for d, spy in spies.items():
        assert [shape[2:] for shape in spy.begun] == [problem.size[d]]


@EVERY_PLAIN
def test_the_output_moves_each_field_by_its_step(problem: Problem):
    given = problem.given()
    path = given.run(problem.rim(Spy.all(problem)))
    for name, f in problem.fields.items():
        for t in range(STEPS):
            moved = path.states[t + 1][name] - path.states[t][name]
            torch.testing.assert_close(moved, torch.full_like(moved, 0.1 * (t + 1) * f.step))


@EVERY
def test_every_call_has_one_order_and_sizes(problem: Problem):
    """Whatever the start; the call before the first score, too."""
    for learn in (False, True):
        spies, given = Spy.all(problem), problem.given()
        given.run(problem.rim(spies, learn_memory=learn))
        for dims, spy in spies.items():
            assert len(spy.maps) == STEPS + learn
            assert {x.shape for x in spy.maps} == {(BATCH, spy.maps_in, *problem.size[dims])}
            assert {x.shape for x in spy.vectors} == {(BATCH, spy.vectors_in)}


@pytest.mark.parametrize("order", [["residual", "both"], ["both", "residual"]])
def test_aux_maps_come_in_the_order_of_the_machine(order: list[str]):
    problem = replace(PROBLEMS["2-D"], aux={name: AUX[name] for name in order})
    spies, given = Spy.all(problem), problem.given()
    given.run(problem.rim(spies), steps=1)
    _, aux = given.score(given.start)
    expected = torch.cat([aux[name] for name in order], 1)
    torch.testing.assert_close(spies[2].maps[0][:, -3:], expected)


def test_a_score_of_more_than_it_shows_is_taken():
    problem = replace(PROBLEMS["2-D"], aux={"both": 2})
    spies, given = Spy.all(problem), problem.given()
    given.run(problem.rim(spies))
    assert spies[2].maps[0].shape[1] == spies[2].maps_in


# Networks that follow the score.


@pytest.mark.parametrize("name", [name for name, p in PLAIN.items() if p.precondition])
def test_a_network_that_follows_the_score_is_gradient_ascent(name: str):
    problem = PLAIN[name]
    fields = {n: replace(f, precondition=None) for n, f in problem.fields.items()}
    encodings = (Arcsinh(), Raw(0.2))
    problem = replace(problem, fields=fields, precondition=encodings, aux={})
    given = problem.given()
    log_prob = log_prob_of(given)
    path = given.run(problem.rim(Follower.all(problem)))
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
    fields = {"x": Field(1, 1, step=0.05), "shift": Field(2, 0, step=0.05)}
    problem = Problem(fields, ((9,),), (encoding,))
    given = problem.given()
    log_prob = log_prob_of(given)
    score_fn = log_prob_score(lambda x, _: log_prob(x), None, fields=fields)
    rim = problem.rim(Follower.all(problem))
    path = rim(given.observation, score_fn, given.start, steps=6)
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


@EVERY
def test_a_score_of_physical_values_and_a_log_probability_give_one_trajectory(problem: Problem):
    problem = replace(problem, aux={})
    rim, given = awake(problem), problem.given()
    log_prob = log_prob_of(given)

    def physical(values: State, y: Tensor) -> Tensor:
        assert y is given.observation
        return log_prob(to_free(values, problem.fields))

    by_hand = given.run(rim)
    score_fn = log_prob_score(physical, given.observation, fields=problem.fields)
    derived = rim(given.observation, score_fn, given.start, given.conditioning)
    for one, two in zip(by_hand.states, derived.states, strict=True):
        assert_equal(one, two, tolerance=1e-9)
    predicted = rim.predict(given.observation, score_fn, given.start, given.conditioning)
    assert_equal(predicted, derived.last)


# Observations, sizes and dimensions.


def test_an_image_can_tell_numbers():
    """A state of vectors alone, and a network that sees maps and moves none."""
    problem = Problem({"x": Field(2, 0)}, ((5, 4),))
    spies, given = Spy.all(problem), problem.given()
    assert problem.layout.sizes(2) == {
        "maps_in": 1, "vectors_in": 8, "maps_out": 0, "vectors_out": 2,
    }  # fmt: skip
    path = given.run(problem.rim(spies))
    torch.testing.assert_close(spies[2].maps[0], given.observation)
    assert not torch.equal(path.last["x"], given.start["x"])


def test_a_network_without_maps_moves_the_vectors_if_there_is_one():
    fields = {"x": Field(1, 1), "v": Field(2, 0)}
    found = sizes_by_dims(fields, (0, 1), encodings=1)
    assert (found[0]["vectors_out"], found[1]["vectors_out"]) == (2, 0)
    assert (found[0]["maps_in"], found[1]["maps_in"]) == (0, 4)
    networks = {0: MLP(**found[0], widths=(4,)), 1: Spy(Problem(fields, ((6,),)), 1)}
    networks[1].vectors_out = 0
    rim = RIM(networks, fields).double()
    start = {"x": random(2, 1, 6), "v": random(2, 2)}
    path = rim(random(2, 1, 6), lambda x: (x, {}), start)
    assert torch.equal(path.last["v"], start["v"])  # an untrained network proposes nothing
    assert not torch.equal(path.last["x"], start["x"])


@pytest.mark.parametrize(
    ("fields", "options", "expected"),
    [
        (LENS, {"encodings": 2}, (13, 10, 3, 2)),
        (LENS, {"encodings": 2, "observation": 0, "conditioning": 4}, (12, 14, 3, 2)),
        (
            LENS,
            {"encodings": 0, "observation": (5, 0), "aux": {"a": (3, 0), "b": 2}},
            (8, 14, 3, 2),
        ),
        ({"x": Field(3, 0)}, {"encodings": 1, "observation": 4}, (0, 15, 0, 3)),
        ({"x": Field(3, 1, precondition=(Raw(), Adam()))}, {"encodings": 1}, (13, 2, 3, 0)),
    ],
)
def test_sizes_are_counted(fields: dict[str, Field], options: dict, expected: tuple):
    names = ("maps_in", "vectors_in", "maps_out", "vectors_out")
    assert sizes(fields, **options) == dict(zip(names, expected, strict=True))


def test_sizes_of_several_networks_are_asked_for_by_dimensions():
    with pytest.raises(ValueError, match=r"number of dimensions, got \[1, 2, 3\]: use sizes_b"):
        sizes(PROBLEMS["mixed"].fields, encodings=1)
    found = sizes_by_dims({"x": Field(1, 1), "y": Field(2, 3)}, encodings=1, observation=2)
    assert [found[d]["maps_in"] for d in (1, 3)] == [3, 8]


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("1-D", (2, 37), r"must have shape \(3, 1, n1\) for the network, got \(3, 2, 37\)"),
        ("1-D", (1, 37, 1), r"must have shape \(3, 1, n1\) .*give the machine an encoder"),
        ("0-D", (5,), r"must have shape \(3, 6\) for the network, got \(3, 5\)"),
        ("encoded", (7, 3), r"must have shape \(3, 1, n1, n2\) .* got \(1, 1, 6, 5\)"),
    ],
)
def test_an_observation_of_another_form_is_refused(name: str, shape: tuple, message: str):
    problem = PROBLEMS[name]
    batch = 1 if name == "encoded" else BATCH
    given: Given = replace(problem.given(), observation=random(batch, *shape))
    with pytest.raises(ValueError, match=message):
        given.run(problem.rim())


@EVERY
@pytest.mark.parametrize("name", ["maps_in", "vectors_in", "maps_out", "vectors_out"])
def test_a_network_of_other_sizes_is_refused(problem: Problem, name: str):
    wrong = Spy.all(problem)
    first = next(iter(wrong.values()))
    setattr(first, name, getattr(first, name) + 1)
    with pytest.raises(ValueError, match="the network must have the sizes"):
        problem.rim(wrong)


class Still(nn.Module):
    """A network of any dimensions."""

    maps_in, vectors_in, maps_out, vectors_out = 0, 0, 0, 0

    def __init__(self, dims: int):
        super().__init__()
        self.dims = dims

    def init_hidden(self, maps: Tensor) -> Hidden:
        return ()

    def forward(
        self, maps: Tensor, vectors: Tensor, hidden: Hidden
    ) -> tuple[Tensor, Tensor, Hidden]:
        raise NotImplementedError


@pytest.mark.parametrize("dims", [(1,), (0,), (1, 2), (), (2, 3)])
def test_networks_of_other_dimensions_are_refused(dims: tuple[int, ...]):
    networks = {d: Still(d) for d in dims}
    given = next(iter(networks.values())) if len(networks) == 1 else networks
    with pytest.raises(ValueError, match=r"the network must have .*\[2\], got"):
        RIM(given, LENS, observation=0)
