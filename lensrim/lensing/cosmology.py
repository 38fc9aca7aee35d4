r"""From angles to masses and lengths.

A lens at redshift :math:`z_l` in front of a source at :math:`z_s` turns convergence into mass with
the critical surface density

.. math:: \Sigma_\mathrm{cr} = \frac{c^2}{4 \pi G} \frac{D_s}{D_l D_{ls}} \, ,

with angular diameter distances :math:`D`. This is the only place where redshifts enter: the images
alone fix the lens in units of :math:`\Sigma_\mathrm{cr}`.
"""

from dataclasses import dataclass
from math import pi, sin, sinh, sqrt
from numbers import Real
from typing import Any

from ..errors import InputError

LARGEST_REDSHIFT = 1100
"""That of the microwave background: light that is lensed comes from nowhere farther."""

ARCSEC = pi / 648_000
"""One arcsec [rad]."""


@dataclass(frozen=True)
class LensScales:
    r"""Creates the physical scales of one lens; see :func:`lens_scales`.

    Arguments:
        z_lens, z_source: Redshifts.
        cosmology: Name of the cosmology.
        D_lens, D_source, D_lens_source: Angular diameter distances :math:`D_l, D_s, D_{ls}` [Mpc].
        kpc_per_arcsec_lens, kpc_per_arcsec_source: Proper lengths per angle [kpc/arcsec].
        sigma_critical: :math:`\Sigma_\mathrm{cr}` [M_sun/arcsec^2].
        sigma_critical_kpc: :math:`\Sigma_\mathrm{cr}` [M_sun/kpc^2].
    """

    z_lens: float
    z_source: float
    cosmology: str
    D_lens: float
    D_source: float
    D_lens_source: float
    kpc_per_arcsec_lens: float
    kpc_per_arcsec_source: float
    sigma_critical: float
    sigma_critical_kpc: float

    def einstein_mass(self, theta_E: float) -> float:
        r"""Returns the projected mass within the Einstein radius [M_sun].

        .. math:: M_E = \pi \theta_E^2 \Sigma_\mathrm{cr}

        It holds for any mass distribution if ``theta_E`` [arcsec] is the radius of the circle
        within which the mean convergence is 1.
        """
        return pi * theta_E**2 * self.sigma_critical

    def velocity_dispersion(self, theta_E: float) -> float:
        r"""Returns the dispersion of the isothermal sphere with this Einstein radius [km/s].

        .. math:: \sigma_v = c \sqrt{\frac{\theta_E}{4 \pi} \frac{D_s}{D_{ls}}}

        Arguments:
            theta_E: Einstein radius :math:`\theta_E` [arcsec].
        """
        from astropy.constants.codata2018 import c

        ratio = theta_E * ARCSEC / (4 * pi) * self.D_source / self.D_lens_source
        return 1e-3 * float(c.value) * sqrt(ratio)


def find_cosmology(cosmology: Any) -> Any:
    """Returns one of astropy's cosmologies.

    Arguments:
        cosmology: Name of one of astropy's realisations (all of them flat), or any object with
            astropy's ``FLRW`` interface, flat or not.

    Raises:
        InputError: If the name is unknown, or the object is neither.
    """
    import astropy.cosmology

    if isinstance(cosmology, astropy.cosmology.FLRW):
        return cosmology
    known = astropy.cosmology.available
    if cosmology not in known:
        raise InputError(
            f"--cosmology must be one of {', '.join(sorted(known))}, found {cosmology!r}"
        )
    return getattr(astropy.cosmology, cosmology)


def distance(model: Any, z_from: float, z_to: float) -> float:
    r"""Computes the angular diameter distance from one redshift to another [Mpc].

    Arguments:
        model: Cosmology, of :func:`find_cosmology`.
        z_from, z_to: Redshifts of the observer and of the observed, :math:`z_1 \leq z_2`.

    References:
        Hogg 1999, arXiv:astro-ph/9905116, equations 16 and 18.
    """
    from astropy import units

    # comoving distances along the line of sight subtract, whatever the curvature
    near, far = (
        float(model.comoving_distance(z).to_value(units.Mpc)) if z else 0.0 for z in (z_from, z_to)
    )
    comoving, curvature = far - near, float(model.Ok0)
    if curvature:
        radius = float(model.hubble_distance.to_value(units.Mpc)) / sqrt(abs(curvature))
        comoving = radius * (sinh if curvature > 0 else sin)(comoving / radius)
    return comoving / (1 + z_to)


def lens_scales(z_lens: float, z_source: float, *, cosmology: Any = "Planck18") -> LensScales:
    """Computes the physical scales of a lens.

    Arguments:
        z_lens: Redshift of the lens.
        z_source: Redshift of the source.
        cosmology: One of astropy's cosmologies, or the name of one.

    Raises:
        InputError: If the redshifts are not numbers with 0 < z_lens < z_source <= 1100
            (:data:`LARGEST_REDSHIFT`), or the cosmology is unknown.
    """
    numbers = all(isinstance(z, Real) for z in (z_lens, z_source))
    if not (numbers and 0 < z_lens < z_source <= LARGEST_REDSHIFT):
        raise InputError(
            f"redshifts must be numbers with 0 < z_lens < z_source <= {LARGEST_REDSHIFT}, found "
            f"z_lens = {z_lens!r} and z_source = {z_source!r}; check --z-lens and --z-source"
        )
    from astropy import units
    from astropy.constants.codata2018 import G, c

    model = find_cosmology(cosmology)
    D_lens, D_source, D_lens_source = (
        distance(model, *pair) for pair in [(0, z_lens), (0, z_source), (z_lens, z_source)]
    )
    kpc = [d * 1e3 * ARCSEC for d in (D_lens, D_source)]
    speed: Any = c
    gravity: Any = G
    per_length = (speed**2 / (4 * pi * gravity)).to_value(units.M_sun / units.kpc)
    sigma_kpc = float(per_length * D_source / (D_lens * D_lens_source) * 1e-3)
    return LensScales(
        z_lens=float(z_lens),
        z_source=float(z_source),
        cosmology=str(model.name),
        D_lens=D_lens,
        D_source=D_source,
        D_lens_source=D_lens_source,
        kpc_per_arcsec_lens=kpc[0],
        kpc_per_arcsec_source=kpc[1],
        sigma_critical=sigma_kpc * kpc[0] ** 2,
        sigma_critical_kpc=sigma_kpc,
    )
