"""The recurrent inference machine, held to its laws on problems of every kind."""

import re
from collections.abc import Callable
from dataclasses import replace

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
    assert_equal,
    awake,
    log_prob_of,
    random,
)
from torch import Tensor

from lensrim.rim.fields import Aux, Field, State
from lensrim.rim.preconditioning import Normalized
from lensrim.rim.problem import log_prob_score


@EVERY
def test_steps_are_single_steps_with_the_memory_carried_over(problem: Problem):
    rim, given = awake(problem), problem.given()
    path = given.run(rim)
    assert len(path.states) == STEPS + 1 and len(path.scores) == STEPS
    assert_equal(path.states[0], given.start)
    progress = rim.begin(given.observation, given.start, given.conditioning)
    for t in range(STEPS):
        score, aux = given.score(progress.state)
        assert_equal(path.scores[t], score)
        progress = rim.step(progress, score, aux)
        assert progress.step == t + 1
        assert_equal(path.states[t + 1], progress.state)
        assert_equal(progress.start, given.start)
    predicted = given.predict(rim)
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
    progress = rim.begin(given.observation, given.start, given.conditioning)
    for _ in range(STEPS):
        before = progress
        progress = rim.step(progress, *given.score(progress.state))
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
    whole = given.run(rim).last
    for order in ([2, 0, 1], [1], [0, 0]):  # one alone, too
        expected = {name: x[order] for name, x in whole.items()}
        assert_equal(given.of(order).run(rim).last, expected, tolerance=1e-12)


@EVERY
def test_nothing_is_kept_between_calls(problem: Problem):
    rim, given = awake(problem), problem.given()
    kept = {name: dict(vars(module)) for name, module in rim.named_modules()}
    weights = {name: x.clone() for name, x in rim.state_dict().items()}
    start = {name: x.clone() for name, x in given.start.items()}
    first = given.run(rim).last
    given.disturbed(1).run(rim, steps=STEPS + 1)
    given.predict(rim)
    assert_equal(given.run(rim).last, first)
    for name, module in rim.named_modules():
        assert vars(module).keys() == kept[name].keys()
        assert all(value is kept[name][key] for key, value in vars(module).items())
    assert_equal(rim.state_dict(), weights)
    assert_equal(given.start, start)


@EVERY
@pytest.mark.parametrize("steps", [0, STEPS + 2])
def test_it_runs_for_other_steps_than_those_of_the_training(problem: Problem, steps: int):
    rim, given = awake(problem), problem.given()
    path = given.run(rim, steps=steps)
    assert len(path.states) == steps + 1 and len(path.scores) == steps
    assert all(x.isfinite().all() for x in path.last.values())
    assert_equal(given.predict(rim, steps=steps), path.last)


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


@EVERY
def test_a_trajectory_is_told_in_both_spaces_with_its_log_probabilities(problem: Problem):
    problem = replace(problem, aux={})
    rim, given = awake(problem), problem.given()
    fields = problem.fields

    def log_prob(values: State) -> Tensor:
        return log_prob_of(given)({name: fields[name].link.free(v) for name, v in values.items()})

    score_fn = log_prob_score(lambda x, _: log_prob(x), None, fields=fields)
    path = rim(given.observation, score_fn, given.start, given.conditioning)
    assert len(path.values) == STEPS + 1
    for t, (state, values) in enumerate(zip(path.states, path.values, strict=True)):
        assert_equal(path.physical(t), values)
        for name, x in state.items():
            torch.testing.assert_close(values[name], fields[name].link.physical(x))
    assert path.log_probs is not None and path.log_probs.shape == (STEPS, BATCH)
    expected = torch.stack([log_prob_of(given)(state) for state in path.states[:-1]])
    torch.testing.assert_close(path.log_probs, expected)
    assert given.run(rim).log_probs is None
    judged = rim(given.observation, score_fn, given.start, given.conditioning, judged=True)
    assert judged.log_probs is not None and len(judged.scores) == len(judged.states)
    torch.testing.assert_close(judged.log_probs[:-1], expected)
    torch.testing.assert_close(judged.log_probs[-1], log_prob_of(given)(path.last))
    assert_equal(judged.scores[-1], score_fn(path.last)[0])
    assert_equal(judged.last, path.last)


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
    none = problem.given().run(awake(problem), steps=0).score_norms()
    assert {name: norm.shape for name, norm in none.items()} == dict.fromkeys(norms, (0, BATCH))


def test_a_start_must_have_the_fields_in_their_shapes():
    problem = PROBLEMS["2-D"]
    rim, given = awake(problem), problem.given()
    less = {name: x for name, x in given.start.items() if name != "shear"}
    with pytest.raises(ValueError, match="the state must have the fields"):
        replace(given, start=less).run(rim)
    flat = {**given.start, "shear": random(BATCH, 1)}
    with pytest.raises(ValueError, match=r"shear must have shape \(batch, 2\)"):
        replace(given, start=flat).predict(rim)
    with pytest.raises(ValueError, match=r"source must have shape \(batch, 2, n1, n2\)"):
        replace(given, start={**given.start, "source": random(BATCH, 1, 19, 22)}).run(rim)


