"""The smooth part of a lens, drawn: stars and dark matter, round first, then in their shapes."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...lensing.cosmology import LensScales, find_cosmology, lens_scales
from ..hydro.particles import random_rotation
from .dark_halo import RADIUS, DarkProfile, NFWHalo, contract
from .prior import HaloPrior
from .slopes import Slopes, measure_slopes
from .stars import Stars
from .statistics import concentration

Array = NDArray[np.float64]

TRIES = 2000
"""Hosts that are drawn before a range of Einstein radii is given up."""


@dataclass(frozen=True, eq=False)
class Host:
    """Creates the smooth part of a lens.

    Arguments:
        halo: The halo before the stars.
        stars: The stars.
        contraction: Power with which they drew the halo in.
        dark: The dark matter afterwards.
        star_shape, dark_shape: Projected shapes; see :func:`projected_shape`.
        anisotropy: Anisotropy of the stars' orbits.
        scales: Distances.
        theta_E: Einstein radius, on the intermediate axis [arcsec].
    """

    halo: NFWHalo
    stars: Stars
    contraction: float
    dark: DarkProfile
    star_shape: Array
    dark_shape: Array
    anisotropy: float
    scales: LensScales
    theta_E: float = 0.0

    @property
    def stretch(self) -> float:
        """Factor on the projected radii of the dark matter, from its shape in the middle."""
        return float(np.linalg.det(self.dark_shape[0]) ** 0.25)

    def dark_surface(self, radius: Array) -> Array:
        """Surface density of the dark matter as it is seen [M_sun / kpc^2], at radii [kpc]."""
        seen = _loglog(np.asarray(radius / self.stretch), self.dark.surface)
        return np.asarray(seen / self.stretch**2)

    def dark_projected(self, radius: Array) -> Array:
        """Mass of the dark matter in cylinders as it is seen [M_sun], at radii [kpc]."""
        return _loglog(np.asarray(radius / self.stretch), self.dark.projected)

    @property
    def radius(self) -> float:
        """Einstein radius [kpc]."""
        return self.theta_E * self.scales.kpc_per_arcsec_lens

    @property
    def dark_fraction(self) -> float:
        """Share of dark matter in the mass within the Einstein radius, projected."""
        at = np.asarray(self.radius)
        dark, stars = float(self.dark_projected(at)), float(self.stars.projected(at))
        return dark / (dark + stars)

    def slopes(self) -> Slopes:
        """Measures the slopes, the dispersion within half of R_e, but not beyond theta_E."""
        return measure_slopes(
            self.stars,
            self.dark,
            radius=self.radius,
            surface=self.stars.surface(RADIUS) + self.dark_surface(RADIUS),
            projected=self.stars.projected(RADIUS) + self.dark_projected(RADIUS),
            aperture=min(self.stars.R_e / 2, self.radius),
            beta=self.anisotropy,
        )

    def star_ellipticity(self) -> complex:
        """Ellipticity of the stars, without their twist."""
        return ellipticity(self.star_shape[0])

    def ellipticity(self) -> complex:
        """Ellipticity of the total mass at the Einstein radius, from its parts' convergences."""
        at = np.asarray(self.radius)
        stars, dark = float(self.stars.surface(at)), float(self.dark_surface(at))
        e = self.star_ellipticity(), ellipticity(self.dark_shape[0])
        return (stars * e[0] + dark * e[1]) / (stars + dark)


def _loglog(radius: Array, values: Array) -> Array:
    return np.asarray(np.exp(np.interp(np.log(radius), np.log(RADIUS), np.log(values))))


def projected_shape(axes: Array, rotation: Array) -> Array:
    r"""Projects ellipsoids of a volume of 1 along z.

    Layers :math:`r^T S^{-1} r = 1` become ellipses whose matrix is the upper left block of
    :math:`S`.

    Arguments:
        axes: Three axes, of any unit, with shape (K, 3).
        rotation: Rotation from the axes' frame to that of the sky, with shape (3, 3).

    Returns:
        The matrices of the ellipses, with shape (K, 2, 2).
    """
    unit = axes / np.prod(axes, axis=1, keepdims=True) ** (1 / 3)
    return np.einsum("ia,ka,ja->kij", rotation, unit**2, rotation)[:, :2, :2]


def ellipticity(shape: Array) -> complex:
    """Returns e1 + i e2 of an ellipse from its matrix, with shape (2, 2)."""
    (a, b), (_, c) = shape
    return complex(a - c, 2 * b) / (a + c + 2 * np.sqrt(a * c - b**2))


