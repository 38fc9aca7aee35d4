"""What the suites are made of: a mock for each seed, and what is known of it besides its truth."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from .._weight_files import sha256_of
from ..datasets.galaxies.learnt import LearntGalaxies
from ..datasets.galaxies.opening import open_galaxies
from ..datasets.priors import SystemPrior
from ..datasets.psfs.kinds import read_psf_stamps
from ..inference.batches import stored_prior
from ..inference.recipe import read_recipe
from .mocks import Mock, make_mock
from .options import EvaluateOptions
from .standard import SIDE, Design, Split, names_of, standard_mock


class MockSuite(Protocol):
    """A suite, with what it was given by the options."""

    def mock(self, seed: int) -> Mock:
        """Makes the mock of a seed."""
        ...

    def facts(self, seed: int) -> dict[str, Any]:
        """Returns what a row says of the mock of a seed besides what is in it."""
        ...

    @property
    def digest(self) -> str:
        """Checksum of what its mocks are made of, but for the pixels of galaxies."""
        ...


class FirstLight:
    """Creates the suite of one population (:func:`lensrim.evaluation.mocks.make_mock`).

    Arguments:
        options: Of an evaluation.

    Raises:
        InputError: If a folder cannot be used.
    """

    def __init__(self, options: EvaluateOptions) -> None:
        self._parts: dict[str, Any] = _galaxies_and_psfs(options)
        if options.recipe is not None:
            data = read_recipe(options.recipe).data
            haloes, projections = data.read_haloes("test")
            self._parts |= {"haloes": haloes, "projections": projections}
            if data.shards is not None:
                system = stored_prior(data.shards).system
                self._parts["prior"] = replace(system, halo_share=data.halo_share)
            elif data.halo_share:
                self._parts["prior"] = SystemPrior(halo_share=data.halo_share)

    def mock(self, seed: int) -> Mock:
        """Makes the mock of a seed."""
        return make_mock(seed, shape=(SIDE, SIDE), **self._parts)

    def facts(self, seed: int) -> dict[str, Any]:
        """Returns nothing."""
        return {}

    @property
    def digest(self) -> str:
        """Checksum of what its mocks are made of, but for the pixels of galaxies."""
        return _digest(self._parts)


class Standard:
    """Creates the suite of the standard mocks (:mod:`lensrim.evaluation.standard`).

    Arguments:
        options: Of an evaluation.

    Raises:
        InputError: If a folder cannot be used, or has no galaxies for the set.
    """

    def __init__(self, options: EvaluateOptions) -> None:
        self._split: Split = options.split
        self._parts: dict[str, Any] = _galaxies_and_psfs(options)
        self._parts["noise_length"] = options.noise_length
        galaxies = self._parts["galaxies"]
        if galaxies is not None and self._parts["names"] is None:
            self._parts["names"] = names_of(galaxies, options.split)

    @property
    def own_galaxies(self) -> bool:
        """Whether the galaxies are a user's."""
        return self._parts["galaxies"] is not None

    def mock(self, seed: int) -> Mock:
        """Makes the mock of a number."""
        return standard_mock(seed, split=self._split, **self._parts)

    def facts(self, seed: int) -> dict[str, Any]:
        """Returns the setting, and whether the galaxy is a learnt one where it is not a user's."""
        design = Design.of(seed)
        learnt = {} if self.own_galaxies else {"learnt": design.learnt}
        return {"setting": design.setting} | learnt

    @property
    def digest(self) -> str:
        """Checksum of what its mocks are made of, but for the pixels of galaxies."""
        return _digest(self._parts)


def _galaxies_and_psfs(options: EvaluateOptions) -> dict[str, Any]:
    """Reads galaxies, the names of those to draw from, and PSFs; None where there are none."""
    if options.recipe is not None:
        galaxies, names, psfs = read_recipe(options.recipe).data.read(options.split)
        return {"galaxies": galaxies, "names": names, "psfs": psfs}
    galaxies = open_galaxies(options.galaxies) if options.galaxies else None
    psfs = read_psf_stamps(options.psfs) if options.psfs else None
    return {"galaxies": galaxies, "names": None, "psfs": psfs}


def _digest(parts: Mapping[str, Any]) -> str:
    """Checksum of names of galaxies and haloes, a generator, PSFs, and the other numbers; pixels
    of stamps are not looked at."""
    galaxies, psfs = parts["galaxies"], parts["psfs"] or {}
    told = {
        "galaxies": None if galaxies is None else list(parts["names"] or galaxies.names),
        "generator": sha256_of(galaxies.weights) if isinstance(galaxies, LearntGalaxies) else None,
        "psfs": [
            (name, spacing, hashlib.sha256(np.ascontiguousarray(stamp).tobytes()).hexdigest())
            for name, (stamp, spacing) in sorted(psfs.items())
        ],
        "projections": parts.get("projections"),
        "prior": repr(parts.get("prior")),
    }
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]


SUITES = {"first-light": FirstLight, "standard": Standard}
"""The suites by name."""