def test_conditioning_must_be_what_the_machine_was_made_for():
    problem = PROBLEMS["2-D"]
    rim, given = awake(problem), problem.given()
    with pytest.raises(ValueError, match=r"3 numbers for each sample, .*\(3, 3\), got none"):
        rim(given.observation, given.score, given.start)
    for shape in ((BATCH, 4), (3,), (1, 3), (BATCH, 3, 1)):
        with pytest.raises(ValueError, match=rf"sample, .*\(3, 3\), got {re.escape(str(shape))}"):
            rim(given.observation, given.score, given.start, random(*shape))


@pytest.mark.parametrize("wrong", ["the observation", "the start of shear", "conditioning"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_what_is_given_has_the_kind_of_the_machine(wrong: str, elsewhere: bool):
    problem = PROBLEMS["2-D"]
    rim, given = problem.rim(), problem.given()

    def other(name: str, x: Tensor | None) -> Tensor | None:
        if name != wrong or x is None:
            return x
        return x.to("meta") if elsewhere else x.float()

    changed = replace(
        given,
        observation=other("the observation", given.observation),
        start={name: other(f"the start of {name}", x) for name, x in given.start.items()},
        conditioning=other("conditioning", given.conditioning),
    )
    found = "torch.float64 on meta" if elsewhere else "torch.float32 on cpu"
    with pytest.raises(ValueError, match=f"{wrong} must have .*torch.float64 on cpu, got {found}"):
        changed.run(rim)


def test_one_number_for_each_sample_is_an_observation():
    problem = Problem({"x": Field(2, 0)}, ())
    rim, given = awake(problem), problem.given()
    flat = replace(given, observation=given.observation[:, 0])
    assert flat.observation.shape == (BATCH,)
    assert_equal(flat.run(rim).last, given.run(rim).last)
    with pytest.raises(ValueError, match=r"observation must have shape \(3, 1\) .*got \(\)"):
        replace(given, observation=torch.zeros(())).run(rim)


@EVERY
def test_of_no_samples_there_are_no_answers(problem: Problem):
    encodings = (*problem.precondition, Normalized())
    problem = replace(problem, precondition=encodings)
    path = problem.given().of([]).run(awake(problem))
    for name, x in path.last.items():
        assert x.shape == (0, *problem.given().start[name].shape[1:])


@FEW
def test_it_answers_in_inference_mode(problem: Problem):
    """What the score is a derivative of is then computed outside of it."""
    problem = replace(problem, aux={})
    rim, given = awake(problem), problem.given()

    def log_prob(values: State, _: None) -> Tensor:
        free = {name: problem.fields[name].link.free(v) for name, v in values.items()}
        return log_prob_of(given)(free)

    score_fn = log_prob_score(log_prob, None, fields=problem.fields)
    expected = rim.predict(given.observation, score_fn, given.start, given.conditioning)
    with torch.inference_mode():
        found = rim.predict(given.observation, score_fn, given.start, given.conditioning)
        assert not any(x.requires_grad for x in found.values())
    assert_equal(found, expected)


def test_a_machine_has_steps():
    with pytest.raises(ValueError, match="steps must be 1 or more, got 0"):
        PROBLEMS["1-D"].rim(None, steps=0)
    rim, given = PROBLEMS["1-D"].rim(), PROBLEMS["1-D"].given()
    for run in (given.run, given.predict):
        with pytest.raises(ValueError, match="steps must be 0 or more, got -2"):
            run(rim, steps=-2)


def test_what_a_score_function_returns_must_be_whole():
    problem = PROBLEMS["2-D"]
    rim, given = awake(problem), problem.given()

    def run(change: Callable[[dict[str, Tensor], dict[str, Tensor]], object]) -> None:
        def score_fn(state: State) -> tuple[State, Aux]:
            score, aux = map(dict, given.score(state))
            change(score, aux)
            return score, aux

        rim(given.observation, score_fn, given.start, given.conditioning)

    with pytest.raises(ValueError, match=r"beside it, got dict: return \({field: tensor"):
        rim(given.observation, lambda x: given.score(x)[0], given.start, given.conditioning)
    with pytest.raises(ValueError, match=r"the score must have shear with shape .3, 2., got none"):
        run(lambda score, aux: score.pop("shear"))
    with pytest.raises(ValueError, match=r"must be both with shape .3, 2, 19, 22., got none"):
        run(lambda score, aux: aux.pop("both"))
    with pytest.raises(ValueError, match=r"there must be both .* got .3, 1, 19, 22."):
        run(lambda score, aux: aux.update(both=aux["residual"]))
