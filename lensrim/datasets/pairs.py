r"""Training pairs: ingredients become an observation and its truth, afresh at every step.

All lengths are in *pixels of the image* (the grid's spacing is 1), because ray tracing knows no
other scale. A batch is a pure function of its number and of the seed, so that an interrupted
training sees the same data again. The image is ray-traced through the analytic mass model from a
source that is four times finer than the one that is fitted.

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
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..grid import PixelGrid
from ..lensing.convergence import KappaToAlpha
from ..lensing.mass import EPL, Multipole, Shear, Sum, flux_average
from ..lensing.psf import PSF, measure_fwhm
from ..lensing.source import PixelatedSource
from ..lensing.subhalos import Subhalos
from .cosmos import Galaxy
from .priors import Galaxies, System, SystemPrior, draw_system, log_uniform
from .psfs import Psf, block_mean, fine_psf, native_psf

Map = NDArray[np.float64]
Batch = dict[str, Tensor]

FINE = 0.2
"""Side of a pixel of the source [pixel of the image]."""

RAYS = 3
"""Rays along each side of a pixel."""


@dataclass(frozen=True)
class PairPrior:
    """Creates a population of training pairs; the defaults are wider than those of the mocks.

    Arguments:
        system: Lens, source, PSF, noise; lengths in pixels.
        synthetic: Share of synthetic galaxies where there are real ones.
        rough: Share of lenses with a smooth random residual of the convergence.
        roughness: Range of its standard deviation relative to the convergence (log-uniform).
        rough_length: Range of its correlation length [pixel] (log-uniform).
        light_residual: Range of what a fit leaves of the lens light, relative to it (log-uniform).
        masked: Share of systems with masked discs.
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


@dataclass(frozen=True)
class Pairs:
    """Creates the endless sequence of training batches; ``pairs(i)`` is the i-th.

    Arguments:
        batch_size: Samples in a batch.
        galaxies: Real galaxies; synthetic ones only by default.
        names: Those of them to draw from; all by default.
        psfs: Real PSFs, from :func:`lensrim.datasets.psfs.read_psf_stamps`.
        shape: Shape of the images (H, W).
        psf_side: Odd side of the PSF stamps [pixels].
        prior: The population.
        seed: Seed of the sequence.
    """

    batch_size: int
    galaxies: Galaxies | None = None
    names: Sequence[str] | None = None
    psfs: dict[str, tuple[Map, float]] | None = None
    shape: tuple[int, int] = (64, 64)
    psf_side: int = 31
    prior: PairPrior = field(default_factory=PairPrior)
    seed: int = 0

    @property
    def grid(self) -> PixelGrid:
        """The image's pixels."""
        return PixelGrid(self.shape, 1.0)

    def __call__(self, index: int) -> Batch:
        """Makes batch number ``index``."""
        rng = np.random.default_rng([self.seed, index])
        systems = [self._system(rng) for _ in range(self.batch_size)]
        noise = torch.Generator().manual_seed(int(rng.integers(2**62)))
        return self._render(systems, rng, noise)

    def _system(self, rng: np.random.Generator) -> System:
        """Draws a system whose arcs are likely to end inside the frame."""
        half = min(self.shape) / 2
        while True:
            real = self.galaxies is not None and rng.uniform() > self.prior.synthetic
            system = draw_system(
                rng,
                galaxies=self.galaxies if real else None,
                names=self.names,
                psfs=self.psfs,
                shape=self.shape,
                prior=self.prior.system,
            )
            lens, place = system.lens, system.placement
            flat = (1 - lens.ellipsoid.q) / (1 + lens.ellipsoid.q)
            stretch = 1 + flat + math.hypot(lens.gamma1, lens.gamma2)
            off = math.hypot(place.center_x, place.center_y)
            if lens.ellipsoid.theta_E * stretch + off + 2 * place.half_light_radius < half:
                return system

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
        image = clean + left * light * waves + sigma * torch.randn(clean.shape, generator=noise)
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


