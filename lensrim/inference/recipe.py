"""Recipes: everything that decides how a machine for lenses is trained, in one TOML file.

::

    start = "older.safetensors" # weights to begin with; at random where it is left out

    [data]
    galaxies = "sources"        # folder of FITS stamps; synthetic galaxies where it is left out;
                                # "learnt", or weights: those that a generator draws
    psfs = "psfs"               # folder of PSF stamps; analytic PSFs where it is left out
    shape = 64
    larger = [128]              # sides of further frames, as often; none where it is left out
    stock = "stock"             # folder of batches that are used again; made afresh without it
    stocked = 1000
    reuse = 1                   # steps from one new batch of the stock to the next
    shards = "shards"           # training pairs from lensrim dataset; drawn afresh without it
    halo_share = 0.5            # share of the lenses that are haloes; none where it is left out
    haloes = "tng.safetensors"  # from lensrim haloes; those of the halo model where it is left out

    [data.duplicates]           # which stamps show one galaxy: they go into one set
    file = "sources/duplicate_pairs.json"
    folders = { cand = "candels/f814w_gal" }
    digits = { cand = 3 }

    [model]
    steps = 6
    widths = [32, 64, 96]
    encodings = ["normalized", "arcsinh"]   # of the score, as the network sees it
    aux = ["residual", "model", "pull", "information", "newton"]    # what it sees beside the score
    conditioning = true         # whether it is told of noise, PSF and Einstein radius
    start = "macro"             # or "plain"

    [loss]
    kappa = "region"            # weights of log10 kappa: region, root or even
    every = true                # whether the misfit counts at every step, or at the last alone

    [unroll]                    # how a training computes the machine's steps: lensrim.rim.Unroll
    autocast = false            # the network in bfloat16
    checkpoint = false          # less memory, for more time
    truncate = 0                # steps after which the gradient is cut off; 0 for never
    through_score = false       # the gradient goes through the score, too, for more time

    [train]
    steps = 6000
    batch_size = 16             # lenses of a step,
    parts = 1                   # in so many batches, which processes can share
    workers = 0                 # processes that make batches,
    ahead = 1                   # so many ahead

    [validation]
    batches = 2
    batch_size = 32

A stock costs variety: its lenses, noise and masks come again, in eight orientations, where without
it every step sees new ones. Compare the training's errors with the validation's.

Paths are relative to the folder of the recipe. Galaxies are split by the hash of their names, four
fifths for training, before anything else is done with them; so are haloes.
"""

import json
import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from .._toml import recipe_of
from .._weight_files import sha256_of
from ..datasets.galaxies.learnt import is_learnt, weights_of
from ..datasets.splits import pairs_digest
from ..errors import InputError
from ..rim.unroll import Unroll
from ..training.config import MAY_CHANGE, TrainConfig
from ..training.table import from_table
from .batches import Batches
from .data_config import FOLDERS, DataConfig, check_numbers
from .lens_config import LensConfig
from .objective import LossConfig


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
        check_numbers(self, batches=1, batch_size=1, seed=0)


