"""The batches that a machine for lenses is trained on: made afresh, or taken from a stock."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .._weights import read_weights, sha256_of, write_weights
from ..datasets.haloes.bank import HaloBank
from ..datasets.pairs.drawn import Drawn
from ..datasets.pairs.halo_masses import HaloMasses
from ..datasets.pairs.masses import AnalyticMasses
from ..datasets.pairs.pairs import PairPrior, Pairs
from ..datasets.priors import SystemPrior
from ..datasets.shards.reading import Shards
from ..datasets.shards.samples import StoredPairs
from ..datasets.splits import pairs_digest
from ..errors import InputError
from ..training.feed import to_device
from ..training.table import from_table
from .data_config import DataConfig
from .learnt import Batch, turned, with_start

STOCK_FORMAT = 8
"""Number of the way in which batches are made: a change of it makes every stock worthless."""


@dataclass(frozen=True)
class Batches:
    """Creates a sequence of batches that is light to send to another process.

    A batch is a raw one, the numbers of lenses as they were drawn (or the pairs of a shard); the
    maps that these make; and its starts, which cost most. Maps and starts are made in the same
    process, or later, where the batch is used: on a GPU.

    Arguments:
        data: Where they come from.
        which: Set of galaxies: ``train``, ``validation`` or ``test``.
        batch_size: Samples in a batch; fewer of those in larger frames.
        seed: Seed of the sequence.
        raw: Whether batches come raw where they are not in the stock; :meth:`finish` is then due.
        parts: Batches that a step sees. Those of a new step are all new, so that processes that
            share the parts make theirs at the same time.
    """

    data: DataConfig
    which: str
    batch_size: int
    seed: int
    raw: bool = False
    parts: int = 1

    def __call__(self, index: int) -> Batch | Drawn:
        """Makes a batch, or takes it from the stock.

        Each process reads the ingredients once for each size of the frames.
        """
        number, new = self.number(index)
        path = self._path(number)
        if path is not None and path.exists():
            return self._turned(self._read(path, number), index)
        if self.raw and not new:
            return {}  # it will be in the stock by then
        batch = self._draw(number)
        return batch if self.raw else self.finish(batch, index, torch.device("cpu"))

    def pairs(self, index: int) -> Batch:
        """Makes the lenses of batch number ``index`` without their starts."""
        drawn = self._draw(index)
        if isinstance(drawn, Drawn):
            return self._render(drawn, index, torch.device("cpu"))
        return drawn

    def _draw(self, number: int) -> Batch | Drawn:
        """Draws the numbers of a new batch, or reads it from the shards."""
        source = self._source(number)
        return source.draw(number) if isinstance(source, Pairs) else source(number)

    def _source(self, number: int) -> Pairs | StoredPairs:
        """Returns where a batch comes from, which each process reads once."""
        return _ingredients(_Key(self._alike(number)))

    def _render(self, drawn: Drawn, number: int, device: torch.device) -> Batch:
        """Makes the maps of the numbers of a batch."""
        pairs = self._source(number)
        assert isinstance(pairs, Pairs)
        return pairs.render(drawn, device)

    def _alike(self, number: int) -> "Batches":
        """Returns the maker of batches that are all of the size that this one has.

        Of as many batches in a row as there are sizes each has another: in turn, or in training
        at random, that no worker makes those of one size alone.
        """
        sides = self.data.sides
        if len(sides) == 1:
            return self
        turn, place = divmod(number // self.parts, len(sides))
        side, size = sides[place], self.batch_size
        if self.which == "train":
            side = np.random.default_rng([self.seed, turn, 2]).permutation(sides).tolist()[place]
            size = max(1, size * self.data.shape**2 // side**2)
        return replace(self, data=replace(self.data, shape=side, larger=()), batch_size=size)

    def finish(self, batch: Batch | Drawn, index: int, device: torch.device) -> dict[str, Tensor]:
        """Makes maps and starts of a batch that came raw, on a device, and puts it into the stock.

        Arguments:
            batch: What the call with this number returned, here or on the device.
            index: The number.
            device: Where maps and starts are made, and where a batch of the stock goes.
        """
        if not isinstance(batch, Drawn) and "conditioning" in batch:
            return dict(batch)
        number, _ = self.number(index)
        path = self._path(number)
        if not batch and path is not None and path.exists():
            return self._turned(to_device(self._read(path, number), device), index)
        if not batch:  # of a training that goes on without its stock
            batch = to_device(self._draw(number), device)
        if isinstance(batch, Drawn):
            batch = self._render(batch, number, device)
        done = with_start(batch, number)
        if path is None:
            return done if self.data.shards is None else self._turned(done, index)
        path.parent.mkdir(parents=True, exist_ok=True)
        described = self._alike(number)._described
        write_weights(path, {k: v.cpu() for k, v in done.items()}, described)
        return self._turned(done, index)

    def number(self, index: int) -> tuple[int, bool]:
        """Returns the number of the batch that is seen, and whether it is a new one."""
        if self._path(index) is None:
            return index, True
        step, part = divmod(index, self.parts)
        made, between = divmod(step, self.data.reuse)
        number = made * self.parts + part
        if number < self.data.stocked and not between:
            return number, True
        rng = np.random.default_rng([self.seed, index, 1])
        return int(rng.integers(min((made + 1) * self.parts, self.data.stocked))), False

    def _path(self, number: int) -> Path | None:
        """Where a batch is stocked, if it is."""
        if self.data.stock is None or self.which != "train":
            return None
        return Path(self.data.stock) / f"{number:06d}.safetensors"

    def _turned(self, batch: Batch, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.seed, index])
        turns, flip = int(rng.integers(4)), bool(rng.integers(2))
        return turned(batch, turns, flip)

    @property
    def _described(self) -> dict[str, object]:
        described: dict[str, object] = {
            "format": STOCK_FORMAT,
            "shape": self.data.shape,
            "seed": self.seed,
            "batch_size": self.batch_size,
            "real": [self.data.galaxies is not None, self.data.psfs is not None],
        }
        if self.data.halo_share:
            described["haloes"] = [_digest_of(self.data.haloes), self.data.halo_share]
        if self.data.shards is not None:
            source = _ingredients(_Key(self))  # which holds them open: no file is looked at again
            assert isinstance(source, StoredPairs)
            described["shards"] = source.shards.digest
        return described

    def _read(self, path: Path, number: int) -> dict[str, Tensor]:
        """Reads a batch of the stock."""
        batch, header = read_weights(path)
        described = self._alike(number)._described
        if header != described:
            raise InputError(
                f"{path}: the stock must be that of the recipe, {described}, found "
                f"{header}; give another folder"
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


@lru_cache(maxsize=8)
def _ingredients(key: _Key) -> Pairs | StoredPairs:
    batches, data = key.batches, key.batches.data
    if data.shards is not None and batches.which == "train":
        size, seed, same = batches.batch_size, batches.seed, data.pairs()
        pairs = stored_pairs(data.shards, size, data.shape, seed, duplicates=same)
        if data.halo_share:
            check_same_haloes(pairs.shards, data.haloes)
        return pairs
    galaxies, names, psfs = data.read(batches.which)
    haloes, projections = data.read_haloes(batches.which)
    prior = PairPrior() if data.shards is None else stored_prior(data.shards)
    bank = haloes if isinstance(haloes, HaloBank) else None
    return Pairs(
        batches.batch_size,
        galaxies,
        names=names,
        psfs=psfs,
        haloes=haloes,
        projections=projections,
        shape=(data.shape, data.shape),
        prior=replace(prior, system=replace(prior.system, halo_share=data.halo_share)),
        seed=batches.seed,
        masses=(HaloMasses(bank), AnalyticMasses()),
    )


def stored_prior(folder: str) -> PairPrior:
    """Reads the population that shards were drawn from, but for its files.

    Raises:
        InputError: If it holds no shards, or those of another version.
    """
    population = Shards.open(folder).recipe["population"]
    try:
        system = from_table(SystemPrior, population["system"])
        return replace(from_table(PairPrior, population["pairs"]), system=system)
    except (KeyError, InputError) as error:
        raise InputError(
            f"{folder}: the population must be one of this version of lensrim ({error}); write "
            "the shards again"
        ) from error


def stored_pairs(
    folder: str,
    batch_size: int,
    shape: int,
    seed: int,
    *,
    duplicates: Iterable[tuple[str, str]] = (),
) -> StoredPairs:
    """Opens a folder of shards for a training.

    Arguments:
        folder: The folder.
        batch_size, seed: See :class:`lensrim.datasets.shards.samples.StoredPairs`.
        shape: Side of the images [pixels].
        duplicates: The training's pairs of names that show the same galaxy.

    Raises:
        InputError: If it holds no training pairs, those of another shape, or real galaxies or
            haloes that may be the validation's.
    """
    pairs = StoredPairs(batch_size, Shards.open(folder), seed)
    found = pairs.shards.recipe["population"]["shape"]
    if found != [shape, shape]:
        raise InputError(
            f"{folder}: the pairs must have the recipe's shape, {shape} pixels, found {found}; "
            "change shape, or write other shards"
        )
    recipe = pairs.shards.recipe
    real = recipe["population"]["galaxies"] is not None
    if recipe["set"] != "train" and (real or recipe["population"]["system"]["halo_share"]):
        raise InputError(
            f"{folder}: pairs of {'real galaxies' if real else 'haloes'} must be of the training "
            f"set, found {recipe['set'] or 'all'}; write them with --set train"
        )
    if real and recipe["duplicates"] != pairs_digest(duplicates):
        raise InputError(
            f"{folder}: pairs of real galaxies must be split with the training's duplicates, "
            "found others; write them from a recipe whose [duplicates] are its [data.duplicates]"
        )
    return pairs


def _digest_of(haloes: str | None) -> str | None:
    """Computes the SHA-256 of a file of haloes, once; None of the halo model."""
    return None if haloes is None else _digest(haloes, HaloBank(haloes).changed)


@lru_cache(maxsize=4)
def _digest(path: str, changed: int) -> str:
    return sha256_of(path)


def check_same_haloes(shards: Shards, haloes: str | None) -> None:
    """Checks that shards and the validation of a training divide the same haloes into sets.

    Two banks may call one halo by two names, and have it in two sets.

    Arguments:
        shards: Shards of training pairs.
        haloes: The training's file of haloes; None for the halo model.

    Raises:
        InputError: If the shards show haloes, but those of another file.
    """
    population = shards.recipe["population"]
    if population["system"]["halo_share"] and population["haloes"] != _digest_of(haloes):
        raise InputError(
            f"{shards.folder}: pairs of haloes must be of the training's own, found those of "
            f"{'the halo model' if population['haloes'] is None else 'another file'}; write them "
            "with its haloes, or set halo_share = 0 under [data], for a validation without haloes"
        )
