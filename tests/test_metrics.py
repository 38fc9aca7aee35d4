"""Every metric on a case whose answer is known."""

import numpy as np
import pytest
import torch

from lensrim import metrics
from lensrim.datasets.halos import Ellipsoid, Lens
from lensrim.evaluation.deflection import average_convergence
from lensrim.grid import PixelGrid

GRID = PixelGrid((60, 64), 0.1)


def kappa_of(**parameters: float) -> np.ndarray:
    return average_convergence(Lens(Ellipsoid(**parameters)), GRID)


@pytest.mark.parametrize(("q", "ratio"), [(0.5, 0.971), (0.7, 0.992), (1.0, 1.0)])
def test_effective_einstein_radius_of_an_isothermal_ellipsoid(q: float, ratio: float) -> None:
    kappa = kappa_of(theta_E=1.3, q=q, phi=0.4)
    assert metrics.effective_theta_E(kappa, GRID) / 1.3 == pytest.approx(ratio, abs=1.5e-3)


@pytest.mark.parametrize("gamma", [1.7, 2.4])
def test_effective_einstein_radius_follows_centre_and_not_slope(gamma: float) -> None:
    kappa = kappa_of(theta_E=1.234, gamma=gamma, center_x=0.03, center_y=-0.04)
    assert metrics.effective_theta_E(kappa, GRID) == pytest.approx(1.234, rel=3e-3)


@pytest.mark.parametrize("offset", [0.3, 0.6])
def test_effective_einstein_radius_of_a_lens_off_the_middle(offset: float) -> None:
    kappa = kappa_of(theta_E=1.3, center_x=offset, center_y=-offset / 2)
    assert metrics.effective_theta_E(kappa, GRID) == pytest.approx(1.3, rel=4e-3)


@pytest.mark.parametrize("level", [0.0, 0.5, 2.0])
def test_no_effective_einstein_radius(level: float) -> None:
    assert np.isnan(metrics.effective_theta_E(np.full(GRID.shape, level), GRID))


def test_misfits() -> None:
    sigma, mask = np.full((5, 4), 0.1), np.zeros((5, 4), dtype=bool)
    mask[1:3] = True
    truth = np.ones((5, 4))
    assert metrics.misfit(truth, truth, sigma, mask) == 0
    assert metrics.misfit(truth + 0.2, truth, sigma, mask) == pytest.approx(4)
    outside = np.where(mask, truth, 99.0)
    assert metrics.chi2_nu(outside, truth, sigma, mask) == 0
    assert metrics.chi2_nu(torch.ones(5, 4), truth + 0.1, sigma, mask) == pytest.approx(1)
    assert np.isnan(metrics.chi2_nu(truth, truth, sigma, np.zeros_like(mask)))


def test_source_errors() -> None:
    truth = np.zeros((10, 10))
    truth[3:5, 3:5] = 2.0
    assert metrics.source_errors(truth, truth) == (0, 0)
    assert metrics.source_errors(0 * truth, truth) == pytest.approx((1, 0.2))
    assert metrics.source_errors(1.1 * truth, truth) == pytest.approx((0.1, 0.02))
    assert metrics.source_errors(truth, 0 * truth) == (np.inf, np.inf)


def test_the_gauge_of_a_mass_sheet_is_the_ratio_of_the_rays() -> None:
    grid = PixelGrid((9, 12), 0.3)
    x, y = grid.from_index(*np.meshgrid(np.arange(12), np.arange(9)))
    rng = np.random.default_rng(1)
    truth = tuple(rng.normal(size=(2, 9, 12)))
    weights = rng.uniform(size=(9, 12))
    own = tuple(t - (t - a) / 0.9 + 0.7 for t, a in zip((x, y), truth, strict=True))
    assert metrics.deflection_scale(own, truth, weights, grid) == pytest.approx(0.9)
    assert metrics.deflection_scale(truth, truth, weights, grid) == pytest.approx(1)


def test_constant_deflection_is_a_gauge() -> None:
    rng = np.random.default_rng(0)
    truth, mask = rng.normal(size=(2, 8, 9)), rng.uniform(size=(8, 9)) > 0.5
    moved = (truth[0] + 0.3, truth[1] - 0.1)
    assert metrics.deflection_gauge(moved, tuple(truth), mask) == pytest.approx((0.3, -0.1))
    assert metrics.deflection_error(moved, tuple(truth), mask) == pytest.approx(0, abs=1e-12)
    half = np.where(np.arange(9) % 2, 0.3, -0.3) * np.ones((8, 1))
    even = np.ones((8, 9), dtype=bool)
    even[:, -1] = False
    assert metrics.deflection_error((truth[0] + half, truth[1]), tuple(truth), even) == (
        pytest.approx(0.3)
    )


def test_annulus_has_its_area() -> None:
    mask = metrics.annulus(GRID, theta_E=1.2, center=(0.1, 0.2))
    assert mask.sum() * 0.01 == pytest.approx(np.pi * 1.2**2 * (2**2 - 0.3**2), rel=0.02)
    assert metrics.annulus(GRID, theta_E=9.0).sum() < mask.size


def test_convergence_error_in_dex_and_the_mass_sheet() -> None:
    truth = kappa_of(theta_E=1.2, q=0.7)
    mask = metrics.annulus(GRID, theta_E=1.2)
    assert metrics.log_kappa_rmse(truth, truth, mask) < 1e-12
    assert metrics.log_kappa_rmse(10**0.1 * truth, truth, mask) == pytest.approx(0.1)
    sheet = 0.8 * truth + 0.2
    assert metrics.log_kappa_rmse(sheet, truth, mask) > 0.05
    assert metrics.log_kappa_rmse(sheet, truth, mask, mass_sheet=True) < 1e-4


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Closed forms for 0 of n and n of n; 1 of 10 from the table of Clopper & Pearson 1934.
    [
        (0, 100, 0.0, 1 - 0.025 ** (1 / 100)),
        (100, 100, 0.025 ** (1 / 100), 1.0),
        (1, 10, 0.0025, 0.4450),
    ],
)
def test_binomial_interval(successes: int, trials: int, low: float, high: float) -> None:
    interval = metrics.binomial_interval(successes, trials)
    assert interval == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 5), (0, 0)])
def test_binomial_interval_needs_trials(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        metrics.binomial_interval(successes, trials)
