r"""Training pairs: ingredients become an observation and its truth, afresh at every step.

All lengths are in *pixels of the image* (the grid's spacing is 1), because ray tracing knows no
other scale; a population in arcsec is converted. A batch is a pure function of its number and of
the seed, so that an interrupted training sees the same data again. The image is ray-traced through
the mass itself from a source that is finer than the one that is fitted.

A batch is made in two parts. :meth:`Pairs.draw` draws systems and collects their numbers, on a
CPU and in any process. :meth:`Pairs.render` makes maps of the numbers, all samples at once, on the
device where they are used. What is random there, noise and other fields, follows from the batch's
seed, but is not the same on a GPU as on a CPU. Two things can be added to without a change here:

- kinds of mass (``masses``; :class:`lensrim.datasets.pairs.masses.Masses`), such as maps of
  haloes;
- contaminants (``contaminants``; :class:`lensrim.datasets.pairs.exposures.Contaminant`), which
  see the image, its noise, mask and PSF when all else is done.

A batch is a mapping of tensors, with B samples of H × W pixels:

============== ==================================================================== ==============
``image``      arcs, what is left of the lens light, neighbours and the like, noise (B, 1, H, W)
``sigma``      standard deviation of the noise, as it is stated                     (B, 1, H, W)
``mask``       1 where a pixel is used                                              (B, 1, H, W)
``psf``        effective PSF, as it is given                                        (B, P, P)
``fwhm``       measured width of that PSF [pixel]                                          (B)
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
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ...errors import InputError
from ...grid import PixelGrid
from ...lensing.convergence import KappaToAlpha
from ...lensing.psf import PSF
from ...lensing.ray_psf import RayPSF
from ...lensing.source import PixelatedSource
from ..arcs import arc_weights
from ..contaminants import TRAINING, Contaminants
from ..galaxies.clumpy import Clumpy
from ..haloes.scaled import ScaledHaloes
from ..priors import SystemPrior, draw_galaxy, draw_system
from ..psfs.stamps import effective_stamps, psf_numbers, widths
from ..ranges import check_ranges, check_shares, check_sizes, log_uniform
from ..systems import AnyGalaxy, Companion, Galaxies, Placement, System
from .contaminated import Contaminated
from .drawn import Drawn, Stream
from .exposures import (
    Contaminant,
    Exposure,
    lens_light,
    light_numbers,
    noise_fields,
    noise_maps,
    noise_numbers,
    smooth_fields,
)
from .halo_masses import HaloMasses
from .masses import AnalyticMasses, Fields, Masses, macro_of
from .sources import source_maps, source_numbers
from .systems import FINE, Map

Batch = dict[str, Tensor]

RAYS = 3
"""Rays along each side of a pixel; an odd number, so that one meets its centre."""

DRAWS = 200
"""Systems in a row that may not fit the frame."""


@dataclass(frozen=True)
class PairPrior:
    """Creates a population of training pairs; the defaults are wider than those of the mocks.

    Arguments:
        system: Lens, source, PSF, noise; with pixels of side 1 by default, so in pixels.
        synthetic: Share of synthetic galaxies where there are real ones.
        mixed: Share of the sources that are two galaxies.
        mixed_radius: Range of the second's half-light radius relative to the first's
            (log-uniform).
        mixed_offset: Its largest distance from the first, in half-light radii of that (uniform in
            it).
        mixed_brightness: Range of its peak relative to the first's (log-uniform).
        rough: Share of lenses with a smooth random residual of the convergence.
        roughness: Range of its standard deviation relative to the convergence (log-uniform).
        rough_length: Range of its correlation length [pixel] (log-uniform).
        contaminants: What spoils the observations of a system that has no contaminants itself.

    Raises:
        InputError: If a number is impossible.
    """

    system: SystemPrior = field(
        default_factory=lambda: SystemPrior(
            pixel_scale=(1.0, 1.0), light_offset=0.3, psf_fwhm=(1.0, 4.0)
        )
    )
    synthetic: float = 0.3
    mixed: float = 0.2
    mixed_radius: tuple[float, float] = (0.4, 1.25)
    mixed_offset: float = 2.0
    mixed_brightness: tuple[float, float] = (0.2, 1.0)
    rough: float = 0.3
    roughness: tuple[float, float] = (0.005, 0.05)
    rough_length: tuple[float, float] = (3.0, 15.0)
    contaminants: Contaminants = TRAINING

    def __post_init__(self) -> None:
        check_shares(self, "synthetic", "mixed", "rough")
        check_ranges(self, "roughness", "rough_length", "mixed_radius", "mixed_brightness")
        check_sizes(self, "mixed_offset")


@dataclass(frozen=True)
class Pairs:
    """Creates the endless sequence of training batches; ``pairs(i)`` is the i-th, on a CPU.

    Arguments:
        batch_size: Samples in a batch.
        galaxies: Real galaxies; synthetic ones only by default.
        names: Those of them to draw from; all by default.
        psfs: Real PSFs, from :func:`lensrim.datasets.psfs.kinds.read_psf_stamps`.
        noises: Real noise, from :func:`lensrim.datasets.noise.read_noise_fields`; drawn by
            default.
        haloes, projections: Haloes, for the population's share of them, and the names of those of
            their projections to draw from; see :func:`~.priors.draw_system`.
        shape: Shape of the images (H, W).
        psf_side: Odd side of the PSF stamps [pixels].
        prior: The population.
        seed: Seed of the sequence.
        stream: Number of one of the independent sequences of a seed; 0 is that of old.
        masses: Kinds of mass; each system belongs to the first that takes it.
        contaminants: What else the images have, in this order; by default those
            of the population.
    """

    batch_size: int
    galaxies: Galaxies | None = None
    names: Sequence[str] | None = None
    psfs: dict[str, tuple[Map, float]] | None = None
    noises: Sequence[Map] | None = None
    haloes: ScaledHaloes | None = None
    projections: Sequence[str] | None = None
    shape: tuple[int, int] = (64, 64)
    psf_side: int = 31
    prior: PairPrior = field(default_factory=PairPrior)
    seed: int = 0
    stream: int = 0
    masses: tuple[Masses, ...] = (HaloMasses(), AnalyticMasses())
    contaminants: tuple[Contaminant, ...] | None = None

    @property
    def grid(self) -> PixelGrid:
        """The image's pixels."""
        return PixelGrid(self.shape, 1.0)

    def __call__(self, index: int) -> Batch:
        """Makes batch number ``index``."""
        return self.render(self.draw(index))

    def described(self, index: int) -> tuple[Batch, list[System]]:
        """Makes batch number ``index``, and tells the systems it shows, as they were drawn."""
        systems, rng = self._systems(index)
        return self.render(self.collect(systems, rng)), systems

    def draw(self, index: int) -> Drawn:
        """Draws the numbers of batch number ``index``."""
        return self.collect(*self._systems(index))

    def _systems(self, index: int) -> tuple[list[System], np.random.Generator]:
        stream = [self.stream] if self.stream else []
        rng = np.random.default_rng([self.seed, index, *stream])
        return [self._system(rng) for _ in range(self.batch_size)], rng

    def collect(self, systems: Sequence[System], rng: np.random.Generator) -> Drawn:
        """Collects the numbers of systems, and draws what they do not say.

        Arguments:
            systems: The systems.
            rng: Source of random numbers.
        """
        seen = [each.in_pixels() for each in systems]
        size = len(seen)
        kinds = [next(k for k, m in enumerate(self.masses) if m.takes(s)) for s in seen]
        masses = []
        for k, kind in enumerate(self.masses):
            rows = [i for i, of in enumerate(kinds) if of == k]
            numbers = kind.numbers([seen[i] for i in rows]) if rows else {}
            masses.append({**numbers, "row": torch.tensor(rows)} if rows else {})
        drawn = Drawn(
            seed=int(rng.integers(2**62)),
            macro=macro_of(seen),
            masses=tuple(masses),
            source=source_numbers(seen, rng.uniform(-0.5, 0.5, (size, 2))),
            psf=psf_numbers([s.psf for s in seen], self.psf_side),
            light=light_numbers(seen),
            noise=noise_numbers(seen, rng, self.shape, self.noises),
            rough=_rough_numbers(rng, self.prior, size),
            contaminants={},
        )
        contaminants: dict[str, Tensor] = {}
        for each in self._contaminants:
            contaminants |= each.numbers(seen, rng, self.shape)
        return replace(drawn, contaminants=contaminants)

    @property
    def _contaminants(self) -> tuple[Contaminant, ...]:
        if self.contaminants is not None:
            return self.contaminants
        return (Contaminated(self.prior.contaminants),)

    def _system(self, rng: np.random.Generator) -> System:
        """Draws a system whose arcs are likely to end inside the frame.

        What does not fit is drawn again: all of it, so that large Einstein radii are fewer than
        the population says, or, where it gives them in arcsec, all but the Einstein radius.
        """
        half, prior = min(self.shape) / 2, self.prior.system
        for _ in range(DRAWS):
            system = draw_system(
                rng,
                galaxies=self._collection(rng),
                names=self.names,
                psfs=self.psfs,
                haloes=self.haloes,
                projections=self.projections,
                shape=self.shape,
                prior=prior,
                synthetic=Clumpy.draw,
            )
            if self.prior.mixed and rng.uniform() < self.prior.mixed:
                system = replace(system, companion=self._companion(rng, system.placement))
            if _extent(system) < half * system.pixel_scale:
                return system
            if prior.theta_E_arcsec is not None:
                theta_E = system.lens.ellipsoid.theta_E
                prior = replace(prior, theta_E_arcsec=(theta_E, theta_E))
        raise InputError(
            f"shape: must hold the arcs of the population, found {self.shape} pixels, in which "
            f"none of {DRAWS} systems fits; enlarge it, or draw smaller Einstein radii"
        )

    def _collection(self, rng: np.random.Generator) -> Galaxies | None:
        """Returns the real galaxies, or none, for a synthetic one."""
        real = self.galaxies is not None and rng.uniform() > self.prior.synthetic
        return self.galaxies if real else None

    def _companion(self, rng: np.random.Generator, first: Placement) -> Companion:
        """Draws a second galaxy near the first."""
        prior, radius = self.prior, first.half_light_radius
        galaxy: AnyGalaxy = draw_galaxy(
            rng, self._collection(rng), self.names, prior.system.stamp_radius_min, Clumpy.draw
        )
        distance = prior.mixed_offset * radius * float(rng.uniform())
        angle = float(rng.uniform(0, 2 * math.pi))
        place = Placement(
            center_x=first.center_x + distance * math.cos(angle),
            center_y=first.center_y + distance * math.sin(angle),
            angle=float(rng.uniform(0, 2 * math.pi)),
            flip=bool(rng.uniform() < 0.5),
            half_light_radius=radius * log_uniform(rng, *prior.mixed_radius),
        )
        return Companion(galaxy, place, log_uniform(rng, *prior.mixed_brightness))

    def render(self, drawn: Drawn, device: torch.device | str = "cpu") -> Batch:
        """Makes the maps of a batch.

        Arguments:
            drawn: From :meth:`draw`.
            device: Where they are made, and stay.
        """
        device, grid = torch.device(device), self.grid
        drawn, stream = drawn.to(device), Stream(device, drawn.seed)
        fields = self._rough(self._fields(drawn), drawn, stream)
        n = round(0.55 * max(self.shape) / FINE)
        source, origin = source_maps(drawn.source, n), drawn.source["origin"]
        reader = PixelatedSource(PixelGrid((n, n), FINE))
        rays = torch.stack(grid.coordinates(RAYS, device=device)) - fields.traced
        seen = reader(source, rays, center=origin)
        psf = effective_stamps(drawn.psf, self.psf_side)
        clean = RayPSF(psf, self.shape, subsample=RAYS, trusted=True)(seen)
        peak = clean.amax((1, 2, 3), keepdim=True)
        clean, source = clean / peak, source / peak
        brightness = drawn.light["light"][:, -1]
        light = PSF(psf, self.shape, subsample=1, trusted=True)(
            lens_light(drawn.light, self.shape)
        )
        light = light / light.amax((1, 2, 3), keepdim=True).clamp(min=1e-9)
        light = light * brightness[:, None, None, None]
        sigma = noise_maps(drawn.noise, clean, light)
        image = clean + sigma * noise_fields(drawn.noise, self.shape, stream)
        center, ones = drawn.macro[:, 3:5].float(), torch.ones_like(image)
        shown = Exposure(image, sigma, ones, psf, clean, light, psf, center)
        for each in self._contaminants:
            shown = each.apply(drawn.contaminants, shown, stream)
        fwhm, lit = widths(shown.psf), (brightness > 0).float()
        seen = shown.image, shown.sigma, shown.mask, shown.psf
        arc, amplitude = arc_weights(*seen, center=center, hole=1.5 * fwhm * lit)
        return {
            "image": shown.image,
            "sigma": shown.sigma,
            "mask": shown.mask,
            "psf": shown.psf,
            "fwhm": fwhm,
            "lit": lit,
            "arc": arc,
            "amplitude": amplitude,
            "clean": clean,
            "macro": drawn.macro,
            "kappa": fields.kappa,
            "alpha": fields.alpha,
            "source": source,
            "origin": origin,
        }

    def _fields(self, drawn: Drawn) -> Fields:
        """Makes the maps of the masses, each kind by its own means."""
        parts = [
            (numbers["row"], kind.fields(numbers, self.grid, RAYS))
            for kind, numbers in zip(self.masses, drawn.masses, strict=True)
            if numbers
        ]
        if len(parts) == 1:
            return parts[0][1]
        whole = []
        for name in ("kappa", "alpha", "traced"):
            maps = [getattr(fields, name) for _, fields in parts]
            order = torch.cat([row for row, _ in parts])
            joined = torch.cat(maps)
            whole.append(torch.empty_like(joined).index_copy_(0, order, joined))
        return Fields(*whole)

    def _rough(self, fields: Fields, drawn: Drawn, stream: Stream) -> Fields:
        """Adds smooth random residuals of the convergence, and what they deflect."""
        row, rms, length = (drawn.rough[name] for name in ("row", "rms", "length"))
        if not len(row):
            return fields
        waves = smooth_fields(length, self.shape, stream)
        rough = rms[:, None, None, None] * waves * fields.kappa[row]
        operator = _operator(self.shape, fields.kappa.device)
        more = operator.maps(rough)
        return Fields(
            fields.kappa.index_add(0, row, rough),
            fields.alpha.index_add(0, row, more),
            fields.traced.index_add(0, row, operator.interpolate(more)),
        )


