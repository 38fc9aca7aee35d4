"""Mocks: reproducible, with the right noise, inside their frame, true to their truth."""

import numpy as np
import pytest

from lensrim import metrics
from lensrim.datasets.halos import LensPrior
from lensrim.datasets.priors import SystemPrior
from lensrim.evaluation.mocks import EDGE, Mock, make_mock, render

SHAPE = (44, 40)


@pytest.fixture(scope="module", params=range(4))
def mock(request: pytest.FixtureRequest) -> Mock:
    return make_mock(request.param, shape=SHAPE)


def test_a_seed_decides_everything(mock: Mock) -> None:
    again = make_mock(int(mock.observation.name[-4:]), shape=SHAPE)
    assert np.array_equal(mock.observation.image, again.observation.image)
    assert np.array_equal(mock.truth.kappa, again.truth.kappa)


def test_noise_is_what_sigma_says(mock: Mock) -> None:
    observation, truth = mock.observation, mock.truth
    model = truth.arcs + truth.lens_light
    chi2 = metrics.chi2_nu(observation.image, model, observation.sigma, observation.mask)
    assert chi2 == pytest.approx(1, abs=5 * np.sqrt(2 / observation.image.size))


def test_brightness_is_as_drawn(mock: Mock) -> None:
    truth, noise = mock.truth, mock.truth.system.noise
    peak = np.unravel_index(truth.arcs.argmax(), SHAPE)
    assert truth.arcs[peak] == pytest.approx(noise.peak)
    assert truth.arcs[peak] / mock.observation.sigma[peak] == pytest.approx(noise.snr)
    assert truth.snr >= noise.snr * (1 - 1e-9)
    light = truth.system.lens_light
    expected = 0 if light is None else light.brightness * noise.peak
    assert truth.lens_light.max() == pytest.approx(expected)


def test_arcs_are_multiple_images_inside_the_frame(mock: Mock) -> None:
    arcs = mock.truth.arcs.copy()
    arcs[2:-2, 2:-2] = 0
    assert arcs.max() < EDGE * mock.truth.arcs.max()
    assert mock.truth.magnification > 2
    assert mock.truth.arc_mask.any()


def test_truth_of_the_mass(mock: Mock) -> None:
    truth, grid = mock.truth, mock.observation.grid
    assert np.isfinite(truth.kappa).all()
    assert truth.theta_E == pytest.approx(truth.macro_theta_E, rel=0.05)
    dx = np.gradient(truth.alpha_x, grid.spacing, axis=1)
    dy = np.gradient(truth.alpha_y, grid.spacing, axis=0)
    away = metrics.annulus(grid, theta_E=truth.macro_theta_E, inner=0.5)
    error = np.abs((dx + dy) / 2 - truth.kappa)[away]
    assert np.median(error) < 0.02


def test_seven_rays_are_enough() -> None:
    system = make_mock(1, shape=SHAPE).truth.system
    coarse, fine = (render(system, shape=SHAPE, oversample=k) for k in (7, 15))
    error = (coarse.truth.arcs - fine.truth.arcs) / fine.observation.sigma
    assert np.sqrt(np.mean(error[fine.truth.arc_mask] ** 2)) < 0.05


def test_errors() -> None:
    system = make_mock(0, shape=SHAPE).truth.system
    with pytest.raises(ValueError, match="odd"):
        render(system, oversample=4)
    wide = SystemPrior(theta_E=(40.0, 41.0), lens=LensPrior(center_range=0.0))
    with pytest.raises(RuntimeError, match="fits a frame"):
        make_mock(0, shape=(16, 16), prior=wide, oversample=3)
