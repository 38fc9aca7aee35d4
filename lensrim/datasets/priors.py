"""Seeded populations of mock observations.

What is drawn is a :class:`~.systems.System`. Sizes are drawn in pixels or Einstein radii, because
ray tracing has no scale of its own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .contaminants import Contaminants, draw_contaminants
from .galaxies.clumpy import synthetic_galaxy
from .haloes.bank import projections_of
from .haloes.modelled import ModelHaloes
from .haloes.scaled import PlacedHalo, ScaledHaloes, place_halo
from .halos import Lens, LensPrior, draw_lens
from .instruments import Instrument
from .noise import Noise
from .psfs.changes import PsfChanges, draw_change
from .psfs.kinds import Psf, draw_psf
from .ranges import check_ranges, check_shares, check_sizes, log_uniform
from .systems import AnyGalaxy, Galaxies, Placement, SersicLight, System

Map = NDArray[np.float64]


@dataclass(frozen=True)
class SystemPrior:
    """Creates a population of systems.

    Arguments:
        pixel_scale: Range of the side of a pixel [arcsec] (uniform).
        theta_E: Range of the Einstein radius [pixels of a frame of 64 pixels] (log-uniform).
        lens: The population of lensing masses.
        source_radius: Range of the source's half-light radius, in Einstein radii (log-uniform).
        source_radius_min: Its smallest value [pixels].
        stamp_radius_min: Galaxies with a smaller half-light radius [stamp pixels] are not
            resolved.
        source_offset: Largest distance of the source from the axis, in Einstein radii (uniform in
            it).
        light_share: Share of the systems with lens light.
        light_brightness: Range of its peak relative to the arcs' (log-uniform).
        light_radius: Range of its effective radius [Einstein radii] (uniform).
        light_offset: Standard deviation of its centre about that of the mass [arcsec], per axis.
        light_misalignment: Standard deviation of its position angle about that of the mass [rad].
        psf_fwhm: Range of the PSF's width [pixels] (uniform).
        snr: Range of the peak signal over noise of the arcs (log-uniform).
        peak: Range of the peak brightness of the arcs [data unit] (log-uniform).
        theta_E_arcsec: Range of the Einstein radius [arcsec] (log-uniform), in place of
            ``theta_E``.
        instrument: What the image is taken with: its pixels, PSF and noise in place of
            ``pixel_scale``, ``psf_fwhm`` and ``peak``.
        halo_share: Share of the lenses whose mass is that of a halo, turned, mirrored and enlarged
            at random, with the lens' shear besides; its smooth model has the Einstein radius and
            the centre that are drawn, and the slope and the shape of the halo.
        psf_stamp_scale: Side of a pixel of the user's PSF stamps [arcsec], which then keep the
            width that they have; 0 where they are brought to the width that is drawn.
        psf_changes: What jitter and warps do to the PSFs, whatever their kind.
        contaminants: What spoils the observations.

    Raises:
        InputError: If a number is impossible.
    """

    pixel_scale: tuple[float, float] = (0.04, 0.1)
    theta_E: tuple[float, float] = (6.0, 22.0)
    lens: LensPrior = LensPrior()
    source_radius: tuple[float, float] = (0.06, 0.22)
    source_radius_min: float = 1.0
    stamp_radius_min: float = 2.5
    source_offset: float = 0.3
    light_share: float = 0.5
    light_brightness: tuple[float, float] = (1.0, 10.0)
    light_radius: tuple[float, float] = (0.4, 1.5)
    light_offset: float = 0.02
    light_misalignment: float = 0.25
    psf_fwhm: tuple[float, float] = (1.5, 3.0)
    snr: tuple[float, float] = (10.0, 200.0)
    peak: tuple[float, float] = (0.1, 10.0)
    theta_E_arcsec: tuple[float, float] | None = None
    instrument: Instrument | None = None
    halo_share: float = 0.0
    psf_stamp_scale: float = 0.0
    psf_changes: PsfChanges = PsfChanges()
    contaminants: Contaminants = Contaminants()

    def __post_init__(self) -> None:
        ranges = ("pixel_scale", "theta_E", "theta_E_arcsec", "source_radius", "light_brightness")
        check_ranges(self, "light_radius")
        check_ranges(self, *ranges, "psf_fwhm", "snr", "peak")
        check_shares(self, "light_share", "halo_share")
        check_sizes(self, "source_radius_min", "stamp_radius_min", "source_offset")
        check_sizes(self, "psf_stamp_scale")
        check_sizes(self, "light_offset", "light_misalignment")


def _draw_light(rng: np.random.Generator, prior: SystemPrior, lens: Lens) -> SersicLight:
    """Draws the light of the lens galaxy: almost as elliptical as the mass and aligned."""
    host = lens.ellipsoid
    offset = np.clip(rng.normal(size=2), -2.5, 2.5) * prior.light_offset
    return SersicLight(
        R_sersic=host.theta_E * float(rng.uniform(*prior.light_radius)),
        n_sersic=float(rng.uniform(2.5, 5.0)),
        q=float(np.clip(host.q + rng.normal(0, 0.08), 0.45, 1.0)),
        phi=host.phi + float(rng.normal(0, prior.light_misalignment)),
        center_x=host.center_x + float(offset[0]),
        center_y=host.center_y + float(offset[1]),
        brightness=log_uniform(rng, *prior.light_brightness),
    )


def _draw_halo(
    rng: np.random.Generator,
    prior: SystemPrior,
    haloes: ScaledHaloes | None,
    names: Sequence[str] | None,
    lens: Lens,
) -> PlacedHalo | None:
    """Draws a halo in the place of a lens, for a share of the systems."""
    if prior.halo_share == 0 or rng.uniform() >= prior.halo_share:
        return None
    collection = ModelHaloes() if haloes is None else haloes
    choice = projections_of(collection) if names is None else names
    return place_halo(
        collection.load(choice[int(rng.integers(len(choice)))]),
        theta_E=lens.ellipsoid.theta_E,
        angle=float(rng.uniform(0, 2 * np.pi)),
        flip=bool(rng.uniform() < 0.5),
        like=lens,
    )


def draw_galaxy(
    rng: np.random.Generator,
    galaxies: Galaxies | None,
    names: Sequence[str] | None,
    radius_min: float,
    synthetic: Callable[[np.random.Generator], AnyGalaxy] = synthetic_galaxy,
) -> AnyGalaxy:
    """Draws a galaxy that its stamp resolves."""
    if galaxies is None:
        return synthetic(rng)
    choice = galaxies.names if names is None else names
    for i in rng.permutation(len(choice)):
        galaxy = galaxies.load(choice[int(i)])
        if galaxy.half_light_radius >= radius_min * galaxy.pixel_scale:
            return galaxy
    raise InputError(
        f"galaxies: expected some with a half-light radius of {radius_min} stamp pixels or more,"
        f" found none among {len(choice)}; give stamps with smaller pixels"
    )


def _draw_psf(
    rng: np.random.Generator,
    prior: SystemPrior,
    stamps: dict[str, tuple[Map, float]] | None,
    pixel_scale: float,
) -> Psf:
    """Draws a PSF of the instrument, if there is one."""
    camera = prior.instrument
    if camera is None:
        return draw_psf(
            rng,
            fwhm=prior.psf_fwhm,
            stamps=stamps,
            pixel_scale=pixel_scale,
            stamp_scale=prior.psf_stamp_scale,
        )
    low, high = (width / camera.pixel_scale for width in camera.psf_fwhm)
    return draw_psf(
        rng,
        fwhm=(low, high),
        stamps=stamps,
        kinds=camera.psf_kinds,
        pupil=camera.pupil,
        pixel_scale=pixel_scale,
        stamp_scale=prior.psf_stamp_scale,
    )


def _draw_noise(rng: np.random.Generator, prior: SystemPrior) -> Noise:
    """Draws a noise level; with an instrument, the arcs' brightness follows from it."""
    snr = log_uniform(rng, *prior.snr)
    if prior.instrument is not None:
        return prior.instrument.noise(snr)
    return Noise(
        snr=snr,
        poisson_share=float(rng.uniform(0.1, 0.7)) if rng.uniform() < 0.5 else 0.0,
        peak=log_uniform(rng, *prior.peak),
    )


