r"""Lenses built from their parts: stars, a dark halo, what is in it, in front of it and behind.

.. math::
    \kappa = \kappa_* + \kappa_\mathrm{dark} - \langle \kappa_\mathrm{sub} \rangle
    + \kappa_\mathrm{sub} + \kappa_\mathrm{los} - \langle \kappa_\mathrm{los} \rangle
    + \delta\kappa

- stars: a Sersic profile of mass (:mod:`~.stars`);
- dark matter: an NFW halo drawn in by the stars (:mod:`~.dark_halo`), less the mean of the
  subhaloes, which are part of it;
- both are triaxial, seen from one random direction, and put on layers whose shape changes with
  radius and whose axes are not the same (:mod:`~.layers`);
- subhaloes cut off by the tides (:mod:`~.subhalos`), and haloes along the line of sight
  (:mod:`~.line_of_sight`), less the mean sheet of the latter, within a disc;
- a Gaussian random field (:mod:`~.random_fields`).

The external shear is drawn with them and is in no map. A population is selected by its Einstein
radii, as surveys are. It is a model of massive early-type galaxies: no satellites with stars, no
discs, no bars, no neighbours, and the smooth mass is centred on (0, 0).

References:
    As in the modules named; :class:`~.prior.HaloPrior` for the populations.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...grid import PixelGrid
from ...lensing.cosmology import LensScales, find_cosmology
from ..hydro.projection import KappaMap, einstein_radius
from ..ranges import log_uniform
from .clumps import Clumps, join
from .dark_halo import RADIUS
from .host import Host, critical_density, draw_host, ellipticity
from .layers import Layers, Wave
from .line_of_sight import LineOfSight, draw_line_of_sight
from .prior import HaloPrior
from .random_fields import RandomField, draw_field
from .slopes import Slopes
from .subhalos import SubhaloHost, column, draw_subhalos

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Halo:
    r"""Creates a lens; see :func:`draw_halo`.

    Arguments:
        host: The round stars and dark matter, their shapes, and the distances.
        stars, dark: Both in layers; the dark matter is less the mean of the subhaloes.
        subhalos: The subhaloes.
        subhalo_share: Share of the dark matter at the Einstein radius that is in them, on average.
        line_of_sight: Haloes of the line of sight; None if there are none.
        residual: The random field.
        gamma1, gamma2: External shear. It is in no map.
        reach: Radius of the disc in which there are small haloes [arcsec].
    """

    host: Host
    stars: Layers
    dark: Layers
    subhalos: Clumps
    subhalo_share: float
    line_of_sight: LineOfSight | None
    residual: RandomField
    gamma1: float
    gamma2: float
    reach: float

    @property
    def scales(self) -> LensScales:
        """Redshifts and distances."""
        return self.host.scales

    @property
    def theta_E(self) -> float:
        """Einstein radius of the smooth lens, on the intermediate axis [arcsec]."""
        return self.host.theta_E

    @cached_property
    def slopes(self) -> Slopes:
        """Slopes of the total density, the dispersion measured within half of R_e."""
        return self.host.slopes()

    def kappa(self, grid: PixelGrid) -> Array:
        """Averages the convergence over the pixels of any grid; the result has shape (H, W).

        Beyond :attr:`reach` there are no small haloes.
        """
        parts, sheet = [self.subhalos], 0.0
        if self.line_of_sight is not None:
            parts.append(self.line_of_sight.clumps)
            sheet = self.line_of_sight.sheet
        total = self.stars.kappa(grid) + self.dark.kappa(grid) + join(parts).kappa(grid)
        return total + self.residual.kappa(grid) - sheet * self._disc(grid)

    def _disc(self, grid: PixelGrid) -> Array:
        """One within reach, else zero."""
        h, w = grid.shape
        x, y = grid.from_index(np.arange(w), np.arange(h)[:, None])
        return (np.hypot(x, y) < self.reach).astype(np.float64)


def draw_halo(
    rng: np.random.Generator,
    prior: HaloPrior | None = None,
    *,
    z_lens: float | None = None,
    z_source: float | None = None,
    cosmology: Any = "Planck18",
) -> Halo:
    """Draws one lens.

    Arguments:
        rng: Source of random numbers; the result depends on its state only.
        prior: The population.
        z_lens, z_source: Redshifts; by default those of the population.
        cosmology: One of astropy's cosmologies, or the name of one.

    Raises:
        InputError: If the redshifts are impossible, or no lens has an Einstein radius in the range
            of the population.
    """
    prior = prior or HaloPrior()
    host = draw_host(rng, prior, z_lens=z_lens, z_source=z_source, cosmology=cosmology)
    model, scales = find_cosmology(cosmology), host.scales
    unit, theta = scales.kpc_per_arcsec_lens, host.theta_E
    share = 10 ** float(rng.normal(*prior.log_subhalo_share))
    surface = share * float(host.dark_surface(np.asarray(host.radius)))
    lodger = SubhaloHost(
        r_200=host.halo.r_200,
        within=host.stars.within(RADIUS) + host.dark.within,
        critical=critical_density(model, scales.z_lens),
        redshift=scales.z_lens,
        h=float(model.h),
    )
    reach = prior.reach * theta
    subhalos = draw_subhalos(
        rng,
        lodger,
        prior=prior.subhalos,
        surface=surface,
        radius=host.radius,
        reach=reach * unit,
        unit=unit,
        sigma_critical=scales.sigma_critical,
    )
    stars, dark = _layers(rng, prior, host, surface, reach * unit)
    line_of_sight = None
    if prior.line_of_sight is not None:
        line_of_sight = draw_line_of_sight(
            rng,
            z_lens=scales.z_lens,
            z_source=scales.z_source,
            reach=reach,
            mass=prior.line_of_sight,
            cosmology=cosmology,
        )
    low, high = prior.residual_wavelengths
    residual = draw_field(
        rng,
        rms=0.0 if prior.residual is None else log_uniform(rng, *prior.residual),
        index=float(rng.uniform(*prior.residual_index)),
        wavelengths=(low * theta, high * theta),
    )
    shear = min(float(rng.rayleigh(prior.shear_scale)), prior.shear_max)
    angle = float(rng.uniform(0, 2 * np.pi))
    return Halo(
        host=host,
        stars=stars,
        dark=dark,
        subhalos=subhalos,
        subhalo_share=share,
        line_of_sight=line_of_sight,
        residual=residual,
        gamma1=shear * float(np.cos(angle)),
        gamma2=shear * float(np.sin(angle)),
        reach=reach,
    )


def _layers(
    rng: np.random.Generator, prior: HaloPrior, host: Host, surface: float, reach: float
) -> tuple[Layers, Layers]:
    """Puts stars and dark matter on layers, in arcsec and units of the critical density."""
    unit, critical = host.scales.kpc_per_arcsec_lens, host.scales.sigma_critical_kpc
    e = ellipticity(host.star_shape[0])
    turn = float(prior.twist * rng.normal())
    ends = [e * np.exp(-1j * turn), e * np.exp(1j * turn)]
    axis = float(np.angle(e)) / 2
    waves = []
    for m, scale in ((3, prior.wave_3), (4, prior.wave_4)):
        phi = axis if m == 4 else float(rng.uniform(0, 2 * np.pi / m))
        waves.append(Wave(m, scale * float(np.clip(rng.normal(), -3, 3)), phi))
    stars = Layers(
        radius=RADIUS / unit,
        density=np.maximum(host.stars.surface(RADIUS) / critical, 1e-30),
        knots=np.array([0.1, 3.0]) * host.stars.R_e / unit,
        e1=np.real(ends),
        e2=np.imag(ends),
        waves=tuple(waves),
    )
    # the mean of the subhaloes where they are drawn: they are part of the halo
    mean = surface * column(RADIUS, host.halo.r_200)
    mean = mean / float(column(np.asarray(host.radius), host.halo.r_200)) * (reach > RADIUS)
    dark = host.dark_surface(RADIUS)
    ends = [ellipticity(shape) for shape in host.dark_shape]
    axis = float(np.angle(ends[0])) / 2
    return stars, Layers(
        radius=RADIUS / unit,
        density=np.maximum(dark - mean, 0.1 * dark) / critical,
        knots=np.array([0.02, 0.5]) * host.halo.r_200 / unit,
        e1=np.real(ends),
        e2=np.imag(ends),
        waves=tuple(Wave(w.m, w.amplitude / 2, axis if w.m == 4 else w.phi) for w in waves),
    )


def halo_map(halo: Halo, grid: PixelGrid, *, name: str) -> KappaMap:
    """Puts a lens on pixels, as one of the maps that haloes are drawn from.

    Arguments:
        halo: The lens.
        grid: The pixels; the lens is centred on (0, 0).
        name: Name of the halo, by which its maps are kept together.
    """
    host, kappa = halo.host, halo.kappa(grid)
    return KappaMap(
        kappa=kappa,
        pixel_scale=grid.spacing,
        theta_E=einstein_radius(kappa, grid),
        halo=name,
        rotation=np.eye(3),
        z_lens=halo.scales.z_lens,
        z_source=halo.scales.z_source,
        provenance=(
            f"halo model: M200 {host.halo.mass:.3g} M_sun, stars {host.stars.mass:.3g} M_sun, "
            f"R_e {host.stars.R_e:.2f} kpc, contraction {host.contraction:.2f}, dark fraction "
            f"within theta_E {host.dark_fraction:.3f}, slope {halo.slopes.measured:.3f} (local "
            f"{halo.slopes.local:.3f}, lensing {halo.slopes.lensing:.3f}), "
            f"{len(halo.subhalos)} subhaloes; {halo.scales.cosmology}"
        ),
    )
