r"""The subhaloes of a lens: how many, how heavy, where, and what the tides left of them.

They are a Poisson process in mass, :math:`dn/dm \propto m^{-1.9}` of the bound mass, and in space,
with a number density that is that of Einasto and almost constant in the middle of the host,

.. math:: n(r) \propto \exp \left( - \frac{2}{\alpha} \left( \frac{r}{r_{-2}} \right)^\alpha
          \right) , \qquad \alpha = 0.678 , \quad r_{-2} = 0.81 \, r_{200} .

Their number is set by the share :math:`f` of the projected dark matter at the Einstein radius that
is in subhaloes of the masses drawn. Each ends where the host's tides begin,

.. math:: r_t = r \left[ \frac{m}{(2 - d \ln M / d \ln r) \, M(r)} \right]^{1/3} ,

and is what is left, within it, of a halo of the mean concentration of the field (with scatter)
that fell in: that halo's mass is found from :math:`m` and :math:`r_t`, at most a hundred times
:math:`m`.

References:
    Springel et al. 2008, MNRAS 391, 1685 (mass function, radii, tidal radius, their equation 12);
    Gao et al. 2012, MNRAS 425, 2169; Baltz, Marshall & Oguri 2009, JCAP 01, 015 (truncation).
"""

from dataclasses import dataclass
from functools import lru_cache
from math import pi

import numpy as np
from numpy.typing import NDArray

from .clumps import Clumps, truncated_mass
from .dark_halo import RADIUS
from .statistics import concentration

Array = NDArray[np.float64]

ALPHA, PEAK = 0.678, 0.81
"""Shape of the number density, and its radius of slope -2 [r_200]."""
LARGEST = 2.0
"""Where the number density ends [r_200]."""
STRIPPED = 100.0
"""Largest ratio of the mass that fell in and the mass that is left."""


@dataclass(frozen=True, eq=False)
class SubhaloHost:
    """Creates what subhaloes need to know of their host.

    Arguments:
        r_200: Its radius [kpc].
        within: Its total mass within the radii of :data:`~.dark_halo.RADIUS` [M_sun].
        critical: Critical density of the universe [M_sun / kpc^3].
        redshift: Its redshift.
        h: Hubble constant [100 km/s/Mpc].
    """

    r_200: float
    within: Array
    critical: float
    redshift: float
    h: float


@dataclass(frozen=True)
class SubhaloPrior:
    """Creates a population of subhaloes.

    Arguments:
        mass: Range of the bound masses [M_sun].
        slope: Power of the mass function, 1 to 2.
        scatter: Standard deviation of the logarithm (base 10) of the concentration.
    """

    mass: tuple[float, float] = (1e7, 1e10)
    slope: float = 1.9
    scatter: float = 0.11

    def mean_mass(self) -> float:
        """Returns the mean mass [M_sun]."""
        (low, high), p = self.mass, 1 - self.slope
        return p / (p + 1) * (high ** (p + 1) - low ** (p + 1)) / (high**p - low**p)

    def draw_masses(self, rng: np.random.Generator, n: int) -> Array:
        """Draws masses [M_sun], with shape (n)."""
        (low, high), p = self.mass, 1 - self.slope
        return (low**p + rng.uniform(size=n) * (high**p - low**p)) ** (1 / p)


def number_density(r: Array, r_200: float) -> Array:
    """Returns the number density at radii [kpc], 1 at the centre, 0 far outside."""
    inside = np.exp(-2 / ALPHA * (r / (PEAK * r_200)) ** ALPHA)
    return np.where(r < LARGEST * r_200, inside, 0.0)


def column(radius: Array, r_200: float) -> Array:
    """Projects the number density, at projected radii [kpc]; 1 on the axis."""
    return np.asarray(np.interp(np.asarray(radius / r_200), *_columns()))


