r"""Small haloes in front of a lens and behind it, as if they were in its plane.

They are drawn from the mass function (:mod:`~.statistics`) in the cone of a disc on the sky,
from the observer to the source: a Poisson process in angle, redshift and mass, without clustering.
A halo at another redshift than the lens acts, to first order, like one in the lens plane, at its
own place on the sky and of its own angular size, with the convergence

.. math::
    \kappa_\mathrm{eff} = (1 - \beta) \, \frac{\Sigma}{\Sigma_\mathrm{cr}(z, z_s)} , \qquad
    \beta = \frac{D_{12} D_s}{D_2 D_{1 s}} \, ,

1 the nearer and 2 the farther of halo and lens: :math:`\beta = 0` in the plane, and 1 at the
observer and at the source. That is exact where the tidal field of the lens is 1 in the direction
of the halo's deflection, as along the ring of an isothermal lens; what the lens does to the shape
and the place of haloes behind it is left out.

The mean of what is drawn is known: it is a uniform sheet, :attr:`LineOfSight.sheet`, which belongs
to the mean density of the universe and not to the lens, and is to be taken off.

References:
    Despali et al. 2018, MNRAS 475, 5424; McCully et al. 2014, MNRAS 443, 3631.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import pi
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...lensing.cosmology import ARCSEC, find_cosmology
from .clumps import Clumps, truncated_mass
from .statistics import MassFunction, concentration, mass_function

Array = NDArray[np.float64]

SLICES, BINS = 80, 40
"""Steps of the redshift and of the logarithm of the mass in which haloes are counted."""


@dataclass(frozen=True, eq=False)
class LineOfSight:
    """Creates the haloes of a line of sight.

    Arguments:
        clumps: The haloes, of effective mass.
        redshift: Their redshifts, with shape (N).
        sheet: Mean convergence of all that could have been drawn.
    """

    clumps: Clumps
    redshift: Array
    sheet: float


@dataclass(frozen=True, eq=False)
class _Slices:
    """Holds what a cone is made of, slice by slice of the redshift.

    Arguments:
        edges: Redshifts of the slices' edges.
        z: Middles.
        volume: Comoving volume per solid angle [Mpc^3 / arcsec^2].
        to_arcsec: Length [kpc] of an arcsec.
        strength: Effective convergence of a mass of 1 M_sun per arcsec^2.
        critical: Critical density of the universe [M_sun / kpc^3].
        h: Hubble constant [100 km/s/Mpc].
    """

    edges: Array
    z: Array
    volume: Array
    to_arcsec: Array
    strength: Array
    critical: Array
    h: float


def draw_line_of_sight(
    rng: np.random.Generator,
    *,
    z_lens: float,
    z_source: float,
    reach: float,
    mass: tuple[float, float] = (1e7, 1e10),
    scatter: float = 0.11,
    cosmology: Any = "Planck18",
) -> LineOfSight:
    """Draws the haloes in the cone of a disc.

    Arguments:
        rng: Source of random numbers.
        z_lens, z_source: Redshifts.
        reach: Radius of the disc on the sky [arcsec].
        mass: Range of the masses [M_sun], within 200 times the critical density.
        scatter: Standard deviation of the logarithm (base 10) of the concentration.
        cosmology: One of astropy's cosmologies, or the name of one.
    """
    cone = _slices(find_cosmology(cosmology), z_lens, z_source)
    expected, edges = _expected(cone, _function(cosmology), mass)
    expected = expected * pi * reach**2
    middle = np.exp((edges[1:] + edges[:-1]) / 2)
    counts = rng.poisson(expected)
    slices, bins = (np.repeat(i.ravel(), counts.ravel()) for i in np.indices(expected.shape))
    n = len(slices)
    m = np.exp(edges[bins] + rng.uniform(size=n) * np.diff(edges)[bins])
    z = cone.edges[slices] + rng.uniform(size=n) * np.diff(cone.edges)[slices]
    c = concentration(m, z, h=cone.h) * 10 ** (scatter * rng.normal(size=n))
    radius = reach * np.sqrt(rng.uniform(size=n))
    angle = rng.uniform(0, 2 * pi, n)
    r_200 = (3 * m / (800 * pi * cone.critical[slices])) ** (1 / 3) / cone.to_arcsec[slices]
    # m is what is within r_200; with the density cut there smoothly, some more is beyond
    whole = truncated_mass(c) / (np.log1p(c) - c / (1 + c))
    clumps = Clumps(
        mass=whole * m * cone.strength[slices],
        r_s=r_200 / c,
        r_t=r_200,
        center_x=radius * np.cos(angle),
        center_y=radius * np.sin(angle),
    )
    c = concentration(middle, cone.z[:, None], h=cone.h)
    whole = truncated_mass(c) / (np.log1p(c) - c / (1 + c))
    per_area = expected * middle * whole * cone.strength[:, None]
    return LineOfSight(clumps, z, sheet=float(per_area.sum() / (pi * reach**2)))


def _expected(
    cone: _Slices, function: MassFunction, mass: tuple[float, float]
) -> tuple[Array, Array]:
    """Returns numbers per arcsec^2 in slices and bins of the mass, and the bins' ln M."""
    edges = np.linspace(np.log(mass[0]), np.log(mass[1]), BINS + 1)
    middle = np.exp((edges[1:] + edges[:-1]) / 2)
    density = function.number_density(middle, cone.z[:, None])
    return density * np.diff(edges) * cone.volume[:, None], edges


