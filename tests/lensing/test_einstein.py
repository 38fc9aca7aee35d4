"""The Einstein radius of a map: closed forms, and the count of all sub-pixels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lensrim.grid import PixelGrid
from lensrim.lensing.einstein import effective_theta_E, kappa_center

GRID = PixelGrid((61, 80), 0.05, center=(0.3, -0.2))


def isothermal(grid: PixelGrid, theta_E: float, q: float, at: tuple[float, float]) -> np.ndarray:
    h, w = grid.shape
    x, y = grid.from_index(np.arange(w), np.arange(h)[:, None])
    x, y = x - at[0], y - at[1]
    return theta_E / 2 / np.sqrt(q * x**2 + y**2 / q + 1e-4)


def counted(kappa: np.ndarray, grid: PixelGrid, k: int) -> float:
    """Radius of the circle, with every sub-pixel of the map in the count."""
    (h, w), (cx, cy) = kappa.shape, kappa_center(kappa, grid)
    left, right, bottom, top = grid.extent
    x, y = grid.from_index((np.arange(w * k) + 0.5) / k - 0.5, (np.arange(h * k) + 0.5) / k - 0.5)
    radius = np.hypot(x - cx, y[:, None] - cy).ravel()
    order = np.argsort(radius)
    fine = np.repeat(np.repeat(kappa, k, axis=0), k, axis=1).ravel()[order]
    inside = radius[order] < min(cx - left, right - cx, cy - bottom, top - cy)
    radius, mass = radius[order][inside], np.cumsum(fine[inside]) * (grid.spacing / k) ** 2
    mean = mass / (math.pi * np.maximum(radius, grid.spacing / k) ** 2)
    last = np.flatnonzero(mean >= 1)
    if not last.size or last[-1] == radius.size - 1:
        return math.nan
    two = [last[-1] + 1, last[-1]]
    return float(np.interp(1.0, mean[two], radius[two]))


@settings(max_examples=60)
@given(
    theta_E=st.floats(0.1, 1.6),
    q=st.floats(0.4, 1.0),
    noise=st.sampled_from((0.0, 0.3, 1.0)),
    sheet=st.floats(-0.3, 0.3),
    subsample=st.integers(1, 10),
    seed=st.integers(0, 100),
)
def test_all_sub_pixels_are_counted(
    theta_E: float, q: float, noise: float, sheet: float, subsample: int, seed: int
):
    kappa = isothermal(GRID, theta_E, q, (0.32, -0.25)) + sheet
    kappa += noise * np.random.default_rng(seed).normal(size=kappa.shape)
    found = effective_theta_E(kappa, GRID, subsample=subsample)
    assert found == pytest.approx(counted(kappa, GRID, subsample), rel=1e-9, nan_ok=True)


def test_of_several_radii_it_is_the_largest():
    h, w = GRID.shape
    x, y = GRID.from_index(np.arange(w), np.arange(h)[:, None])
    radius = np.hypot(x - 0.3, y + 0.2)
    # a core of mean 1 at 0.2", nothing, and a ring that fills the mean up again to beyond 0.8"
    kappa = np.where(radius < 0.1, 4.0, 0.0) + np.where((radius > 0.5) & (radius < 0.8), 2.0, 0.0)
    found = effective_theta_E(kappa, GRID)
    mass = 4 * 0.1**2 + 2 * (0.8**2 - 0.5**2)
    assert found == pytest.approx(math.sqrt(mass), rel=0.02)
    assert found == pytest.approx(counted(kappa, GRID, 10), rel=1e-9)


def test_mass_beyond_the_largest_circle_hides_no_radius():
    h, w = GRID.shape
    x, y = GRID.from_index(np.arange(w), np.arange(h)[:, None])
    radius = np.hypot(x - 0.3, y + 0.2)
    kappa = isothermal(GRID, 0.5, 1.0, (0.3, -0.2)) * np.where(radius > 1.55, 8, 1)
    found = effective_theta_E(kappa, GRID)
    assert found == pytest.approx(0.5, rel=0.05)
    # of radii that are equal the order is not said
    assert found == pytest.approx(counted(kappa, GRID, 10), rel=1e-6)


@pytest.mark.parametrize("level", [0.0, -1.0, 0.5, 3.0])
def test_none_without_a_circle_of_mean_one_inside(level: float):
    assert math.isnan(effective_theta_E(np.full(GRID.shape, level), GRID))
