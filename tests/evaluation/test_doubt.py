"""The score of doubt: curves, fit and cases, on answers whose symptoms are drawn."""

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from symptoms import GOOD

from lensrim.datasets.priors import SystemPrior
from lensrim.errors import InputError
from lensrim.evaluation.doubt import __main__ as command
from lensrim.evaluation.doubt.cases import (
    KINDS,
    Case,
    displaced,
    left,
    made_wrong,
    read_cases,
    write_case,
)
from lensrim.evaluation.doubt.fitting import (
    SHARE,
    Judged,
    cross_validated,
    fit_score,
    threshold_of,
)
from lensrim.evaluation.doubt.no_lenses import no_lens
from lensrim.evaluation.doubt.report import report_of, score_of
from lensrim.evaluation.doubt.roc import roc_of
from lensrim.evaluation.mocks import Mock, make_mock
from lensrim.inference.framing import frame_of, observe
from lensrim.inference.macro import MacroState
from lensrim.inference.scene import Scene
from lensrim.inference.score import packaged_score
from lensrim.plotting.roc import plot_roc


def drawn(number: int, *, seed: int = 0) -> list[Case]:
    """Answers that two symptoms tell; every fourth is wrong."""
    rng = np.random.default_rng(seed)
    cases = []
    for k in range(number):
        wrong = k % 4 == 0
        symptoms = replace(
            GOOD,
            multiple=float(np.clip(rng.normal(0.3 if wrong else 0.9, 0.15), 0, 1)),
            chi2=float(0.9 * np.exp(rng.normal(0.5 if wrong else 0.0, 0.15))),
        )
        error = 0.4 if wrong else 0.01
        cases.append(Case("standard", k, wrong, error, 9.0 if wrong else 0.2, 0.03, symptoms))
    return cases


def test_the_curve_of_known_scores():
    perfect = roc_of([0.9, 0.8, 0.2, 0.1], [True, True, False, False])
    assert perfect.area == 1
    assert perfect.at(0.5) == (0, 1)
    assert perfect.at(0.15) == (0.5, 1)
    assert perfect.at(2.0) == (0, 0)
    assert roc_of([0.1, 0.9], [True, False]).area == 0
    equal = roc_of([0.5] * 4, [True, False, True, False])
    assert equal.area == 0.5
    assert list(equal.false) == [0, 1]


def test_the_area_is_the_share_of_ordered_pairs():
    rng = np.random.default_rng(0)
    scores, wrong = rng.normal(size=60).round(1), rng.random(60) < 0.4
    pairs = [(a > b) + 0.5 * (a == b) for a in scores[wrong] for b in scores[~wrong]]
    assert roc_of(scores, wrong).area == pytest.approx(np.mean(pairs))


def test_a_curve_needs_both():
    with pytest.raises(ValueError, match="needs right and wrong answers, got 2 wrong of 2"):
        roc_of([0.1, 0.2], [True, True])
    with pytest.raises(ValueError, match="needs right and wrong answers, got 0 wrong of 1"):
        fit_score([Judged(GOOD, False, "a")])


def test_the_fit_finds_what_tells():
    cases = drawn(200)
    score = fit_score([case.judged for case in cases])
    assert min(score.weights.values()) > 0
    assert max(score.weights, key=lambda name: score.weights[name]) in ("chi2", "single")
    test = drawn(200, seed=1)
    assert roc_of([score(c.symptoms) for c in test], [c.wrong for c in test]).area > 0.98
    validated = cross_validated([case.judged for case in cases])
    assert roc_of(validated, [case.wrong for case in cases]).area > 0.97
    right = [score(case.symptoms) for case in test if not case.wrong]
    assert np.mean(np.array(right) >= score.threshold) < 0.12


def test_the_score_is_a_probability_of_the_stated_population():
    """The mean of the score over the reweighted population is the share of wrong answers in it."""
    cases = drawn(400)
    score = fit_score([case.judged for case in cases])
    p, wrong = np.array([score(c.symptoms) for c in cases]), np.array([c.wrong for c in cases])
    mean = SHARE * p[wrong].mean() + (1 - SHARE) * p[~wrong].mean()
    assert mean == pytest.approx(SHARE, rel=0.02)


def test_the_threshold_is_in_the_gap_or_keeps_false_alarms_few():
    right, wrong = np.linspace(0.001, 0.01, 100), np.linspace(0.3, 0.9, 50)
    assert 0.01 < threshold_of(right, wrong) < 0.3
    mixed = threshold_of(right, np.concatenate([np.full(5, 0.002), wrong]))
    assert np.mean(right >= mixed) == pytest.approx(0.05, abs=0.01)


