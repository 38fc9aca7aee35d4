r"""Maps of log10 kappa for a generator: masses of a population, in units of the Einstein radius.

The frame reaches ``reach`` Einstein radii from its centre along each axis; lensing has no scale of
its own. Maps are drawn once, some thousand, and come in eight orientations, which are exact.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..datasets.haloes.bank import HaloBank, projections_of
from ..datasets.haloes.modelled import ModelHaloes
from ..datasets.halos import LensPrior
from ..datasets.pairs.halo_masses import HaloMasses
from ..datasets.pairs.masses import AnalyticMasses
from ..datasets.priors import SystemPrior, draw_system
from ..datasets.ranges import check_shares
from ..datasets.systems import System
from ..errors import InputError
from ..grid import PixelGrid

CHUNK = 50
"""Maps that are computed together."""


@dataclass(frozen=True)
class MassConfig:
    """Describes the maps of the mass that a generator learns from.

    Arguments:
        reach: Half of the frame's side [Einstein radius].
        maps: Number of maps of the training set; the others have a quarter of it.
        center: Largest offset of the mass from the frame's centre along x and y [Einstein radius].
        halo_share: Share of the masses that are those of haloes.
        haloes: File of haloes, from ``lensrim haloes``; those of the halo model by default. They
            are split by halo.
        seed: Seed of the maps and of the sequence of batches.
    """

    reach: float = 3.0
    maps: int = 3000
    center: float = 0.05
    halo_share: float = 0.0
    haloes: str | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 < self.reach < math.inf:
            raise InputError(f"reach: must be above 1 Einstein radius, found {self.reach}")
        if self.maps < 1 or not 0 <= self.center < 1:
            raise InputError(
                "maps must be 1 or more and center from 0 to 1, found "
                f"{self.maps} and {self.center}; change them"
            )

        check_shares(self, "halo_share")
        if self.haloes is not None and self.halo_share == 0:
            raise InputError("haloes: have no effect where halo_share is 0; set it, or leave them")

    def images(self, which: str, side: int, batch_size: int, seed: int) -> "MassImages":
        """Returns the sequence of batches of a set."""
        return MassImages(self, which, side, batch_size, seed)

    def describe(self, which: str) -> str:
        """Says of what the images of a set are made."""
        haloes = f", {self.halo_share:.0%} of them haloes" if self.halo_share else ""
        return f"{self.maps} masses of the {which} set{haloes}"


@dataclass(frozen=True)
class MassImages:
    """Creates a sequence of batches; ``images(i)`` depends on i and these arguments alone.

    Arguments:
        config: Of what, and how.
        which: Set: ``train``, ``validation`` or ``test``, each with masses of its own.
        side: Side of the maps [pixels].
        batch_size: Maps in a batch.
        seed: Seed of the sequence.
    """

    config: MassConfig
    which: str
    side: int
    batch_size: int
    seed: int

    def __call__(self, index: int) -> Tensor:
        """Makes batch number ``index`` of log10 kappa, with shape (B, 1, S, S)."""
        rng = np.random.default_rng([self.seed, index])
        maps = _maps(self.config, self.which, self.side)
        chosen = maps[rng.integers(len(maps), size=self.batch_size)]
        turns, flips = rng.integers(4, size=self.batch_size), rng.integers(2, size=self.batch_size)
        return torch.stack(
            [
                torch.rot90(one.flip(-1) if flip else one, int(turn), (-2, -1))
                for one, turn, flip in zip(chosen, turns, flips, strict=True)
            ]
        )


@lru_cache(maxsize=4)
def _maps(config: MassConfig, which: str, side: int) -> Tensor:
    """Draws the maps of a set, with shape (N, 1, S, S)."""
    rng = np.random.default_rng([config.seed, ("train", "validation", "test").index(which)])
    theta_E = side / (2 * config.reach)
    prior = SystemPrior(
        pixel_scale=(1.0, 1.0),
        theta_E_arcsec=(theta_E, theta_E),
        lens=LensPrior(center_range=config.center * theta_E),
        halo_share=config.halo_share,
    )
    haloes = projections = None
    if config.halo_share:
        haloes = ModelHaloes() if config.haloes is None else HaloBank(config.haloes)
        projections = projections_of(haloes, which)
    parts, count = [], config.maps if which == "train" else -(-config.maps // 4)
    for first in range(0, count, CHUNK):
        drawn = [
            draw_system(rng, prior=prior, haloes=haloes, projections=projections)
            for _ in range(min(CHUNK, count - first))
        ]
        parts.append(log_kappa(drawn, side))
    return torch.cat(parts)


def log_kappa(systems: Sequence[System], side: int) -> Tensor:
    """Computes log10 of the mean convergence of each pixel of side 1, with shape (B, 1, S, S)."""
    grid, maps = PixelGrid((side, side), 1.0), torch.empty(len(systems), 1, side, side)
    left = list(range(len(systems)))
    for kind in (HaloMasses(), AnalyticMasses()):
        rows = [i for i in left if kind.takes(systems[i])]
        if rows:
            maps[rows] = kind.fields(kind.numbers([systems[i] for i in rows]), grid, 1).kappa
        left = [i for i in left if i not in rows]
    return maps.log10()
