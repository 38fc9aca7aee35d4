r"""The lenses, and the world in which the paper has them.

There the image is what maps of pixels make,

.. math:: y = B A L(\kappa) \, s + \sigma n ,

with a source on a frame of fixed size about the axis, the convergence of the frame alone (no mass
beyond it, no shear besides), an effective PSF and white noise: the operator that makes the images
is that of the machine. Masses and galaxies are those of a population of the package, which knows
more; what is beyond this world is left out here, and nothing of it is in the images. Lengths are
in pixels of the image, brightness in units of the arcs' brightest pixel.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...datasets.arcs import arc_weights
from ...datasets.galaxies.opening import Opened
from ...datasets.haloes.bank import HaloBank, projections_of
from ...datasets.haloes.modelled import ModelHaloes
from ...datasets.haloes.scaled import ScaledHaloes
from ...datasets.pairs.pairs import Pairs
from ...datasets.pairs.systems import FINE
from ...datasets.presets import PRESETS
from ...errors import InputError
from ...evaluation.problems.problem import generator
from ...grid import PixelGrid
from ...inference.data_config import DataConfig
from ...inference.learnt import prepare, truth_of, turned
from ...inference.macro import mass_model
from ...inference.start import Start, start_of_pairs
from ...lensing.beyond import part_shear
from ...lensing.convergence import KappaToAlpha
from ...lensing.likelihood import simulate
from ...lensing.simulator import Simulator
from ...lensing.source import PixelatedSource
from ..judged import kept

Draws = dict[str, Tensor]

HALOES, GALAXIES = "haloes.safetensors", "galaxies"
"""What the folder of the user's own data may hold: a file of ``lensrim haloes``, and a folder of
stamps."""


@dataclass(frozen=True)
class Systems:
    """Creates the population.

    Arguments:
        shape: Pixels of a side of the image, of the convergence and of the source.
        fov: Side of the image [arcsec].
        source_fov: Side of the source's map [arcsec].
        theta_E: Range of the Einstein radius [arcsec] (log-uniform).
        fwhm: Range of the width of the PSF [pixel] (uniform).
        halo_share: Share of the masses that are haloes; others are power laws with subhalos and
            multipoles.
        haloes: Number of haloes of the halo model, where the user has none.
        data: Folder of the user's own data.
    """

    shape: int = 40
    fov: float = 7.68
    source_fov: float = 3.0
    theta_E: tuple[float, float] = (0.8, 2.0)
    fwhm: tuple[float, float] = (1.0, 2.0)
    halo_share: float = 0.5
    haloes: int = 100
    data: Path | None = None

    @property
    def pixel_scale(self) -> float:
        """Side of a pixel of the image [arcsec]."""
        return self.fov / self.shape

    @property
    def source_side(self) -> float:
        """Side of the source's map [pixel of the image]."""
        return self.source_fov / self.pixel_scale

    def raw(self, batch: int, seed: int, purpose: int, index: int, which: str = "train") -> Draws:
        """Draws lenses and what is seen of them, in the form of training pairs.

        Arguments:
            batch: Number of lenses.
            seed, purpose, index: What decides on them.
            which: The set that galaxies and haloes are from.

        Returns:
            The tensors of :mod:`lensrim.datasets.pairs.pairs`, of what is in the paper's world,
            and ``fixed``, the source on its frame, with shape (B, 1, n, n).
        """
        population = PRESETS["adam2023"]
        system = replace(
            population.system,
            pixel_scale=(self.pixel_scale, self.pixel_scale),
            psf_fwhm=self.fwhm,
            theta_E_arcsec=self.theta_E,
            halo_share=self.halo_share,
        )
        prior = replace(population, system=system).pair_prior
        galaxies, names = _galaxies(self.data, which)
        haloes, projections = _haloes(self.data, self.haloes, which)
        pairs = Pairs(
            batch,
            galaxies=galaxies,
            names=names,
            haloes=haloes,
            projections=projections,
            shape=(self.shape, self.shape),
            prior=replace(prior, synthetic=0.0, rough=0.0),
            seed=int(generator(seed, purpose).initial_seed() % 2**31),
        )
        return self.seen(pairs(index), generator(seed, purpose, index))

    def seen(self, pairs: Mapping[str, Tensor], rng: torch.Generator) -> Draws:
        """Makes images of the masses and galaxies of training pairs, in the paper's world."""
        n, side = self.shape, self.source_side
        grid = PixelGrid((n, n), 1.0)
        fixed = on_frame(pairs["source"], pairs["origin"], n, side)
        simulator = simulator_of_paper(pairs["psf"], n, side)
        clean = simulate(simulator, {"source": fixed, "kappa": pairs["kappa"]})
        peak = clean.amax((1, 2, 3), keepdim=True)
        clean, fixed = clean / peak, fixed / peak
        level = pairs["sigma"].flatten(1).median(1).values[:, None, None, None]
        sigma = level.expand_as(clean).contiguous()
        image = clean + sigma * torch.randn(clean.shape, generator=rng)
        ones, dark = torch.ones_like(image), torch.zeros_like(pairs["fwhm"])
        center = pairs["macro"][:, 3:5].float()
        arc, amplitude = arc_weights(image, sigma, ones, pairs["psf"], center=center, hole=dark)
        alpha = KappaToAlpha(grid).maps(pairs["kappa"])
        fine = pairs["source"].shape[-1]
        reader = PixelatedSource(PixelGrid((n, n), side / n))
        places = torch.stack(PixelGrid((fine, fine), FINE).coordinates())[None]
        return {
            "image": image,
            "sigma": sigma,
            "mask": ones,
            "psf": pairs["psf"],
            "fwhm": pairs["fwhm"],
            "lit": dark,
            "arc": arc,
            "amplitude": amplitude,
            "clean": clean,
            "macro": with_shear(pairs["macro"], alpha, arc),
            "kappa": pairs["kappa"],
            "alpha": alpha,
            "source": reader(fixed, places.expand(len(fixed), -1, -1, -1)),
            "origin": torch.zeros_like(pairs["origin"]),
            "fixed": fixed,
        }

    def draw(self, batch: int, seed: int, purpose: int, index: int, which: str = "train") -> Draws:
        """Draws lenses with starts that err as fits of macro-models do: see :func:`prepared`."""
        raw = self.raw(batch, seed, purpose, index, which)
        number = int(generator(seed, purpose, index).initial_seed() % 2**31)
        with torch.enable_grad():  # the starts are fits; a validation asks for no gradients
            return prepared(raw, start_of_pairs(raw, seed=number))


