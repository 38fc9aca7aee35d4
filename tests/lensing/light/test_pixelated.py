"""A map as a light: the same as the operator on the map, and as the profile that it samples."""

import pytest
import torch

from lensrim.grid import PixelGrid
from lensrim.lensing.interpolation import Bicubic, Bilinear
from lensrim.lensing.light import Gaussian, Pixelated, Sersic, Sum
from lensrim.lensing.psf import gaussian_psf
from lensrim.lensing.simulator import Simulator

GRID = PixelGrid((9, 7), 0.2)
EVERY = pytest.mark.parametrize("interpolation", [Bilinear(), Bicubic()])


@EVERY
def test_a_simulator_sees_the_same_source_either_way(interpolation):
    image = PixelGrid((16, 13), 0.1)
    sim = Simulator(
        image,
        GRID,
        gaussian_psf(0.3, 0.1, 7),
        interpolation=interpolation,
        dtype=torch.float64,
    )
    pixels = torch.rand(2, 9, 7, generator=torch.Generator().manual_seed(0)).double()
    center = torch.tensor([[0.1, 0.0], [-0.05, 0.2]]).double()
    light = Pixelated(pixels, GRID, *center.unbind(-1), interpolation)
    beta = 0.6 * sim.theta
    torch.testing.assert_close(
        sim.render(light, beta), sim.trace(pixels[:, None], beta, source_center=center)
    )
    bulge = Sersic(1.0, 0.1, 2.0)
    torch.testing.assert_close(
        sim.render(Sum([light, bulge]), beta), sim.render(light, beta) + sim.render(bulge, beta)
    )


@pytest.mark.parametrize(("interpolation", "order"), [(Bilinear(), 2), (Bicubic(), 3)])
def test_the_error_falls_with_the_order_of_the_interpolation(interpolation, order: int):
    x, y = PixelGrid((50, 50), 0.017).coordinates(dtype=torch.float64)
    light = Gaussian(1.0, 0.3, 0.1, 0.2)
    errors = []
    for spacing in (0.1, 0.05):
        grid = PixelGrid((int(4 / spacing), int(4 / spacing)), spacing)
        pixels = light.surface_brightness(*grid.coordinates(dtype=torch.float64))
        read = Pixelated(pixels, grid, interpolation=interpolation).surface_brightness(x, y)
        errors.append(float((read - light.surface_brightness(x, y)).abs().max()))
    assert errors[0] / errors[1] > 0.85 * 2**order


def test_a_map_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"grid's shape \(9, 7\) .* got \(7, 9\)"):
        Pixelated(torch.zeros(7, 9), GRID)
