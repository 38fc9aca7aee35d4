"""Recipes: everything that decides how a machine for lenses is trained, in one TOML file.

::

    [data]
    galaxies = "sources"        # folder of FITS stamps; synthetic galaxies where it is left out
    psfs = "psfs"               # folder of PSF stamps; analytic PSFs where it is left out
    shape = 64
    stock = "stock"             # folder of batches that are used again; made afresh without it
    stocked = 1000

    [data.duplicates]           # which stamps show one galaxy: they go into one set
    file = "sources/duplicate_pairs.json"
    folders = { cand = "candels/f814w_gal" }
    digits = { cand = 3 }

    [model]
    steps = 6
    widths = [32, 64, 96]

    [train]
    steps = 6000
    batch_size = 16

    [validation]
    batches = 2
    batch_size = 32

A stock costs variety: its lenses, noise and masks come again, in eight orientations, where without
it every step sees new ones. Compare the training's errors with the validation's.

Paths are relative to the folder of the recipe. Galaxies are split by the hash of their names, four
fifths for training, before anything else is done with them.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from .._weights import read_weights, write_weights
from ..datasets.cosmos import GalaxyFolder, read_duplicate_pairs, split
from ..datasets.pairs import PairPrior, Pairs
from ..datasets.psfs import read_psf_stamps
from ..errors import InputError
from ..training.config import TrainConfig
from .learnt import LensConfig, LensPairs, turned

STOCK_FORMAT = 1
"""Number of the way in which batches are made: a change of it makes every stock worthless."""


def _check_numbers(settings: object, **least: int) -> None:
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
        _check_numbers(self, shape=16, seed=0, stocked=1)


@dataclass(frozen=True)
class ValidationConfig:
    """Creates the description of the validation batches.

    Arguments:
        batches: Their number.
        batch_size: Samples in each.
        seed: Seed of their sequence.
    """

    batches: int = 2
    batch_size: int = 32
    seed: int = 1_000_000

    def __post_init__(self):
        _check_numbers(self, batches=1, batch_size=1, seed=0)


@dataclass(frozen=True)
class Recipe:
    """Creates a recipe.

    Arguments:
        data, model, train, validation: Its parts.
    """

    data: DataConfig = DataConfig()
    model: LensConfig = LensConfig()
    train: TrainConfig = TrainConfig()
    validation: ValidationConfig = ValidationConfig()

    def identity(self) -> dict[str, Any]:
        """Returns what must not change while a training goes on, beside its own settings.

        Folders are left out: they have other names on other machines.
        """
        data = {k: v for k, v in asdict(self.data).items() if k in ("shape", "seed", "stocked")}
        data |= {"galaxies": self.data.galaxies is not None, "psfs": self.data.psfs is not None}
        return {"model": asdict(self.model), "data": data, "validation": asdict(self.validation)}

    def batches(self, which: str = "train") -> "Batches":
        """Returns the sequence of batches of a set: ``train``, ``validation`` or ``test``."""
        size, seed = self.train.batch_size, self.data.seed
        if which != "train":
            size, seed = self.validation.batch_size, self.validation.seed
        return Batches(self.data, which, size, seed)


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
    galaxies, names = None, None
    if data.galaxies is not None:
        galaxies = GalaxyFolder(data.galaxies)
        pairs = []
        if data.duplicates is not None:
            same = data.duplicates
            pairs = read_duplicate_pairs(same.file, same.folders, digits=same.digits)
        names = split(galaxies.names, pairs)[batches.which]
        if not names:
            raise InputError(
                f"{data.galaxies}: must hold galaxies for the {batches.which} set, found none of "
                f"{len(galaxies)}; give more stamps"
            )
    psfs = None if data.psfs is None else read_psf_stamps(data.psfs)
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


def read_recipe(path: str | Path) -> Recipe:
    """Reads a recipe.

    Raises:
        InputError: If the file is no TOML, or has a table, a key or a value that it cannot have.
    """
    path = Path(path)
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise InputError(f"{path}: a recipe must be a TOML file; {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: a recipe must be a TOML file: {error}") from error
    known = [f.name for f in fields(Recipe)]
    if unknown := sorted(set(content) - set(known)):
        raise InputError(
            f"{path}: a recipe has the tables {', '.join(known)}, found {', '.join(unknown)}; "
            "remove or rename them"
        )
    try:
        data = dict(content.get("data", {}))
        if "duplicates" in data:
            same = dict(data["duplicates"])
            same["file"] = str(path.parent / same["file"])
            data["duplicates"] = Duplicates(**same)
        for name in ("galaxies", "psfs", "stock"):
            if name in data:
                data[name] = str(path.parent / data[name])
        model = dict(content.get("model", {}))
        if "widths" in model:
            model["widths"] = tuple(model["widths"])
        return Recipe(
            data=DataConfig(**data),
            model=LensConfig(**model),
            train=TrainConfig.from_dict(content.get("train", {})),
            validation=ValidationConfig(**content.get("validation", {})),
        )
    except (TypeError, KeyError, ValueError) as error:
        raise InputError(f"{path}: {error}") from error
