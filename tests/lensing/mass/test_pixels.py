"""Averages of the convergence over pixels."""

import math

import pytest
import torch

from lensrim.grid import PixelGrid
from lensrim.lensing.mass import SIE, pixel_average


def test_the_pixel_of_the_singular_centre_holds_its_average():
    # A round isothermal lens has kappa = theta_E / 2r, and 1/r has a closed integral over a
    # rectangle with one corner at the centre: u asinh(v/u) + v asinh(u/v).
    h, theta_E, cx, cy = 0.1, 0.8, 0.021, -0.033
    kappa = pixel_average(SIE(theta_E, 0.0, 0.0, cx, cy), PixelGrid((9, 9), h))
    sides = [(h / 2 + sx * cx, h / 2 + sy * cy) for sx in (1, -1) for sy in (1, -1)]
    mass = sum(u * math.asinh(v / u) + v * math.asinh(u / v) for u, v in sides)
    assert float(kappa[4, 4]) == pytest.approx(theta_E / 2 * mass / h**2, rel=1e-3)


@pytest.mark.parametrize("center", [(0.0, 0.0), (0.021, -0.013)])
@pytest.mark.parametrize("shape", [(21, 21), (20, 17)])
def test_pixel_averages_add_up_to_the_mass(center, shape):
    grid = PixelGrid(shape, 0.1)
    mass = SIE(0.8, 0.2, 0.1, *center)
    kappa = pixel_average(mass, grid)
    # Gauss: the flux of alpha through the outer edges is twice the mass inside.
    left, right, bottom, top = grid.extent
    n = 4000
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    x, y = left + (right - left) * u, bottom + (top - bottom) * u
    sides = []
    for edge in (left, right):
        sides.append(mass.deflection(torch.full((1, n), edge).double(), y[None])[0].mean())
    for edge in (bottom, top):
        sides.append(mass.deflection(x[None], torch.full((1, n), edge).double())[1].mean())
    flux = (sides[1] - sides[0]) * (top - bottom) + (sides[3] - sides[2]) * (right - left)
    assert float(kappa.sum()) * grid.spacing**2 == pytest.approx(float(flux) / 2, rel=1e-4)
