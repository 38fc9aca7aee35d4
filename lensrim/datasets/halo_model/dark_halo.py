r"""The dark halo of a lens galaxy: NFW, and how the stars drew it in.

Without stars the halo is that of Navarro, Frenk & White, its mass :math:`M_{200}` within the
radius :math:`r_{200}` of 200 times the critical density. Stars that gather in its middle draw the
dark matter in. A shell that was at :math:`r` would come to :math:`y \, r`,

.. math::
    y = \frac{M(\bar r)}{M_*(\bar r_y) + (1 - f) M(\bar r)} , \qquad
    \bar r = A \, r_{200} \left( \frac{r}{r_{200}} \right)^w , \qquad
    \bar r_y = A \, r_{200} \left( \frac{y \, r}{r_{200}} \right)^w ,

with :math:`f = M_* / M_{200}`, if it kept the product of the mean radius of its orbits and the
mass within. It comes to :math:`y^\nu r`: :math:`\nu = 1` is the contraction of Gnedin et al.,
:math:`\nu = 0` none, and below 0 the halo expands. (:math:`A = w = 1` would be circular orbits.)

References:
    Navarro, Frenk & White 1997, ApJ 490, 493; Blumenthal et al. 1986, ApJ 301, 27; Gnedin et al.
    2004, ApJ 616, 16 (A = 0.85, w = 0.8); Dutton et al. 2007, ApJ 654, 27 (the power nu).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.polynomial.legendre import leggauss
from numpy.typing import NDArray

from .stars import Stars

Array = NDArray[np.float64]

RADIUS = np.geomspace(1e-2, 3e4, 320)
"""Radii at which profiles are tabulated [kpc]."""
BEYOND = 3.0
"""How far the last power law goes on beyond them [e-foldings]."""


@dataclass(frozen=True)
class NFWHalo:
    """Creates a halo without stars.

    Arguments:
        mass: Mass within ``r_200`` [M_sun].
        r_200: Radius of 200 times the critical density [kpc].
        concentration: Ratio of ``r_200`` and the scale radius.
    """

    mass: float
    r_200: float
    concentration: float

    def within(self, radius: Array) -> Array:
        """Returns the mass [M_sun] within radii [kpc]."""
        whole = float(_share(np.asarray(self.concentration)))
        share = _share(np.asarray(radius * (self.concentration / self.r_200)))
        return np.asarray(self.mass / whole * share)


def _share(x: Array) -> Array:
    """Computes ln(1 + x) - x / (1 + x), without cancellation near 0."""
    small = np.minimum(x, 0.02)
    series = small**2 * (
        1 / 2 - small * (2 / 3 - small * (3 / 4 - small * (4 / 5 - small * 5 / 6)))
    )
    return np.where(x < 0.02, series, np.log1p(x) - x / (1 + x))


@dataclass(frozen=True, eq=False)
class DarkProfile:
    """Creates a round profile of dark matter, tabulated at :data:`RADIUS`.

    Arguments:
        density: Density [M_sun / kpc^3].
        within: Mass within [M_sun].
        surface: Surface density [M_sun / kpc^2].
        projected: Mass within the cylinder [M_sun].
    """

    density: Array
    within: Array
    surface: Array
    projected: Array


def contract(
    halo: NFWHalo, stars: Stars, nu: float, *, A: float = 0.85, w: float = 0.8
) -> DarkProfile:
    """Draws a halo in, and projects it.

    Arguments:
        halo: The halo without stars.
        stars: The stars, whose mass is part of the halo's.
        nu: Strength of the contraction.
        A, w: Mean radius of the orbits.
    """
    from scipy.interpolate import CubicSpline

    share, before = stars.mass / halo.mass, halo.within
    start = RADIUS
    if stars.mass > 0 and nu != 0:
        inner = before(A * halo.r_200 * (start / halo.r_200) ** w)
        # a table in place of the incomplete gamma function
        table = np.geomspace(1e-3 * RADIUS[0], RADIUS[-1], 500)
        log_r, log_stars = np.log(table), np.log(np.maximum(stars.within(table), 1e-30))
        log_first = np.log(A * halo.r_200) + w * np.log(start / halo.r_200)
        low = np.full_like(start, np.log(1e-3))
        high = np.full_like(start, -np.log(1 - share))
        for _ in range(26):
            log_y = (low + high) / 2
            drawn = np.exp(np.interp(log_first + w * log_y, log_r, log_stars))
            far = np.exp(log_y) * (drawn + (1 - share) * inner) > inner  # y is too large
            low, high = np.where(far, low, log_y), np.where(far, log_y, high)
        end = start * np.exp(nu * (low + high) / 2)
    else:
        end = start
    # shells never cross, but for a halo that expands beyond all measure
    log_end = np.maximum.accumulate(np.log(end)) + 1e-9 * np.arange(len(end))
    log_mass = np.log((1 - share) * before(start))
    spline = CubicSpline(log_end, log_mass)
    # beyond the table the outermost power laws are continued
    inside = np.clip(np.log(RADIUS), log_end[0], log_end[-1])
    slope = spline(inside, 1)
    within = np.exp(spline(inside) + slope * (np.log(RADIUS) - inside))
    density = within * slope / (4 * np.pi * RADIUS**3)
    surface = project(density)
    # the first disc, of a power law, then rings
    cusp = np.log(surface[1] / surface[0]) / np.log(RADIUS[1] / RADIUS[0])
    ring = 2 * np.pi * RADIUS**2 * surface
    steps = np.diff(np.log(RADIUS)) * (ring[1:] + ring[:-1]) / 2
    projected = ring[0] / (2 + cusp) + np.append(0.0, np.cumsum(steps))
    return DarkProfile(density=density, within=within, surface=surface, projected=projected)


def project(density: Array) -> Array:
    r"""Projects a round density tabulated at :data:`RADIUS` along the line of sight.

    .. math:: \Sigma(R) = 2 R \int_0^\infty \rho(R \cosh t) \cosh t \, dt
    """
    # the last power law goes on for a while beyond the table
    log_radius, log_density = np.log(RADIUS), np.log(np.maximum(density, 1e-30))
    steepness = (log_density[-1] - log_density[-2]) / (log_radius[-1] - log_radius[-2])
    log_radius = np.append(log_radius, log_radius[-1] + BEYOND)
    log_density = np.append(log_density, log_density[-1] + BEYOND * steepness)
    at, lengths = _rays()
    return np.einsum("rt,rt->r", np.exp(np.interp(at, log_radius, log_density)), lengths)


@lru_cache(maxsize=1)
def _rays(points: int = 64) -> tuple[Array, Array]:
    """Lays points along rays: the logarithms of their radii, and the lengths they stand for."""
    t, weights = leggauss(points)
    longest = np.arccosh(RADIUS[-1] * np.exp(BEYOND) / RADIUS)[:, None]
    t = longest * (t + 1) / 2
    lengths = RADIUS[:, None] * longest * weights * np.cosh(t)
    return np.log(RADIUS)[:, None] + np.log(np.cosh(t)), lengths
