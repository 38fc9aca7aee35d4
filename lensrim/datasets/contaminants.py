r"""What spoils observations: a population of contaminants, drawn as plain numbers.

Neighbours, cosmic rays, bad pixels, gaps and saturated cores; and what a fit is given wrongly: a
PSF and a noise map that are not the true ones, and an image from which the lens light is not
entirely gone. :mod:`lensrim.datasets.pairs.contamination` puts them into images.

All lengths are in pixels of the image, about its middle. Nothing is drawn, not even a random
number, where a share is 0.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from .contamination import Contamination, LightErrors, Neighbour, Strip, Track
from .psfs.changes import PsfChange, directed
from .ranges import check_ranges, check_shares, check_sizes, log_uniform

AREA = 64**2
"""Pixels to which the numbers of what is scattered over a frame belong."""


@dataclass(frozen=True)
class Contaminants:
    """Creates a population of contaminants; none by default.

    Arguments:
        neighbours: Share of systems with neighbours.
        neighbours_max: Largest number of them (uniform from 1) in 64 x 64 pixels; in larger
            frames more.
        neighbour_stars: Share of stars among them.
        neighbour_brightness: Range of the peak that their light has as a star's, relative to the
            arcs' (log-uniform).
        neighbour_radius: Range of the effective radii of galaxies [Einstein radii] (log-uniform).
        neighbour_distance: Smallest distance from the lens [Einstein radii].
        neighbours_near: Share of neighbours that may be nearer than that, in front of the arcs.
        neighbours_left: Brightness below which nobody masks one.
        neighbours_unmasked, neighbours_half_masked: Shares of brighter ones that are left, and of
            those of which the mask covers half.
        cosmic_rays: Share of systems with tracks of cosmic rays.
        cosmic_rays_max: Largest number of tracks (uniform from 1) in 64 x 64 pixels.
        cosmic_ray_charge: Range of their height [standard deviations of the noise] (log-uniform).
        cosmic_ray_length: Mean length (exponential) [pixel].
        cosmic_rays_left: Share of tracks that are not masked.
        bad_pixels: Share of systems with bad pixels.
        bad_share: Range of their share of the frame (log-uniform).
        bad_columns: Share of systems with a bad column or row.
        gaps: Share of systems with a gap through, or an edge in, the frame.
        saturated: Share of systems with lens light whose core is masked.
        core_radius: Range of its radius [pixel] (uniform).
        light_errors: Share of systems with lens light of which a fit has left something, where
            pairs are made; a mock has its lens light whole.
        light_residual: Range of what is left, relative to the light (log-uniform).
        psf_errors: Share of systems whose PSF is given wrongly.
        psf_width: Range of the relative error of its width (log-uniform, of either sign).
        psf_ellipticity: Range of the error of its ellipticity (log-uniform).
        psf_shift: Largest displacement of its centre [pixel].
        psf_wings: Largest share of its light in wings that it should not have, or lacks.
        noise_errors: Share of systems whose noise map is wrong by a factor.
        noise_error: Standard deviation of the factor's logarithm.

    Raises:
        InputError: If a number is impossible.
    """

    neighbours: float = 0.0
    neighbours_max: int = 3
    neighbour_stars: float = 0.3
    neighbour_brightness: tuple[float, float] = (0.03, 10.0)
    neighbour_radius: tuple[float, float] = (0.05, 0.4)
    neighbour_distance: float = 1.5
    neighbours_near: float = 0.1
    neighbours_left: float = 0.1
    neighbours_unmasked: float = 0.05
    neighbours_half_masked: float = 0.1
    cosmic_rays: float = 0.0
    cosmic_rays_max: int = 4
    cosmic_ray_charge: tuple[float, float] = (5.0, 300.0)
    cosmic_ray_length: float = 3.0
    cosmic_rays_left: float = 0.1
    bad_pixels: float = 0.0
    bad_share: tuple[float, float] = (3e-4, 1e-2)
    bad_columns: float = 0.0
    gaps: float = 0.0
    saturated: float = 0.0
    core_radius: tuple[float, float] = (1.0, 4.5)
    light_errors: float = 0.0
    light_residual: tuple[float, float] = (0.003, 0.03)
    psf_errors: float = 0.0
    psf_width: tuple[float, float] = (0.005, 0.05)
    psf_ellipticity: tuple[float, float] = (0.003, 0.05)
    psf_shift: float = 0.1
    psf_wings: float = 0.03
    noise_errors: float = 0.0
    noise_error: float = 0.05

    def __post_init__(self) -> None:
        check_shares(self, "neighbours", "neighbour_stars", "neighbours_near")
        check_shares(self, "neighbours_unmasked", "neighbours_half_masked", "cosmic_rays")
        check_shares(self, "cosmic_rays_left", "bad_pixels", "bad_columns", "gaps", "saturated")
        check_shares(self, "light_errors", "psf_errors", "psf_wings", "noise_errors")
        check_ranges(self, "neighbour_brightness", "neighbour_radius", "cosmic_ray_charge")
        check_ranges(self, "bad_share", "core_radius", "light_residual", "psf_width")
        check_ranges(self, "psf_ellipticity")
        check_sizes(self, "neighbour_distance", "neighbours_left")
        check_sizes(self, "cosmic_ray_length", "psf_shift", "noise_error")
        for name in ("neighbours", "cosmic_rays"):
            if getattr(self, f"{name}_max") < 1:
                raise InputError(
                    f"{name}_max: must be 1 or more, found {getattr(self, f'{name}_max')}; for "
                    f"none set {name} to 0"
                )


TRAINING = Contaminants(
    neighbours=0.4,
    cosmic_rays=0.2,
    bad_pixels=0.2,
    bad_columns=0.05,
    gaps=0.03,
    saturated=0.1,
    light_errors=1.0,
    psf_errors=0.4,
    noise_errors=0.4,
)
"""Contaminants of training pairs: each kind in fewer than half of them, but for what is left of
the lens light, which is wherever there is any."""

NONE = Contaminants()
"""No contaminants."""

RESIDUES = Contaminants(light_errors=1.0)
"""What is left of the lens light, and nothing else."""


def draw_contaminants(
    rng: np.random.Generator,
    prior: Contaminants,
    *,
    shape: tuple[int, int],
    theta_E: float,
    fwhm: float,
    center: tuple[float, float] = (0.0, 0.0),
    lit: bool = True,
) -> Contamination | None:
    """Draws what spoils one observation.

    Arguments:
        rng: Source of random numbers.
        prior: The population.
        shape: Shape of the frame (H, W).
        theta_E: Einstein radius [pixel].
        fwhm: Width of the PSF [pixel].
        center: Centre of the lens [pixel].
        lit: Whether the lens has light.

    Returns:
        The numbers; none, without a random number, where no share is above 0.
    """
    if prior == NONE:
        return None

    def met(share: float) -> bool:
        return share > 0 and rng.uniform() < share

    area = shape[0] * shape[1] / AREA
    neighbours: list[Neighbour] = []
    if met(prior.neighbours):
        for _ in range(_count(rng, prior.neighbours_max, area)):
            neighbours.append(_neighbour(rng, prior, shape, theta_E, center))
    tracks: list[Track] = []
    if met(prior.cosmic_rays):
        tracks = [
            _track(rng, prior, shape) for _ in range(_count(rng, prior.cosmic_rays_max, area))
        ]
    bad: tuple[tuple[int, int], ...] = ()
    if met(prior.bad_pixels):
        count = max(1, round(log_uniform(rng, *prior.bad_share) * shape[0] * shape[1]))
        places = rng.integers((0, 0), shape, (count, 2)).tolist()
        bad = tuple((row, column) for row, column in places)
    strips: list[Strip] = []
    if met(prior.bad_columns):
        across = int(rng.integers(2))
        n = shape[across]
        line = int(rng.integers(n)) - (n - 1) / 2
        strips.append(Strip((0.0, math.pi / 2)[1 - across], line, 0.6))
    if met(prior.gaps):
        phi, reach = float(rng.uniform(0, 2 * np.pi)), min(shape) / 2
        strips.append(Strip(phi, float(rng.uniform(0.5, 1.2)) * reach, float(rng.uniform(1, 6))))
    return Contamination(
        neighbours=tuple(neighbours),
        tracks=tuple(tracks),
        strips=tuple(strips),
        bad=bad,
        core=float(rng.uniform(*prior.core_radius)) if lit and met(prior.saturated) else 0.0,
        light=_light_errors(rng, prior) if lit and met(prior.light_errors) else None,
        psf=_psf_error(rng, prior, fwhm) if met(prior.psf_errors) else None,
        noise=float(np.exp(rng.normal(0, prior.noise_error))) if met(prior.noise_errors) else 1.0,
    )


def _count(rng: np.random.Generator, most: int, area: float) -> int:
    """Draws a number of things, more in a larger frame."""
    return max(1, round(float(rng.uniform(0.5, most + 0.5)) * area))


def _neighbour(
    rng: np.random.Generator,
    prior: Contaminants,
    shape: tuple[int, int],
    theta_E: float,
    center: tuple[float, float],
) -> Neighbour:
    """Draws a neighbour; where a frame leaves no room at its distance, one that is near."""
    least = prior.neighbour_distance * theta_E if rng.uniform() >= prior.neighbours_near else 0.0
    x = y = 0.0
    for _ in range(20):
        # some stand beyond the frame's edge
        x, y = (float(rng.uniform(-0.55, 0.55) * n) for n in shape[::-1])
        if math.hypot(x - center[0], y - center[1]) >= least:
            break
    star = bool(rng.uniform() < prior.neighbour_stars)
    brightness = log_uniform(rng, *prior.neighbour_brightness)
    fate = float(rng.uniform())
    masked = 0.0
    if brightness >= prior.neighbours_left and fate >= prior.neighbours_unmasked:
        half = fate < prior.neighbours_unmasked + prior.neighbours_half_masked
        masked = 0.5 if half else 1.0
    return Neighbour(
        x=x,
        y=y,
        brightness=brightness,
        radius=0.0 if star else log_uniform(rng, *prior.neighbour_radius) * theta_E,
        n=1.0 if star else float(rng.uniform(0.7, 4.0)),
        q=1.0 if star else float(rng.uniform(0.3, 1.0)),
        phi=float(rng.uniform(0, np.pi)),
        masked=masked,
        side=float(rng.uniform(0, 2 * np.pi)),
    )


def _track(rng: np.random.Generator, prior: Contaminants, shape: tuple[int, int]) -> Track:
    hit = bool(rng.uniform() < 0.4)
    return Track(
        x=float(rng.uniform(-0.5, 0.5) * shape[1]),
        y=float(rng.uniform(-0.5, 0.5) * shape[0]),
        length=0.0 if hit else float(rng.exponential(prior.cosmic_ray_length)),
        phi=float(rng.uniform(0, np.pi)),
        width=float(rng.uniform(0.3, 0.6)),
        charge=log_uniform(rng, *prior.cosmic_ray_charge),
        found=bool(rng.uniform() >= prior.cosmic_rays_left),
    )


def _light_errors(rng: np.random.Generator, prior: Contaminants) -> LightErrors:
    """Draws parts that are each the largest now and then."""
    waves, dipole, quadrupole, ring, boxiness = np.abs(rng.normal(size=5)).tolist()
    one, two, four = rng.uniform(0, 2 * np.pi, 3).tolist()
    return LightErrors(
        size=log_uniform(rng, *prior.light_residual),
        waves=waves,
        dipole=dipole,
        quadrupole=quadrupole,
        ring=ring * float(rng.choice((-1, 1))),
        boxiness=boxiness,
        phi_1=one,
        phi_2=two / 2,
        phi_4=four / 4,
    )


def _psf_error(rng: np.random.Generator, prior: Contaminants, fwhm: float) -> PsfChange:
    return PsfChange.of(
        fwhm,
        width=log_uniform(rng, *prior.psf_width) * float(rng.choice((-1, 1))),
        ellipticity=directed(rng, log_uniform(rng, *prior.psf_ellipticity)),
        shift=directed(rng, prior.psf_shift * float(rng.uniform())),
        wings=float(rng.uniform(-1, 1)) * prior.psf_wings,
    )
