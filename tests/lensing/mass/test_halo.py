"""Haloes against integrals of their densities, their limits, and the seams of their formulas."""

import math

import pytest
import torch
from masses import values
from scipy import integrate
from torch import Tensor

from lensrim.lensing.mass import NFW, TNFW, Hernquist, Mass, PointMass

# Distances in r_s: the centre, r_s itself, both sides of each seam, and far out.
RADII = [1e-3, 0.03, 0.5, 0.799999, 0.800001, 0.95, 1 - 1e-7, 1.0, 1 + 1e-7, 1.05]
RADII += [1.249999, 1.250001, 1.7, 1.999999, 2.000001, 3.0, 10.0, 100.0, 1000.0]
HALOS = {
    "NFW": (NFW(0.3, 1.0), lambda r: 0.3 / (r * (1 + r) ** 2)),
    "Hernquist": (Hernquist(0.3, 1.0), lambda r: 0.3 / (r * (1 + r) ** 3)),
    **{
        f"TNFW {t}": (
            TNFW(0.3, 1.0, t),
            lambda r, t=t: 0.3 / (r * (1 + r) ** 2) * t**2 / (t**2 + r**2),
        )
        for t in (0.1, 1.0, 3.0, 100.0)
    },
}
EVERY = pytest.mark.parametrize(("mass", "density"), HALOS.values(), ids=HALOS.keys())


def along(radii: list[float], dtype=torch.float64) -> tuple[Tensor, Tensor]:
    r = torch.tensor([radii], dtype=dtype)
    return r, torch.zeros_like(r)


def projected(density, x: float) -> float:
    """Integrates a density along the line of sight at distance x."""
    # z = x sinh(t) spreads the cusp at z = 0 and the far side evenly.
    return (
        2
        * integrate.quad(
            lambda t: density(x * math.cosh(t)) * x * math.cosh(t), 0, 40, epsabs=0, limit=400
        )[0]
    )


@EVERY
def test_convergence_is_the_projected_density(mass: Mass, density):
    kappa = mass.convergence(*along(RADII))[0]
    expected = torch.tensor([projected(density, r) for r in RADII], dtype=torch.float64)
    # the softening of 1e-6 is 1e-6 of the square of the smallest distance
    torch.testing.assert_close(kappa, expected, rtol=1e-6, atol=0)


@EVERY
def test_float32_is_accurate_at_every_distance(mass: Mass, density):
    x, y = along(RADII)
    exact = values(mass, x, y)
    for name in ("convergence", "deflection", "shear"):
        single = values(mass, x.float(), y.float())[name].double()
        # The convergence of truncated haloes next to r_t << r_s is what is left of larger terms.
        tolerance = 2e-4 if name == "convergence" else 2e-5
        torch.testing.assert_close(single, exact[name], rtol=tolerance, atol=0)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradients_are_accurate_about_the_scale_radius(mass: Mass, density, dtype):
    # d alpha / dx = kappa + gamma_1 on the axis, and by Taylor's theorem on both sides of r_s
    radii = [1 - 1e-3, 1.0, 1 + 1e-3, 0.8, 1.25, 2.0]
    x, y = along(radii, dtype)
    x.requires_grad_()
    (slope,) = torch.autograd.grad(mass.deflection(x, y)[0].sum(), x)
    z, w = along(radii)
    expected = mass.convergence(z, w) + mass.shear(z, w)[0]
    scale = float(mass.convergence(z, w).max())
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    torch.testing.assert_close(slope.double(), expected, rtol=tolerance, atol=tolerance * scale)


@EVERY
def test_values_join_at_the_seams(mass: Mass, density):
    for seam in (0.8, 1.0, 1.25, 2.0):
        x, y = along([seam * (1 - 1e-13), seam * (1 + 1e-13)])
        for name, value in values(mass, x, y).items():
            low, high = value.unbind(-1)
            torch.testing.assert_close(
                low, high, rtol=1e-10, atol=1e-12, msg=lambda m, n=name: n + m
            )


def test_known_values_at_the_scale_radius():
    one = along([1.0])
    assert float(NFW(0.3, 1.0).convergence(*one)) == pytest.approx(0.2)
    alpha = 4 * 0.3 * (1 - math.log(2))
    assert float(NFW(0.3, 1.0).deflection(*one)[0]) == pytest.approx(alpha)
    assert float(Hernquist(0.3, 1.0).convergence(*one)) == pytest.approx(0.3 * 4 / 15)


def test_a_halo_truncated_far_out_is_not_truncated():
    x, y = along([0.1, 1.0, 3.0])
    cut, whole = values(TNFW(0.3, 1.0, 1e5), x, y), values(NFW(0.3, 1.0), x, y)
    for name in ("convergence", "deflection", "shear"):
        torch.testing.assert_close(cut[name], whole[name], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("truncation", [1e8, 1e9, 1e15])
def test_no_truncation_is_a_number_in_single_precision(truncation: float):
    x, y = (c.float() for c in along([0.5, 1.0, 3.0, 50.0]))
    cut = TNFW(0.1, 1.0, truncation).convergence(x, y)
    torch.testing.assert_close(cut, NFW(0.1, 1.0).convergence(x, y), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("tau", [0.1, 1.0, 30.0])
def test_far_away_a_halo_is_a_point_of_its_mass(tau: float):
    halo = TNFW(0.3, 0.5, 0.5 * tau)
    x, y = along([1e5])
    mass = float(torch.as_tensor(halo.total_mass()))
    expected = PointMass(math.sqrt(mass / math.pi)).deflection(x, y)
    torch.testing.assert_close(halo.deflection(x, y), expected, rtol=1e-3, atol=0)


def test_the_mass_of_a_bulge():
    x, y = along([1e6])
    alpha = float(Hernquist(0.3, 0.5).deflection(x, y)[0])
    assert alpha * 1e6 == pytest.approx(2 * 0.3 * 0.5**2, rel=1e-5)
