"""The lights that the laws are tested on: how they are made, and their numbers by name."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.interpolation import Bicubic, Bilinear
from lensrim.lensing.light import (
    CoreSersic,
    Exponential,
    Gaussian,
    Light,
    MultiGaussian,
    Pixelated,
    Sersic,
    Shapelets,
    Sum,
)

MAP = PixelGrid((6, 5), 0.4)


def pixelated(interpolation) -> Callable[..., Light]:
    return lambda pixels, **centre: Pixelated(pixels, MAP, **centre, interpolation=interpolation)


def multi_gaussian(amp, sigma, **shape) -> Light:
    return MultiGaussian(amp.unbind(-1), sigma.unbind(-1), **shape)


def disk_and_bulge(amp, sigma, R_d, **shape) -> Light:
    return Sum([Gaussian(amp, sigma, **shape), Exponential(amp, R_d, **shape)])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PROFILES: dict[str, tuple[Any, dict[str, Any]]] = {
    "Sersic 1": (Sersic, {"amp": 2.0, "R_sersic": 0.5, "n_sersic": 1.0}),
    "Sersic 4": (Sersic, {"amp": 2.0, "R_sersic": 0.5, "n_sersic": 4.0}),
    "core-Sersic": (
        CoreSersic,
        {"amp": 2.0, "R_sersic": 0.8, "R_b": 0.2, "n_sersic": 4.0, "gamma": 0.3, "alpha": 3.0},
    ),
    "sharp core": (
        CoreSersic,
        {"amp": 2.0, "R_sersic": 0.8, "R_b": 0.2, "n_sersic": 2.0, "gamma": 0.0, "alpha": 100.0},
    ),
    "exponential": (Exponential, {"amp": 2.0, "R_d": 0.4}),
    "Gaussian": (Gaussian, {"amp": 2.0, "sigma": 0.3}),
    "multi-Gaussian": (multi_gaussian, {"amp": [1.0, 2.0], "sigma": [0.1, 0.4]}),
    "sum": (disk_and_bulge, {"amp": 2.0, "sigma": 0.1, "R_d": 0.5}),
}
"""Profiles that are constant on ellipses: they take ``e1`` and ``e2``."""
BASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "shapelets": (Shapelets, {"amp": random(15).tolist(), "beta": 0.4}),
    "bilinear": (pixelated(Bilinear()), {"pixels": random(*MAP.shape).tolist()}),
    "bicubic": (pixelated(Bicubic()), {"pixels": random(*MAP.shape).tolist()}),
}
ELLIPSE = {"e1": 0.1, "e2": -0.2}
CENTRE = {"center_x": 0.05, "center_y": -0.1}
LIGHTS = {
    **{name: (make, {**p, **ELLIPSE, **CENTRE}) for name, (make, p) in PROFILES.items()},
    **{name: (make, {**p, **CENTRE}) for name, (make, p) in BASES.items()},
}


def tensors(numbers: dict[str, Any], dtype=torch.float64) -> dict[str, Tensor]:
    return {name: torch.tensor(value, dtype=dtype) for name, value in numbers.items()}
