"""What is measured before the fit: the structure of the lens galaxy."""

import numpy as np
import pytest
import torch

from lensrim.grid import PixelGrid
from lensrim.inference.framing import structure_noise
from lensrim.inference.lens_light import Frame

GRID = PixelGrid((61, 60), 0.05)
X, Y = (c.numpy() for c in GRID.coordinates(dtype=torch.float64))
RADIUS = np.hypot(X, Y)
LIGHT = 10 * np.exp(-RADIUS / 0.4)
SIGMA = 0.02


def frame() -> Frame:
    shape = GRID.shape
    psf = np.zeros((5, 5))
    psf[2, 2] = 1.0
    sigma, mask = np.full(shape, SIGMA), np.ones(shape, dtype=bool)
    return Frame(LIGHT, sigma, mask, GRID, psf, "effective", 0.1)


def noise(share: float) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.hypot(SIGMA, share * LIGHT) * rng.standard_normal(GRID.shape)


def test_structure_is_measured_whatever_the_arcs():
    residual = noise(0.05) + 3 * np.exp(-((RADIUS - 0.8) ** 2) / 0.05**2)
    structure = structure_noise(residual, LIGHT, frame(), RADIUS)
    bright = LIGHT > 20 * SIGMA
    assert np.median(structure[bright] / LIGHT[bright]) == pytest.approx(0.05, rel=0.25)


def test_a_galaxy_without_structure_adds_little_noise():
    structure = structure_noise(noise(0.0), LIGHT, frame(), RADIUS)
    assert np.median(structure) < 0.5 * SIGMA


def test_no_light_adds_no_noise():
    dark = np.zeros_like(LIGHT)
    assert not structure_noise(noise(0.0), dark, frame(), RADIUS).any()
