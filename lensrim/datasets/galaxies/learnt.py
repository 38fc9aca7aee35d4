"""Galaxies that a generator has learnt to draw: a collection like a folder of stamps.

In place of a folder, ``learnt`` names the generator that comes with the package (``./learnt`` is a
folder of that name), and ``*.safetensors`` one of the user's own. Each galaxy is a function of its
name, ``vae-000123``, of the seed and of the weights. All are synthetic, though they may be like
galaxies of the generator's training set: sets that are split by their names are independent draws
of one population, and no test on real galaxies.
"""

import os
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..._weight_files import check_sum
from ...errors import InputError
from .generative import VAE, load_vae
from .remembered import Remembered
from .stamps import Galaxy, half_light_radius, isolate

FOLDER = Path(__file__).parents[1] / "learnt"
"""Packaged generators, with ``cards.toml``: of what they were made, and what was measured."""

LEARNT = "learnt"
"""In place of a folder of galaxies: those of the packaged generator."""

COUNT = 2000
"""Galaxies of a collection, if nothing is said."""

PIXEL_SCALE = 0.03
"""Side of a pixel of the stamps [arcsec]; it only gives the galaxies an absolute size."""

FAINT = 0.003
"""Brightness relative to the peak below which nothing is known."""


def is_learnt(name: str | os.PathLike[str]) -> bool:
    """Whether what a recipe calls its galaxies is a generator: ``learnt``, or weights."""
    return name == LEARNT or os.fspath(name).endswith(".safetensors")


def beside(name: str, folder: Path) -> str:
    """Returns where galaxies are that a recipe in a folder names."""
    if name == LEARNT:
        return name
    path = str(folder / name)
    # "./learnt" is a folder, and must stay one where the recipe is in the working directory.
    return os.path.join(os.curdir, path) if path == LEARNT else path


def weights_of(name: str | os.PathLike[str]) -> Path:
    """Returns the file of the generator that is named.

    Raises:
        InputError: If there is no such file.
    """
    if name == LEARNT:
        return packaged("sources")
    if not Path(name).is_file():
        raise InputError(f"{os.fspath(name)}: galaxies must be a file of weights; no such file")
    return Path(name)


@lru_cache(maxsize=1)
def cards() -> Mapping[str, Mapping[str, Any]]:
    """Reads the cards of the packaged generators, by name."""
    return tomllib.loads((FOLDER / "cards.toml").read_text(encoding="utf-8"))


def packaged(name: str) -> Path:
    """Returns the file of a packaged generator, which is checked.

    Raises:
        InputError: If there is none of that name, or the file is not the one of its card.
    """
    known = cards()
    if name not in known:
        raise InputError(f"generator {name!r}: must be one of {', '.join(known)}; change it")
    path = FOLDER / known[name]["file"]
    check_sum(path, known[name]["sha256"])
    return path


class LearntGalaxies:
    """Creates a collection of learnt galaxies, each drawn when it is asked for.

    Arguments:
        weights: File of a generator of galaxies; the packaged one by default.
        count: Number of galaxies.
        seed: Seed of all of them.

    Raises:
        InputError: If the file holds no generator, or the count is not positive.
    """

    def __init__(
        self, weights: str | os.PathLike[str] | None = None, *, count: int = COUNT, seed: int = 0
    ):
        if count < 1:
            raise InputError(f"count: must be 1 galaxy or more, found {count}; change it")
        self.weights = weights_of(LEARNT if weights is None else weights)
        self.names = tuple(f"vae-{number:06d}" for number in range(count))
        self._vae = load_vae(self.weights)
        self._seed = seed
        self.load = Remembered(self._load)

    def __len__(self) -> int:
        return len(self.names)

    def _load(self, name: str) -> Galaxy:
        """Draws one galaxy; the public ``load`` remembers it.

        Raises:
            InputError: If the name is none of the collection's.
        """
        number = name.removeprefix("vae-")
        if name == number or not number.isdecimal() or not int(number) < len(self.names):
            raise InputError(
                f"galaxy {name!r}: must be one of {self.names[0]} to {self.names[-1]}; change it"
            )
        numbers = np.random.SeedSequence([self._seed, int(number)])
        own = int(numbers.generate_state(1, np.uint64)[0]) >> 1
        return drawn_galaxy(self._vae, name, torch.Generator().manual_seed(own))


def drawn_galaxy(vae: VAE, name: str, generator: torch.Generator, *, draws: int = 20) -> Galaxy:
    """Draws a galaxy on zeros; again where a draw shows nothing that could be one.

    Arguments:
        vae: Generator of galaxies.
        name: Name of the galaxy.
        generator: Source of random numbers, on the CPU.
        draws: Draws in a row that may show nothing.

    Raises:
        InputError: If all do.
    """
    for _ in range(draws):
        image = vae.sample(1, generator)[0, 0].double().numpy()
        image = np.where(image > FAINT * image.max(), image, 0.0)
        try:
            # The border tells that the stamp is on zeros: no sky is looked for.
            galaxy = isolate(np.pad(image, image.shape[0] // 4))
        except ValueError:
            continue
        radius = half_light_radius(galaxy) * PIXEL_SCALE
        return Galaxy(name, galaxy, PIXEL_SCALE, radius)
    raise InputError(
        f"{name}: none of {draws} draws of the generator shows a galaxy; train it longer"
    )
