"""Laws of the light profiles."""

import math

import pytest
import torch
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.light import Gaussian, MultiGaussian, Sersic, sersic_b

PROFILES = {
    "Sersic 1": lambda *e: Sersic(2.0, 0.5, 1.0, *e),
    "Sersic 4": lambda *e: Sersic(2.0, 0.5, 4.0, *e),
    "Gaussian": lambda *e: Gaussian(2.0, 0.3, *e),
    "multi-Gaussian": lambda *e: MultiGaussian([1.0, 2.0], [0.1, 0.4], *e),
}
EVERY = pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES.keys())


def points() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, 40, generator=generator, dtype=torch.float64) * 2 - 1
    return x, y


def flux(profile) -> float:
    grid = PixelGrid((1200, 1200), 0.01)
    x, y = grid.coordinates(dtype=torch.float64)
    return float(profile.surface_brightness(x, y).sum()) * grid.spacing**2


@pytest.mark.parametrize("n", [0.5, 1.0, 2.0, 4.0, 8.0])
def test_half_the_light_is_inside_R_sersic(n: float):
    from scipy.special import gammainc

    b = float(sersic_b(torch.tensor(n, dtype=torch.float64)))
    assert gammainc(2 * n, b) == pytest.approx(0.5, abs=2e-4 if n < 1 else 2e-5)


def test_amp_is_the_surface_brightness_at_R_sersic():
    one = torch.ones(1, 1)
    for n in (1.0, 4.0):
        assert float(Sersic(3.0, 1.0, n).surface_brightness(one, 0 * one)) == pytest.approx(3.0)


@pytest.mark.parametrize("q", [1.0, 0.5])
def test_flux_does_not_depend_on_the_axis_ratio(q: float):
    e = (1 - q) / (1 + q)
    b = float(sersic_b(torch.tensor(1.0).double()))
    expected = 2.0 * 2 * math.pi * 0.5**2 * math.exp(b) / b**2
    assert flux(Sersic(2.0, 0.5, 1.0, e, 0.0)) == pytest.approx(expected, rel=1e-3)
    assert flux(Gaussian(2.0, 0.3, 0.0, e)) == pytest.approx(2.0, rel=1e-6)
    assert flux(MultiGaussian([1.0, 2.0], [0.1, 0.4], e, 0.0)) == pytest.approx(3.0, rel=1e-6)


@EVERY
def test_profiles_turn_and_move(profile):
    x, y = points()
    turn, e, phi = 0.7, 0.25, 0.4
    c, s = math.cos(turn), math.sin(turn)
    before = profile(e * math.cos(2 * phi), e * math.sin(2 * phi))
    angle = 2 * (phi + turn)
    after = profile(e * math.cos(angle), e * math.sin(angle), 0.2, -0.1)
    torch.testing.assert_close(
        after.surface_brightness(c * x - s * y + 0.2, s * x + c * y - 0.1),
        before.surface_brightness(x, y),
    )


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_finite_at_a_round_centre(profile, dtype):
    x, y = (c.requires_grad_() for c in PixelGrid((5, 5), 0.1).coordinates(dtype=dtype))
    e1, e2 = (torch.zeros((), dtype=dtype, requires_grad=True) for _ in range(2))
    value = profile(e1, e2).surface_brightness(x, y)
    assert value.dtype == dtype
    for g in (value, *torch.autograd.grad(value.sum(), (x, y, e1, e2))):
        assert bool(torch.isfinite(g).all())


@EVERY
def test_a_batch_of_parameters_is_a_batch_of_profiles(profile):
    x, y = points()
    e1, e2 = torch.tensor([0.1, -0.2]).double(), torch.tensor([0.0, 0.3]).double()
    many = profile(e1, e2).surface_brightness(x, y)
    for i in range(2):
        torch.testing.assert_close(many[i], profile(e1[i], e2[i]).surface_brightness(x, y))


@pytest.mark.oracle
@pytest.mark.parametrize(("e1", "e2"), [(0.0, 0.0), (1 / 3, 0.0), (0.1, -0.2)])
def test_profiles_are_those_of_lenstronomy(e1: float, e2: float):
    models = pytest.importorskip("lenstronomy.LightModel.light_model")
    x, y = points()
    shape = {"e1": e1, "e2": e2, "center_x": 0.05, "center_y": -0.1}
    cases = [
        (
            "GAUSSIAN_ELLIPSE",
            {"amp": 2.0, "sigma": 0.3},
            Gaussian(2.0, 0.3, *shape.values()),
            1e-6,
        ),
        (
            "SERSIC_ELLIPSE",
            {"amp": 2.0, "R_sersic": 0.5, "n_sersic": 3.0},
            # lenstronomy approximates b_n to first order.
            Sersic(2.0, 0.5, 3.0, *shape.values()),
            2e-3,
        ),
    ]
    for name, numbers, ours, tolerance in cases:
        theirs = models.LightModel([name]).surface_brightness(
            x[0].numpy(), y[0].numpy(), [{**numbers, **shape}]
        )
        torch.testing.assert_close(
            ours.surface_brightness(x, y)[0], torch.from_numpy(theirs), rtol=tolerance, atol=1e-6
        )
