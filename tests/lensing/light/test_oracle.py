"""The lights of lenstronomy: 1e-6 relative, with its approximation of b_n undone."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.light import (
    CoreSersic,
    Exponential,
    Gaussian,
    Light,
    MultiGaussian,
    Pixelated,
    Sersic,
    Shapelets,
    sersic_b,
)

pytestmark = pytest.mark.oracle

AMP, SCALE = st.floats(0.1, 10.0), st.floats(0.1, 2.0)
# No zero: at |e| < 1e-4 lenstronomy limits the axis ratio to 0.9999.
ELLIPTICITY = st.floats(0.02, 0.3) | st.floats(-0.3, -0.02)
ELLIPSE = st.fixed_dictionaries(
    {
        "e1": ELLIPTICITY,
        "e2": ELLIPTICITY,
        "center_x": st.floats(-0.3, 0.3),
        "center_y": st.floats(-0.3, 0.3),
    }
)


def points() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, y = torch.rand(2, 1, 60, generator=generator, dtype=torch.float64) * 4 - 2
    return x, y


def of_lenstronomy(name: str, numbers: dict[str, Any], x: Tensor, y: Tensor) -> Tensor:
    models = pytest.importorskip("lenstronomy.LightModel.light_model")
    model = models.LightModel([name])
    return torch.from_numpy(model.surface_brightness(x[0].numpy(), y[0].numpy(), [numbers]))


def agree(light: Light, name: str, numbers: dict[str, Any], atol: float = 1e-300) -> None:
    # Numbers too small to be normal have few digits.
    x, y = points()
    theirs = of_lenstronomy(name, numbers, x, y)
    ours = light.surface_brightness(x, y)[0]
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=atol)


def undone(amp: float, scale: float, n: float) -> dict[str, float]:
    """The numbers that give the profile with the exact b_n where it is 1.9992 n - 0.3271."""
    b, b_theirs = sersic_b(torch.tensor(n, dtype=torch.float64)).item(), 1.9992 * n - 0.3271
    return {
        "amp": amp * math.exp(b - b_theirs),
        "R_sersic": scale * (b_theirs / b) ** n,
        "n_sersic": n,
    }


@settings(deadline=None)
@given(AMP, SCALE, st.floats(0.5, 8.0), ELLIPSE)
def test_sersic(amp, scale, n, shape):
    ours = Sersic(amp, scale, n, **shape)
    agree(ours, "SERSIC_ELLIPSE", {**undone(amp, scale, n), **shape})


@settings(deadline=None)
@given(AMP, SCALE, st.floats(0.01, 1.0), st.floats(0.5, 8.0), st.floats(0.0, 1.0), ELLIPSE)
def test_core_sersic(amp, scale, r_b, n, gamma, shape):
    ours = CoreSersic(amp, scale, r_b, n, gamma, **shape)
    numbers = {**undone(amp, scale, n), "Rb": r_b, "gamma": gamma, **shape}
    agree(ours, "CORE_SERSIC", numbers)


@settings(deadline=None)
@given(AMP, SCALE, ELLIPSE)
def test_exponential_is_sersic_with_index_one(amp, scale, shape):
    b = 1.9992 - 0.3271
    numbers = {
        "amp": amp * math.exp(-b),
        "R_sersic": b * scale,
        "n_sersic": 1.0,
    }
    agree(Exponential(amp, scale, **shape), "SERSIC_ELLIPSE", {**numbers, **shape})


@settings(deadline=None)
@given(AMP, SCALE, ELLIPSE)
def test_gaussian(amp, sigma, shape):
    agree(Gaussian(amp, sigma, **shape), "GAUSSIAN_ELLIPSE", {"amp": amp, "sigma": sigma, **shape})


@settings(deadline=None)
@given(st.lists(st.tuples(AMP, SCALE), min_size=1, max_size=4), ELLIPSE)
def test_multi_gaussian(parts, shape):
    amp, sigma = (list(t) for t in zip(*parts, strict=True))
    numbers = {"amp": amp, "sigma": sigma, **shape}
    agree(MultiGaussian(amp, sigma, **shape), "MULTI_GAUSSIAN_ELLIPSE", numbers)


@settings(deadline=None)
@given(st.integers(0, 15), st.floats(0.2, 1.0), st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_shapelets(n_max, beta, center_x, center_y):
    count = (n_max + 1) * (n_max + 2) // 2
    amp = torch.randn(count, generator=torch.Generator().manual_seed(n_max), dtype=torch.float64)
    ours = Shapelets(amp, beta, center_x, center_y)
    numbers = {"amp": amp.numpy(), "n_max": n_max, "beta": beta}
    # A sum of both signs: relative to its terms, not to what they leave.
    agree(ours, "SHAPELETS", {**numbers, "center_x": center_x, "center_y": center_y}, 1e-10)


@settings(deadline=None)
@given(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))
def test_pixelated_bilinear(center_x, center_y):
    grid = PixelGrid((9, 12), 0.3)
    pixels = torch.rand(9, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    numbers = {"image": pixels.numpy(), "amp": 1.0, "scale": 0.3, "phi_G": 0.0}
    ours = Pixelated(pixels, grid, center_x, center_y)
    numbers |= {"center_x": center_x, "center_y": center_y}
    agree(ours, "INTERPOL", numbers, 1e-12)
