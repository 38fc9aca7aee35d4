"""A source prior that follows the light of a source."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lensrim.grid import PixelGrid
from lensrim.inference.envelope import BORDER, FLOOR, WIDTH, climbed, weight_of
from lensrim.inference.inversion import Design, solve
from lensrim.inference.source_modes import SourceModes

GRID = PixelGrid((41, 41), 0.02)
HYPER = torch.tensor([[0.0, math.log(0.1), math.log(0.8), math.log(0.2)]], dtype=torch.float64)
FWHM = 0.1


def cusp_and_inside() -> tuple[np.ndarray, np.ndarray]:
    """The two factors of the envelope of the prior itself, by their formulas."""
    x, y = (c.numpy() for c in GRID.coordinates(dtype=torch.float64))
    r2, core = (x**2 + y**2) / 0.8**2, 0.2
    return (1 + r2 / core**2) ** -0.75, np.clip(1 - 4 * r2, 0, None)


def spot(column: int, row: int) -> np.ndarray:
    source = np.zeros(GRID.shape)
    source[row, column] = 1.0
    return source


def test_the_envelope_is_the_smoothed_light_and_a_floor():
    weight = weight_of(spot(26, 20), np.zeros(GRID.shape), GRID, HYPER, FWHM)
    cusp, inside = cusp_and_inside()
    e = cusp * inside
    blurred = gaussian_filter(cusp, WIDTH * FWHM / 0.02)
    found = weight * np.sqrt(cusp * blurred) * (inside + BORDER)
    i, j = np.mgrid[:41, :41]
    gaussian = np.exp(-((j - 26) ** 2 + (i - 20) ** 2) / (2 * (WIDTH * FWHM / 0.02) ** 2))
    near = (e > 0) & (gaussian > 1e-3)  # beyond four widths the smoothing is cut off
    ratio = found[near] / (gaussian + FLOOR)[near]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-3)
    dark = (e > 0) & (gaussian < 1e-6)
    np.testing.assert_allclose(found[dark] / found[20, 26], FLOOR / (1 + FLOOR), rtol=1e-4)
    assert (weight[e == 0] == 0).all()
    assert np.square(weight * e).sum() == pytest.approx(np.square(e).sum())


def test_where_errors_are_large_there_may_be_light():
    sure = weight_of(spot(20, 20), np.zeros(GRID.shape), GRID, HYPER, FWHM)
    error = np.where(np.arange(41) > 30, 0.05, 0.0) * np.ones((41, 1))
    unsure = weight_of(spot(20, 20), error, GRID, HYPER, FWHM)
    ratio = (unsure / unsure[20, 20]) / np.where(sure > 0, sure / sure[20, 20], 1)
    assert ratio[20, 35] > 5
    assert ratio[20, 5] == pytest.approx(1, rel=0.01)


def test_of_no_light_nothing_follows():
    dark = np.zeros(GRID.shape)
    np.testing.assert_array_equal(weight_of(dark, dark, GRID, HYPER, FWHM), 1)
    np.testing.assert_array_equal(weight_of(-spot(20, 20), dark, GRID, HYPER, FWHM), 1)


@pytest.mark.parametrize("begun", [(0.0, math.log(0.1)), (1.0, math.log(0.05))])
def test_strength_and_length_climb_to_the_maximum_of_the_evidence(begun: tuple[float, float]):
    modes, generator = SourceModes(8), torch.Generator().manual_seed(0)
    true = torch.tensor([[0.5, math.log(0.12), 0.0, math.log(0.2)]], dtype=torch.float64)
    k = len(modes)
    columns = torch.randn(300, k, generator=generator, dtype=torch.float64)
    z = modes.power(true)[0].sqrt() * torch.randn(k, generator=generator, dtype=torch.float64)
    data = 30 * columns @ z + torch.randn(300, generator=generator, dtype=torch.float64)
    columns = 30 * columns
    system = Design(
        columns[None], (columns.T @ columns)[None], (columns.T @ data)[None], data @ data
    )

    def evidence(hyper: torch.Tensor) -> float:
        return float(solve(system, modes, hyper).log_evidence[0])

    start = torch.cat([torch.tensor([begun], dtype=torch.float64), true[:, 2:]], 1)
    found = climbed(system, modes, start)
    np.testing.assert_array_equal(found[:, 2:], true[:, 2:])
    for change in ([0.2, 0.0], [-0.2, 0.0], [0.0, 0.2], [0.0, -0.2]):
        by = torch.tensor([[*change, 0.0, 0.0]], dtype=torch.float64)
        assert evidence(found) > evidence(found + by)
    assert evidence(found) >= evidence(true) - 0.1
