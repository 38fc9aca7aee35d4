"""Isothermal ellipsoids with core and truncation: their limits and their mass."""

import math

import pytest
import torch
from masses import points, values

from lensrim.lensing.mass import DPIE, NIE, SIE

BOTH_TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def test_without_core_it_is_the_singular_ellipsoid():
    x, y = points()
    ours = values(NIE(1.2, 0.0, 0.2, -0.1, 0.05), x, y)
    singular = values(SIE(1.2, 0.2, -0.1, 0.05), x, y)
    torch.testing.assert_close(ours, singular, rtol=1e-9, atol=1e-9)


def test_truncated_far_out_it_is_the_cored_ellipsoid_less_a_sheet():
    x, y = points()
    t = 1e5
    ours, cored = (
        values(DPIE(1.2, 0.2, t, 0.2, -0.1), x, y),
        values(NIE(1.2, 0.2, 0.2, -0.1), x, y),
    )
    for name in ("deflection", "convergence", "shear"):
        torch.testing.assert_close(ours[name], cored[name], rtol=0, atol=3 * 1.2 / t)


def test_it_is_the_difference_of_two_cored_ellipsoids():
    x, y = points()
    ours = values(DPIE(1.2, 0.1, 0.8, 0.2, -0.3), x, y)
    inner, outer = (values(NIE(1.2, s, 0.2, -0.3), x, y) for s in (0.1, 0.8))
    expected = {name: inner[name] - outer[name] for name in inner}
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-9)


@BOTH_TYPES
@pytest.mark.parametrize(("e1", "tolerance"), [(0.0, 3e-6), (0.3, 1e-4)])
def test_far_away_its_deflection_is_that_of_its_mass(dtype, e1: float, tolerance: float):
    # 1000 truncation radii away: the two ellipsoids that are subtracted differ by 1e-3 there,
    # and so much the ellipse's shape may count for.
    theta_E, core, t = 1.1, 0.003, 0.01
    x, y = (torch.tensor([[10.0 * f(0.7)]], dtype=dtype) for f in (math.cos, math.sin))
    ax, ay = DPIE(theta_E, core, t, e1).deflection(x, y)
    mass = theta_E * (t - core)
    expected = mass / 10.0 * (1 - (t + core) / 20.0)
    assert float(torch.hypot(ax, ay)) == pytest.approx(expected, rel=tolerance)
    kappa = float(DPIE(theta_E, core, t).convergence(x, y))
    assert kappa == pytest.approx(theta_E * (t**2 - core**2) / 4 / 1000.0, rel=1e-5)


@BOTH_TYPES
def test_the_core_is_flat(dtype):
    x = torch.zeros(1, 1, dtype=dtype)
    mass = NIE(1.2, 0.3, 0.2, 0.1)
    assert float(mass.convergence(x, x)) == pytest.approx(2.0, rel=1e-6)
    assert torch.stack(mass.deflection(x, x)).abs().max() == 0
