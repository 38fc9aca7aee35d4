"""Answers: what bends the rays and the source make the image, whoever made them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensrim.evaluation.mocks import Mock
from lensrim.inference.answer import Answer, answer, with_source
from lensrim.inference.macro import MacroState
from lensrim.inference.scene import Scene
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


def test_what_a_known_source_explains_is_not_solved_for(
    mock: Mock, scene: Scene, truth: MassMaps, state: MacroState, solved: Answer
):
    grid = solved.source_grid
    true = mock.truth.source.on_grid(grid)
    known = Known(torch.from_numpy(true), grid.fov[0], grid.center)
    again = answer(scene, truth, state, source_grid=grid, mean=known, tune=12)
    assert again.effective < 0.5 * solved.effective
    assert off(mock, again) < off(mock, solved)
    assert np.abs(again.source - true).mean() < np.abs(solved.source - true).mean()


def test_a_source_is_put_on_other_pixels(solved: Answer):
    known = Known(torch.from_numpy(solved.source), 1.0, (0.0, 0.0))
    same = replace(solved.source_grid, spacing=1.0 / 48, center=(0.0, 0.0))
    assert resample(known, same) is known.source
    half = resample(known, replace(same, spacing=0.5 / 48))
    assert float(half.max()) <= float(known.source.max())
