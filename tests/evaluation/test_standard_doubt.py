"""What the score of doubt is worth on a run of the standard mocks."""

import numpy as np
import pytest

from lensrim.evaluation.doubt.roc import roc_of
from lensrim.evaluation.standard_doubt import (
    TARGETS,
    doubt_curves,
    doubt_figure,
    doubt_table,
    judged,
)

GOOD = {"theta_error": 0.001, "misfit": 0.1, "kappa": 0.04, "status": "ok", "quality": "good"}


def rows() -> list[dict]:
    """Sixteen right answers; one with a wrong radius, which is doubted, and two with a wrong κ,
    which are not."""
    wrong = {**GOOD, "theta_error": 0.3, "misfit": 9.0, "score": 0.9, "quality": "failed"}
    shallow = [{**GOOD, "kappa": 0.3, "score": s} for s in (0.02, 0.2)]
    right = [{**GOOD, "score": 0.01 * k} for k in range(1, 17)]
    doubted = {**right[3], "quality": "doubtful"}
    return [wrong, *shallow, *right[:3], doubted, *right[4:]]


def test_a_run_says_what_is_doubted_of_what_is_wrong() -> None:
    table = {line["an answer is wrong if"]: line for line in doubt_table(rows())}
    assert [*table] == [*TARGETS]
    radius = table["theta_E off by > 10 %"]
    assert (radius["wrong"], radius["of them not good"], radius["area"]) == ("1", "1", "1.000")
    assert (radius["right"], radius["right, but not good"]) == ("18", "1")
    kappa = table["log10 kappa off by > 0.15 dex"]
    assert (kappa["wrong"], kappa["of them not good"], kappa["right, but not good"]) == (
        "2",
        "0",
        "2",
    )
    # one above all but the failure, one above the lowest and beside the second
    assert float(kappa["area"]) == pytest.approx((16 + 1.5) / 34, abs=1e-3)
    assert float(kappa["error of area"]) > 0.1
    assert radius["error of area"] == ""  # of an area of 1 it is not known


@pytest.mark.parametrize("key", ["theta_error", "misfit", "kappa"])
def test_what_could_not_be_measured_is_wrong(key: str) -> None:
    """Rows hold null where a number is not finite."""
    told = doubt_table([{**GOOD, key: None, "score": 0.1}, {**GOOD, "score": 0.0}])
    assert {line["area"] for line in told if line["wrong"] == "1"} == {"1.000"}
    assert {line["wrong"] for line in told} == {"0", "1"}


def test_what_no_answer_misses_has_no_curve() -> None:
    right = rows()[3:]
    assert doubt_curves(right) == {}
    assert doubt_figure(right) is None
    assert {(line["wrong"], line["area"]) for line in doubt_table(right)} == {("0", "")}


def test_answers_without_a_score_are_left_out() -> None:
    failed = {"status": "ValueError: x"}
    old = {**GOOD}
    assert len(judged([*rows(), failed, old])) == len(rows())
    assert doubt_table([failed])[0]["right"] == "0"


def test_the_picture_has_a_curve_and_a_point_for_each_target() -> None:
    figure = doubt_figure(rows())
    assert figure is not None
    (axes,) = figure.axes
    labels = axes.get_legend_handles_labels()[1]
    curves = doubt_curves(rows())
    assert len(labels) == len(curves) + 1  # one name for the points
    assert len(axes.get_lines()) == 1 + 2 * len(curves)
    assert any(label == "theta_E off by > 10 % (1): 1.00" for label in labels)


def test_the_error_of_an_area_is_its_scatter() -> None:
    """Of scores with exponential distributions, for which it is exact."""
    rng, areas, told = np.random.default_rng(0), [], []
    for _ in range(400):
        scores = np.concatenate([rng.exponential(3.0, 12), rng.exponential(1.0, 50)])
        curve = roc_of(scores, np.arange(62) < 12)
        areas.append(curve.area)
        told.append(curve.error)
    assert np.mean(areas) == pytest.approx(0.75, abs=0.01)
    assert np.std(areas) == pytest.approx(np.mean(told), rel=0.12)