@lru_cache(maxsize=1)
def _columns() -> tuple[Array, Array]:
    """Tabulates projected radii [r_200] and the projection there."""
    from scipy.integrate import trapezoid

    x = np.linspace(0, LARGEST, 1500)
    z = np.append(0.0, np.geomspace(1e-4, LARGEST, 600))
    whole = float(trapezoid(number_density(z, 1.0), z))
    along = number_density(np.hypot(x[:, None], z), 1.0)
    return x, np.asarray(trapezoid(along, z, axis=1)) / whole


def draw_subhalos(
    rng: np.random.Generator,
    host: SubhaloHost,
    *,
    prior: SubhaloPrior,
    surface: float,
    radius: float,
    reach: float,
    unit: float,
    sigma_critical: float,
) -> Clumps:
    """Draws the subhaloes in the cylinder of a disc.

    Arguments:
        rng: Source of random numbers.
        host: The host.
        prior: The population.
        surface: Mean surface density of the subhaloes at ``radius`` [M_sun / kpc^2].
        radius: Projected radius where it is that [kpc].
        reach: Radius of the disc [kpc].
        unit: Length of an arcsec [kpc].
        sigma_critical: Critical surface density [M_sun / arcsec^2].
    """
    # proposed as if all columns were that of the axis, and thinned: what is kept is exact
    on_axis = surface / float(column(np.asarray(radius), host.r_200))
    proposed = int(rng.poisson(on_axis / prior.mean_mass() * pi * reach**2))
    table = np.linspace(0, LARGEST * host.r_200, 2000)
    steps = number_density(table, host.r_200)
    cumulative = np.append(0.0, np.cumsum((steps[1:] + steps[:-1]) / 2))
    z = np.interp(rng.uniform(size=proposed), cumulative / cumulative[-1], table)
    R = reach * np.sqrt(rng.uniform(size=proposed))
    r = np.hypot(R, z)
    kept = rng.uniform(size=proposed) * number_density(z, host.r_200) < number_density(
        r, host.r_200
    )
    R, r = R[kept], r[kept]
    m, angle = prior.draw_masses(rng, len(R)), rng.uniform(0, 2 * pi, len(R))
    r_t = tidal_radius(m, r, host)
    r_s = _scale_radius(m, r_t, host, 10 ** (prior.scatter * rng.normal(size=len(R))))
    return Clumps(
        mass=m / sigma_critical,
        r_s=r_s / unit,
        r_t=r_t / unit,
        center_x=R * np.cos(angle) / unit,
        center_y=R * np.sin(angle) / unit,
    )


def tidal_radius(mass: Array, r: Array, host: SubhaloHost) -> Array:
    """Computes the tidal radii [kpc] of subhaloes of some masses [M_sun] at radii [kpc]."""
    log_r, log_mass = np.log(RADIUS), np.log(host.within)
    slope = np.interp(np.log(r), log_r, np.gradient(log_mass, log_r))
    within = np.exp(np.interp(np.log(r), log_r, log_mass))
    return r * (mass / (np.maximum(2 - slope, 0.1) * within)) ** (1 / 3)


def _scale_radius(m: Array, r_t: Array, host: SubhaloHost, lucky: Array) -> Array:
    """Finds the scale radii [kpc] of what fell in, of which m is left within r_t."""

    def infall(mass: Array) -> tuple[Array, Array]:
        """Returns the scale radius and the mass of the truncated profile."""
        c = concentration(mass, host.redshift, h=host.h) * lucky
        r_s = (3 * mass / (800 * pi * host.critical)) ** (1 / 3) / c
        return r_s, mass / (np.log1p(c) - c / (1 + c)) * truncated_mass(r_t / r_s)

    low, high = np.zeros_like(m), np.full_like(m, np.log(STRIPPED))
    for _ in range(24):
        middle = (low + high) / 2
        light = infall(m * np.exp(middle))[1] < m
        low, high = np.where(light, middle, low), np.where(light, high, middle)
    return infall(m * np.exp((low + high) / 2))[0]
