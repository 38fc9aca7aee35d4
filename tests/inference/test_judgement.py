"""The verdict: which symptoms make an answer doubtful, and which fail it."""

from dataclasses import replace

import pytest
from symptoms import GOOD

from lensrim.inference.judgement import WRONG, judge, noise_lines
from lensrim.inference.reasons import REASONS
from lensrim.inference.score import FEATURES, Score, packaged_score

WRONG_BY = {
    "NORING": {"ring": False},
    "BOUND": {"edge": 0.01},
    "SHEAR": {"shear": 0.35},
    "FLAT": {"flatness": 0.6},
    "CENTRE": {"offset": 5.0},
    "CHI2": {"chi2": 2.0},
    "PATTERN": {"correlation": 0.3},
    "PEAK": {"peak": 9.0},
    "RIVAL": {"rival": 2.0, "rival_change": -0.4},
    "SINGLE": {"multiple": 0.05},
    "FAINT": {"signal": 10.0},
    "LARGE": {"size": 1.5},
    "HOLLOW": {"hollow": 0.95},
    "FREE": {"share": 0.6},
    "BORDER": {"border": 0.5},
}
"""Symptoms by the code of the reason that they are."""


def test_a_good_answer_has_no_reason():
    found = judge(GOOD)
    assert (found.quality, found.codes, found.lines) == ("good", "none", ())
    assert found.score < 0.05


def test_every_reason_is_tried():
    assert list(WRONG_BY) == [reason.code for reason in REASONS]


@pytest.mark.parametrize("code", WRONG_BY)
def test_every_reason_is_found(code: str):
    found = judge(replace(GOOD, **WRONG_BY[code]))
    assert code in found.codes.split()
    (reason,) = (reason for reason in REASONS if reason.code == code)
    assert found.quality != "good"
    if reason.grade == "failed":
        assert found.quality == "failed"
    assert f"{found.quality}: {reason.sentence} ({code})" in found.lines


@pytest.mark.parametrize("feature", FEATURES)
def test_no_symptom_makes_an_answer_more_credible(feature: str):
    """The features are bounded, and no weight is negative."""
    assert packaged_score().weights.get(feature, 0.0) >= 0
    worst = replace(
        GOOD,
        chi2=1e6,
        correlation=1.0,
        peak=1e6,
        multiple=0.0,
        size=1e3,
        hollow=1.0,
        rival=0.0,
        shear=9.0,
        edge=0.0,
    )
    assert 0 <= FEATURES[feature](GOOD) < FEATURES[feature](worst) <= 10


def test_the_score_alone_can_doubt_and_fail():
    score = packaged_score()
    low, middle, high = (
        replace(score, weights={}, intercept=b, threshold=0.1) for b in (-5.0, -1.0, 2.0)
    )
    assert judge(GOOD, low).quality == "good"
    assert judge(GOOD, middle).quality == "doubtful"
    assert judge(GOOD, middle).codes == "SCORE"
    assert judge(GOOD, high).score > WRONG
    assert judge(GOOD, high).quality == "failed"
    assert "88%" in judge(GOOD, high).reasons["SCORE"]


def test_a_machine_that_was_not_used_is_said_but_no_doubt():
    found = judge(GOOD, refused=True)
    assert (found.quality, found.codes) == ("good", "RANGE")
    assert found.lines[0].startswith("the machine was not used")
    assert judge(replace(GOOD, chi2=9.0), refused=True).codes.split()[-1] == "RANGE"


def test_a_misfit_that_is_no_number_is_the_worst():
    nothing = replace(GOOD, chi2=float("nan"), pixels=0)
    assert FEATURES["chi2"](nothing) == FEATURES["chi2"](replace(GOOD, chi2=1e9))


@pytest.mark.parametrize("name", ["chi2", "correlation", "peak", "multiple", "shear", "edge"])
def test_an_answer_that_is_no_number_is_never_good(name: str):
    found = judge(replace(GOOD, **{name: float("nan")}))
    assert found.quality != "good"
    assert 0 < found.score <= 1


def test_the_packaged_score_says_what_it_is_of():
    score = packaged_score()
    assert isinstance(score, Score)
    assert set(score.weights) <= set(FEATURES)
    assert 0 < score.threshold < 0.5 < WRONG


@pytest.mark.parametrize(
    ("chi2", "said"),
    [
        (0.4, "the noise is too large, about 1.6 times; --rescale-noise sky measures it"),
        (0.61, None),
        (1.5, None),
        (3.9, None),
        (6692.0, "the noise is too small, perhaps 82 times (is its map a variance or a weight?"),
        (float("nan"), None),
    ],
)
def test_a_frame_that_contradicts_its_noise_is_told(chi2: float, said: str | None):
    lines = noise_lines(chi2)
    assert len(lines) == (said is not None)
    if said is not None:
        assert lines[0].startswith("stated noise: ") and said in lines[0]
    assert not any("--rescale-noise" in line for line in noise_lines(chi2, measured=True))
