"""The prior of the refinement, measured: on masses whose perturbation is known."""

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch

from lensrim.errors import InputError
from lensrim.evaluation.perturbations import __main__ as perturbations
from lensrim.evaluation.perturbations.__main__ import PriorOptions, run
from lensrim.evaluation.perturbations.fitting import LEAST, fit
from lensrim.evaluation.perturbations.measuring import (
    Measured,
    measure,
    measure_answer,
    unit_prior,
)
from lensrim.grid import PixelGrid
from lensrim.inference.macro import mass_model
from lensrim.inference.perturbation import along_axes, packaged_prior, read_prior
from lensrim.lensing.mass import pixel_average

GRID = PixelGrid((48, 48), 1.0)
P = torch.tensor([2.2, 0.1, 0.05, 0.3, -0.2, 0.0, 0.0, 2.1], dtype=torch.float64)
KAPPA = pixel_average(mass_model(P), GRID)
BARE = unit_prior()
CALM = Measured(np.eye(BARE.count) * 2000.0, np.zeros(BARE.count), 0.0)


def test_a_macro_model_lacks_nothing_of_itself():
    guess = P + torch.tensor([0.05, 0.03, -0.03, 0.2, 0.1, 0.0, 0.0, 0.1])
    assert measure(KAPPA.numpy(), guess).rms < 1e-4


def test_a_perturbation_is_measured():
    k = BARE.count - 4 * len(BARE.nodes) + 2  # of the cosines of order 5
    functions = BARE.functions(*along_axes(GRID, P))
    found = measure((KAPPA * (1 + 0.02 * functions[k])).numpy(), P)
    coefficients = np.linalg.solve(found.gram + 1e-3 * np.eye(BARE.count), found.moment)
    assert np.argmax(np.abs(coefficients)) == k
    assert coefficients[k] == pytest.approx(0.02, rel=0.1)


def test_what_an_answer_lacks_is_measured_beside_it():
    """What it has already is not, nor what a change of its macro-model would explain."""
    k = BARE.count - 4 * len(BARE.nodes) + 2
    functions = BARE.functions(*along_axes(GRID, P))
    answer = KAPPA * (1 + 0.05 * functions[k - 6])
    moved = P + torch.tensor([0.004, 0.002, -0.002, 0.01, 0.01, 0.0, 0.0, 0.005])
    macro = pixel_average(mass_model(moved), GRID) - KAPPA
    sheet = 0.05 * (1 - answer)
    truth = answer * (1 + 0.02 * functions[k]) + macro + sheet
    found = measure_answer(truth.numpy(), answer.numpy(), P, GRID)
    coefficients = np.linalg.solve(found.gram + 1e-3 * np.eye(BARE.count), found.moment)
    assert np.argmax(np.abs(coefficients)) == k
    assert coefficients[k] == pytest.approx(0.02, rel=0.1)
    assert measure_answer(answer.numpy(), answer.numpy(), P, GRID).rms < 1e-9
    changed = (answer + macro + sheet).numpy()
    assert measure_answer(changed, answer.numpy(), P, GRID).rms < 1e-3


def test_the_prior_has_the_variance_of_the_lenses():
    rng = np.random.default_rng(0)
    n, last = len(BARE.nodes), BARE.count - 2 * len(BARE.nodes)
    spread = np.where(np.arange(BARE.count) < last, 0.01, 0.05)
    lenses = []
    for _ in range(60):
        c = rng.normal(size=BARE.count) * spread
        lenses.append(Measured(CALM.gram, CALM.gram @ c, 0.0))
    widths = [
        np.sqrt(np.diag(each)) for pair in fit(lenses, rounds=12).covariances for each in pair
    ]
    assert np.mean(widths[-2:]) / np.mean(widths[5:-2]) == pytest.approx(5, rel=0.15)
    assert np.mean(widths[-2:]) == pytest.approx(0.05, rel=0.15)
    assert all(len(each) == n for each in widths)


def test_what_a_macro_model_can_do_is_not_in_the_prior():
    nodes = np.array(BARE.nodes)
    for m, shape in ((0, np.ones(6)), (0, np.log(nodes)), (1, 1 / nodes), (2, np.ones(6))):
        for each in fit([CALM] * 8, rounds=2).covariances[m]:
            assert shape @ each @ shape <= 1.01 * LEAST**2 * (shape @ shape)


def test_a_measurement_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    options = PriorOptions(output=str(tmp_path), first=0, n=1)
    prior = run(options)
    written = tmp_path / "perturbations.json"
    again = read_prior(written.read_text())
    np.testing.assert_allclose(again.covariances[3][0], prior.covariances[3][0], rtol=1e-3)
    assert json.loads(written.read_text())["mocks"] == "1 from number 0"

    def fail(*_, **__):
        raise AssertionError("what is measured is not measured again")

    monkeypatch.setattr(perturbations, "standard_mock", fail)
    run(options)
    monkeypatch.setattr(perturbations, "KINDS", {"masses": lambda _: None})
    monkeypatch.setattr(perturbations, "standard_mock", lambda *_, **__: None)
    with pytest.raises(InputError, match=r"must hold mocks .* none of 1 from number 0; give"):
        run(PriorOptions(output=str(tmp_path / "other"), first=0, n=1))


def test_what_answers_lack_is_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In the folder of the masses; a mock that the machine did not answer is left out."""
    told = {0: None, 1: CALM}
    monkeypatch.setattr(perturbations, "standard_mock", lambda number, **_: number)
    kinds = {"answers": told.get, "masses": lambda _: CALM}
    monkeypatch.setattr(perturbations, "KINDS", kinds)
    run(PriorOptions(of="masses", output=str(tmp_path), first=0, n=2))
    run(PriorOptions(of="answers", output=str(tmp_path), first=0, n=2))
    names = {path.name for path in tmp_path.iterdir()}
    assert {"masses-00000.npz", "masses-00001.npz", "answers-00001.npz"} <= names
    card = json.loads((tmp_path / "perturbations_of_answers.json").read_text())
    assert card["mocks"] == "1 from number 0"
    assert card["command"].endswith("--of answers --first 0 --n 2")
    # one that was refused is not tried again, and others in the folder are not asked for
    monkeypatch.setattr(perturbations, "standard_mock", None)
    run(PriorOptions(of="answers", output=str(tmp_path), first=0, n=2))
    run(PriorOptions(of="masses", output=str(tmp_path), first=1, n=1))
    card = json.loads((tmp_path / "perturbations.json").read_text())
    assert card["mocks"] == "1 from number 1"
    monkeypatch.setattr(perturbations, "__version__", "another")
    run(PriorOptions(of="masses", output=str(tmp_path), first=1, n=1))
    with pytest.raises(InputError, match=r"answers-00000.npz: must be measured by another .*"):
        run(PriorOptions(of="answers", output=str(tmp_path), first=0, n=2))
    (tmp_path / "masses-00001.npz").write_bytes(b"PK\3\4 cut")
    with pytest.raises(InputError, match=r"masses-00001.npz: must hold what was measured here"):
        run(PriorOptions(of="masses", output=str(tmp_path), first=1, n=1))


@pytest.mark.parametrize("of", ["masses", "answers"])
def test_the_packaged_prior_is_of_this_form(of: Literal["masses", "answers"]):
    packaged = packaged_prior(of)
    assert packaged.nodes == pytest.approx(BARE.nodes)
    assert len(packaged.covariances) == len(BARE.covariances)
