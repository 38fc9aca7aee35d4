"""Derivatives of the deflection against the convergence, closed forms and finite differences."""

import pytest
import torch
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing import jacobian as lens_map
from lensrim.lensing.mass import EPL, SIE, Mass, Multipole, Shear, Sum

MASSES: dict[str, Mass] = {
    "SIE": SIE(1.2, 0.15, -0.1, 0.03, -0.05),
    "EPL": EPL(1.1, 2.3, -0.2, 0.1, 0.02, 0.04),
    "sum": Sum([EPL(1.0, 1.8, 0.1, 0.1), Shear(0.03, 0.02), Multipole(4, 0.02, 0.01)]),
}
EVERY = pytest.mark.parametrize("mass", MASSES.values(), ids=MASSES.keys())
GRID = PixelGrid((7, 10), 0.31, (0.1, 0.2))
BOTH_TYPES = pytest.mark.parametrize(
    ("dtype", "rtol"), [(torch.float32, 1e-4), (torch.float64, 1e-9)]
)


@EVERY
@BOTH_TYPES
def test_the_trace_is_twice_the_convergence_and_nothing_turns(mass: Mass, dtype, rtol: float):
    x, y = GRID.coordinates(dtype=dtype)
    d = lens_map.jacobian(mass, x, y)
    assert d.xx.dtype == dtype and d.xx.shape == x.shape
    torch.testing.assert_close((d.xx + d.yy) / 2, mass.convergence(x, y), rtol=rtol, atol=rtol)
    turn = lens_map.rotation(mass, x, y)
    torch.testing.assert_close(turn, torch.zeros_like(turn), rtol=0, atol=rtol)


@EVERY
def test_the_determinant_is_that_of_convergence_and_shear(mass: Mass):
    x, y = GRID.coordinates(dtype=torch.float64)
    gamma1, gamma2 = lens_map.shear(mass, x, y)
    expected = (1 - mass.convergence(x, y)) ** 2 - gamma1**2 - gamma2**2
    torch.testing.assert_close(lens_map.inverse_magnification(mass, x, y), expected)
    torch.testing.assert_close(lens_map.magnification(mass, x, y), 1 / expected)


@EVERY
def test_derivatives_are_those_of_finite_differences(mass: Mass):
    x, y = GRID.coordinates(dtype=torch.float64)
    step = 1e-5
    d = lens_map.jacobian(mass, x, y)
    along_x = torch.stack(mass.deflection(x + step, y)) - torch.stack(mass.deflection(x - step, y))
    along_y = torch.stack(mass.deflection(x, y + step)) - torch.stack(mass.deflection(x, y - step))
    expected = torch.cat((along_x, along_y)) / (2 * step)
    ours = torch.stack((d.xx, d.yx, d.xy, d.yy))
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-7)


def test_external_shear_and_isothermal_sphere_have_their_closed_forms():
    x, y = GRID.coordinates(dtype=torch.float64)
    gamma1, gamma2 = lens_map.shear(Shear(0.05, -0.08), x, y)
    torch.testing.assert_close(gamma1, torch.full_like(x, 0.05))
    torch.testing.assert_close(gamma2, torch.full_like(x, -0.08))
    # tangential shear of size kappa, against the radius
    r = torch.hypot(x, y)
    gamma1, gamma2 = lens_map.shear(SIE(1.3, 0.0, 0.0), x, y)
    torch.testing.assert_close(gamma1, -1.3 / (2 * r**3) * (x**2 - y**2))
    torch.testing.assert_close(gamma2, -1.3 / (2 * r**3) * 2 * x * y)
    mu = lens_map.magnification(SIE(1.3, 0.0, 0.0), x, y)
    torch.testing.assert_close(mu, 1 / (1 - 1.3 / r), rtol=1e-8, atol=0.0)


def test_an_isothermal_lens_has_magnification_of_both_signs():
    x, y = PixelGrid((40, 40), 0.1).coordinates(dtype=torch.float64)
    mu = lens_map.magnification(MASSES["SIE"], x, y)
    assert bool((mu > 0).any()) and bool((mu < 0).any())


def test_a_batch_of_parameters_and_vmap_are_loops():
    x, y = GRID.coordinates(dtype=torch.float64)
    theta_E = torch.tensor([0.9, 1.1, 1.4], dtype=torch.float64)
    e1 = torch.tensor([0.1, 0.0, -0.2], dtype=torch.float64)

    def of(t: Tensor, e: Tensor) -> Tensor:
        return lens_map.inverse_magnification(SIE(t, e, 0.05), x, y)

    loop = torch.stack([of(t, e) for t, e in zip(theta_E, e1, strict=True)])
    torch.testing.assert_close(of(theta_E, e1), loop)
    torch.testing.assert_close(torch.func.vmap(of)(theta_E, e1), loop)


def test_gradients_reach_the_parameters():
    x, y = PixelGrid((2, 3), 0.7, (0.1, 0.2)).coordinates(dtype=torch.float64)
    p = tuple(
        torch.tensor(v, dtype=torch.float64, requires_grad=True)
        for v in (1.1, 2.1, 0.1, -0.2, 0.03, 0.02)
    )

    def maps(*p: Tensor) -> Tensor:
        return torch.stack((*lens_map.shear(EPL(*p), x, y), lens_map.magnification(EPL(*p), x, y)))

    assert torch.autograd.gradcheck(maps, p)


@pytest.mark.oracle
def test_derivatives_are_those_of_lenstronomy():
    models = pytest.importorskip("lenstronomy.LensModel.lens_model")
    x, y = GRID.coordinates(dtype=torch.float64)
    ours = Sum([EPL(1.2, 2.1, 0.2, -0.1, 0.05, -0.03), Shear(0.04, -0.06)])
    kwargs = [
        {"theta_E": 1.2, "gamma": 2.1, "e1": 0.2, "e2": -0.1, "center_x": 0.05, "center_y": -0.03},
        {"gamma1": 0.04, "gamma2": -0.06},
    ]
    theirs = models.LensModel(["EPL", "SHEAR"]).hessian(x.numpy(), y.numpy(), kwargs)
    d = lens_map.jacobian(ours, x, y)
    for mine, f in zip((d.xx, d.xy, d.yx, d.yy), theirs, strict=True):
        torch.testing.assert_close(mine, torch.from_numpy(f), rtol=1e-6, atol=1e-8)
