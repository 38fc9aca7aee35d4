"""Multipoles and the fields of distant mass."""

import pytest
import torch
from masses import points

from lensrim.lensing.mass import Flexion, Multipole


def test_an_order_below_one_is_refused():
    with pytest.raises(ValueError, match="m must be at least 1, got 0: use"):
        Multipole(0, 0.1, 0.0)


def test_the_radius_of_a_dipole_adds_a_uniform_deflection():
    x, y = points()
    near, far = (Multipole(1, 0.02, -0.01, r_E=r) for r in (1.0, 2.0))
    shift = torch.stack(near.deflection(x, y)) - torch.stack(far.deflection(x, y))
    torch.testing.assert_close(shift, shift[..., :1].expand_as(shift))
    torch.testing.assert_close(near.convergence(x, y), far.convergence(x, y))


@pytest.mark.parametrize("m", [1, 3, 4])
def test_a_multipole_has_its_order_and_amplitude(m: int):
    phi = torch.linspace(0, 2 * torch.pi, 50, dtype=torch.float64)[None]
    kappa = Multipole(m, 0.02, -0.01).convergence(2 * phi.cos(), 2 * phi.sin())
    expected = (0.02 * (m * phi).cos() - 0.01 * (m * phi).sin()) / 4
    torch.testing.assert_close(kappa, expected)


def test_flexion_of_mass_outside_has_no_convergence():
    x, y = points()
    kappa = Flexion(0.02, -0.01, -0.02, 0.01).convergence(x, y)
    torch.testing.assert_close(kappa, torch.zeros_like(kappa))
