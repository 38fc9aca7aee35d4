"""Shapelets: an orthonormal basis, to high orders."""

import math

import pytest
import torch

from lensrim.grid import PixelGrid
from lensrim.lensing.light import Shapelets
from lensrim.lensing.light.shapelets import hermite


@pytest.mark.parametrize(("dtype", "n_max"), [(torch.float64, 200), (torch.float32, 60)])
def test_the_functions_are_orthonormal(dtype, n_max: int):
    t = torch.linspace(-30, 30, 6001, dtype=dtype)
    phi = hermite(t[None], n_max)[:, 0].double()
    product = phi @ phi.T * 0.01
    tolerance = 1e-10 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(product, torch.eye(n_max + 1).double(), rtol=0, atol=tolerance)


def test_the_norm_is_that_of_the_coefficients():
    amp = torch.randn(28, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    grid = PixelGrid((300, 300), 0.03)
    light = Shapelets(amp, 0.4).surface_brightness(*grid.coordinates(dtype=torch.float64))
    norm = float(light.square().sum()) * grid.spacing**2
    assert norm == pytest.approx(0.4**2 * float(amp.square().sum()), rel=1e-9)


def test_the_flux_is_that_of_even_orders():
    grid = PixelGrid((300, 300), 0.03)
    x, y = grid.coordinates(dtype=torch.float64)
    order = [(0, 0), (1, 0), (0, 1), (2, 0), (1, 1), (0, 2)]
    for place, (n1, n2) in enumerate(order):
        amp = torch.eye(6, dtype=torch.float64)[place]
        flux = float(Shapelets(amp, 0.4).surface_brightness(x, y).sum()) * grid.spacing**2
        even = n1 % 2 == n2 % 2 == 0
        # Refregier 2003, eq. 17, for functions of x / beta.
        parts = [2 ** (1 - n) * math.sqrt(math.pi) * math.comb(n, n // 2) for n in (n1, n2)]
        expected = 0.4**2 * math.sqrt(parts[0] * parts[1]) if even else 0.0
        assert flux == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_a_quarter_turn_swaps_the_orders():
    # (x, y) -> (-y, x): phi_n1(x) phi_n2(y) -> (-1)^n1 phi_n1(y) phi_n2(x).
    x, y = PixelGrid((5, 6), 0.2, (0.1, 0.2)).coordinates(dtype=torch.float64)
    amp = torch.tensor([0.3, 1.0, -2.0, 0.5, 0.7, 0.2], dtype=torch.float64)
    turned = torch.tensor([0.3, -2.0, -1.0, 0.2, -0.7, 0.5], dtype=torch.float64)
    torch.testing.assert_close(
        Shapelets(amp, 0.4).surface_brightness(-y, x),
        Shapelets(turned, 0.4).surface_brightness(x, y),
    )


@pytest.mark.parametrize("count", [0, 2, 7])
def test_a_number_of_coefficients_that_is_no_triangle_is_refused(count: int):
    with pytest.raises(ValueError, match="1, 3, 6, 10"):
        Shapelets(torch.zeros(count), 0.4)
