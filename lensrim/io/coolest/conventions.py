r"""Each convention in which COOLEST differs from lensrim, as a pair of functions.

============== ========================================== =========================================
quantity       COOLEST                                    lensrim
============== ========================================== =========================================
position angle :math:`\phi_c` in degrees, (-90, 90],      :math:`\phi = \phi_c + 90^\circ`, from
               from :math:`+y`, counter-clockwise         :math:`+x`, counter-clockwise
ellipticity    :math:`q, \phi_c`                          :math:`e_1 + i e_2 = \frac{1 - q}{1 + q}
                                                          e^{2 i \phi}`
shear          :math:`\gamma_{ext}, \phi_{ext}`           :math:`\gamma_1 + i \gamma_2 =
                                                          \gamma_{ext} \, e^{2 i \phi}`, the same
                                                          sign
radii          intermediate axis, :math:`\sqrt{a b}`      the same
NIE            ``theta_E``: mean convergence of 1 inside  ``theta_E``: without the core; its square
               that ellipse                               is that of the other plus twice itself
                                                          times the core
NFW            ``rho_c``, without a unit                  ``kappa_s`` is ``rho_c`` times ``r_s``,
                                                          in units of the critical surface density
                                                          per arcsec, which the template must state
Sersic         :math:`b_n = 1.9992 \, n - 0.3271`         :math:`b_n` to 1e-5: radius and amplitude
                                                          are not the same numbers
brightness     of profiles: per arcsec²; of pixels: per   per native pixel, which is smaller than
               pixel of the image                         one of a binned image
============== ========================================== =========================================

"East of North" is COOLEST's name for its angle; it is one on the sky only where North is up and
East is left. The orientation on the sky is in the header of the image's FITS file.
"""

import math

import torch

from lensrim.errors import InputError
from lensrim.lensing.light import sersic_b

N_SERSIC = (0.5, 10.0)
"""Range of the index of a Sersic profile."""
RHO_C_UNIT = "critical surface density / arcsec"
"""The unit of ``rho_c`` that is written, and asked for."""


def to_polar(first: float, second: float) -> tuple[float, float]:
    """Converts a quantity of spin two, such as a shear, to its size and position angle [deg]."""
    phi = math.degrees(math.atan2(second, first)) / 2 - 90
    return math.hypot(first, second), phi + 180 if phi <= -90 else phi


def from_polar(size: float, phi: float) -> tuple[float, float]:
    """Converts a size and a position angle [deg] to the components of spin two."""
    angle = 2 * math.radians(phi + 90)
    return size * math.cos(angle), size * math.sin(angle)


def to_axis_ratio(e1: float, e2: float) -> tuple[float, float]:
    """Converts an ellipticity to the axis ratio and the position angle [deg]."""
    size, phi = to_polar(e1, e2)
    return (1 - size) / (1 + size), phi


def from_axis_ratio(q: float, phi: float) -> tuple[float, float]:
    """Converts an axis ratio and a position angle [deg] to the ellipticity."""
    return from_polar((1 - q) / (1 + q), phi)


def to_cored_radius(theta_E: float, core: float) -> float:
    r"""Computes the Einstein radius of a :class:`~lensrim.lensing.mass.NIE` with its core.

    The mean convergence inside the ellipse :math:`R` is :math:`\theta_E (\sqrt{s^2 + R^2} - s) /
    R^2`, and 1 at :math:`R^2 = \theta_E^2 - 2 \theta_E s`; not a number if it is 1 nowhere.
    """
    return math.sqrt(theta_E * (theta_E - 2 * core)) if theta_E >= 2 * core else math.nan


def from_cored_radius(theta_E: float, core: float) -> float:
    """Computes the Einstein radius without the core."""
    return core + math.hypot(core, theta_E)


def to_sersic(amp: float, radius: float, n: float) -> tuple[float, float]:
    """Converts amplitude and radius of one and the same Sersic profile to COOLEST's."""
    ours, theirs = _sersic_b(n)
    return amp * math.exp(ours - theirs), radius * (theirs / ours) ** n


def from_sersic(amp: float, radius: float, n: float) -> tuple[float, float]:
    """Converts amplitude and radius from COOLEST's."""
    ours, theirs = _sersic_b(n)
    return amp * math.exp(theirs - ours), radius * (ours / theirs) ** n


def sersic_of(central: float, scale: float, n: float) -> tuple[float, float]:
    r"""Gives :math:`I_0 \exp(-(R / r)^{1 / n})` the amplitude and radius of COOLEST's Sersic."""
    _, theirs = _sersic_b(n)
    return central * math.exp(-theirs), scale * theirs**n


def _sersic_b(n: float) -> tuple[float, float]:
    if not N_SERSIC[0] <= n <= N_SERSIC[1]:
        raise InputError(
            f"the index n must be from {N_SERSIC[0]:g} to {N_SERSIC[1]:g}, found {n:g}: COOLEST"
            " holds no other"
        )
    return float(sersic_b(torch.tensor(n, dtype=torch.float64))), 1.9992 * n - 0.3271