def draw_system(
    rng: np.random.Generator,
    *,
    galaxies: Galaxies | None = None,
    names: Sequence[str] | None = None,
    psfs: dict[str, tuple[Map, float]] | None = None,
    haloes: ScaledHaloes | None = None,
    projections: Sequence[str] | None = None,
    shape: tuple[int, int] = (64, 64),
    prior: SystemPrior | None = None,
    synthetic: Callable[[np.random.Generator], AnyGalaxy] = synthetic_galaxy,
) -> System:
    """Draws a system.

    Arguments:
        rng: Source of random numbers; the result depends on its state and the arguments only.
        galaxies: Real galaxies; synthetic ones by default.
        names: Those of them to draw from; all by default.
        psfs: Real PSFs, drawn for half of the systems, from
            :func:`lensrim.datasets.psfs.kinds.read_psf_stamps`.
        haloes: Haloes, for the population's share of them, such as a
            :class:`lensrim.datasets.haloes.bank.HaloBank`; those of the halo model by default.
        projections: Names of those of their projections to draw from; all by default.
        shape: Shape of the frame that the Einstein ring has to fit in, (H, W).
        prior: The population.
        synthetic: Draws a synthetic galaxy.

    Returns:
        The system.

    Raises:
        InputError: If no galaxy is resolved by its stamp.
    """
    prior = prior or SystemPrior()
    camera = prior.instrument
    pixel_scale = camera.pixel_scale if camera else float(rng.uniform(*prior.pixel_scale))
    if prior.theta_E_arcsec is not None:
        theta_E = log_uniform(rng, *prior.theta_E_arcsec)
    else:
        theta_E = log_uniform(rng, *prior.theta_E) * min(shape) / 64 * pixel_scale
    lens = draw_lens(rng, theta_E=theta_E, pixel_scale=pixel_scale, prior=prior.lens)
    halo = _draw_halo(rng, prior, haloes, projections, lens)
    lens = lens if halo is None else halo.lens
    galaxy = draw_galaxy(rng, galaxies, names, prior.stamp_radius_min, synthetic)
    # The image of the source's centre without offset is the centre of the mass, displaced by the
    # external shear.
    host, (g1, g2) = lens.ellipsoid, (lens.gamma1, lens.gamma2)
    distance, angle = prior.source_offset * theta_E * rng.uniform(), rng.uniform(0, 2 * np.pi)
    axis_x = host.center_x - (g1 * host.center_x + g2 * host.center_y)
    axis_y = host.center_y - (g2 * host.center_x - g1 * host.center_y)
    radius = log_uniform(rng, *prior.source_radius) * theta_E
    system = System(
        pixel_scale=pixel_scale,
        lens=lens,
        galaxy=galaxy,
        placement=Placement(
            center_x=axis_x + float(distance * np.cos(angle)),
            center_y=axis_y + float(distance * np.sin(angle)),
            angle=float(rng.uniform(0, 2 * np.pi)),
            flip=bool(rng.uniform() < 0.5),
            half_light_radius=max(radius, prior.source_radius_min * pixel_scale),
        ),
        psf=_draw_psf(rng, prior, psfs, pixel_scale),
        noise=_draw_noise(rng, prior),
        lens_light=_draw_light(rng, prior, lens) if rng.uniform() < prior.light_share else None,
        halo=halo,
    )
    # What came later is drawn last, and nothing of it where its shares are 0: old seeds keep their
    # systems.
    change = draw_change(rng, prior.psf_changes, system.psf.fwhm)
    contamination = draw_contaminants(
        rng,
        prior.contaminants,
        shape=shape,
        theta_E=theta_E / pixel_scale,
        fwhm=system.psf.fwhm,
        center=(host.center_x / pixel_scale, host.center_y / pixel_scale),
        lit=system.lens_light is not None,
    )
    return replace(system, psf=replace(system.psf, change=change), contamination=contamination)
