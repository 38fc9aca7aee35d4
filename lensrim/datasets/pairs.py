r"""Training pairs: ingredients become an observation and its truth, afresh at every step.

All lengths are in *pixels of the image* (the grid's spacing is 1), because ray tracing knows no
other scale; a population in arcsec is converted. A batch is a pure function of its number and of
the seed, so that an interrupted training sees the same data again. The image is ray-traced through
the analytic mass model from a source that is four times finer than the one that is fitted.

A batch is a mapping of tensors, with B samples of H × W pixels:

============== ==================================================================== ==============
``image``      arcs, what is left of the lens light, and noise                      (B, 1, H, W)
``sigma``      standard deviation of the noise                                      (B, 1, H, W)
``mask``       1 where a pixel is used                                              (B, 1, H, W)
``psf``        effective PSF                                                        (B, P, P)
``fwhm``       measured width of the PSF [pixel]                                           (B)
``lit``        1 where the system has lens light                                    (B)
``arc``        weights of the arcs, as measured on the image, with sum 1            (B, 1, H, W)
``amplitude``  brightness of the arcs' brightest pixel, as measured                 (B)
``clean``      noise-free arcs                                                      (B, 1, H, W)
``macro``      log theta_E, e1, e2, center_x, center_y, gamma1, gamma2, gamma       (B, 8)
``kappa``      mean convergence of each pixel                                       (B, 1, H, W)
``alpha``      deflection at the pixels' centres, external shear included           (B, 2, H, W)
``source``     surface brightness in the source plane, pixels of ``FINE``           (B, 1, N, N)
``origin``     centre of that map                                                   (B, 2)
============== ==================================================================== ==============
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from ..grid import PixelGrid
from ..lensing.convergence import KappaToAlpha
from ..lensing.psf import PSF, measure_fwhm
from ..lensing.source import PixelatedSource
from .arcs import arc_weights
from .noise import unit_noise
from .priors import Galaxies, System, SystemPrior, draw_system, log_uniform
from .ranges import check_ranges, check_shares
from .systems import (
    FINE,
    Map,
    convergence,
    lens_light,
    lens_models,
    noise_maps,
    place_galaxy,
    stamp,
)

Batch = dict[str, Tensor]

RAYS = 3
"""Rays along each side of a pixel."""

DRAWS = 200
"""Systems in a row that may not fit the frame."""


@dataclass(frozen=True)
class PairPrior:
    """Creates a population of training pairs; the defaults are wider than those of the mocks.

    Arguments:
        system: Lens, source, PSF, noise; with pixels of side 1 by default, so in pixels.
        synthetic: Share of synthetic galaxies where there are real ones.
        rough: Share of lenses with a smooth random residual of the convergence.
        roughness: Range of its standard deviation relative to the convergence (log-uniform).
        rough_length: Range of its correlation length [pixel] (log-uniform).
        light_residual: Range of what a fit leaves of the lens light, relative to it (log-uniform).
        masked: Share of systems with masked discs.

    Raises:
        InputError: If a number is impossible.
    """

    system: SystemPrior = field(
        default_factory=lambda: SystemPrior(
            pixel_scale=(1.0, 1.0), light_offset=0.3, psf_fwhm=(1.0, 4.0)
        )
    )
    synthetic: float = 0.3
    rough: float = 0.3
    roughness: tuple[float, float] = (0.005, 0.05)
    rough_length: tuple[float, float] = (3.0, 15.0)
    light_residual: tuple[float, float] = (0.003, 0.03)
    masked: float = 0.3

    def __post_init__(self) -> None:
        check_shares(self, "synthetic", "rough", "masked")
        check_ranges(self, "roughness", "rough_length", "light_residual")


@dataclass(frozen=True)
class Pairs:
    """Creates the endless sequence of training batches; ``pairs(i)`` is the i-th.

    Arguments:
        batch_size: Samples in a batch.
        galaxies: Real galaxies; synthetic ones only by default.
        names: Those of them to draw from; all by default.
        psfs: Real PSFs, from :func:`lensrim.datasets.psfs.read_psf_stamps`.
        noises: Real noise, from :func:`lensrim.datasets.noise.read_noise_fields`; drawn by
            default.
        shape: Shape of the images (H, W).
        psf_side: Odd side of the PSF stamps [pixels].
        prior: The population.
        seed: Seed of the sequence.
        stream: Number of one of the independent sequences of a seed; 0 is that of old.
    """

    batch_size: int
    galaxies: Galaxies | None = None
    names: Sequence[str] | None = None
    psfs: dict[str, tuple[Map, float]] | None = None
    noises: Sequence[Map] | None = None
    shape: tuple[int, int] = (64, 64)
    psf_side: int = 31
    prior: PairPrior = field(default_factory=PairPrior)
    seed: int = 0
    stream: int = 0

    @property
    def grid(self) -> PixelGrid:
        """The image's pixels."""
        return PixelGrid(self.shape, 1.0)

    def __call__(self, index: int) -> Batch:
        """Makes batch number ``index``."""
        return self.described(index)[0]

    def described(self, index: int) -> tuple[Batch, list[System]]:
        """Makes batch number ``index``, and tells the systems it shows, as they were drawn."""
        stream = [self.stream] if self.stream else []
        rng = np.random.default_rng([self.seed, index, *stream])
        drawn = [self._system(rng) for _ in range(self.batch_size)]
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return self._render([each.in_pixels() for each in drawn], rng, noise), drawn

    def _system(self, rng: np.random.Generator) -> System:
        """Draws a system whose arcs are likely to end inside the frame.

        What does not fit is drawn again: all of it, so that large Einstein radii are fewer than
        the population says, or, where it gives them in arcsec, all but the Einstein radius.
        """
        half, prior = min(self.shape) / 2, self.prior.system
        for _ in range(DRAWS):
            real = self.galaxies is not None and rng.uniform() > self.prior.synthetic
            system = draw_system(
                rng,
                galaxies=self.galaxies if real else None,
                names=self.names,
                psfs=self.psfs,
                shape=self.shape,
                prior=prior,
            )
            seen = system.in_pixels()
            lens, place = seen.lens, seen.placement
            flat = (1 - lens.ellipsoid.q) / (1 + lens.ellipsoid.q)
            stretch = 1 + flat + math.hypot(lens.gamma1, lens.gamma2)
            off = math.hypot(place.center_x, place.center_y)
            if lens.ellipsoid.theta_E * stretch + off + 2 * place.half_light_radius < half:
                return system
            if prior.theta_E_arcsec is not None:
                theta_E = system.lens.ellipsoid.theta_E
                prior = replace(prior, theta_E_arcsec=(theta_E, theta_E))
        raise InputError(
            f"shape: must hold the arcs of the population, found {self.shape} pixels, in which "
            f"none of {DRAWS} systems fits; enlarge it, or draw smaller Einstein radii"
        )

    def _render(
        self, systems: list[System], rng: np.random.Generator, noise: torch.Generator
    ) -> Batch:
        grid, size = self.grid, len(systems)
        macro, mass = lens_models(systems)
        operator = KappaToAlpha(grid, subsample=RAYS)
        kappa = convergence(mass, grid, macro[:, 3:5])
        rough = kappa * self._roughness(size, rng, noise)
        kappa = kappa + rough
        more = operator.maps(rough)
        fine_alpha = torch.stack(mass.deflection(*grid.coordinates(RAYS)), 1)
        fine_alpha = fine_alpha + operator.interpolate(more)
        alpha = torch.stack(mass.deflection(*grid.coordinates()), 1) + more
        source, origin = self._sources(systems)
        n = source.shape[-1]
        reader = PixelatedSource(PixelGrid((n, n), FINE))
        rays = torch.stack(grid.coordinates(RAYS)) - fine_alpha
        seen = F.avg_pool2d(reader(source, rays, center=origin), RAYS)
        psf = torch.stack([stamp(s.psf, self.psf_side) for s in systems])
        clean = PSF(psf, self.shape, subsample=RAYS)(seen)
        peak = clean.amax((1, 2, 3))
        clean, source = (t / peak[:, None, None, None] for t in (clean, source))
        light = PSF(psf, self.shape, subsample=1)(lens_light(systems, grid))
        light = light / light.amax((1, 2, 3), keepdim=True).clamp(min=1e-9)
        glow = [s.lens_light.brightness if s.lens_light else 0.0 for s in systems]
        light = light * torch.tensor(glow)[:, None, None, None]
        sigma = noise_maps(systems, clean, light)
        left = torch.tensor([log_uniform(rng, *self.prior.light_residual) for _ in systems])[
            :, None, None, None
        ]
        waves = _waves(size, self.shape, torch.full((size,), 3.0), noise)
        image = clean + left * light * waves + sigma * self._noise(systems, rng, noise)
        # What is left of the lens light is known to the fit as a noise, not as what it is.
        sigma = torch.hypot(sigma, left * light)
        mask = self._masks(size, rng)
        fwhm = torch.tensor([measure_fwhm(each) for each in psf], dtype=torch.float32)
        lit = torch.tensor([float(s.lens_light is not None) for s in systems])
        center = macro[:, 3:5].float()
        arc, amplitude = arc_weights(image, sigma, mask, psf, center=center, hole=1.5 * fwhm * lit)
        return {
            "image": image,
            "sigma": sigma,
            "mask": mask,
            "psf": psf.float(),
            "fwhm": fwhm,
            "lit": lit,
            "arc": arc,
            "amplitude": amplitude,
            "clean": clean,
            "macro": macro,
            "kappa": kappa,
            "alpha": alpha,
            "source": source,
            "origin": origin,
        }

    def _noise(
        self, systems: list[System], rng: np.random.Generator, noise: torch.Generator
    ) -> Tensor:
        """Draws noise of variance 1, with shape (B, 1, H, W)."""
        lengths = [s.noise.correlation for s in systems]
        if self.noises is None and not any(lengths):
            return torch.randn((len(systems), 1, *self.shape), generator=noise)
        fields = [unit_noise(rng, self.shape, length=n, fields=self.noises) for n in lengths]
        return torch.from_numpy(np.stack(fields)).float()[:, None]

    def _roughness(self, size: int, rng: np.random.Generator, noise: torch.Generator) -> Tensor:
        prior = self.prior
        rms = [
            log_uniform(rng, *prior.roughness) * float(rng.uniform() < prior.rough)
            for _ in range(size)
        ]
        length = torch.tensor([log_uniform(rng, *prior.rough_length) for _ in range(size)])
        return torch.tensor(rms)[:, None, None, None] * _waves(size, self.shape, length, noise)

    def _sources(self, systems: list[System]) -> tuple[Tensor, Tensor]:
        """Puts the galaxies on fine pixels that reach 0.55 of the frame."""
        n = round(0.55 * max(self.shape) / FINE)
        maps = [place_galaxy(s.galaxy, s, n) for s in systems]
        origin = [[s.placement.center_x, s.placement.center_y] for s in systems]
        return torch.from_numpy(np.stack(maps)).float()[:, None], torch.tensor(origin).float()

    def _masks(self, size: int, rng: np.random.Generator) -> Tensor:
        """Masks discs: neighbours anywhere, or the core of the lens."""
        h, w = self.shape
        y, x = np.mgrid[:h, :w]
        mask = np.ones((size, 1, h, w), dtype=np.float32)
        for each in mask[:, 0]:
            if rng.uniform() >= self.prior.masked:
                continue
            discs = [(rng.uniform(0, w), rng.uniform(0, h)) for _ in range(rng.integers(0, 4))]
            for cx, cy in discs or [((w - 1) / 2, (h - 1) / 2)]:
                each[np.hypot(x - cx, y - cy) < rng.uniform(1.0, 4.5)] = 0
        return torch.from_numpy(mask)


def _waves(size: int, shape: tuple[int, int], length: Tensor, noise: torch.Generator) -> Tensor:
    """Draws smooth random maps of mean 0 and variance 1 per sample, with shape (B, 1, H, W)."""
    h, w = 2 * shape[0], 2 * shape[1]
    ky, kx = torch.fft.fftfreq(h)[:, None], torch.fft.rfftfreq(w)[None]
    k2 = (2 * math.pi) ** 2 * (kx**2 + ky**2)
    window = torch.exp(-0.25 * k2 * length.float()[:, None, None] ** 2)
    white = torch.randn(size, h, w, generator=noise)
    maps = torch.fft.irfft2(torch.fft.rfft2(white) * window, s=(h, w))
    maps = maps[:, None, : shape[0], : shape[1]]
    maps = maps - maps.mean((-2, -1), keepdim=True)
    return maps / maps.std((-2, -1), keepdim=True)
