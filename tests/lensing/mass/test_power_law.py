"""Power laws: what their parameters mean."""

import math

import pytest
import torch
from masses import points
from torch import Tensor

from lensrim.lensing.mass import EPL, SIE, SIS


def test_major_axis_is_counter_clockwise_from_x():
    phi, e = 0.5, 0.3
    mass = SIE(1.0, e * math.cos(2 * phi), e * math.sin(2 * phi))
    along, across = (
        float(mass.convergence(*(torch.tensor([[f(a)]]) for f in (math.cos, math.sin))))
        for a in (phi, phi + math.pi / 2)
    )
    q = (1 - e) / (1 + e)
    # On the axes R is q or 1 / q times the distance, per intermediate axis.
    assert along / across == pytest.approx(1 / q, rel=1e-5)
    assert along == pytest.approx(0.5 / math.sqrt(q), rel=1e-5)


@pytest.mark.parametrize("q", [1.0, 0.7, 0.5])
@pytest.mark.parametrize("gamma", [1.8, 2.0, 2.2])
def test_theta_E_is_on_the_intermediate_axis(q: float, gamma: float):
    # Mean convergence 1 inside the ellipse of semi-axes theta_E / sqrt(q) and theta_E sqrt(q).
    theta_E = 1.3
    mass = EPL(theta_E, gamma, (1 - q) / (1 + q), 0.0)
    phi = (torch.arange(2000, dtype=torch.float64) + 0.5) * (2 * math.pi / 2000)
    x, y = theta_E * phi.cos() / math.sqrt(q), theta_E * phi.sin() * math.sqrt(q)
    ax, ay = mass.deflection(x[None], y[None])
    # The flux of alpha through the ellipse is twice the mass inside.
    normal = torch.stack((theta_E * math.sqrt(q) * phi.cos(), theta_E / math.sqrt(q) * phi.sin()))
    flux = ((ax[0] * normal[0] + ay[0] * normal[1]).mean() * 2 * math.pi).item()
    assert flux / 2 == pytest.approx(math.pi * theta_E**2, rel=1e-6)


@pytest.mark.parametrize("q", [0.999999, 1.0])
def test_the_round_limit_is_exact(q: float):
    e = (1 - q) / (1 + q)
    x, y = points()
    a = torch.stack(SIE(1.2, e, e).deflection(x, y))
    r = (x**2 + y**2).sqrt()
    torch.testing.assert_close(a, torch.stack((1.2 * x / r, 1.2 * y / r)), rtol=1e-5, atol=1e-5)


def test_a_round_isothermal_ellipsoid_is_the_sphere():
    x, y = points()
    ours, sphere = SIE(1.2, 0.0, 0.0, 0.1, -0.2), SIS(1.2, 0.1, -0.2)
    torch.testing.assert_close(ours.shear(x, y), sphere.shear(x, y))
    torch.testing.assert_close(ours.convergence(x, y), sphere.convergence(x, y))
    torch.testing.assert_close(ours.potential(x, y), sphere.potential(x, y))


@pytest.mark.parametrize("e1", [0.0, 9.9e-5, 1.01e-4, 9.9e-3, 1.01e-2, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_functions_of_an_isothermal_ellipsoid_are_the_series(e1: float, dtype):
    x, y = points(30)

    def of(make, dtype) -> tuple[Tensor, ...]:
        p = torch.tensor([1.1, e1, -0.3 * e1], dtype=dtype, requires_grad=True)
        mass = make(*p)
        maps = torch.stack(
            [
                *mass.deflection(x.to(dtype), y.to(dtype)),
                *mass.shear(x.to(dtype), y.to(dtype)),
                mass.convergence(x.to(dtype), y.to(dtype)),
                mass.potential(x.to(dtype), y.to(dtype)),
            ]
        )
        return maps.detach(), *torch.autograd.grad((maps * (1 + x.to(dtype))).sum(), p)

    found = of(SIE, dtype)
    right = of(lambda t, a, b: EPL(t, 2.0, a, b, terms=80), torch.float64)
    tolerance = 3e-4 if dtype == torch.float32 else 1e-8
    for value, expected in zip(found, right, strict=True):
        scale = float(expected.abs().max())
        torch.testing.assert_close(value.double(), expected, rtol=0, atol=tolerance * scale)
