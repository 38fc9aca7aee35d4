"""A calibration judged on rows is one judged on products."""

from dataclasses import replace

import numpy as np
import pytest
from truthful import small

from lensrim.evaluation.calibrate.rows import Row, answers_of
from lensrim.evaluation.calibrate.tested import format_tested, stated_by
from lensrim.evaluation.standard import standard_mock
from lensrim.evaluation.stated import MAPS, stated_errors
from lensrim.inference.calibration import Calibration, Scale, packaged_calibration
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.reconstruct import Reconstruction, reconstruct
from lensrim.inference.traits import TRAITS

MOCK = small(2)


@pytest.fixture(scope="module")
def result() -> Reconstruction:
    return reconstruct(MOCK.observation, ReconstructOptions(lens_light="none"))


@pytest.fixture(scope="module")
def row(result: Reconstruction) -> Row:
    (found,) = answers_of(MOCK, result).values()
    return found


def test_rows_say_what_the_product_does(result: Reconstruction, row: Row):
    ours, theirs = stated_by(packaged_calibration(), row), stated_errors(MOCK, result.product)
    del theirs["numbers"]["phi"]
    assert ours["dof"] == pytest.approx(theirs["dof"])
    assert set(ours["numbers"]) == set(theirs["numbers"])
    for name, told in theirs["numbers"].items():
        assert ours["numbers"][name] == pytest.approx(told, rel=1e-6), name
    assert set(ours["maps"]) == set(MAPS)
    for name, told in theirs["maps"].items():
        own = ours["maps"][name]
        assert own["n"] == pytest.approx(told["n"], rel=0.02), name
        np.testing.assert_allclose(own["coverage"], told["coverage"], atol=0.05)
        for key in ("width", "empirical", "crps"):  # of some pixels, and of all
            within = 0.5 if (name, key) == ("source", "empirical") else 0.35
            assert own[key] == pytest.approx(told[key], rel=within), (name, key)


def test_wider_errors_hold_more(row: Row):
    facts = {"snr": 60.0, "lens_light": False, "halo": False, "setting": "hst"}
    rows = [{**row, "kind": "recipe", "stage": "macro", "last": True, "facts": facts}]
    shares = []
    for factor in (1e-3, 1e3):
        scales = {kind: Scale((factor,) * 4) for kind in ("kappa", "source", "slope", "flux")}
        stated = stated_by(Calibration(scales), rows[0])
        shares.append([stated["maps"][name]["coverage"][6] for name in MAPS])
        table = format_tested(Calibration(scales), rows)
        assert table.startswith("1 recipe mocks, macro-model\n")
        (line,) = (line for line in table.splitlines() if line.startswith("slope"))
        assert line.split()[1] == ("0.0*" if factor < 1 else "100.0*")
    assert max(shares[0]) < 0.1
    assert min(shares[1]) > 0.9


def test_a_trait_widens_what_it_has_weight_for(row: Row):
    weights = (1.0, *(0.0,) * (len(TRAITS) - 1))
    own = Calibration({"slope": Scale(weights=weights)})
    traits = np.eye(len(weights))[0]
    plain, wide = (stated_by(own, {**row, "traits": t})["numbers"] for t in (0 * traits, traits))
    assert wide["slope"][2] == pytest.approx(np.e * plain["slope"][2])
    assert wide["theta_E"] == plain["theta_E"]
    assert own.scales["slope"].times(2.0) == replace(own.scales["slope"], factors=(2.0,) * 4)


def test_an_answer_of_nothing_has_no_maps(row: Row):
    nothing = {**row, "kappa": [], "source": [], "bright": []}
    assert stated_by(packaged_calibration(), nothing)["maps"] == {}


def test_the_answer_of_a_refused_machine_is_the_last(row: Row):
    facts = {"snr": 60.0, "lens_light": False, "halo": False, "setting": "hst"}
    own = {**row, "kind": "standard", "facts": facts}
    rows = [
        {**own, "stage": "macro", "last": True},
        {**own, "stage": "macro", "last": False},
        {**own, "stage": "final", "last": True},
    ]
    heads = [line for line in format_tested(Calibration(), rows).splitlines() if "mocks," in line]
    assert heads == ["2 standard mocks, last stage", "2 standard mocks, macro-model"]


@pytest.mark.slow
def test_both_answers_of_a_machine_are_measured():
    mock = standard_mock(0, split="validation")
    options = ReconstructOptions(lens_light="none", stage="final")
    found = reconstruct(mock.observation, options)
    answers = answers_of(mock, found)
    assert list(answers) == ["macro", "final"]
    assert answers["final"]["symptoms"] == found.product.stages["report"]["symptoms"]
    alone = answers_of(mock, reconstruct(mock.observation, replace(options, stage="macro")))
    for name, told in alone["macro"]["symptoms"].items():
        assert answers["macro"]["symptoms"][name] == pytest.approx(told), name
    for name, told in alone["macro"]["numbers"].items():
        assert answers["macro"]["numbers"][name] == pytest.approx(told), name