def test_cases_are_read_as_they_were_written(tmp_path: Path):
    path = tmp_path / "cases.jsonl"
    cases = [*drawn(3), Case("no lens", 0, False, math.nan, math.nan, math.nan, GOOD)]
    for case in cases:
        write_case(path, case)
    with path.open("a") as file:
        file.write('{"kind": "cut o')
    found = read_cases(path)
    assert [asdict(c) for c in found[:3]] == [asdict(c) for c in cases[:3]]
    assert math.isnan(found[3].theta_error)
    assert found[3].wrong and found[3].bad
    assert not found[1].wrong and not found[1].bad and found[0].bad
    todo = left(found, 4)
    assert ("standard", 0) not in todo and ("no lens", 0) not in todo
    assert len(todo) == 4 * len(KINDS) + 4 - 4


def test_cases_of_an_observation_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What was ended while the second was made would count as done with the first."""

    def ended(kind: str, number: int):
        yield drawn(1)[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "cases_of", ended)
    with pytest.raises(KeyboardInterrupt):
        command.run(command.Cases(n=1, output=tmp_path))
    assert read_cases(tmp_path / "cases.jsonl") == []


def test_the_command_fits_and_reports(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(command, "PACKAGED", tmp_path / "packaged.json")
    with pytest.raises(InputError, match=r"must hold right and wrong answers; make them by"):
        command.run(command.Fit(tmp_path))
    for case in drawn(80):
        write_case(tmp_path / "cases.jsonl", case)
    assert command.main(["fit", "--output", str(tmp_path), "--package"]) == 0
    shown = capsys.readouterr().out
    assert "standard, made wrong" in shown
    assert "20 wrong and" in shown
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"cases.jsonl", "roc.png", "score.json", "packaged.json"}
    content = json.loads((tmp_path / "packaged.json").read_text())
    assert content["about"]["wrong"] == 20
    assert set(content) == set(json.loads(json.dumps(asdict(packaged_score()))))
    assert command.main(["fit", "--output", str(tmp_path / "none")]) == 2


def test_the_report_counts_by_kind():
    cases = drawn(40)
    text = report_of(cases, score_of(cases))
    (row,) = (line for line in text.splitlines() if line.startswith("standard, made wrong"))
    assert row.split()[3:5] == ["10", "10"]


@pytest.mark.parametrize("number", range(8))
def test_what_is_no_lens_has_what_looks_like_arcs(number: int):
    """It is not refused for want of arcs, so that doubt has to tell."""
    observation = no_lens(number)
    again = no_lens(number)
    np.testing.assert_array_equal(observation.image, again.image)
    assert observation.image.shape == (64, 64)
    assert np.isfinite(observation.image).all()


def test_what_is_displaced_stays_away(mock_scene, true_state: MacroState):
    rng = np.random.default_rng(0)
    state = displaced(mock_scene, true_state, rng)
    ratio = float((state.p[0, 0] - true_state.p[0, 0]).exp())
    assert abs(ratio - 1) > 0.1


def test_what_is_made_wrong_is_wrong_and_looks_so(
    mock: Mock, mock_scene: Scene, true_state: MacroState
):
    case = made_wrong(mock, mock_scene, true_state, 0)
    assert case.made and case.wrong and case.bad
    assert (case.kind, case.number) == ("standard", 0)
    again = made_wrong(mock, mock_scene, true_state, 0)
    assert asdict(again) == asdict(case)
    score = packaged_score()
    assert score(case.symptoms) > score.threshold


@pytest.fixture(scope="module")
def mock() -> Mock:
    prior = SystemPrior(light_share=0.0, theta_E=(9.0, 10.0), snr=(80.0, 81.0))
    return make_mock(1, shape=(32, 32), oversample=3, prior=prior)


@pytest.fixture(scope="module")
def mock_scene(mock: Mock) -> Scene:
    return observe(frame_of(mock.observation), lens_light=False)


@pytest.fixture
def true_state(mock_scene: Scene) -> MacroState:
    p = torch.zeros(1, 8, dtype=torch.float64)
    p[0, 0], p[0, 7] = math.log(4.7 * mock_scene.frame.grid.spacing), 2.0
    hyper = torch.tensor([[0.0, -2.0, -0.5, -2.3]], dtype=torch.float64)
    hyper[0, 0] = math.log(float(mock_scene.arc_light.max()))
    return MacroState(p, hyper, torch.zeros(1, dtype=p.dtype), torch.zeros(1, dtype=p.dtype))


def test_the_picture_of_the_curves():
    figure = plot_roc(
        {"score": ([0, 0.1, 1], [0, 0.9, 1])}, {"verdict": (0.05, 0.8)}, title="12 answers"
    )
    (axes,) = figure.axes
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["score", "verdict"]
    assert axes.get_title(loc="left") == "12 answers"
    assert plot_roc({}).legends == []
