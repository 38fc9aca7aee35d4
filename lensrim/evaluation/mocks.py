"""Mock observations with their truth, independent of the simulator that fits them.

A seed and the arguments decide everything. Systems whose arcs run out of the frame are drawn
again.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..datasets.galaxies.opening import open_galaxies
from ..datasets.haloes.bank import HaloBank
from ..datasets.haloes.scaled import ScaledHaloes
from ..datasets.noise import read_noise_fields, unit_noise
from ..datasets.priors import SystemPrior, draw_system
from ..datasets.psfs.kinds import fine_psf, native_psf, read_psf_stamps
from ..datasets.systems import Galaxies, System
from ..grid import PixelGrid
from ..io.observation import Observation
from ..metrics import effective_theta_E
from .contaminated import neighbour_images, spoil
from .deflection import average_convergence, deflection, pixel_coordinates
from .rendering import Canvas, TrueSource, sersic

Map = NDArray[np.float64]

EDGE = 0.03
"""Brightness allowed in the outer two pixels of the frame, relative to the arcs' peak."""


@dataclass(frozen=True)
class Truth:
    """Creates what is known of a mock observation. Maps have the observation's shape (H, W).

    Arguments:
        system: Every number that went in.
        source: The galaxy in the source plane; ``source.on_grid(grid)`` puts it on any grid.
        arcs: Noise-free arcs, PSF-convolved, without lens light [data unit].
        lens_light: Noise-free lens light, PSF-convolved [data unit].
        arc_mask: Where the arcs exceed one standard deviation of the noise.
        kappa: Mean convergence of each pixel, without the external shear.
        alpha_x, alpha_y: Deflection at the pixel centres, with the external shear [arcsec]. That
            of a halo lacks a constant, which is the place of the source.
        theta_E: Radius of the circle within which the mean of ``kappa`` is 1 [arcsec].
        macro_theta_E: Einstein radius of the ellipsoid on the intermediate axis [arcsec]; for a
            halo, of the one that is most like it.
        magnification: Flux of the arcs in the frame over that of the source.
        snr: Largest signal-to-noise ratio of a pixel of the arcs.
        neighbours: Noise-free stars and galaxies beside the lens, PSF-convolved [data unit], where
            there are contaminants.
        cosmic_rays: Tracks of cosmic rays [data unit], likewise.
        psf: The true effective PSF, where the observation's is another.
    """

    system: System
    source: TrueSource
    arcs: Map
    lens_light: Map
    arc_mask: NDArray[np.bool_]
    kappa: Map
    alpha_x: Map
    alpha_y: Map
    theta_E: float
    macro_theta_E: float
    magnification: float
    snr: float
    neighbours: Map | None = None
    cosmic_rays: Map | None = None
    psf: Map | None = None

    @property
    def gamma(self) -> float:
        """Three-dimensional slope of the ellipsoid."""
        return self.system.lens.ellipsoid.gamma

    @property
    def shear(self) -> tuple[float, float]:
        """External shear (gamma1, gamma2)."""
        return self.system.lens.gamma1, self.system.lens.gamma2


@dataclass(frozen=True)
class Mock:
    """Creates a mock observation.

    Arguments:
        observation: What a user would have.
        truth: What a user would not.
    """

    observation: Observation
    truth: Truth

    @property
    def lit(self) -> bool:
        """Whether there is light of the lens galaxy."""
        return self.truth.system.lens_light is not None

    @property
    def facts(self) -> dict[str, Any]:
        """What the groups of a report are made by."""
        system = self.truth.system
        return {
            "snr": system.noise.snr,
            "lens_light": self.lit,
            "halo": system.halo is not None,
        }


def light_option(lit: bool) -> Literal["none", "auto"]:
    """Returns what a user would say by ``--lens-light``."""
    return "auto" if lit else "none"


def _noise(system: System, arcs: Map, light: Map, beside: Map) -> Map:
    """Standard deviation of each pixel: background, photons of the arcs and the lens.

    Those of what is beside the lens add to it: the arcs' own signal over noise is without them.
    """
    noise = system.noise
    brightest = np.unravel_index(np.argmax(arcs), arcs.shape)
    variance = (arcs[brightest] / noise.snr) ** 2
    photons = np.clip(arcs + light, 0, None)
    share = noise.poisson_share
    top = arcs[brightest] if noise.without_light else photons[brightest]
    return np.sqrt(variance * ((1 - share) + share * (photons + beside) / top))