def _slices(model: Any, z_lens: float, z_source: float) -> _Slices:
    """Cuts the line of sight into slices and computes distances to each."""
    from astropy import units
    from astropy.constants.codata2018 import G, c

    edges = np.linspace(0, z_source, SLICES + 1)
    z = (edges[1:] + edges[:-1]) / 2
    both = np.concatenate([edges, z, [z_lens, z_source]])
    chi = np.asarray(model.comoving_distance(np.maximum(both, 1e-8)).to_value(units.Mpc))
    cuts, middle, lens, source = np.split(chi, [SLICES + 1, 2 * SLICES + 1, 2 * SLICES + 2])

    def across(comoving: Array) -> Array:
        curvature = float(model.Ok0)
        if not curvature:
            return comoving
        radius = float(model.hubble_distance.to_value(units.Mpc)) / np.sqrt(abs(curvature))
        return radius * (np.sinh if curvature > 0 else np.sin)(comoving / radius)

    near, far = np.minimum(middle, lens), np.maximum(middle, lens)
    # factors 1 + z cancel in beta
    beta = across(far - near) * across(source) / (across(far) * across(source - near))
    to_arcsec = across(middle) / (1 + z) * 1e3 * ARCSEC
    speed: Any = c
    gravity: Any = G
    per_length = float((speed**2 / (4 * pi * gravity)).to_value(units.M_sun / units.kpc))
    # D_s / (D_h D_hs), with the factors of redshift that do not cancel
    lever = across(source) * (1 + z) / (across(middle) * across(source - middle)) * 1e-3
    sigma_critical = per_length * lever * to_arcsec**2
    return _Slices(
        edges=edges,
        z=z,
        volume=across(middle) ** 2 * np.diff(cuts) * ARCSEC**2,
        to_arcsec=to_arcsec,
        strength=(1 - beta) / sigma_critical,
        critical=np.asarray(model.critical_density(z).to_value(units.M_sun / units.kpc**3)),
        h=float(model.h),
    )


@lru_cache(maxsize=4)
def _named(name: str) -> MassFunction:
    return mass_function(name)


def _function(cosmology: Any) -> MassFunction:
    """Makes the mass function; that of a named cosmology once."""
    return _named(cosmology) if isinstance(cosmology, str) else mass_function(cosmology)