def prepared(raw: Mapping[str, Tensor], start: Start) -> Draws:
    """Puts lenses, their truth and their starts into the units of the machines.

    A macro-model has mass beyond the frame. This world has none, and yet what it bends belongs to
    the start: without it that of a lens with a signal over noise of 1178 had a χ² of 290, with it
    of 1.2.

    Returns:
        What :func:`lensrim.inference.learnt.prepare` and ``truth_of`` return, and
        ``fixed_source``, the truth on the paper's frame.
    """
    unit = raw["amplitude"][:, None, None, None]
    return prepare(raw, start) | truth_of(raw, start) | {"fixed_source": raw["fixed"] / unit}


def simulator_of_paper(psf: Tensor, n: int, side: float) -> Simulator:
    """Creates the forward model of the paper: n pixels a side, the source's of ``side`` [pixel of
    the image]."""
    return Simulator(PixelGrid((n, n), 1.0), PixelGrid((n, n), side / n), psf, device=psf.device)


def on_frame(source: Tensor, origin: Tensor, n: int, side: float) -> Tensor:
    """Puts fine sources (B, 1, N, N) about ``origin`` on a frame about the axis: (B, 1, n, n)."""
    fine = source.shape[-1]
    reader = PixelatedSource(PixelGrid((fine, fine), FINE))
    places = torch.stack(PixelGrid((n, n), side / n).coordinates(2))[None]
    seen = reader(source, places.expand(len(source), -1, -1, -1), center=origin)
    return F.avg_pool2d(seen, 2)