def draw_host(
    rng: np.random.Generator,
    prior: HaloPrior,
    *,
    z_lens: float | None,
    z_source: float | None,
    cosmology: Any,
) -> Host:
    """Draws hosts until one is selected by its Einstein radius.

    Arguments:
        rng: Source of random numbers.
        prior: The population.
        z_lens, z_source: Redshifts; those that are None are drawn with each host.
        cosmology: One of astropy's cosmologies, or the name of one.

    Raises:
        InputError: If none of :data:`TRIES` is, or a given source is not behind the lens.
    """
    (low, high), model = prior.theta_E, find_cosmology(cosmology)
    last = "all that were drawn had the source in front of the lens"
    for _ in range(TRIES):
        drawn = rng.uniform(*prior.z_lens), rng.uniform(*prior.z_source)
        pair = zip(drawn, (z_lens, z_source), strict=True)
        near, far = (float(d if given is None else given) for d, given in pair)
        if near >= far and None in (z_lens, z_source):
            continue
        host = _draw(rng, prior, lens_scales(near, far, cosmology=model), model)
        chance = (host.theta_E / high) ** 2 if prior.cross_section else 1.0
        if low <= host.theta_E <= high and rng.uniform() < chance:
            return host
        last = f"the last one {host.theta_E:.3g}, at redshift {near:.3g}, the source at {far:.3g}"
    raise InputError(
        f"theta_E: none of {TRIES} haloes had an Einstein radius of {low:g} to {high:g} arcsec "
        f"({last}); widen the range, or change log_halo_mass or the redshifts"
    )


def _draw(rng: np.random.Generator, prior: HaloPrior, scales: LensScales, model: Any) -> Host:
    z, h = scales.z_lens, float(model.h)
    log_mass = _normal(rng, prior.log_halo_mass)
    log_stars = _normal(rng, prior.log_stellar_mass) + prior.stellar_slope * (log_mass - 13)
    log_R_e = _normal(rng, prior.log_R_e) + prior.R_e_slope * (log_stars - 11.5)
    mass = 10**log_mass
    c = float(concentration(mass, z, h=h)) * 10 ** (prior.concentration_scatter * rng.normal())
    halo = NFWHalo(mass, radius_200(mass, critical_density(model, z)), c)
    n = float(np.clip(_normal(rng, prior.n_sersic), 2, 7))
    stars = Stars(min(10**log_stars, 0.15 * mass), 10**log_R_e, n)
    nu = _normal(rng, prior.contraction)
    rotation = random_rotation(rng)
    star_axes, inner, outer = (_axes(rng, p) for p in (prior.star_axes, *prior.halo_axes))
    # far out the halo is not rounder than in the middle
    outer = np.minimum(inner, outer)
    turned = rotation @ _small_rotation(prior.misalignment * rng.normal(size=3))
    host = Host(
        halo=halo,
        stars=stars,
        contraction=nu,
        dark=contract(halo, stars, nu),
        star_shape=projected_shape(star_axes[None], rotation),
        dark_shape=projected_shape(np.stack([inner, outer]), turned),
        anisotropy=float(np.clip(_normal(rng, prior.anisotropy), -0.5, 0.6)),
        scales=scales,
    )
    total = stars.projected(RADIUS) + host.dark_projected(RADIUS)
    return replace(host, theta_E=_einstein(total, scales))


def critical_density(model: Any, z: float) -> float:
    """Returns the critical density of the universe [M_sun / kpc^3]."""
    from astropy import units

    return float(model.critical_density(z).to_value(units.M_sun / units.kpc**3))


def radius_200(mass: float, critical: float) -> float:
    """Returns the radius [kpc] of 200 times the critical density."""
    return float((3 * mass / (800 * np.pi * critical)) ** (1 / 3))


def _einstein(projected: Array, scales: LensScales) -> float:
    """Finds the radius [arcsec] within which the mean convergence is 1; 0 if there is none."""
    mean = projected / (np.pi * RADIUS**2 * scales.sigma_critical_kpc)
    above = np.flatnonzero(mean > 1)
    if not above.size:
        return 0.0
    i = above[-1]
    share = np.log(mean[i]) / np.log(mean[i] / mean[i + 1])
    radius = RADIUS[i] * (RADIUS[i + 1] / RADIUS[i]) ** share
    return float(radius / scales.kpc_per_arcsec_lens)


def _axes(rng: np.random.Generator, prior: tuple[tuple[float, float], ...]) -> Array:
    """Draws the longest, the middle and the shortest axis of an ellipsoid, the longest 1."""
    ratios = np.clip([_normal(rng, p) for p in prior], 0.3, 1.0)
    return np.array([1.0, ratios.max(), ratios.min()])


def _small_rotation(angles: Array) -> Array:
    """Rotates about the vector of angles [rad] by its length."""
    from scipy.spatial.transform import Rotation

    return Rotation.from_rotvec(angles).as_matrix()


def _normal(rng: np.random.Generator, pair: tuple[float, float]) -> float:
    return float(pair[0] + pair[1] * np.clip(rng.normal(), -3, 3))
