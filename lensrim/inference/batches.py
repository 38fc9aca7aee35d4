"""The batches that a machine for lenses is trained on: made afresh, or taken from a stock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from torch import Tensor

from .._weights import read_weights, write_weights
from ..datasets.cosmos import GalaxyFolder, read_duplicate_pairs, split
from ..datasets.pairs import PairPrior, Pairs
from ..datasets.psfs import read_psf_stamps
from ..datasets.systems import Map
from ..errors import InputError
from .learnt import LensPairs, turned

STOCK_FORMAT = 4
"""Number of the way in which batches are made: a change of it makes every stock worthless."""


def check_numbers(settings: object, **least: int) -> None:
    """Checks that settings are whole numbers, not too small.

    Raises:
        InputError: If one is not.
    """
    for name, low in least.items():
        value = getattr(settings, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < low:
            raise InputError(f"{name}: must be a whole number, {low} or more, found {value!r}")


@dataclass(frozen=True)
class Duplicates:
    """Creates the description of a list of stamps that show the same galaxy.

    Arguments:
        file: JSON file, as :func:`lensrim.datasets.cosmos.read_duplicate_pairs` takes it.
        folders: What precedes the number in the names of the stamps, by kind.
        digits: Digits to which the number is padded, by kind.
    """

    file: str
    folders: Mapping[str, str]
    digits: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class DataConfig:
    """Creates the description of the training data.

    Arguments:
        galaxies: Folder of FITS stamps of galaxies; synthetic ones only by default.
        psfs: Folder of FITS stamps of PSFs; analytic ones only by default.
        duplicates: Which stamps show the same galaxy.
        shape: Side of the images [pixels].
        seed: Seed of the sequence of batches.
        stock: Folder that keeps the first ``stocked`` batches; they are then used again and again,
            mirrored and turned at random. To make a batch costs more than to train on it.
        stocked: Number of batches in it.
    """

    galaxies: str | None = None
    psfs: str | None = None
    duplicates: Duplicates | None = None
    shape: int = 64
    seed: int = 0
    stock: str | None = None
    stocked: int = 1000

    def __post_init__(self):
        check_numbers(self, shape=16, seed=0, stocked=1)

    def read(
        self, which: str
    ) -> tuple[GalaxyFolder | None, list[str] | None, dict[str, tuple[Map, float]] | None]:
        """Returns the galaxies, the names of those of a set, and the PSFs.

        Arguments:
            which: ``train``, ``validation`` or ``test``.

        Raises:
            InputError: If a folder cannot be used, or holds no galaxies of that set.
        """
        psfs = None if self.psfs is None else read_psf_stamps(self.psfs)
        if self.galaxies is None:
            return None, None, psfs
        galaxies, pairs = GalaxyFolder(self.galaxies), []
        if self.duplicates is not None:
            same = self.duplicates
            pairs = read_duplicate_pairs(same.file, same.folders, digits=same.digits)
        names = split(galaxies.names, pairs)[which]
        if not names:
            raise InputError(
                f"{self.galaxies}: must hold galaxies for the {which} set, found none of "
                f"{len(galaxies)}; give more stamps"
            )
        return galaxies, list(names), psfs


@dataclass(frozen=True)
class Batches:
    """Creates a sequence of batches that is light to send to another process.

    Arguments:
        data: Where they come from.
        which: Set of galaxies: ``train``, ``validation`` or ``test``.
        batch_size: Samples in a batch.
        seed: Seed of the sequence.
    """

    data: DataConfig
    which: str
    batch_size: int
    seed: int

    def __call__(self, index: int) -> dict[str, Tensor]:
        """Makes a batch, or takes it from the stock; each process reads the ingredients once."""
        if self.data.stock is None or self.which != "train":
            return _ingredients(_Key(self))(index)
        rng = np.random.default_rng([self.seed, index])
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        return turned(self.stocked(index % self.data.stocked), turns, flip)

    def stocked(self, number: int) -> dict[str, Tensor]:
        """Reads a batch of the stock, and makes it first where it is missing."""
        assert self.data.stock is not None
        path = Path(self.data.stock) / f"{number:06d}.safetensors"
        described = {
            "format": STOCK_FORMAT,
            "shape": self.data.shape,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "real": [self.data.galaxies is not None, self.data.psfs is not None],
        }
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            batch = _ingredients(_Key(self))(number)
            write_weights(path, batch, described)
            return batch
        batch, header = read_weights(path)
        if header != described:
            raise InputError(
                f"{path}: the stock must be that of the recipe, {described}, found {header}; give "
                "another folder"
            )
        return batch


class _Key:
    """Makes a description hashable by what it says."""

    def __init__(self, batches: Batches):
        self.batches, self.text = batches, repr(batches)

    def __hash__(self) -> int:
        return hash(self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and other.text == self.text


@lru_cache(maxsize=4)
def _ingredients(key: _Key) -> LensPairs:
    batches, data = key.batches, key.batches.data
    galaxies, names, psfs = data.read(batches.which)
    return LensPairs(
        Pairs(
            batches.batch_size,
            galaxies,
            names=names,
            psfs=psfs,
            shape=(data.shape, data.shape),
            prior=PairPrior(),
            seed=batches.seed,
        )
    )