def with_shear(macro: Tensor, alpha: Tensor, arc: Tensor) -> Tensor:
    """Gives macro-models (B, 8) the shear with which they are most like a deflection, at the
    arcs."""
    grid, out = PixelGrid((alpha.shape[-2], alpha.shape[-1]), 1.0), macro.clone()
    out[:, 5:7] = 0.0
    plain = torch.stack(mass_model(out.float()).deflection(*grid.coordinates()), 1)
    shear, _ = part_shear(alpha - plain, grid, arc)
    out[:, 5:7] = shear.to(out)
    return out


@dataclass(frozen=True)
class Stock:
    """Creates training batches that are made once, kept, and seen again turned and mirrored.

    Arguments:
        systems: The population.
        folder: Where they are kept.
        seed, purpose: What decides on them.
        count: Number of batches.
        which: The set that galaxies and haloes are from.
    """

    systems: Systems
    folder: Path
    seed: int
    purpose: int
    count: int
    which: str = "train"

    def __call__(self, number: int, batch: int) -> Draws:
        """Returns the batch that a step sees, of so many lenses."""
        rng = np.random.default_rng([self.seed, self.purpose, number])
        which, turns, flip = (int(rng.integers(n)) for n in (self.count, 4, 2))
        which = number if number < self.count else which
        return turned(self.made(which, batch), turns, bool(flip))

    def made(self, which: int, batch: int) -> Draws:
        """Makes a batch, or reads it."""
        sign = {"systems": str(self.systems), "seed": self.seed, "batch": batch}
        return kept(
            self.folder / f"{which:05d}.pt",
            sign,
            lambda: self.systems.draw(batch, self.seed, self.purpose, which, self.which),
        )


def check_data(data: Path | None) -> None:
    """Checks that the folder of the user's own data holds something that is used.

    Raises:
        InputError: If it has neither.
    """
    if data is not None and not any(own_data(data)):
        raise InputError(
            f"--data: must hold a folder {GALAXIES} of stamps or a file {HALOES} of lensrim "
            f"haloes, found neither in {data}; put one there"
        )


def own_data(data: Path | None) -> tuple[Path | None, Path | None]:
    """Returns the user's stamps and haloes, of each what is there."""
    if data is None:
        return None, None
    stamps, haloes = data / GALAXIES, data / HALOES
    return stamps if stamps.is_dir() else None, haloes if haloes.is_file() else None


@lru_cache(maxsize=8)
def _galaxies(data: Path | None, which: str) -> tuple[Opened | None, list[str] | None]:
    """Opens the galaxies of a set: the user's, or those that the packaged generator draws."""
    galaxies, names, _ = DataConfig(galaxies=str(own_data(data)[0] or "learnt")).read(which)
    return galaxies, names


@lru_cache(maxsize=8)
def _haloes(data: Path | None, count: int, which: str) -> tuple[ScaledHaloes, tuple[str, ...]]:
    """Opens the haloes of a set: the user's, or those of the halo model."""
    own = own_data(data)[1]
    haloes: ScaledHaloes = ModelHaloes(count=count) if own is None else HaloBank(str(own))
    return haloes, projections_of(haloes, which)


def noise_of(draws: Mapping[str, Tensor]) -> Tensor:
    """Returns the noise of each image in units of the arcs' brightest pixel, with shape (B)."""
    return draws["sigma"].flatten(1).median(1).values


def kappa_of(state: Mapping[str, Tensor]) -> Tensor:
    """Computes the convergence of a state."""
    return (math.log(10) * state["log_kappa"]).exp()
