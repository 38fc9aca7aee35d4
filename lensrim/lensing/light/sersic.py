r"""Profiles of galaxies: Sersic, Sersic with a core, exponential."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..mass import CORE, Parameter, _maps
from ..shortcut import Member, Quick, shortcut_to
from .base import radius2
from .brightness import SersicBrightness, brightness, sersic_b


@dataclass(frozen=True)
class Sersic(Quick):
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

    def shortcuts(self) -> list[Member]:
        profile = self.amp, self.R_sersic, self.n_sersic
        place = self.e1, self.e2, self.center_x, self.center_y
        return [(SersicBrightness, profile + place)]

    def surface_brightness(self, x: Tensor, y: Tensor) -> Tensor:
        """Computes the surface brightness.

        Arguments:
            x, y: Coordinates [arcsec], with shape :math:`(*, H, W)`.

        Returns:
            The profile, with the shape of the coordinates, and the batch of the parameters before
            it.
        """
        quick = shortcut_to(self, x, y)
        if quick is not None:
            return quick
        place = self.e1, self.e2, self.center_x, self.center_y
        profile = _maps(x, self.amp, self.R_sersic, self.n_sersic)
        return brightness(radius2(x, y, *place), *profile)


@dataclass(frozen=True)
class CoreSersic:
    r"""Creates a Sersic profile that turns into a power law inside a break radius.

    .. math::
        I = A \left[1 + \left(\frac{R_b}{R}\right)^\alpha\right]^{\gamma / \alpha}
        \exp\left(-b_n \left[\left(\frac{R^\alpha + R_b^\alpha}{R_\mathrm{sersic}^\alpha}
        \right)^{1 / (n \alpha)} - 1\right]\right)

    is a Sersic profile for :math:`R_b = 0`, and :math:`R^{-\gamma}` for :math:`R \ll R_b`. The
    centre is softened within 1e-6 arcsec. Powers are taken as logarithms, so that a sharp break
    (:math:`\alpha` of 100) overflows in no precision.

    Arguments:
        amp: Surface brightness :math:`A` at ``R_sersic`` of the profile without a core.
        R_sersic: Half-light radius of the profile without a core, product-average [arcsec].
        R_b: Break radius :math:`R_b`, product-average [arcsec].
        n_sersic: Index :math:`n`, at least 0.5.
        gamma: Slope :math:`\gamma` of the core, 0 for a flat one.
        e1, e2: Ellipticity.
        center_x, center_y: Centre [arcsec].
        alpha: Sharpness :math:`\alpha` of the break.

    References:
        Graham+ 2003, AJ 125, 2951; Trujillo+ 2004, AJ 127, 1917. The same as lenstronomy's
        ``CORE_SERSIC`` but for :math:`b_n`, which is approximated there.
    """

    amp: Parameter
    R_sersic: Parameter
    R_b: Parameter
    n_sersic: Parameter
    gamma: Parameter
    e1: Parameter = 0.0
    e2: Parameter = 0.0
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0
    alpha: Parameter = 3.0

    def surface_brightness(self, x: Tensor, y: Tensor) -> Tensor:
        """Computes the surface brightness, with the shape of the coordinates."""
        amp, scale, r_b, n, gamma, alpha = _maps(
            x, self.amp, self.R_sersic, self.R_b, self.n_sersic, self.gamma, self.alpha
        )
        log_r = radius2(x, y, self.e1, self.e2, self.center_x, self.center_y).log() / 2
        # log [1 + (R_b / R)^alpha] / alpha; the break is softened as the centre is.
        break_ = F.softplus(alpha * ((r_b**2 + CORE**2).log() / 2 - log_r)) / alpha
        ratio = torch.exp((log_r + break_ - scale.log()) / n)
        return amp * torch.exp(gamma * break_ - sersic_b(n) * (ratio - 1))


@dataclass(frozen=True)
class Exponential:
    r"""Creates an exponential disk, :math:`I = I_0 \exp(-R / R_d)`, of flux
    :math:`2 \pi I_0 R_d^2`.

    The cusp at the centre is softened within 1e-6 arcsec.

    Arguments:
        amp: Surface brightness :math:`I_0` at the centre.
        R_d: Scale length :math:`R_d`, product-average [arcsec]; half of the light is inside
            :math:`1.678 \, R_d`.
        e1, e2: Ellipticity.
        center_x, center_y: Centre [arcsec].

    References:
        Freeman 1970, ApJ 160, 811.
    """

    amp: Parameter
    R_d: Parameter
    e1: Parameter = 0.0
    e2: Parameter = 0.0
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def surface_brightness(self, x: Tensor, y: Tensor) -> Tensor:
        """Computes the surface brightness, with the shape of the coordinates."""
        amp, scale = _maps(x, self.amp, self.R_d)
        r2 = radius2(x, y, self.e1, self.e2, self.center_x, self.center_y)
        return amp * torch.exp(-r2.sqrt() / scale)
