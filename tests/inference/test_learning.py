"""A machine in the chain: put on, refused, and answered for."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from ways import few_stages, short

from lensrim import zoo
from lensrim._weights import write_weights
from lensrim.errors import InputError
from lensrim.evaluation.comparison import compare_stages
from lensrim.evaluation.mocks import Mock
from lensrim.inference import fit as fitting
from lensrim.inference import learning
from lensrim.inference.answer import Answer, answer, arc_chi2, mass_maps_of
from lensrim.inference.apply import Square, apply, batch_of, measured
from lensrim.inference.framing import frame_of, observe
from lensrim.inference.learning import learn
from lensrim.inference.lens_config import LensConfig, build
from lensrim.inference.machine import VALID, Machine, load_machine
from lensrim.inference.macro import MacroState
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.reconstruct import reconstruct
from lensrim.inference.scene import Scene
from lensrim.rim.core import RIM

SMALL = LensConfig(steps=2, widths=(8, 12), lift=6, embedding=16)


@pytest.fixture(scope="module")
def macro(scene: Scene, state: MacroState) -> Answer:
    return answer(scene, mass_maps_of(scene, state), state, tune=8)


@pytest.fixture(scope="module")
def machine() -> Machine:
    return Machine(build(SMALL).eval(), "small", "0" * 64)


def test_an_untrained_machine_gives_the_macro_models_answer(
    scene: Scene, state: MacroState, macro: Answer, machine: Machine
):
    outcome = learn(machine, scene, state, macro, has_light=False)
    assert outcome.stage == "final"
    assert list(outcome.answers) == ["macro", "rim", "rim_inversion", "final"]
    rim, inverted = (outcome.answers[name] for name in ("rim", "rim_inversion"))
    np.testing.assert_allclose(rim.alpha_x, macro.alpha_x, atol=2e-3)
    far = np.abs(rim.kappa / macro.kappa - 1) > 0.02
    assert far.mean() < 0.01  # the core, whose pixels are averaged otherwise
    assert arc_chi2(scene, rim) == pytest.approx(arc_chi2(scene, macro), abs=0.15)
    # errors are what the image leaves, not what the machine's source leaves of it
    assert rim.effective == inverted.effective == pytest.approx(macro.effective, rel=0.3)
    np.testing.assert_array_equal(rim.source_std, inverted.source_std)
    assert outcome.last.envelope is not None and inverted.envelope is None
    assert outcome.last.source.max() == pytest.approx(inverted.source.max(), rel=0.1)


@pytest.mark.parametrize("wins", ["machine's", "macro-model's"])
def test_the_source_map_is_that_of_the_higher_evidence(
    scene: Scene, state: MacroState, macro: Answer, machine: Machine, monkeypatch, wins: str
):
    larger = 1.5 * macro.source_grid.fov[0]
    wide = answer(scene, mass_maps_of(scene, state), state, source_fov=larger, tune=8)
    tried: list[float] = []

    def favoured(scene, deflector, state, *, source_grid, tune):
        found = answer(scene, deflector, state, source_grid=source_grid, tune=tune)
        tried.append(source_grid.fov[0])
        high = (len(tried) == 2) == (wins == "macro-model's")
        return replace(found, log_evidence=1.0 if high else 0.0)

    monkeypatch.setattr("lensrim.inference.learning.answer", favoured)
    outcome = learn(machine, scene, state, wide, has_light=False)
    assert len(tried) == 2 and tried[0] < tried[1] == pytest.approx(larger)
    side = tried[1] if wins == "macro-model's" else tried[0]
    for name in ("rim_inversion", "final"):
        assert outcome.answers[name].source_grid.fov[0] == pytest.approx(side)
    assert outcome.answers["rim"].source_grid.fov[0] == pytest.approx(tried[0])
    # a map that is hardly larger, or that the user wants, is the only one; so is the machine's own
    # for what it returns itself
    for base, fov, until in (
        (macro, None, "final"),
        (wide, larger, "final"),
        (wide, None, "rim"),
    ):
        tried.clear()
        learn(machine, scene, state, base, has_light=False, source_fov=fov, until=until)
        assert len(tried) == 1


@pytest.mark.parametrize("share", [0.8, 1.7, 3.1])
def test_a_side_that_is_asked_for_does_not_blur_the_machines_source(
    scene: Scene, state: MacroState, macro: Answer, machine: Machine, share: float
):
    """It is put on more or fewer of its own pixels."""
    own = learn(machine, scene, state, macro, has_light=False, until="rim")
    side = share * own.answers["rim"].source_grid.fov[0]
    wide = answer(scene, mass_maps_of(scene, state), state, source_fov=side, tune=8)
    asked = learn(machine, scene, state, wide, has_light=False, until="rim", source_fov=side)
    plain, found = own.answers["rim"], asked.answers["rim"]
    spacing = plain.source_grid.spacing
    assert found.source_grid.spacing == pytest.approx(spacing, rel=1e-4)
    assert found.source_grid.fov[0] == pytest.approx(side, abs=1.01 * spacing)
    more = (found.source.shape[0] - plain.source.shape[0]) // 2
    one, other = (found.source, plain.source) if more > 0 else (plain.source, found.source)
    inner = slice(abs(more), one.shape[0] - abs(more))
    np.testing.assert_allclose(one[inner, inner], other, atol=1e-3 * other.max())
    if share > 1:
        assert arc_chi2(scene, found) == pytest.approx(arc_chi2(scene, plain), rel=1e-2)


def test_the_finer_pixels_of_a_macro_models_source_are_tried(
    scene: Scene, state: MacroState, macro: Answer, machine: Machine, monkeypatch
):
    monkeypatch.setattr("lensrim.inference.answer.COARSE", 0.0)
    monkeypatch.setattr("lensrim.inference.source_system.CLEAR", -1e9)
    fine = answer(scene, mass_maps_of(scene, state), state, tune=8)
    n = macro.source.shape[0]
    assert fine.source.shape == (2 * n, 2 * n)
    tried: list[tuple[int, int]] = []

    def favoured(scene, deflector, state, *, source_grid, tune):
        found = answer(scene, deflector, state, source_grid=source_grid, tune=tune)
        tried.append(found.source.shape)
        return replace(found, log_evidence=float(len(tried)))

    monkeypatch.setattr("lensrim.inference.learning.answer", favoured)
    outcome = learn(machine, scene, state, fine, has_light=False)
    assert tried == [(n, n), (2 * n, 2 * n)]
    assert outcome.answers["rim"].source.shape == (n, n)
    assert outcome.answers["final"].source.shape == (2 * n, 2 * n)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("kept", [slice(0, 45), slice(1, 47)], ids=["odd", "even"])
def test_a_frame_that_is_not_square_is_put_into_one(
    mock: Mock, state: MacroState, machine: Machine, kept: slice, axis: int
):
    part = (kept, slice(None)) if axis == 0 else (slice(None), kept)
    cut = mock.observation
    cut = replace(cut, image=cut.image[part], sigma=cut.sigma[part], mask=cut.mask[part])
    middle = (kept.start + kept.stop - 1) / 2 - 23.5
    shifted = state.p.clone()
    shifted[0, 4 - axis] -= middle * cut.pixel_scale
    moved = replace(state, p=shifted)
    scene = observe(frame_of(cut), lens_light=False)
    square = Square(scene.frame.grid.shape)
    assert square.side == 48
    macro = answer(scene, mass_maps_of(scene, moved), moved, tune=8)
    outcome = learn(machine, scene, moved, macro, has_light=False)
    rim = outcome.answers["rim"]
    assert rim.kappa.shape == scene.frame.grid.shape
    difference = np.stack([rim.alpha_x - macro.alpha_x, rim.alpha_y - macro.alpha_y])
    difference -= difference.mean((1, 2), keepdims=True)  # a constant moves the source alone
    assert np.abs(difference).max() < 3e-3
    assert arc_chi2(scene, rim) == pytest.approx(arc_chi2(scene, macro), abs=0.15)


def test_what_the_ranges_are_about_is_measured(scene: Scene, state: MacroState, macro: Answer):
    found = measured(batch_of(scene, macro, False), state.p, scene.frame.grid.spacing)
    assert found["side"] == 48
    assert found["theta_E"] == pytest.approx(float(state.p[0, 0].exp()) / 0.1)
    assert found["fwhm"] == pytest.approx(scene.frame.fwhm / 0.1, rel=0.1)
    assert found["snr"] == pytest.approx(80, rel=0.25)


def test_beyond_its_ranges_a_machine_is_not_used(
    scene: Scene, state: MacroState, macro: Answer, machine: Machine
):
    narrow = replace(machine, valid=VALID | {"snr": (5.0, 10.0)})
    outcome = learn(narrow, scene, state, macro, has_light=False)
    assert outcome.last is macro
    assert outcome.notes[0].startswith(
        "the answer is the macro-model's: model small is not valid here: the signal over noise"
    )
    with pytest.raises(InputError, match=r"--strict: model small is not valid here.*5 to 10"):
        learn(narrow, scene, state, macro, has_light=False, strict=True)


def test_a_machine_that_fits_worse_is_not_used(
    scene: Scene, state: MacroState, macro: Answer, machine: Machine
):
    outcome = learn(
        replace(machine, rim=moving(20.0)), scene, state, macro, has_light=False, until="rim"
    )
    assert outcome.last is macro
    assert outcome.stage == "macro"
    assert "rim" in outcome.answers  # what it found stays in the report
    assert "fits the arcs worse" in outcome.notes[0]


@pytest.mark.parametrize("bias", [math.nan, 1e6])
def test_a_machine_without_an_answer_is_not_used(
    scene: Scene, state: MacroState, macro: Answer, machine: Machine, bias: float
):
    """What was found without it stays the answer."""
    broken = replace(machine, rim=moving(bias))
    outcome = learn(broken, scene, state, macro, has_light=False)
    assert outcome.last is macro and set(outcome.answers) == {"macro"}
    assert outcome.notes[0].endswith("model small gives no finite answer here")
    with pytest.raises(InputError, match=r"--strict: model small gives no finite answer here; gi"):
        learn(broken, scene, state, macro, has_light=False, strict=True)


def test_a_mass_that_leaves_no_source_is_not_used(
    scene: Scene, state: MacroState, macro: Answer, machine: Machine, monkeypatch
):
    def failing(*_: object, **__: object) -> Answer:
        raise torch.linalg.LinAlgError("not positive-definite")

    monkeypatch.setattr(learning, "adapted", failing)
    outcome = learn(machine, scene, state, macro, has_light=False)
    assert outcome.last is macro and set(outcome.answers) == {"macro"}
    assert "no source can be solved for (not positive-definite)" in outcome.notes[0]


def moving(bias: float) -> RIM:
    """A machine that adds a constant to its maps at every step."""
    rim = build(SMALL).eval()
    with torch.no_grad():
        rim.network.last.bias.fill_(bias)
    return rim


def test_more_steps_than_trained_can_be_asked_for(scene, state, macro, machine):
    batch, rim = batch_of(scene, macro, False), moving(0.1)
    one, two, more = (
        apply(replace(machine, rim=rim), scene, batch, state, steps=n)[0] for n in (1, None, 3)
    )
    torch.testing.assert_close(two.kappa / one.kappa, more.kappa / two.kappa)
    assert float((more.kappa / one.kappa - 1).abs().min()) > 1e-3


def test_the_whole_chain_runs_with_a_machine(tmp_path: Path, mock: Mock, monkeypatch):
    path = tmp_path / "mine.safetensors"
    header = {"model": {"steps": 2, "widths": [8, 12], "lift": 6, "embedding": 16}}
    sha = write_weights(path, build(SMALL).state_dict(), header)
    monkeypatch.setattr(fitting, "WAYS", short(few_stages(8, 6)))
    options = ReconstructOptions(lens_light="none", model=str(path), stage="final")
    result = reconstruct(mock.observation, options)
    value = result.product.value
    assert (value("STAGE"), value("MODEL"), value("MODELSHA")) == ("final", "mine", sha)
    assert "stage final of model mine" in result.summary
    assert list(result.answers) == ["macro", "rim", "rim_inversion", "final"]
    stages = result.product.stages
    assert {"inversion", "rim", "rim_inversion", "final"} <= set(stages)
    assert stages["final"]["chi2arc"] == value("CHI2ARC")
    assert value("PEFF") > 5
    assert value("MAGTOT") > 1
    assert value("THETAE") == pytest.approx(stages["final"]["theta_E"])
    written = result.write(tmp_path / "out")
    content = json.loads(next(p for p in written if p.suffix == ".json").read_text())
    assert content["stages"]["rim"]["log_evidence"] is None
    maps = result.product.image_maps
    errors = compare_stages(mock, result)
    assert list(errors) == [*result.answers, "answer", "true_mass"]
    assert errors["true_mass"]["alpha"] < 1e-9 < errors["final"]["alpha"]
    assert errors["true_mass"]["misfit"] < errors["macro"]["misfit"]
    np.testing.assert_allclose(maps["KAPPA"], result.answers["final"].kappa)
    np.testing.assert_allclose(maps["MODEL"], result.answers["final"].arcs)


def test_a_machine_is_loaded_from_its_file(tmp_path: Path):
    rim = build(SMALL)
    with torch.no_grad():
        rim.network.last.bias.fill_(0.5)
    path = tmp_path / "best.safetensors"
    header = {"model": {"steps": 2, "widths": [8, 12], "lift": 6, "embedding": 16}}
    sha = write_weights(path, rim.state_dict(), header)
    machine = load_machine(path)
    assert (machine.name, machine.sha256, machine.rim.steps) == ("best", sha, 2)
    assert torch.equal(machine.rim.network.last.bias, rim.network.last.bias)


@pytest.mark.parametrize(
    "header", [{}, {"model": {"steps": 2}}, {"model": {"depth": 2, "widths": [8, 12]}}]
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, header: dict):
    path = tmp_path / "best.safetensors"
    write_weights(path, build(SMALL).state_dict(), header)
    with pytest.raises(InputError, match="must hold a machine for lenses"):
        load_machine(path)


def test_a_model_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="model 'none': must be a file of weights or"):
        load_machine("none")


@pytest.mark.parametrize("name", list(zoo.cards()))
def test_every_card_is_that_of_its_weights(name: str):
    card = zoo.card(name)
    assert card.path.stat().st_size < 12e6
    for beside in (card.recipe, card.curve):
        assert (zoo.FOLDER / beside).is_file()
    machine = load_machine(name)
    assert machine.sha256 == card.sha256
    assert machine.valid == card.valid
    assert set(machine.valid) == set(VALID)


def test_a_file_that_is_not_the_cards_is_refused(tmp_path: Path, monkeypatch):
    path = tmp_path / "x.safetensors"
    sha = write_weights(path, {"a": torch.ones(1)}, {})
    card = zoo.Card("x", path, sha, "", "", "", VALID)
    monkeypatch.setattr(zoo, "cards", lambda: {"x": card})
    assert zoo.card("x") is card
    write_weights(path, {"a": torch.zeros(1)}, {})
    with pytest.raises(InputError, match="must have the checksum of its card"):
        zoo.card("x")
