"""Answers: what bends the rays and the source make the image, whoever made them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensrim.evaluation.mocks import Mock
from lensrim.inference.answer import Answer, adapted, answer, maps_of, mass_maps_of, with_source
from lensrim.inference.framing import frame_of, observe
from lensrim.inference.macro import MacroState
from lensrim.inference.scene import Scene
from lensrim.inference.source_modes import FINER, MODES
from lensrim.inference.view import Known, MassMaps, resample
from lensrim.metrics import misfit


@pytest.fixture(scope="module")
def truth(mock: Mock) -> MassMaps:
    alpha = np.stack([mock.truth.alpha_x, mock.truth.alpha_y])
    return MassMaps(torch.from_numpy(mock.truth.kappa), torch.from_numpy(alpha))


@pytest.fixture(scope="module")
def solved(scene: Scene, truth: MassMaps, state: MacroState) -> Answer:
    return answer(scene, truth, state, tune=8)


def off(mock: Mock, result: Answer) -> float:
    truth = mock.truth
    return misfit(result.arcs, truth.arcs, mock.observation.sigma, truth.arc_mask)


def test_the_true_deflector_gives_the_true_image(mock: Mock, solved: Answer):
    assert off(mock, solved) < 0.4


def test_the_source_grid_follows_the_source(scene: Scene, truth: MassMaps, state, solved: Answer):
    wide = answer(scene, truth, state, source_fov=2.5, tune=8)
    assert solved.log_evidence > wide.log_evidence
    assert wide.source_grid.fov[0] == pytest.approx(2.5)
    assert solved.source_grid.fov[0] < 2.0
    assert solved.source_grid.center == pytest.approx(wide.source_grid.center)


def test_the_pixels_of_a_large_source_map_are_halved_if_the_evidence_asks_for_it(
    mock: Mock, scene: Scene, truth: MassMaps, state: MacroState, monkeypatch
):
    coarse = answer(scene, truth, state, source_fov=4.0, tune=8, most=0)
    fine = answer(scene, truth, state, source_fov=4.0, tune=8)
    assert (coarse.source.shape, fine.source.shape) == ((48, 48), (96, 96))
    assert fine.source_grid.fov == pytest.approx(coarse.source_grid.fov)
    assert fine.source_grid.center == coarse.source_grid.center
    assert fine.log_evidence > coarse.log_evidence + 2
    assert off(mock, fine) < 0.7 * off(mock, coarse)

    def error(result: Answer) -> float:
        true = mock.truth.source.on_grid(result.source_grid)
        return float(np.linalg.norm(result.source - true) / np.linalg.norm(true))

    assert error(fine) < 0.7 * error(coarse)
    # what is solved for after it is on the same pixels
    assert adapted(scene, fine).source_grid == fine.source_grid
    monkeypatch.setattr("lensrim.inference.source_system.CLEAR", 1e9)
    kept = answer(scene, truth, state, source_fov=4.0, tune=8)
    np.testing.assert_array_equal(kept.source, coarse.source)


def test_a_known_source_is_kept_and_seen(scene: Scene, truth: MassMaps, state, solved: Answer):
    grid = solved.source_grid
    known = Known(torch.from_numpy(solved.source), grid.fov[0], grid.center)
    kept = with_source(scene, truth, solved, known)
    np.testing.assert_allclose(kept.source, solved.source)
    np.testing.assert_allclose(kept.arcs, solved.arcs, atol=1e-9 * solved.arcs.max())
    assert np.isnan(kept.log_evidence)
    half = Known(known.source / 2, known.fov, known.center)
    dim = with_source(scene, truth, solved, half)
    np.testing.assert_allclose(dim.arcs, solved.arcs / 2, atol=1e-9 * solved.arcs.max())


def test_a_prior_that_follows_the_light_brings_the_source_nearer(
    mock: Mock, scene: Scene, solved: Answer
):
    found = adapted(scene, solved)
    true = mock.truth.source.on_grid(solved.source_grid)
    assert found.envelope is not None
    assert found.source_grid == solved.source_grid
    assert np.abs(found.source - true).mean() < np.abs(solved.source - true).mean()
    assert off(mock, found) < off(mock, solved)
    dark = (true < 0.01 * true.max()) & (solved.source_std > 0)
    assert found.source_std[dark].mean() < 0.95 * solved.source_std[dark].mean()
    # the first prior is kept, of which the answer's symptoms tell, and its evidence
    assert found.source_prior == solved.source_prior
    assert found.log_evidence == solved.log_evidence


def test_the_model_of_an_adapted_answer_is_its_source_seen(scene: Scene, solved: Answer):
    found = adapted(scene, solved)
    grid = found.source_grid
    known = Known(torch.from_numpy(found.source), grid.fov[0], grid.center)
    seen = with_source(scene, maps_of(found), found, known)
    np.testing.assert_allclose(seen.arcs, found.arcs, atol=1e-9 * found.arcs.max())


def test_an_image_that_determines_most_modes_has_more_of_them(
    mock: Mock, scene: Scene, solved: Answer, monkeypatch
):
    plain = adapted(scene, solved)
    assert plain.modes == solved.modes == MODES
    monkeypatch.setattr("lensrim.inference.answer.FULL", 0.05)
    found = adapted(scene, solved)
    assert found.modes == FINER
    # here the first ones are enough: the answer is the same but for what is finer than the noise
    assert found.log_evidence == pytest.approx(plain.log_evidence, abs=10)
    assert off(mock, found) == pytest.approx(off(mock, plain), rel=0.1)


def test_a_prior_that_fits_worse_is_not_kept(scene: Scene, solved: Answer, monkeypatch):
    def blind(source: np.ndarray, *_: object) -> np.ndarray:
        """Allows light where there is none alone."""
        return np.where(source > 0.05 * source.max(), 0.0, 1.0)

    monkeypatch.setattr("lensrim.inference.answer.weight_of", blind)
    assert adapted(scene, solved) is solved
    monkeypatch.setattr("lensrim.inference.answer.FULL", 0.05)
    finer = adapted(scene, solved)
    assert finer.modes == FINER and finer.envelope is None


@pytest.mark.parametrize("sides", [(47, 40), (40, 47)])
def test_a_frame_that_is_not_square_has_a_prior_that_follows_the_light(
    mock: Mock, truth: MassMaps, state: MacroState, sides: tuple[int, int]
):
    part = tuple(slice((48 - n) // 2, (48 - n) // 2 + n) for n in sides)
    cut = mock.observation
    cut = replace(cut, image=cut.image[part], sigma=cut.sigma[part], mask=cut.mask[part])
    scene = observe(frame_of(cut), lens_light=False)
    moved = state.p.clone()
    row, column = ((2 * s.start + n - 1) / 2 - 23.5 for s, n in zip(part, sides, strict=True))
    moved[0, 3:5] -= cut.pixel_scale * torch.tensor([column, row])
    moved = replace(state, p=moved)
    first = answer(scene, mass_maps_of(scene, moved), moved, tune=8)
    found = adapted(scene, first)
    assert found.envelope is not None and found.arcs.shape == sides
    use = scene.frame.mask
    before, after = (
        np.square((scene.frame.image - each.arcs - each.sky) / scene.sigma)[use].mean()
        for each in (first, found)
    )
    assert after == pytest.approx(before, abs=0.05) and after < 1.2


def test_a_source_is_put_on_other_pixels(solved: Answer):
    known = Known(torch.from_numpy(solved.source), 1.0, (0.0, 0.0))
    same = replace(solved.source_grid, spacing=1.0 / 48, center=(0.0, 0.0))
    assert resample(known, same) is known.source
    half = resample(known, replace(same, spacing=0.5 / 48))
    assert float(half.max()) <= float(known.source.max())
