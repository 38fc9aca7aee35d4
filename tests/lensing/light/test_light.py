"""Laws of every light: one list of models, one test for each law."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from lights import (
    CENTRE,
    ELLIPSE,
    LIGHTS,
    PROFILES,
    disk_and_bulge,
    multi_gaussian,
    random,
    tensors,
)
from scipy.special import gamma as gamma_function
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.light import (
    CoreSersic,
    Exponential,
    Gaussian,
    Light,
    Sersic,
    Shapelets,
    sersic_b,
)


def number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


ELLIPTICAL = pytest.mark.parametrize(("make", "p"), PROFILES.values(), ids=PROFILES.keys())
EVERY = pytest.mark.parametrize(("make", "numbers"), LIGHTS.values(), ids=LIGHTS.keys())


def batch(numbers: dict[str, Any]) -> dict[str, Tensor]:
    """Three samples: no parameter is the same in two of them."""
    factors = torch.tensor([1.0, 0.9, 1.2], dtype=torch.float64)
    return {k: torch.stack([f * v for f in factors]) for k, v in tensors(numbers).items()}


def points(n: int = 40) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, n, generator=generator, dtype=torch.float64) * 2 - 1
    return x, y


def plane_integral(light: Light, q: float, phi: float) -> float:
    """Integrates over the plane along the ellipses on which a profile is constant."""
    r = torch.logspace(-7, 4, 4001, dtype=torch.float64)[:, None]
    angle = torch.arange(8, dtype=torch.float64) * 2 * math.pi / 8
    u, v = r * angle.cos() / math.sqrt(q), r * angle.sin() * math.sqrt(q)
    x, y = math.cos(phi) * u - math.sin(phi) * v, math.sin(phi) * u + math.cos(phi) * v
    ring = light.surface_brightness(x, y).mean(-1) * 2 * math.pi * r[:, 0] ** 2
    return float(torch.trapezoid(ring, r[:, 0].log()))


@pytest.mark.parametrize("n", [0.5, 1.0, 2.0, 4.0, 8.0])
def test_half_the_light_is_inside_R_sersic(n: float):
    from scipy.special import gammainc

    b = float(sersic_b(number(n)))
    assert gammainc(2 * n, b) == pytest.approx(0.5, abs=2e-4 if n < 1 else 2e-5)


def test_amp_is_the_surface_brightness_at_R_sersic():
    one = torch.ones(1, 1)
    for n in (1.0, 4.0):
        assert float(Sersic(3.0, 1.0, n).surface_brightness(one, 0 * one)) == pytest.approx(3.0)


@ELLIPTICAL
@pytest.mark.parametrize(("q", "phi"), [(1.0, 0.0), (0.5, 0.0), (0.7, 1.1)])
def test_flux_does_not_depend_on_the_axis_ratio(make, p, q: float, phi: float):
    e = (1 - q) / (1 + q)
    light = make(**tensors(p), e1=e * math.cos(2 * phi), e2=e * math.sin(2 * phi))
    flux = plane_integral(light, q, phi)
    round_one = plane_integral(make(**tensors(p)), 1.0, 0.0)
    assert flux == pytest.approx(round_one, rel=1e-9)
    expected = {
        Gaussian: lambda: p["amp"],
        multi_gaussian: lambda: sum(p["amp"]),
        Exponential: lambda: 2 * math.pi * p["amp"] * p["R_d"] ** 2,
        disk_and_bulge: lambda: p["amp"] * (1 + 2 * math.pi * p["R_d"] ** 2),
        Sersic: lambda: sersic_flux(p["amp"], p["R_sersic"], p["n_sersic"]),
    }
    if make in expected:
        assert flux == pytest.approx(expected[make](), rel=1e-6)


def sersic_flux(amp: float, scale: float, n: float) -> float:
    b = float(sersic_b(number(n)))
    return amp * 2 * math.pi * n * scale**2 * math.exp(b) * b ** (-2 * n) * gamma_function(2 * n)


def test_a_core_of_no_radius_is_no_core():
    x, y = points()
    core = CoreSersic(2.0, 0.5, 0.0, 4.0, 0.5, *ELLIPSE.values()).surface_brightness(x, y)
    plain = Sersic(2.0, 0.5, 4.0, *ELLIPSE.values()).surface_brightness(x, y)
    torch.testing.assert_close(core, plain, rtol=1e-6, atol=0)


def test_the_slope_of_a_core_is_gamma():
    r = torch.tensor([[1e-4, 1.1e-4]]).double()
    values = CoreSersic(2.0, 0.5, 0.1, 2.0, 0.4).surface_brightness(r, 0 * r)
    slope = float((values[0, 1] / values[0, 0]).log() / math.log(1.1))
    assert slope == pytest.approx(-0.4, abs=1e-4)


@ELLIPTICAL
def test_profiles_turn(make, p):
    x, y = points()
    turn, e, phi = 0.7, 0.25, 0.4
    c, s = math.cos(turn), math.sin(turn)
    before, after = (
        make(**tensors(p), e1=e * math.cos(2 * angle), e2=e * math.sin(2 * angle))
        for angle in (phi, phi + turn)
    )
    torch.testing.assert_close(
        after.surface_brightness(c * x - s * y, s * x + c * y), before.surface_brightness(x, y)
    )


@EVERY
def test_lights_move(make, numbers):
    x, y = points()
    p = tensors(numbers)
    moved = {**p, "center_x": p["center_x"] + 0.2, "center_y": p["center_y"] - 0.1}
    torch.testing.assert_close(
        make(**moved).surface_brightness(x + 0.2, y - 0.1), make(**p).surface_brightness(x, y)
    )


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_and_gradients_are_finite_at_a_round_centre(make, numbers, dtype):
    grid = PixelGrid((5, 5), 0.1, tuple(CENTRE.values()))
    x, y = (c.requires_grad_() for c in grid.coordinates(dtype=dtype))
    p = {k: v.requires_grad_() for k, v in tensors({**numbers}, dtype).items()}
    p |= {k: torch.zeros((), dtype=dtype, requires_grad=True) for k in ELLIPSE if k in p}
    value = make(**p).surface_brightness(x, y)
    assert value.dtype == dtype
    for g in (value, *torch.autograd.grad(value.sum(), (x, y, *p.values()))):
        assert bool(torch.isfinite(g).all())


@EVERY
def test_single_precision_is_double_precision_rounded(make, numbers):
    x, y = points()
    single, double = (
        make(**tensors(numbers, t)).surface_brightness(x.to(t), y.to(t))
        for t in (torch.float32, torch.float64)
    )
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)


@EVERY
def test_a_batch_of_parameters_is_a_batch_of_lights(make, numbers):
    x, y = points()
    many = batch(numbers)
    together = make(**many).surface_brightness(x, y)
    assert together.shape == (3, *x.shape)
    xs, ys = (torch.stack([c, c + 0.1, c - 0.2]) for c in (x, y))
    apart = make(**many).surface_brightness(xs, ys)
    for i in range(3):
        one = make(**{k: v[i] for k, v in many.items()})
        torch.testing.assert_close(together[i], one.surface_brightness(x, y))
        torch.testing.assert_close(apart[i], one.surface_brightness(xs[i], ys[i]))


@EVERY
def test_lights_work_under_vmap(make, numbers):
    x, y = points()
    many = batch(numbers)
    mapped = torch.func.vmap(lambda p: make(**p).surface_brightness(x, y))(many)
    torch.testing.assert_close(mapped, make(**many).surface_brightness(x, y))


@EVERY
def test_gradients_are_those_of_finite_differences(make, numbers):
    x, y = (c.requires_grad_() for c in points(6))
    p = {k: v.requires_grad_() for k, v in tensors(numbers).items()}

    def f(x: Tensor, y: Tensor, *values: Tensor) -> Tensor:
        return make(**dict(zip(p, values, strict=True))).surface_brightness(x, y)

    assert torch.autograd.gradcheck(f, (x, y, *p.values()))


def test_every_light_is_a_light():
    for make, numbers in LIGHTS.values():
        assert isinstance(make(**tensors(numbers)), Light)


@pytest.mark.parametrize("n", [1, 40])
def test_coordinates_need_no_batch(n: int):
    x, y = (torch.from_numpy(np.linspace(-1, 1, n))[None] for _ in range(2))
    assert Shapelets(random(3, 6), 0.4).surface_brightness(x, y).shape == (3, 1, n)
