r"""How many haloes there are, and how concentrated: the mass function and the concentration.

The number of haloes per comoving volume is that of Sheth & Tormen,

.. math::
    \frac{dn}{d \ln M} = \frac{\bar\rho_m}{M} \left| \frac{d \ln \sigma}{d \ln M} \right|
    A \sqrt{\frac{2 a}{\pi}} \left[ 1 + \left( \frac{\sigma^2}{a \delta_c^2} \right)^p \right]
    \frac{\delta_c}{\sigma} \exp \left( - \frac{a \delta_c^2}{2 \sigma^2} \right) ,

with :math:`A = 0.3222, a = 0.707, p = 0.3, \delta_c = 1.686` and :math:`\sigma(M, z)` the scatter
of the linear density in spheres that hold :math:`M` on average, from a power spectrum
:math:`k^{n_s} T(k)^2` with the transfer function of Eisenstein & Hu without its wiggles.

Not guaranteed: masses below 1e6 M_sun, and what is not cold dark matter.

References:
    Sheth & Tormen 1999, MNRAS 308, 119; Eisenstein & Hu 1998, ApJ 496, 605, equations 26 to 31;
    Dutton & Macciò 2014, MNRAS 441, 3359, equations 7, 10 and 11.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...lensing.cosmology import find_cosmology

Array = NDArray[np.float64]

SIGMA_8, N_S = 0.8102, 0.9665
"""Of Planck 2018, for cosmologies that do not say."""
DELTA_C = 1.686
"""Linear overdensity at which a sphere collapses."""
LOG_MASS = np.linspace(np.log(1e5), np.log(1e16), 160)
"""Logarithms of the masses [M_sun] at which the scatter is tabulated."""


@dataclass(frozen=True, eq=False)
class MassFunction:
    r"""Creates the mass function of one cosmology; see :func:`mass_function`.

    Arguments:
        density: Mean comoving density of matter [M_sun / Mpc^3].
        sigma: Scatter :math:`\sigma(M)` today, at :data:`LOG_MASS`.
        redshift, growth: Growth :math:`D(z)`, 1 today, at redshifts.
    """

    density: float
    sigma: Array
    redshift: Array
    growth: Array

    def number_density(self, mass: ArrayLike, z: ArrayLike) -> Array:
        """Returns dn/dlnM [comoving Mpc^-3], broadcast over masses [M_sun] and redshifts."""
        mass, z = (np.asarray(a, dtype=np.float64) for a in (mass, z))
        log_sigma, slope = np.log(self.sigma), np.gradient(np.log(self.sigma), LOG_MASS)
        sigma = np.exp(np.interp(np.log(mass), LOG_MASS, log_sigma))
        sigma = sigma * np.interp(z, self.redshift, self.growth)
        height = 0.707 * (DELTA_C / sigma) ** 2
        f = 0.3222 * np.sqrt(2 * height / np.pi) * (1 + height**-0.3) * np.exp(-height / 2)
        slope = np.abs(np.interp(np.log(mass), LOG_MASS, slope))
        return np.asarray(self.density / mass * f * slope)


def mass_function(cosmology: Any = "Planck18") -> MassFunction:
    """Makes the mass function of one of astropy's cosmologies, or of its name.

    The amplitude and the tilt of the spectrum are the ``sigma8`` and ``n`` that the cosmology
    carries, else :data:`SIGMA_8` and :data:`N_S`.

    Raises:
        InputError: If the cosmology is unknown.
    """
    model = find_cosmology(cosmology)
    from astropy import units

    per_volume = units.M_sun / units.Mpc**3  # type: ignore[operator]
    density = float(model.critical_density0.to_value(per_volume)) * float(model.Om0)
    known = dict(model.meta)
    baryons = float(model.Ob0 or 0.0)
    table = _scatter(
        float(model.h),
        float(model.Om0),
        baryons if baryons > 0 else 0.16 * float(model.Om0),
        float(known.get("sigma8", SIGMA_8)),
        float(known.get("n", N_S)),
        density,
    )
    z = np.expm1(np.linspace(0, np.log(1001), 2001))
    # D ~ H(a) times the integral of da / (a H)^3, that is of (1 + z) / H^3 over dz from z on
    rate = np.asarray(model.efunc(z), dtype=np.float64)
    values = (1 + z) / rate**3
    steps = np.diff(z) * (values[1:] + values[:-1]) / 2
    growth = rate * np.append(np.cumsum(steps[::-1])[::-1], 0.0)
    return MassFunction(density=density, sigma=table, redshift=z, growth=growth / growth[0])


@lru_cache(maxsize=8)
def _scatter(
    h: float, omega_m: float, omega_b: float, sigma_8: float, n_s: float, density: float
) -> Array:
    """Tabulates the scatter of the linear density today at the masses of the table."""
    from scipy.integrate import trapezoid

    k = np.geomspace(1e-5, 1e5, 2500)  # [1 / Mpc]
    power = k**n_s * transfer(k, h=h, omega_m=omega_m, omega_b=omega_b) ** 2
    radii = np.append((3 * np.exp(LOG_MASS) / (4 * np.pi * density)) ** (1 / 3), 8 / h)
    x = radii[:, None] * k
    small = x < 1e-2
    safe = np.where(small, 1.0, x)
    window = np.where(small, 1 - x**2 / 10, 3 * (np.sin(safe) / safe - np.cos(safe)) / safe**2)
    variance: Array = trapezoid(power * k**3 * window**2, np.log(k), axis=1)
    return sigma_8 * np.sqrt(variance[:-1] / variance[-1])


def transfer(k: Array, *, h: float, omega_m: float, omega_b: float) -> Array:
    """Computes the transfer function at wave numbers [1 / Mpc], without wiggles.

    Arguments:
        k: Comoving wave numbers.
        h: Hubble constant [100 km/s/Mpc].
        omega_m, omega_b: Density parameters of all matter and of baryons today.
    """
    m, b, share = omega_m * h**2, omega_b * h**2, omega_b / omega_m
    theta = 2.7255 / 2.7
    sound = 44.5 * np.log(9.83 / m) / np.sqrt(1 + 10 * b**0.75)  # [Mpc]
    alpha = 1 - 0.328 * np.log(431 * m) * share + 0.38 * np.log(22.3 * m) * share**2
    shape = omega_m * h * (alpha + (1 - alpha) / (1 + (0.43 * k * sound) ** 4))
    q = k / h * theta**2 / shape
    log = np.log(2 * np.e + 1.8 * q)
    return log / (log + (14.2 + 731 / (1 + 62.5 * q)) * q**2)


def concentration(mass: ArrayLike, z: ArrayLike, *, h: float) -> Array:
    r"""Computes the mean concentration :math:`c_{200}` of haloes.

    .. math:: \log c = a + b \log (M_{200} h / 10^{12} M_\odot) , \qquad
              a = 0.520 + 0.385 \, e^{-0.617 z^{1.21}} , \quad b = -0.101 + 0.026 \, z

    It was measured from 1e10 M_sun on, and is continued below.

    Arguments:
        mass: Masses :math:`M_{200}` within 200 times the critical density [M_sun].
        z: Redshifts.
        h: Hubble constant [100 km/s/Mpc].
    """
    z = np.asarray(z, dtype=np.float64)
    a = 0.520 + (0.905 - 0.520) * np.exp(-0.617 * z**1.21)
    b = -0.101 + 0.026 * z
    log_mass = np.log10(np.asarray(mass, dtype=np.float64) * h / 1e12)
    return np.asarray(10 ** (a + b * log_mass))