def lens_models(systems: Sequence[System]) -> tuple[Tensor, Sum]:
    """Returns the ellipsoids' parameters (B, 8) and the whole mass model, batched."""
    hosts = [s.lens.ellipsoid for s in systems]
    flat = [(1 - e.q) / (1 + e.q) for e in hosts]
    rows = [
        (
            math.log(e.theta_E),
            f * math.cos(2 * e.phi),
            f * math.sin(2 * e.phi),
            e.center_x,
            e.center_y,
            s.lens.gamma1,
            s.lens.gamma2,
            e.gamma,
        )
        for s, e, f in zip(systems, hosts, flat, strict=True)
    ]
    macro = torch.tensor(rows, dtype=torch.float64)
    log_theta, e1, e2, cx, cy, g1, g2, gamma = macro.float().unbind(-1)
    theta = log_theta.exp()
    parts: list = [EPL(theta, gamma, e1, e2, cx, cy, terms=12), Shear(g1, g2)]
    for m in (3, 4):
        waves = [[p for p in s.lens.multipoles if p.m == m] for s in systems]
        a, b = (
            torch.tensor([sum(p.amplitude * turn(m * p.phi) for p in w) for w in waves])
            for turn in (math.cos, math.sin)
        )
        parts.append(Multipole(m, a * theta, b * theta, cx, cy))
    most = max(1, max(len(s.lens.subhalos) for s in systems))
    halos = torch.zeros(len(systems), most, 4)
    halos[..., 1] = 1.0  # an empty place has no mass, but a radius
    for i, s in enumerate(systems):
        for j, h in enumerate(s.lens.subhalos):
            values = [h.theta_E, h.truncation, h.center_x, h.center_y]
            halos[i, j] = torch.tensor(values)
    parts.append(Subhalos(*halos.unbind(-1)))
    return macro, Sum(parts)


def convergence(mass: Sum, grid: PixelGrid, center: Tensor, *, core: int = 9) -> Tensor:
    """Averages the convergence of a batch over pixels, more finely about each centre.

    Subhalos between the edges' points come out right in total, not to the pixel.

    Arguments:
        mass: Mass model, its parameters of shape (B).
        grid: The pixels.
        center: The centres, with shape (B, 2).
        core: Odd side of the square of pixels about the centre [pixels].

    Returns:
        The maps, with shape (B, 1, H, W).
    """
    kappa = flux_average(mass, grid, 2, torch.float32)
    (h, w), half = grid.shape, core // 2
    column, row = (
        c.round().long().clamp(half, n - 1 - half)
        for c, n in zip(grid.to_index(*center.unbind(1)), (w, h), strict=True)
    )
    for r, c in {(int(r), int(c)) for r, c in zip(row, column, strict=True)}:
        patch = PixelGrid((core, core), grid.spacing, grid.from_index(c, r))
        here = (row == r) & (column == c)
        inner = flux_average(mass, patch, 24, torch.float32)[here]
        kappa[here, r - half : r + half + 1, c - half : c + half + 1] = inner
    return kappa[:, None].clamp(min=1e-4)


