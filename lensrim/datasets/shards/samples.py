"""Samples of a data set: finished training pairs, each a function of its number.

Beside what :mod:`lensrim.datasets.pairs.pairs` makes, a sample says what it is: ``galaxy``,
``companion`` (of a source of two galaxies the second, else nothing), ``halo`` (nothing where the
mass is analytic) and ``psf_name`` (strings), ``pixel_scale`` [arcsec], ``peak`` (brightness by
which image, noise and source were divided [data unit]) and ``snr``.
"""

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..._weights import sha256_of
from ...errors import InputError
from ..fits_files import fits_files
from ..galaxies.learnt import is_learnt, weights_of
from ..galaxies.opening import open_galaxies
from ..haloes.bank import HaloBank, projections_of
from ..haloes.modelled import ModelHaloes
from ..noise import read_noise_fields
from ..pairs.pairs import Batch, Pairs
from ..presets import FOLDERS, Population
from ..psfs.kinds import read_psf_stamps
from ..splits import pairs_digest, split
from .reading import Shards

DESCRIPTION = ("galaxy", "companion", "halo", "psf_name", "pixel_scale", "peak", "snr")
"""What a sample says of itself, beside the pair."""

SETS = ("train", "validation", "test")
"""The sets into which a population is split."""

FORMAT = 4
"""Number of the way in which samples are made; another one makes data sets of old useless."""


@dataclass(frozen=True)
class Samples:
    """Creates an endless sequence of samples that is light to send to another process.

    Sample i depends on i and on what is given here alone: not on how many there are, in which
    order or where they are made.

    Arguments:
        population: What the samples are drawn from; its folders are read where a sample is made.
        seed: Seed of the sequence.
        which: Set: ``train``, ``validation``, ``test``; by default, one that holds all. Sets share
            no real galaxy and no halo, and draw all else independently of each other.

    Raises:
        InputError: If the set is unknown.
    """

    population: Population = field(default_factory=Population)
    seed: int = 0
    which: str | None = None

    def __post_init__(self) -> None:
        if self.which not in (None, *SETS):
            raise InputError(f"set: must be train, validation or test, found {self.which!r}")

    def __call__(self, index: int) -> dict[str, Any]:
        """Makes sample number ``index``: arrays, numbers and strings by name."""
        batch, (system,) = _pairs(self).described(index)
        return {name: value[0].numpy() for name, value in batch.items()} | {
            "galaxy": system.galaxy.name,
            "halo": "" if system.halo is None else system.halo.halo.halo,
            "companion": "" if system.companion is None else system.companion.galaxy.name,
            "psf_name": system.psf.kind,
            "pixel_scale": np.float64(system.pixel_scale),
            "peak": np.float64(system.noise.peak),
            "snr": np.float64(system.noise.snr),
        }

    def recipe(self) -> dict[str, Any]:
        """Returns what decides the samples, as JSON has it.

        Folders, which have other names on other machines, are told by the digest of what they
        hold; so are the duplicates.
        """
        population = asdict(self.population)
        population["pairs"].pop("system")
        population.pop("duplicates")
        for name in FOLDERS:
            folder = population[name]
            population[name] = None if folder is None else _digest(folder)
        haloes = population["haloes"]
        population["haloes"] = None if haloes is None else sha256_of(haloes)
        return _plain(
            {
                "format": FORMAT,
                "set": self.which,
                "duplicates": pairs_digest(self.population.duplicates),
                "population": population,
            }
        )


def _digest(folder: str) -> str:
    """Tells what a folder, or a generator, holds."""
    if is_learnt(folder):
        return f"learnt {sha256_of(weights_of(folder))}"
    return _files_digest(Path(folder))


def _files_digest(folder: Path) -> str:
    """Computes the SHA-256 of the names and digests of the FITS files below a folder."""
    total = hashlib.sha256()
    for path in fits_files(folder, below=True):
        total.update(f"{path.relative_to(folder).as_posix()} {sha256_of(path)}\n".encode())
    return total.hexdigest()


def _plain(value: Any) -> Any:
    """Makes lists of tuples, as a round trip through JSON would, and words of what is infinite,
    which JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_plain(part) for part in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


@lru_cache(maxsize=2)
def _pairs(samples: Samples) -> Pairs:
    """Reads the ingredients, once in each process."""
    population = samples.population
    galaxies = names = None
    if population.galaxies is not None:
        galaxies = open_galaxies(population.galaxies)
        if samples.which is not None:
            names = split(galaxies.names, population.duplicates)[samples.which]
            if not names:
                raise InputError(
                    f"{population.galaxies}: must hold galaxies for the {samples.which} set, "
                    f"found none of {len(galaxies)}; give more stamps"
                )
    haloes = projections = None
    if population.system.halo_share:
        haloes = ModelHaloes() if population.haloes is None else HaloBank(population.haloes)
        projections = projections_of(haloes, samples.which)
    return Pairs(
        1,
        galaxies,
        names=names,
        haloes=haloes,
        projections=projections,
        psfs=None if population.psfs is None else read_psf_stamps(population.psfs),
        noises=None if population.noise is None else read_noise_fields(population.noise),
        shape=population.shape,
        prior=population.pair_prior,
        seed=samples.seed,
        stream=0 if samples.which is None else 1 + SETS.index(samples.which),
    )


@dataclass(frozen=True)
class StoredPairs:
    """Creates the endless sequence of batches of a folder of shards; ``batches(i)`` is the i-th.

    Every sample comes once before any comes again, in an order that the seed and the number of the
    round decide.

    Arguments:
        batch_size: Samples in a batch.
        shards: The shards.
        seed: Seed of the order.

    Raises:
        InputError: If the shards do not hold training pairs of this format.
    """

    batch_size: int
    shards: Shards
    seed: int = 0

    def __post_init__(self) -> None:
        if self.shards.recipe.get("format") != FORMAT:
            raise InputError(
                f"{self.shards.folder}: must hold training pairs of format {FORMAT}, as lensrim "
                f"dataset writes them, found {self.shards.recipe.get('format')}; write them again"
            )

    def __call__(self, index: int) -> Batch:
        """Reads batch number ``index``, as :class:`~lensrim.datasets.pairs.pairs.Pairs` does."""
        first = index * self.batch_size
        rows = [self.shards[self._place(first + k)] for k in range(self.batch_size)]
        names = [name for name in rows[0] if name not in DESCRIPTION]
        return {
            name: torch.from_numpy(np.stack([np.asarray(row[name]) for row in rows]))
            for name in names
        }

    def _place(self, position: int) -> int:
        round_, place = divmod(position, len(self.shards))
        return int(_order(len(self.shards), self.seed, round_)[place])


@lru_cache(maxsize=4)
def _order(count: int, seed: int, round_: int) -> np.ndarray:
    return np.random.default_rng([seed, round_]).permutation(count)
