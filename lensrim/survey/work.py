"""A survey's work on one lens: it is read, reconstructed and written, or fails with a reason."""

import os
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch

from .._weights import clear_leftovers, replacing
from ..errors import InputError
from ..inference.devices import is_out_of_memory
from ..inference.options import ReconstructOptions
from ..inference.reconstruct import SEARCHED, reconstruct
from ..io.fits import one_line
from ..io.observation import Observation
from ..io.product import Product
from ..io.read import read_about
from ..io.staging import SUFFIXES, clear_staging
from .columns import ON_THE_CPU, values_of
from .lenses import Lens
from .rows import Row, State, failed_row, folder_of, row_file, states_of, write_row
from .sheet import THUMBNAILS


@runtime_checkable
class Result(Protocol):
    """What a reconstruction returns, as far as a survey needs it."""

    @property
    def product(self) -> Product:
        """Maps and numbers."""
        ...

    def write(self, path: Path, *, overwrite: bool, picture: bool) -> list[Path]:
        """Writes the product, with its picture or without."""
        ...


Reconstruct = Callable[[Observation, ReconstructOptions], Result]
"""The chain, or what stands in for it."""


@dataclass(frozen=True)
class Outcome:
    """Holds what came of a lens: empty reason if it is done."""

    name: str
    reason: str = ""


@dataclass(frozen=True)
class DoLens:
    """Creates the work of a survey: reads a lens, reconstructs it, and writes all that is of it.

    Arguments:
        folder: Output folder, as an absolute path.
        reconstruct: The chain.
        pictures: Whether the picture of each product is drawn.
        left: Lenses that are searched for though they were to be quick, and why; with a reason
            where the quick pass had an answer that it did not keep.
        since: When the run began, in seconds of :func:`time.time`.
    """

    folder: Path
    reconstruct: Reconstruct = reconstruct
    pictures: bool = True
    left: Mapping[str, str] = field(default_factory=dict)
    since: float = field(default_factory=time.time)

    def __call__(self, lens: Lens) -> Outcome:
        """Does a lens, and returns what came of it.

        Raises:
            InputError: If the product cannot be written: that is nothing of the lens.
            OSError: If its row cannot be.
        """
        inputs = states_of(lens.files())
        try:
            if lens.problem:
                raise InputError(lens.problem)
            self._refuse_own(lens)
            lens.read.check()
            result = self._reconstructed(lens)
        except Exception as error:  # whatever it is, the other lenses go on
            return self._fail(lens, error, inputs)
        return self.keep(lens, result, inputs)

    def keep(self, lens: Lens, result: Result, inputs: tuple[State, ...]) -> Outcome:
        """Writes all that is of a lens, and returns what came of it.

        Arguments:
            lens: The lens.
            result: What was made of it.
            inputs: Its files, as they were before they were read.

        Raises:
            InputError: If the product cannot be written: that is nothing of the lens.
            OSError: If its row cannot be.
        """
        try:
            self._refuse_own(lens)
            values = values_of(lens, result.product)
        except Exception as error:
            return self._fail(lens, error, inputs)
        place = folder_of(self.folder, lens)
        # the row of an older product must not vouch for this one, if we are killed between them
        row_file(self.folder, lens).unlink(missing_ok=True)
        clear_staging(place, since=self.since)
        try:
            file = planned(place, lens)[0]
            files = result.write(file, overwrite=True, picture=self.pictures)
            small = _write_thumbnails(place / THUMBNAILS, result.product)
        except (InputError, OSError):
            raise
        except Exception as error:
            return self._fail(lens, error, inputs)
        made = tuple(os.fspath(file.relative_to(self.folder)) for file in (*files, small))
        write_row(self.folder, lens, Row(values, lens.key, inputs, made))
        return Outcome(lens.name)

    def _reconstructed(self, lens: Lens) -> Result:
        """Reconstructs a lens, on the CPU if the GPU has too little memory for it."""
        fit = lens.fit
        observation = read_about(lens.path, lens.read, center=fit.center, size=fit.size)
        if lens.name in self.left:
            fit, reason = replace(fit, search="auto"), self.left[lens.name]
            said = (f"{SEARCHED} ({reason})",) if reason else ()
            observation = replace(observation, notes=(*observation.notes, *said))
        try:
            fit.check()  # which needs some memory of the GPU, too
            return self.reconstruct(observation, fit)
        except (InputError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
        # not in the clause above: there, the error still holds what filled the memory
        torch.cuda.empty_cache()
        note = f"{ON_THE_CPU}: the GPU has too little memory for it"
        observation = replace(observation, notes=(*observation.notes, note))
        return self.reconstruct(observation, replace(fit, device="cpu"))

    def _fail(self, lens: Lens, error: Exception, inputs: Sequence[State]) -> Outcome:
        """Writes the row of a lens that cannot be done, and leaves no older product beside it."""
        self.clear(lens)
        reason, detail = one_line(error), ""
        if not isinstance(error, InputError | OSError):
            reason = f"error of lensrim itself: {type(error).__name__}: {reason}"
            detail = "".join(traceback.format_exception(error))
        write_row(self.folder, lens, failed_row(lens, reason, inputs, detail))
        return Outcome(lens.name, reason)

    def clear(self, lens: Lens) -> None:
        """Removes what is of an older product of a lens, but nothing that is read for this one."""
        place = folder_of(self.folder, lens)
        kept = self._read_and_written(lens)
        for old in (place / THUMBNAILS, *planned(place, lens)):
            if old not in kept:
                old.unlink(missing_ok=True)

    def _refuse_own(self, lens: Lens) -> None:
        """Raises where a product would take the place of the observation."""
        if own := self._read_and_written(lens):
            raise InputError(
                f"{own[0]}: the output must not be a file that is read; choose another output"
            )

    def _read_and_written(self, lens: Lens) -> list[Path]:
        """Returns the files of its product that are those of the observation."""
        files = planned(folder_of(self.folder, lens), lens)
        there = [file for file in files if file.exists()]
        return [file for file in there if any(file.samefile(read) for read in lens.files())]


AtOnce = Callable[[DoLens, Sequence[Lens]], Iterable[Outcome]]
"""Does some of the lenses: yields those that are done, each with its row, and those of which it
has an answer that it does not keep, with the reason."""


def planned(place: Path, lens: Lens) -> list[Path]:
    """Returns the files of a product, of which the FITS file is the first."""
    return [place / f"{lens.name}_lensrim{suffix}" for suffix in SUFFIXES]


def _write_thumbnails(path: Path, product: Product) -> Path:
    from matplotlib.image import imsave

    from ..plotting.thumbnails import thumbnails

    clear_leftovers(path)
    metadata: Any = {"Software": None}  # the library's version would differ between equal pictures
    with replacing(path) as file:
        imsave(file, thumbnails(product), format="png", metadata=metadata)
    return path
