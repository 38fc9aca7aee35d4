"""A survey of tiny lenses with a stand-in for the chain, for tests here and in processes.

``python tests/surveys.py OUTPUT NOTES PATTERN SECONDS WORKERS`` runs one by itself (with 0 workers
in its own process); it can be killed at any moment.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from astropy.io import fits
from astropy.table import Table

from lensrim._weights import replacing
from lensrim.errors import InputError
from lensrim.grid import PixelGrid
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.reconstruct import SEARCHED
from lensrim.io.observation import Observation
from lensrim.io.options import ReadOptions
from lensrim.io.product import Product, write_product
from lensrim.survey.catalogue import Summary, run_survey
from lensrim.survey.lenses import Lens, find_lenses
from lensrim.survey.rows import State
from lensrim.survey.work import DoLens, Outcome
from lensrim.survey.work import Result as AnyResult
from lensrim.survey.workers import Alone, Workers

SIDE = 16

TABLES = ("catalogue.ecsv", "failures.ecsv")


def write_observation(path: Path, seed: int, side: int = SIDE) -> Path:
    """Writes a small image with its noise and its PSF, which is read without options."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[-1:2, -1:2]
    psf = np.exp(-(x**2 + y**2) / 2)
    image = fits.ImageHDU(rng.normal(size=(side, side)), name="SCI")
    image.header["PIXSCALE"] = 0.05
    hdus = [
        fits.PrimaryHDU(),
        image,
        fits.ImageHDU(np.ones((side, side)), name="ERR"),
        fits.ImageHDU(psf / psf.sum(), name="PSF"),
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    fits.HDUList(hdus).writeto(path, overwrite=True)
    return path


def write_observations(folder: Path, count: int) -> str:
    """Writes some, and returns a pattern that finds them."""
    for k in range(count):
        write_observation(folder / f"lens{k:04d}.fits", k)
    return str(folder / "*.fits")


@dataclass(frozen=True)
class Result:
    """What a stand-in returns."""

    product: Product

    def write(self, path: Path, *, overwrite: bool, picture: bool) -> list[Path]:
        return write_product(self.product, path, overwrite=overwrite)


@dataclass(frozen=True)
class LightResult:
    """What a stand-in returns whose files are small and soon written."""

    product: Product

    def write(self, path: Path, *, overwrite: bool, picture: bool) -> list[Path]:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(str(self.product.value("THETAE")).encode())
        return [path]


def product_of(observation: Observation, options: ReconstructOptions, **more: Any) -> Product:
    """Makes a product of which every number is a function of the image and the options."""
    image, grid = observation.image, observation.grid
    level = float(np.abs(image).mean())
    header = {
        "THETAE": (1 + level, "[arcsec]"),
        "CHI2ARC": (level + options.seed, "chi2"),
        "MACROQ": (0.8, "axis ratio"),
        "NNEIGH": (0, "pixels"),
        "QUALITY": ("good" if level < 0.8 else "doubtful", "quality"),
        "STAGE": (options.stage, "last stage"),
        "BIN": (1, "bin"),
        **({} if options.z_lens is None else {"ZLENS": (options.z_lens, "redshift")}),
        "SECONDS": (time.perf_counter() % 7, "[s]"),
    }
    zero = np.zeros_like(image)
    maps = {
        "DATA": image,
        "SIGMA": observation.sigma,
        "MASK": observation.mask.astype(np.uint8),
        "LENS_LIGHT": zero,
        "SKY": zero,
        "MODEL": 0.5 * image,
        "RESIDUAL": 0.5 * image,
        "KAPPA": 0.5 + 0.1 * np.abs(image),
    }
    return Product(
        name=observation.name,
        header=header | more,
        image_maps=maps,
        source_maps={"SOURCE": image[:8, :8]},
        psf=observation.psf,
        image_grid=grid,
        source_grid=PixelGrid((8, 8), 0.02),
        history=observation.options,
        wcs=observation.wcs,
    )


def quick(observation: Observation, options: ReconstructOptions) -> Result:
    """Does a lens in no time."""
    return Result(product_of(observation, options))


def light(observation: Observation, options: ReconstructOptions) -> LightResult:
    """Does a lens in no time, and writes little of it."""
    return LightResult(product_of(observation, options))


@dataclass(frozen=True)
class Searching:
    """A stand-in for the chain that notes how it is told to search."""

    folder: Path

    def __call__(self, observation: Observation, options: ReconstructOptions) -> LightResult:
        said = f"{options.search} {any(SEARCHED in note for note in observation.notes)}"
        (self.folder / observation.name).write_text(said)
        return light(observation, options)

    @property
    def searched(self) -> dict[str, str]:
        return {path.name: path.read_text() for path in self.folder.iterdir()}


@dataclass(frozen=True)
class Troubled(DoLens):
    """Has trouble with one lens where it is to write it: its process dies, or the disk is full."""

    name: str = ""
    deadly: bool = False

    def keep(self, lens: Lens, result: AnyResult, inputs: tuple[State, ...]) -> Outcome:
        assert torch.get_num_threads() == 1
        if lens.name != self.name:
            return Outcome(lens.name)
        if self.deadly:
            os._exit(9)
        raise InputError("the disk is full")


@dataclass(frozen=True)
class Noted:
    """Does a lens, and notes in a file of its own that it was begun.

    Arguments:
        folder: Where the notes are.
        seconds: How long it takes.
        deadly: Names of lenses that kill their process.
        once: Whether they do so the first time alone.
        chain: What does them.
    """

    folder: Path
    seconds: float = 0.0
    deadly: tuple[str, ...] = ()
    once: bool = True
    chain: Callable[[Observation, ReconstructOptions], Any] = quick

    def __call__(self, observation: Observation, options: ReconstructOptions) -> Any:
        begun = self.begun(observation.name)
        name = f"{observation.name}.{os.getpid()}.{time.monotonic_ns()}"
        (self.folder / name).touch()
        time.sleep(self.seconds)
        if observation.name in self.deadly and not (self.once and begun):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.chain(observation, options)

    def begun(self, name: str) -> int:
        """How often a lens was begun."""
        return len(list(self.folder.glob(f"{name}.*")))

    def processes(self) -> set[str]:
        """The processes that began one."""
        return {path.name.split(".")[1] for path in self.folder.iterdir()}


def survey(output: Path, pattern: str | Sequence[str], **options: Any) -> Summary:
    """Runs a survey of a pattern."""
    return run_survey(output, lenses(pattern), **{"reconstruct": quick, **options})


def lenses(pattern: str | Sequence[str], **options: Any) -> tuple[Lens, ...]:
    """Finds the lenses of a pattern."""
    given = [pattern] if isinstance(pattern, str) else pattern
    return find_lenses(given, ReadOptions(), ReconstructOptions(**options)).lenses


def but_for_seconds(path: Path) -> str:
    """Reads a file of text without the numbers that differ from run to run."""
    from astropy.table import Table

    table = Table.read(path, format="ascii.ecsv")
    if "seconds" in table.colnames:
        table.remove_column("seconds")
    return "\n".join(table.pformat(max_lines=-1, max_width=-1))


def assert_same(one: Path, other: Path) -> None:
    """Two surveys are the same but for seconds."""
    for name in TABLES:
        assert but_for_seconds(one / name) == but_for_seconds(other / name)
    first, second = (Table.read(folder / "catalogue.fits") for folder in (one, other))
    assert first.colnames == second.colnames
    for name in set(first.colnames) - {"seconds"}:
        assert first[name].tolist() == second[name].tolist(), name


if __name__ == "__main__":
    output, notes, given, seconds, workers = sys.argv[1:]
    survey(
        Path(output),
        given,
        reconstruct=Noted(Path(notes), float(seconds)),
        crew=Workers(int(workers)) if int(workers) else Alone(),
    )