def _rough_numbers(rng: np.random.Generator, prior: PairPrior, size: int) -> dict[str, Tensor]:
    """Draws whose convergence is rough: its rows, and sizes and lengths of the residuals."""
    row = np.flatnonzero(rng.uniform(size=size) < prior.rough)
    found = {"row": torch.from_numpy(row)}
    for name, (low, high) in (("rms", prior.roughness), ("length", prior.rough_length)):
        logs = rng.uniform(math.log(low), math.log(high), len(row))
        found[name] = torch.from_numpy(np.exp(logs)).float()
    return found


def _extent(system: System) -> float:
    """How far from the middle of the frame the arcs are likely to reach [arcsec]."""
    host, lens = system.lens.ellipsoid, system.lens
    flat = (1 - host.q) / (1 + host.q)
    stretch = 1 + flat + math.hypot(lens.gamma1, lens.gamma2)
    places = [system.placement]
    if system.companion is not None:
        places.append(system.companion.placement)
    reach = max(math.hypot(p.center_x, p.center_y) + 2 * p.half_light_radius for p in places)
    return host.theta_E * stretch + reach


@lru_cache(maxsize=8)
def _operator(shape: tuple[int, int], device: torch.device) -> KappaToAlpha:
    return KappaToAlpha(PixelGrid(shape, 1.0), subsample=RAYS, device=device)