def place_galaxy(galaxy: Galaxy, system: System, n: int) -> Map:
    """Turns and scales a galaxy's stamp onto n x n pixels of ``FINE`` about its centre."""
    from scipy import ndimage

    place, image = system.placement, galaxy.image
    scale = place.half_light_radius / galaxy.half_light_radius * galaxy.pixel_scale / FINE
    # Coarser pixels first, where the stamp is finer than the map: no light is lost between points.
    factor = max(1, int(1 / scale))
    if factor > 1:
        side = -(-image.shape[0] // factor) * factor
        before = (side - image.shape[0]) // 2
        after = side - image.shape[0] - before
        image = block_mean(np.pad(image, (before, after)), factor)
        shift = (after - before) / 2 / factor
        scale *= factor
    else:
        shift = 0.0
    axis = np.arange(n) - (n - 1) / 2
    x, y = axis[None, :], axis[:, None]
    u = (np.cos(place.angle) * x + np.sin(place.angle) * y) / scale
    v = (np.cos(place.angle) * y - np.sin(place.angle) * x) / scale
    u = -u if place.flip else u
    middle = (image.shape[0] - 1) / 2 - shift
    return ndimage.map_coordinates(image, [v + middle, u + middle], order=1, cval=0.0)


def stamp(psf: Psf, side: int) -> Tensor:
    """Makes the effective stamp of a PSF, cut or padded to a side, with sum 1."""
    fine = native_psf(fine_psf(psf, oversample=5, max_radius=side // 2), 5)
    pad = (side - fine.shape[0]) // 2
    fine = np.pad(fine, max(pad, 0))
    return torch.from_numpy(fine / fine.sum())


def lens_light(systems: Sequence[System], grid: PixelGrid) -> Tensor:
    """Draws the light of the lens galaxies before the PSF, of any scale: (B, 1, H, W)."""
    x, y = grid.coordinates()
    maps = []
    for s in systems:
        light = s.lens_light
        if light is None:
            maps.append(torch.zeros_like(x))
            continue
        dx, dy = x - light.center_x, y - light.center_y
        c, d = math.cos(light.phi), math.sin(light.phi)
        r2 = light.q * (dx * c + dy * d) ** 2 + (dy * c - dx * d) ** 2 / light.q
        n = light.n_sersic
        radius = (r2 + 0.2).sqrt() / light.R_sersic
        maps.append(torch.exp(-(2 * n - 1 / 3) * (radius ** (1 / n) - 1)))
    return torch.stack(maps)[:, None]


def noise_maps(systems: Sequence[System], arcs: Tensor, light: Tensor) -> Tensor:
    """Standard deviations for arcs whose peak is 1: background, and photons of arcs and lens."""
    snr = torch.tensor([s.noise.snr for s in systems]).float()[:, None, None, None]
    share = torch.tensor([s.noise.poisson_share for s in systems])[:, None, None, None].float()
    photons = (arcs + light).clamp(min=0)
    top = photons.flatten(1).gather(1, arcs.flatten(1).argmax(1)[:, None])[..., None, None]
    return ((1 - share) + share * photons / top).sqrt() / snr


def arc_weights(
    image: Tensor,
    sigma: Tensor,
    mask: Tensor,
    psf: Tensor,
    *,
    center: Tensor,
    hole: Tensor,
    level: float = 3.0,
) -> tuple[Tensor, Tensor]:
    """Measures the arcs on an image without lens light, in training and in use.

    Arguments:
        image, sigma, mask: The image, with shape (B, 1, H, W).
        psf: Its PSF, with shape (B, P, P).
        center: Centre of the lens [pixel of the image, from its middle], with shape (B, 2).
        hole: Radius about it within which nothing is an arc [pixel], with shape (B).
        level: Significance after smoothing by the PSF above which a pixel is lit.

    Returns:
        Weights with sum 1, with shape (B, 1, H, W), and the brightness of the brightest pixel (B).
    """
    shape = (image.shape[-2], image.shape[-1])
    smooth = PSF(psf, shape, subsample=1)(image * mask)
    variance = PSF(psf.square(), shape, subsample=1)((sigma * mask).square())
    variance = variance * psf.square().sum((-2, -1))[:, None, None, None]
    lit = smooth > level * variance.clamp(min=1e-20).sqrt()
    grown = F.max_pool2d(lit.float(), 3, stride=1, padding=1)
    x, y = PixelGrid(shape, 1.0).coordinates()
    cx, cy = center[:, :, None, None].unbind(1)
    use = mask * (torch.hypot(x - cx, y - cy) >= hole[:, None, None])[:, None]
    light = (image * use).clamp(min=0) * grown + 1e-12 * use
    return light / light.sum((1, 2, 3), keepdim=True), light.amax((1, 2, 3))


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
