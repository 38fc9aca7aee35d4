"""The calibration of errors: its file, its laws, and what it is made of."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from symptoms import GOOD

from lensrim.errors import InputError
from lensrim.evaluation.calibrate.__main__ import card_of
from lensrim.evaluation.calibrate.options import CalibrateOptions
from lensrim.evaluation.calibrate.rows import run_of
from lensrim.inference.calibration import (
    KINDS,
    PLACES,
    Calibration,
    Scale,
    packaged_calibration,
    read_calibration,
    write_calibration,
)
from lensrim.inference.mass_sheet import RESPONSE, SLOPE, SLOPE_WIDTH, TAILS, WIDTH
from lensrim.inference.traits import MOST, TRAITS, traits_of


def even(factor: float, **rest: float) -> Scale:
    """A scale that is the same at every signal over noise."""
    return Scale((factor,) * len(PLACES), **rest)


@pytest.mark.parametrize("floor", [0.0, 0.0625])
def test_a_file_comes_back(floor: float):
    weights = tuple(0.25 * number for number in range(len(TRAITS)))
    scales = {
        "slope": Scale((1.5, 1.25, 1.0, 2.0), weights=weights),
        "source": even(1.5, floor=floor),
    }
    own = Calibration(scales, ((20.0, 8.5), (90.0, 3.25)), {"about": "mocks"})
    again = read_calibration(write_calibration(own))
    assert again == own


UNREAD = "must be JSON with places, traits, scales, weights, floors and tails"
ONES = [1.0, 1.0, 1.0, 1.0]
NONE = [0.0] * len(TRAITS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scales": {"slope": [0.0, 1.0, 1.0, 1.0]}}, r"factors must be 4 and positive, .* slope"),
        ({"scales": {"slope": [1.0, 1.0, math.nan, 1.0]}}, "factors must be .* of slope"),
        ({"scales": {"slope": [1.0]}}, "factors must be 4 and positive"),
        ({"scales": {"slope": []}}, "factors must be 4 and positive"),
        ({"scales": {"slope": 1.0}}, UNREAD),
        (
            {"scales": {"mass": ONES}, "weights": {"mass": NONE}},
            "scales must be of .* found one of mass",
        ),
        (
            {"scales": {"source": ONES}, "weights": {"source": NONE}, "floors": {"source": -0.1}},
            "floors must be 0 or more",
        ),
        ({"weights": {"slope": [0.0]}}, "weights must be .* numbers, found .* of slope"),
        ({"weights": {"slope": [math.nan] * len(TRAITS)}}, "weights must be .* of slope"),
        ({"weights": {}}, UNREAD),
        ({"traits": ["taste"]}, "traits must be .*, found .'taste',.; make"),
        ({"floors": {"slope": 0.1}}, "floors must be .* found 0.1 of slope"),
        ({"floors": None}, UNREAD),
        ({"tails": [[20, -1]]}, r"tails must be positive pairs .*, found \(\(20.0, -1.0\),\)"),
        ({"tails": [[20, 8], [10, 3]]}, "tails must be .* rising"),
        ({"tails": [[20, math.nan]]}, "tails must be positive pairs"),
        ({"tails": 3.0}, UNREAD),
        ({"places": [10, 20, 30, 40]}, r"places must be \(14.0, .*, found \(10.0, "),
        ({"places": None}, UNREAD),
        ({"scales": 3}, UNREAD),
    ],
)
def test_a_damaged_file_is_told(change: dict, message: str):
    whole = json.loads(write_calibration(Calibration({"slope": even(1.5)}, ((50.0, 3.0),))))
    with pytest.raises(InputError, match=message):
        read_calibration(json.dumps({**whole, **change}))


def test_no_json_is_told():
    with pytest.raises(InputError, match="must be JSON"):
        read_calibration("scales")


def test_the_packaged_one_knows_every_kind():
    found = packaged_calibration()
    assert set(found.scales) == set(KINDS.values())
    assert {"about", "date", "command"} <= set(found.card)
    for name in KINDS:
        # errors that were too small by more than a factor of five would be another posterior's
        assert 0.2 < found.factor(name, 50.0) < 5.0


def test_the_packaged_one_is_that_of_the_packaged_prior_score_and_machine():
    """A posterior under another prior has other errors, another score other traits: calibrate
    again."""
    rows = [
        {"kind": kind, "index": index, "stage": stage}
        for kind, count in (("recipe", 20), ("standard", 40))
        for index in range(count)
        for stage in ("macro", "final")
    ]
    card = card_of(rows, run_of(CalibrateOptions()))
    for name in ("perturbations", "mass_sheet", "score", "machine", "stages"):
        assert packaged_calibration().card[name] == card[name], name
    assert card["mass_sheet"] == [WIDTH, TAILS, SLOPE, SLOPE_WIDTH, RESPONSE]
    base = "python -m lensrim.evaluation.calibrate"
    assert card["command"] == f"{base} --n 40; {base} --n 20 --recipe RECIPE"
    assert "40 standard validation mocks and 20 validation mocks of a rec" in card["about"]
    later = [{**row, "index": row["index"] + 100} for row in rows if row["kind"] == "standard"]
    command = card_of(later, run_of(CalibrateOptions()))["command"]
    assert command == f"{base} --n 40 --first 100"
    macro = card_of(rows[:1], run_of(CalibrateOptions(stage="macro")))
    assert (macro["machine"], macro["stages"]) == ("none", ["macro"])
    assert macro["command"] == f"{base} --n 1 --recipe RECIPE --stage macro"


def test_the_traits_are_those_that_the_weights_were_fitted_to():
    """Change them, and calibrate again: nothing else tells."""
    changed = replace(
        GOOD, chi2=1.0, pixels=900, multiple=0.8, flatness=0.3, slope=2.0, length=-2.2, core=-4.5
    )
    usual = [-0.1791, -0.1803, -0.019, -0.5, 0.0, 0.0, 0.0]
    assert traits_of(GOOD, 50.0) == pytest.approx(usual, abs=1e-3)
    other = [0.3338, 1.8724, 2.2544, 1.5, 0.78, 1.44, -0.5754]
    assert traits_of(changed, 150.0) == pytest.approx(other, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "trait"),
    [
        ("chi2", "residual"),
        ("expected", "residual"),
        ("flatness", "elliptical"),
        ("length", "fine"),
        ("core", "compact"),
        ("hollow", None),
    ],
)
def test_what_is_no_number_says_nothing_but_that_an_answer_is_suspicious(name: str, trait: str):
    symptoms = replace(GOOD, **{name: math.nan})
    found = dict(zip(TRAITS, traits_of(symptoms, 50.0), strict=True))
    usual = dict(zip(TRAITS, traits_of(GOOD, 50.0), strict=True))
    assert trait is None or found[trait] == 0.0
    # an answer without a prior of the source is none the worse
    of_source = name in ("length", "core")
    assert found["suspicion"] == (usual["suspicion"] if of_source else MOST)


def test_no_trait_widens_errors_without_end():
    """Each is within bounds whatever the symptoms, and small for a usual answer."""
    assert np.abs(traits_of(GOOD, 50.0)).max() < 2
    broken = replace(
        GOOD, chi2=1e9, expected=0.3, length=-99.0, peak=math.inf, hollow=1.0, multiple=0.0
    )
    for symptoms in (broken, replace(GOOD, chi2=math.nan), replace(GOOD, pixels=0, core=99.0)):
        for snr in (0.0, 1e9, math.nan):
            found = traits_of(symptoms, snr)
            assert np.abs(found).max() <= MOST
            factors = [packaged_calibration().factor(name, 50.0, found) for name in KINDS]
            assert min(factors) > 0.2 and max(factors) < 10


def test_intervals_of_student_and_gauss():
    assert Calibration().half_width(0.6827, 50.0) == pytest.approx(1.0, abs=1e-4)
    assert Calibration().half_width(0.95, 50.0) == pytest.approx(1.96, abs=1e-3)
    heavy = Calibration(tails=((50.0, 3.0),))
    assert heavy.half_width(0.6827, 50.0) == pytest.approx(1.0, abs=1e-3)
    assert heavy.half_width(0.95, 50.0) == pytest.approx(3.182 / 1.197, rel=2e-3)  # tables of t


def test_between_places_factors_are_powers_and_beyond_them_the_nearest():
    own = Calibration({"slope": Scale((1.0, 2.0, 2.0, 4.0))})
    assert [own.factor("slope", snr) for snr in PLACES] == pytest.approx([1.0, 2.0, 2.0, 4.0])
    assert own.factor("slope", math.sqrt(PLACES[0] * PLACES[1])) == pytest.approx(math.sqrt(2.0))
    assert own.factor("slope", 50.0) == pytest.approx(2.0)
    assert own.factor("slope", 0.0) == own.factor("slope", 10.0) == pytest.approx(1.0)
    assert own.factor("slope", 1e4) == pytest.approx(4.0)
    assert own.factor("flux", 50.0) == 1.0
