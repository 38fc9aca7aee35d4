"""Sersic mass: half of it within R_sersic, the limits of its quadrature, extreme shapes."""

import math

import pytest
import torch
from masses import points
from scipy import special

from lensrim.lensing.light import Sersic, sersic_b
from lensrim.lensing.mass import SersicMass


@pytest.mark.parametrize("n", [0.5, 0.8, 1.0, 2.0, 4.0, 7.0, 10.0])
def test_the_round_deflection_is_an_incomplete_gamma_function(n: float):
    kappa_e, scale = 0.4, 0.8
    r = torch.tensor([[0.01, 0.05, 0.3, 0.8, 2.0, 10.0, 100.0]], dtype=torch.float64)
    ours = SersicMass(kappa_e, scale, n).deflection(r, torch.zeros_like(r))[0]
    b = float(sersic_b(torch.tensor(n, dtype=torch.float64)))
    inside = torch.from_numpy(special.gammainc(2 * n, b * (r.numpy() / scale) ** (1 / n)))
    total = 2 * n * kappa_e * scale**2 * math.exp(b) * b ** (-2 * n) * special.gamma(2 * n)
    torch.testing.assert_close(ours, total * inside / r, rtol=1e-7, atol=0)


@pytest.mark.parametrize("n", [1.0, 4.0])
def test_half_of_the_mass_is_inside_its_ellipse(n: float):
    q, scale = 0.5, 1.3
    mass = SersicMass(0.4, scale, n, (1 - q) / (1 + q), 0.0)

    def inside(radius: float) -> float:
        phi = (torch.arange(2000, dtype=torch.float64) + 0.5) * (2 * math.pi / 2000)
        a, b = radius / math.sqrt(q), radius * math.sqrt(q)
        ax, ay = mass.deflection(a * phi.cos()[None], b * phi.sin()[None])
        # The flux of alpha through the ellipse is twice the mass inside.
        return float((ax[0] * b * phi.cos() + ay[0] * a * phi.sin()).mean() * math.pi)

    assert inside(scale) / inside(1e4 * scale) == pytest.approx(0.5, rel=1e-4)


def test_mass_follows_light():
    x, y = points()
    shape = (0.9, 3.0, 0.2, -0.1, 0.05, 0.03)
    ours = SersicMass(0.4, *shape).convergence(x, y)
    torch.testing.assert_close(ours, Sersic(0.4, *shape).surface_brightness(x, y))


@pytest.mark.parametrize("n", [0.5, 1.0, 4.0, 10.0])
def test_the_quadrature_holds_for_flat_galaxies(n: float):
    # q = 0.3: the divergence of the deflection, by automatic differentiation, is twice kappa.
    x, y = (c.requires_grad_() for c in points())
    mass = SersicMass(0.4, 0.9, n, 0.7 / 1.3, 0.0)
    ax, ay = mass.deflection(x, y)
    (xx,) = torch.autograd.grad(ax.sum(), x, retain_graph=True)
    (yy,) = torch.autograd.grad(ay.sum(), y)
    kappa = mass.convergence(x, y)
    torch.testing.assert_close((xx + yy) / 2, kappa, rtol=1e-5, atol=1e-6)
