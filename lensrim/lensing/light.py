r"""Analytic light profiles, constant on ellipses.

.. math:: R^2 = q x'^2 + y'^2 / q = \frac{|z - \epsilon \bar z|^2}{1 - |\epsilon|^2} \, , \qquad
          z = x + i y \, , \quad \epsilon = e_1 + i e_2 = \frac{1 - q}{1 + q} \, e^{2 i \phi} \, ,

with :math:`x'` along the major axis. :math:`R` is the *product-average* radius :math:`\sqrt{a b}`
of the ellipse (COOLEST, lenstronomy), so that the flux does not depend on :math:`q`. Values are
surface brightness at a point, in data units per image pixel; parameters are as in
:mod:`lensrim.lensing.mass`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from .mass import CORE, Parameter, _maps


@runtime_checkable
class Light(Protocol):
    """What every light profile can do."""

    def surface_brightness(self, x: Tensor, y: Tensor) -> Tensor: ...


def sersic_b(n: Tensor) -> Tensor:
    r"""Computes :math:`b_n`, with which half the light is inside :math:`R = R_\mathrm{sersic}`.

    The light inside is half of all to 2e-5 for :math:`n \geq 1`, to 2e-4 for :math:`n = 0.5`.

    References:
        Ciotti & Bertin 1999, A&A 352, 447.
    """
    return (
        2 * n
        - 1 / 3
        + 4 / (405 * n)
        + 46 / (25515 * n**2)
        + 131 / (1148175 * n**3)
        - 2194697 / (30690717750 * n**4)
    )


@dataclass(frozen=True)
class Sersic:
    r"""Creates a Sersic profile, :math:`I = I_R \exp(-b_n ((R / R_\mathrm{sersic})^{1/n} - 1))`.

    The cusp at the centre is softened within 1e-6 arcsec.

    Arguments:
        amp: Surface brightness :math:`I_R` at ``R_sersic``.
        R_sersic: Half-light radius, product-average [arcsec].
        n_sersic: Index :math:`n`, at least 0.5.
        e1, e2: Ellipticity.
        center_x, center_y: Centre [arcsec].
    """

    amp: Parameter
    R_sersic: Parameter
    n_sersic: Parameter
    e1: Parameter = 0.0
    e2: Parameter = 0.0
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def surface_brightness(self, x: Tensor, y: Tensor) -> Tensor:
        """Computes the surface brightness, with the shape of the coordinates."""
        amp, scale, n = _maps(x, self.amp, self.R_sersic, self.n_sersic)
        r2 = _radius2(x, y, self.e1, self.e2, self.center_x, self.center_y)
        ratio = (r2 / scale**2) ** (1 / (2 * n))
        return amp * torch.exp(-sersic_b(n) * (ratio - 1))


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
        r2 = _radius2(x, y, self.e1, self.e2, self.center_x, self.center_y)
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


def _radius2(x: Tensor, y: Tensor, *parameters: Parameter) -> Tensor:
    """Squared product-average radius, softened at the centre [arcsec²]."""
    e1, e2, cx, cy = _maps(x, *parameters)
    x, y = x - cx, y - cy
    wx, wy = x - e1 * x - e2 * y, y + e1 * y - e2 * x
    return (wx**2 + wy**2) / (1 - e1**2 - e2**2) + CORE**2
