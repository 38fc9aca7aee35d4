r"""The slope of the total density of a round lens, in the four senses that the word has.

For :math:`\rho \propto r^{-\gamma}` all of them are :math:`\gamma`; for stars in a halo they are
not the same number:

- *measured*: the power law that has both the mass within the Einstein radius and the velocity
  dispersion of the stars in an aperture, their orbits isotropic. It is what Koopmans et al. and
  Auger et al. publish (mean 2.078, intrinsic scatter 0.16 for the 73 lenses of SLACS);
- *weighted*: :math:`3 - 4 \pi r^3 \rho / M(r)`, the mean of the local slope, weighted by mass,
  within the Einstein radius;
- *local*: :math:`- d \ln \rho / d \ln r` at the Einstein radius;
- *lensing*: what the images alone say: :math:`\gamma = 2 + \xi` with
  :math:`\xi = \theta_E \alpha'' / (1 - \alpha')` at the Einstein radius, free of the mass sheet.

Orbits have the anisotropy :math:`\beta = 1 - \sigma_t^2 / \sigma_r^2`, the same everywhere, though
the power laws are fitted as if it were 0, as the papers do. The radial dispersion and that within
a cylinder of radius :math:`R_a` are

.. math::
    \rho_* \sigma_r^2 = r^{-2 \beta} \int_r^\infty \rho_* \frac{G M}{r^2} \, r^{2 \beta} \, dr ,
    \qquad
    \sigma_a^2 = \frac{4 \pi}{M_*(< R_a)} \int_0^\infty \rho_* \sigma_r^2 \, r \left[ (1 - \beta)
    (r - s) + \beta \, \frac{r^3 - s^3}{3 r^2} \right] dr ,

with :math:`s^2 = (r^2 - R_a^2)_+`.

References:
    Koopmans et al. 2006, ApJ 649, 599; Auger et al. 2010, ApJ 724, 511; Dutton & Treu 2014, MNRAS
    438, 3594 (weighted); Sonnenfeld 2018, MNRAS 474, 4648, and Birrer 2021, ApJ 919, 38 (lensing);
    Binney & Mamon 1982, MNRAS 200, 361 (anisotropic orbits).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .dark_halo import RADIUS, DarkProfile
from .stars import Stars

Array = NDArray[np.float64]

GRAVITY = 4.300917e-6
"""Constant of gravity [kpc (km/s)^2 / M_sun]."""
SLOPES = np.linspace(1.05, 2.95, 96)
"""Slopes of the power laws that are tried."""


@dataclass(frozen=True)
class Slopes:
    """Creates the four slopes; see the module.

    Arguments:
        measured, weighted, local, lensing: The slopes.
        sigma: Velocity dispersion in the aperture [km/s].
    """

    measured: float
    weighted: float
    local: float
    lensing: float
    sigma: float


def measure_slopes(
    stars: Stars,
    dark: DarkProfile,
    *,
    radius: float,
    surface: Array,
    projected: Array,
    aperture: float,
    beta: float = 0.0,
) -> Slopes:
    """Measures the slopes of a lens.

    Arguments:
        stars: The stars.
        dark: The dark matter.
        radius: Einstein radius [kpc].
        surface, projected: Surface density [M_sun / kpc^2] and mass within the cylinder [M_sun] of
            the lens as it is seen, at the radii of the profiles.
        aperture: Radius of the cylinder in which the dispersion is measured [kpc].
        beta: Anisotropy of the orbits.
    """

    def at(values: Array) -> float:
        return float(np.exp(np.interp(np.log(radius), np.log(RADIUS), np.log(values))))

    mass = stars.within(RADIUS) + dark.within
    density = stars.density(RADIUS) + dark.density
    local = -np.gradient(np.log(density), np.log(RADIUS))
    # alpha = m / R of the mean convergence m = M / (pi R^2): alpha' and alpha'' from two radii
    kappa_slope = float(
        np.interp(np.log(radius), np.log(RADIUS), np.gradient(np.log(surface), np.log(RADIUS)))
    )
    kappa = at(surface) * np.pi * radius**2 / at(projected)
    # with a mean of 1: alpha' = 2 kappa - 1 and R alpha'' = 2 (kappa s - kappa + 1), s its slope
    xi = 2 * (kappa * kappa_slope - kappa + 1) / (2 - 2 * kappa)
    sigma2 = float(dispersion2(stars, mass[None], aperture, beta=beta)[0])
    return Slopes(
        measured=_power_law(stars, sigma2, radius, at(projected), aperture),
        weighted=3 - 4 * np.pi * radius**3 * at(density) / at(mass),
        local=float(np.interp(np.log(radius), np.log(RADIUS), local)),
        lensing=2 + xi,
        sigma=float(np.sqrt(sigma2)),
    )


def dispersion2(stars: Stars, mass: Array, aperture: float, *, beta: float = 0.0) -> Array:
    """Computes squared dispersions along the line of sight, in a cylinder [(km/s)^2].

    Arguments:
        stars: The stars.
        mass: Total masses within the radii of the profiles [M_sun], with shape (N, R).
        aperture: Radius of the cylinder [kpc].
        beta: Anisotropy of the orbits, below 1.
    """
    from scipy.integrate import trapezoid

    r, log_r = RADIUS, np.log(RADIUS)
    force = GRAVITY * stars.density(r) * mass * r ** (2 * beta - 1)  # over d ln r
    steps = np.diff(log_r) * (force[:, 1:] + force[:, :-1]) / 2
    pressure = np.cumsum(steps[:, ::-1], axis=1)[:, ::-1] * r[:-1] ** (-2 * beta)
    r = r[:-1]
    s = np.sqrt(np.maximum(r**2 - aperture**2, 0.0))
    beyond = np.minimum(r, aperture) ** 2 / (r + s)  # r - s
    share = (1 - beta) * beyond + beta * beyond * (r**2 + r * s + s**2) / (3 * r**2)
    integral = trapezoid(pressure * share * r**2, log_r[:-1], axis=1)
    return 4 * np.pi / float(stars.projected(np.asarray(aperture))) * np.asarray(integral)


def _power_law(
    stars: Stars, sigma2: float, radius: float, einstein_mass: float, aperture: float
) -> float:
    """Finds the power law with a mass in a cylinder and a dispersion in another."""
    from scipy.special import gamma

    ratio = np.sqrt(np.pi) / 2 * gamma((SLOPES - 1) / 2) / gamma(SLOPES / 2)
    mass = einstein_mass / ratio[:, None] * (RADIUS / radius) ** (3 - SLOPES[:, None])
    found = dispersion2(stars, mass, aperture)
    start = int(np.argmin(found))  # flatter ones have more mass outside, and another branch
    return float(np.interp(sigma2, found[start:], SLOPES[start:]))