def render(
    system: System,
    *,
    shape: tuple[int, int] = (64, 64),
    oversample: int = 7,
    rng: np.random.Generator | None = None,
    noises: Sequence[Map] | None = None,
    name: str = "mock",
) -> Mock:
    """Renders a system and adds Gaussian noise.

    Arguments:
        system: The system.
        shape: Shape of the frame (H, W).
        oversample: Rays along each side of a pixel (odd).
        rng: Source of the noise; none leaves the image free of it.
        noises: Real noise, from :func:`lensrim.datasets.noise.read_noise_fields`, to cut from.
        name: Name of the observation.

    Returns:
        The observation and its truth.

    Raises:
        ValueError: If ``oversample`` is even.
    """
    if oversample % 2 == 0:
        raise ValueError(
            f"oversample must be odd, so that a ray meets the centre, got {oversample}"
        )
    grid = PixelGrid(shape, system.pixel_scale)
    canvas = Canvas(grid, fine_psf(system.psf, oversample=oversample), oversample)
    source = TrueSource.of(system)
    arcs = canvas.expose(canvas.arcs(system.mass, source))
    scale = system.noise.peak / arcs.max()
    source, arcs = TrueSource.of(system, scale), arcs * scale
    light = np.zeros(shape)
    if system.lens_light is not None:
        light = canvas.expose(sersic(system.lens_light, canvas.padded, oversample))
        light = light * (system.lens_light.brightness * system.noise.peak / light.max())
    spoiled = system.contamination
    beside = hidden = np.zeros(shape)
    if spoiled is not None and spoiled.neighbours:
        beside, hidden = neighbour_images(spoiled.neighbours, canvas, system.noise.peak)
    sigma = _noise(system, arcs, light, beside)
    image = arcs + light + beside
    if rng is not None:
        length = system.noise.correlation
        image = image + sigma * unit_noise(rng, shape, length=length, fields=noises)
    kappa = average_convergence(system.mass, grid)
    alpha_x, alpha_y = deflection(system.mass, *pixel_coordinates(grid))
    observation = Observation(
        image=image,
        sigma=sigma,
        psf=native_psf(canvas.psf, oversample),
        mask=np.ones(shape, dtype=bool),
        pixel_scale=system.pixel_scale,
        name=name,
    )
    rays = true_psf = None
    if spoiled is not None:
        true_psf = observation.psf if spoiled.psf is not None else None
        host = system.lens.ellipsoid
        observation, rays = spoil(observation, spoiled, hidden, (host.center_x, host.center_y))
    truth = Truth(
        system=system,
        source=source,
        arcs=arcs,
        lens_light=light,
        arc_mask=arcs > sigma,
        kappa=kappa,
        alpha_x=alpha_x,
        alpha_y=alpha_y,
        theta_E=effective_theta_E(kappa, grid),
        macro_theta_E=system.lens.ellipsoid.theta_E,
        magnification=float(arcs.sum() * grid.spacing**2 / source.flux),
        snr=float((arcs / sigma).max()),
        neighbours=None if spoiled is None else beside,
        cosmic_rays=rays,
        psf=true_psf,
    )
    return Mock(observation, truth)


def _fits_frame(arcs: Map) -> bool:
    """Whether the arcs have faded before the frame ends."""
    inner = arcs.copy()
    inner[2:-2, 2:-2] = 0
    return bool(inner.max() < EDGE * arcs.max())


def make_mock(
    seed: int,
    *,
    galaxies: Galaxies | str | Path | None = None,
    names: Sequence[str] | None = None,
    psfs: dict[str, tuple[Map, float]] | str | Path | None = None,
    noises: Sequence[Map] | str | Path | None = None,
    haloes: ScaledHaloes | str | Path | None = None,
    projections: Sequence[str] | None = None,
    shape: tuple[int, int] = (64, 64),
    oversample: int = 7,
    prior: SystemPrior | None = None,
) -> Mock:
    """Makes the mock observation that belongs to a seed.

    Arguments:
        seed: The seed, 0 or more.
        galaxies: Galaxies, or a folder of stamps; synthetic ones by default. Many mocks are made
            faster from what :func:`lensrim.datasets.galaxies.opening.open_galaxies` opens, which
            remembers what it has read.
        names: Names of the galaxies to draw from; all by default.
        psfs: PSF stamps from :func:`lensrim.datasets.psfs.kinds.read_psf_stamps`, or a folder of
            them, used for half of the mocks; analytic ones by default.
        noises: Images of blank sky from :func:`lensrim.datasets.noise.read_noise_fields`, or a
            folder of them; drawn noise by default.
        haloes: Haloes, for the population's share of them, or a file from ``lensrim haloes``;
            those of the halo model by default.
        projections: Names of those of their projections to draw from; all by default.
        shape: Shape of the frame (H, W).
        oversample: Rays along each side of a pixel (odd).
        prior: The population.

    Returns:
        The observation and its truth.

    Raises:
        RuntimeError: If no system of the population fits the frame.
    """
    if isinstance(galaxies, (str, Path)):
        galaxies = open_galaxies(galaxies)
    if isinstance(psfs, (str, Path)):
        psfs = read_psf_stamps(psfs)
    if isinstance(noises, (str, Path)):
        noises = read_noise_fields(noises)
    if isinstance(haloes, (str, Path)):
        haloes = HaloBank(str(haloes))

    def drawn(rng: np.random.Generator) -> System:
        return draw_system(
            rng,
            galaxies=galaxies,
            names=names,
            psfs=psfs,
            haloes=haloes,
            projections=projections,
            shape=shape,
            prior=prior,
        )

    name = f"mock{seed:04d}"
    return fitting_mock(
        drawn, [seed], shape=shape, oversample=oversample, noises=noises, name=name
    )


def fitting_mock(
    draw: Callable[[np.random.Generator], System],
    key: Sequence[int],
    *,
    shape: tuple[int, int],
    oversample: int,
    name: str,
    noises: Sequence[Map] | None = None,
) -> Mock:
    """Draws systems until the arcs of one fit the frame, and renders it.

    Arguments:
        draw: Draws a system, from a source of random numbers.
        key: Whole numbers that decide those, with the number of the attempt.
        shape, oversample, name, noises: See :func:`render`.

    Raises:
        RuntimeError: If no system of the population fits the frame.
    """
    for attempt in range(50):
        rng = np.random.default_rng([*key, attempt])
        mock = render(
            draw(rng), shape=shape, oversample=oversample, rng=rng, noises=noises, name=name
        )
        if _fits_frame(mock.truth.arcs):
            return mock
    raise RuntimeError(f"no system of this population fits a frame of {shape} pixels in 50 draws")