@dataclass(frozen=True)
class Recipe:
    """Creates a recipe.

    Arguments:
        data, model, train, validation: Its parts.
        unroll: How the steps are computed in training. It is no part of what is trained: the
            weights are those of a machine that is used without.
        loss: What counts.
        start: File of the weights that the training begins with, of a machine of the same sizes.
    """

    data: DataConfig = DataConfig()
    model: LensConfig = LensConfig()
    train: TrainConfig = TrainConfig()
    validation: ValidationConfig = ValidationConfig()
    unroll: Unroll = Unroll()
    loss: LossConfig = LossConfig()
    start: str | None = None

    def __post_init__(self):
        sides, held = self.data.sides, self.validation.batches
        if held % len(sides):
            raise InputError(
                f"[validation] batches: must be a multiple of {len(sides)}, the number of sizes "
                f"of the frames, that each counts alike, found {held}; change it"
            )
        if self.train.part_size * self.data.shape**2 < max(sides) ** 2:
            raise InputError(
                f"[data] larger: {self.train.part_size} lenses at once of {self.data.shape} pixels"
                f" must have the pixels of one of {max(sides)}; raise batch_size, lower parts, or "
                "leave the largest out"
            )

    def check_workers(self, processes: int = 1) -> None:
        """Checks that all workers get new batches to make, and not some of them all.

        Batches go to the workers of a process in turn, and of ``reuse`` steps the parts of one are
        new: of :math:`n` parts a step those :math:`k` with :math:`k \\bmod n r < n`.

        Arguments:
            processes: Number of processes that share the parts of a step.

        Raises:
            InputError: If some get none.
        """
        workers, reuse = self.train.workers, self.data.reuse
        share = self.train.parts // processes
        rounds = math.gcd(workers, reuse * share)
        if workers and rounds > share:
            raise InputError(
                f"workers: all must get new batches to make, found {workers * share // rounds} of "
                f"{workers} that would, where of {reuse} steps (reuse) one has {share} new for a "
                "process; change workers or reuse"
            )

    def identity(self) -> dict[str, Any]:
        """Returns what must not change while a training goes on, beside its own settings.

        Folders are left out: they have other names on other machines. So are the weights that it
        began with.
        """
        data = {
            k: v
            for k, v in asdict(self.data).items()
            if k in ("shape", "seed", "stocked", "reuse")
        }
        data |= {"galaxies": self.data.galaxies is not None, "psfs": self.data.psfs is not None}
        if self.data.shards is not None:
            data["shards"] = True
        if self.data.larger:
            data["larger"] = self.data.larger
        if self.data.halo_share:
            data |= {"haloes": self.data.haloes is not None, "halo_share": self.data.halo_share}
        said = {"model": asdict(self.model), "data": data, "validation": asdict(self.validation)}
        how = {name: getattr(self.unroll, name) for name in ("truncate", "autocast")}
        if self.unroll.through_score:
            how["through_score"] = True
        if self.loss != LossConfig():
            said["loss"] = asdict(self.loss)
        # What gives other gradients; not said where it is as it was before there was a choice.
        return said | ({"unroll": how} if any(how.values()) else {})

    def population(self) -> dict[str, str]:
        """Returns what decides which galaxies are in which set, beside their names: checksums of
        the pairs that are one, and of a generator. Nothing where there are none.

        Raises:
            InputError: If a file cannot be read.
        """
        said, galaxies = {}, self.data.galaxies
        if (pairs := pairs_digest(self.data.pairs())) is not None:
            said["duplicates"] = pairs
        if galaxies is not None and is_learnt(galaxies):
            said["generator"] = sha256_of(weights_of(galaxies))
        return said

    def differing(self, header: Mapping[str, Any]) -> str | None:
        """Finds what the weights of a training say of its recipe that is otherwise here.

        Arguments:
            header: That of the file of weights.

        Returns:
            The first such part of the recipe; None where it is the same, but for what may change
            while a training goes on (:data:`~lensrim.training.config.MAY_CHANGE`).
        """
        wanted = json.loads(json.dumps(self.identity()))
        for name in (*wanted, "loss", "unroll"):  # which are not said where nothing is changed
            if header.get(name) != wanted.get(name):
                return name
        with suppress(InputError):  # what the training was made of may be on another machine
            wanted = self.population()
            for name in ("duplicates", "generator"):  # trainings before 0.8 do not say them
                if name in header and header[name] != wanted.get(name):
                    return name
        config = self.train.to_dict()
        for name, value in header.get("config", {}).items():
            if name in config and name not in MAY_CHANGE and config[name] != value:
                return f"train.{name}"
        return None

    def described(self) -> dict[str, Any]:
        """Returns all of the recipe, as JSON can hold it and :meth:`from_dict` takes it.

        Of folders and files only the last part of their names: where they are is a machine's own.
        """
        said = json.loads(json.dumps({**asdict(self), "train": self.train.to_dict()}))
        data = said["data"]
        places = [(said, "start"), *((data, name) for name in FOLDERS)]
        if data["duplicates"] is not None:
            places.append((data["duplicates"], "file"))
        for table, name in places:
            if table[name] is not None:
                table[name] = Path(table[name]).name
        return said

    @classmethod
    def from_dict(cls, content: Mapping[str, Any], folder: Path = Path()) -> "Recipe":
        """Creates a recipe from its tables; defaults for what they lack.

        Arguments:
            content: The tables.
            folder: What paths are relative to.

        Raises:
            InputError: If there is a table, a key or a value that a recipe cannot have.
        """
        found = from_table(cls, content)
        start = None if found.start is None else str(folder / found.start)
        return replace(found, data=found.data.beside(folder), start=start)

    def batches(self, which: str = "train", *, raw: bool = False) -> Batches:
        """Returns the sequence of batches of a set: ``train``, ``validation`` or ``test``."""
        if which != "train":
            size, seed = self.validation.batch_size, self.validation.seed
            return Batches(self.data, which, size, seed, raw)
        train = self.train
        return Batches(self.data, which, train.part_size, self.data.seed, raw, train.parts)


def read_recipe(path: str | Path) -> Recipe:
    """Reads a recipe.

    Raises:
        InputError: If the file is no TOML, or has a table, a key or a value that it cannot have.
    """
    return recipe_of(Path(path), Recipe.from_dict)
