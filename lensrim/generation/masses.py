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

from ..datasets.halos import LensPrior
from ..datasets.masses import AnalyticMasses
from ..datasets.priors import System, SystemPrior, draw_system
from ..errors import InputError
from ..grid import PixelGrid

CHUNK = 50
"""Maps that are computed together."""


@dataclass(frozen=True)
class MassConfig:
    """Describes the maps of the mass that a generator learns from.

    Arguments:
        reach: Half of the frame's side [Einstein radius].
        maps: Number of maps of a set.
        center: Largest offset of the mass from the frame's centre along x and y [Einstein radius].
        seed: Seed of the maps and of the sequence of batches.
    """

    reach: float = 3.0
    maps: int = 3000
    center: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 < self.reach < math.inf:
            raise InputError(f"reach: must be above 1 Einstein radius, found {self.reach}")
        if self.maps < 1 or not 0 <= self.center < 1:
            raise InputError(
                "maps must be 1 or more and center from 0 to 1, found "
                f"{self.maps} and {self.center}; change them"
            )

    def images(self, which: str, side: int, batch_size: int, seed: int) -> "MassImages":
        """Returns the sequence of batches of a set."""
        return MassImages(self, which, side, batch_size, seed)

    def describe(self, which: str) -> str:
        """Says of what the images of a set are made."""
        return f"{self.maps} analytic masses of the {which} set"


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
    )
    parts = []
    for first in range(0, config.maps, CHUNK):
        drawn = [draw_system(rng, prior=prior) for _ in range(min(CHUNK, config.maps - first))]
        parts.append(log_kappa(drawn, side))
    return torch.cat(parts)


def log_kappa(systems: Sequence[System], side: int) -> Tensor:
    """Computes log10 of the mean convergence of each pixel of side 1, with shape (B, 1, S, S)."""
    masses = AnalyticMasses()
    return masses.fields(masses.numbers(systems), PixelGrid((side, side), 1.0), 1).kappa.log10()
