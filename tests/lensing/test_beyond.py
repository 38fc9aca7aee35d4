"""The deflection of mass beyond a map: the shear in it, and the rest."""

import torch

from lensrim.grid import PixelGrid
from lensrim.lensing.beyond import part_shear
from lensrim.lensing.mass import Shear


def test_a_shear_and_a_constant_are_told_apart():
    grid = PixelGrid((19, 14), 0.1)
    x, y = grid.coordinates(dtype=torch.float64)
    field = torch.stack(Shear(0.04, -0.03).deflection(x, y))
    constant = torch.tensor([0.2, -0.1], dtype=torch.float64)[:, None, None]
    weight = torch.rand(1, 1, 19, 14, generator=torch.Generator().manual_seed(0))
    shear, rest = part_shear((field + constant)[None], grid, weight)
    torch.testing.assert_close(shear[0], torch.tensor([0.04, -0.03], dtype=torch.float64))
    torch.testing.assert_close(rest[0], constant.expand_as(rest[0]))


def test_higher_orders_are_no_shear():
    # the gradient of Re z^4, which a square frame lacks of a round lens
    grid = PixelGrid((20, 20), 0.1)
    x, y = grid.coordinates(dtype=torch.float64)
    z = torch.complex(x, y)
    field = 4 * z.conj() ** 3
    missing = torch.stack([field.real, field.imag])[None]
    ring = ((z.abs() > 0.5) & (z.abs() < 0.8))[None, None]
    shear, rest = part_shear(missing, grid, ring.double())
    torch.testing.assert_close(shear, torch.zeros_like(shear), rtol=0, atol=1e-12)
    torch.testing.assert_close(rest, missing)
