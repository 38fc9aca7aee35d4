"""Elliptical Gaussians, one or many."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..mass import Parameter, _maps
from .base import radius2


@dataclass(frozen=True)
class Gaussian:
    r"""Creates an elliptical Gaussian, :math:`I = A / (2 \pi \sigma^2) \exp(-R^2 / 2 \sigma^2)`.

    Arguments:
        amp: Integral :math:`A` over the plane [data units × arcsec² per image pixel].
        sigma: Product-average width :math:`\sigma` [arcsec].
        e1, e2: Ellipticity.
        center_x, center_y: Centre [arcsec].
    """

    amp: Parameter
    sigma: Parameter
    e1: Parameter = 0.0
    e2: Parameter = 0.0
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def surface_brightness(self, x: Tensor, y: Tensor) -> Tensor:
        """Computes the surface brightness, with the shape of the coordinates."""
        amp, sigma = _maps(x, self.amp, self.sigma)
        r2 = radius2(x, y, self.e1, self.e2, self.center_x, self.center_y)
        return amp / (2 * math.pi * sigma**2) * torch.exp(-r2 / (2 * sigma**2))


@dataclass(frozen=True)
class MultiGaussian:
    r"""Creates a sum of Gaussians that share centre and ellipticity.

    Arguments:
        amp: Integral of each [data units × arcsec² per image pixel].
        sigma: Product-average width of each [arcsec].
        e1, e2: Ellipticity.
        center_x, center_y: Centre [arcsec].

    References:
        Cappellari 2002, MNRAS 333, 400.
    """

    amp: Sequence[Parameter]
    sigma: Sequence[Parameter]
    e1: Parameter = 0.0
    e2: Parameter = 0.0
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def surface_brightness(self, x: Tensor, y: Tensor) -> Tensor:
        """Computes the surface brightness, with the shape of the coordinates."""
        shared = (self.e1, self.e2, self.center_x, self.center_y)
        parts = [
            Gaussian(a, s, *shared).surface_brightness(x, y)
            for a, s in zip(self.amp, self.sigma, strict=True)
        ]
        return sum(parts[1:], parts[0])
