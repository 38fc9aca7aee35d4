"""The run of a survey: every lens once, whatever happens on the way.

The output folder holds

- ``products/<name>/``: the files of each lens, as ``lensrim reconstruct`` writes them, with its
  maps in small (``thumbnails.png``), and its row (``row.json``), written last,
- ``catalogue.ecsv``, ``catalogue.fits``, ``failures.ecsv`` and ``index.html``: the lenses that
  were asked for and are done, in the order of the list.

The latter are functions of the rows (:mod:`lensrim.survey.rows`); they are written now and then,
and at the end. So a run may be killed at any moment, divided among processes, jobs or machines,
and run again: what is done stays, and the table is the same but for the seconds. A lens that
cannot be done is a row with its reason.
"""

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
from ..inference.options import ReconstructOptions, is_out_of_memory
from ..inference.reconstruct import SEARCHED, reconstruct
from ..io.fits import one_line
from ..io.observation import Observation
from ..io.product import Product
from ..io.read import read_about
from ..io.staging import SUFFIXES, clear_staging
from .columns import ON_THE_CPU, values_of
from .lenses import Lens
from .page import write_page
from .rows import (
    Row,
    State,
    failed_row,
    folder_of,
    is_same,
    is_whole,
    read_row,
    row_file,
    rows_of,
    states_of,
    write_row,
)
from .sheet import THUMBNAILS
from .tables import write_tables
from .workers import Alone, Crew

AGAIN = 5
"""Times at most that the last table is written, while others change rows."""

PAUSE = 20.0
"""How much longer than it takes to write the table, the next writing of it is put off."""


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
class Summary:
    """Holds how a run went.

    Arguments:
        made: Lenses that were done now, failed ones among them.
        there: Lenses that were done before.
        failures: Rows of this part that could not be done, now or before.
        total: Lenses of this part.
    """

    made: int
    there: int
    failures: tuple[Row, ...] = field(default=())
    total: int = 0


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


def run_survey(
    folder: str | os.PathLike[str],
    lenses: Sequence[Lens],
    *,
    part: tuple[int, int] = (1, 1),
    crew: Crew = Alone(),
    reconstruct: Reconstruct = reconstruct,
    at_once: AtOnce | None = None,
    pictures: bool = True,
    overwrite: bool = False,
    retry: bool = False,
    begin: Callable[[int], object] = lambda there: None,
    report: Callable[[Outcome], object] = lambda outcome: None,
) -> Summary:
    """Does the lenses of a survey, or what is left of them.

    Arguments:
        folder: Output folder, made if it is missing.
        lenses: All lenses of the survey, with their names (:func:`name_lenses`).
        part: Which part of them, (i, n) with i from 1: every n-th.
        crew: Who does the work.
        reconstruct: The chain; it can be pickled, if the crew is of other processes.
        at_once: Does what it can of the lenses before the crew does the others.
        pictures: Whether the picture of each product is drawn. Products that are there stay as
            they are.
        overwrite: Whether to replace products made with other options, by another version, or of
            files that have changed.
        retry: Whether to try those again that failed.
        begin: Is told how many lenses of this part are done before.
        report: Is told what came of each lens.

    Raises:
        InputError: If the folder is a file, or products would be replaced unasked, or cannot be
            written.
    """
    folder = Path(folder).resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise InputError(
            f"{folder}: the output must be a folder, found a file there or on the way to it; "
            "choose another output"
        ) from None
    mine = lenses[part[0] - 1 :: part[1]]
    left = _left(folder, mine, overwrite=overwrite, retry=retry)
    begin(len(mine) - len(left))
    pace, work = Pace(), DoLens(folder, reconstruct, pictures)
    rest = {lens.name: lens for lens in left}
    if at_once is not None:
        tried: dict[str, str] = {}
        for outcome in at_once(work, left):
            if outcome.reason:
                tried[outcome.name] = outcome.reason
                continue
            del rest[outcome.name]
            report(outcome)
            pace.write(folder, lenses)
        quick = (lens.name for lens in rest.values() if lens.fit.search == "quick")
        work = replace(work, left={name: tried.get(name, "") for name in quick})
    for done in crew.run(work, list(rest.values())):
        outcome = done.result
        if done.lost:
            outcome = Outcome(done.job.name, done.lost)
            work.clear(done.job)
            inputs = states_of(done.job.files())
            write_row(folder, done.job, failed_row(done.job, done.lost, inputs))
        report(outcome)
        pace.write(folder, lenses)
    finish_survey(folder, lenses)
    failures = tuple(row for row in rows_of(folder, mine) if row.failed)
    return Summary(len(left), len(mine) - len(left), failures, len(mine))


def _left(folder: Path, lenses: Sequence[Lens], *, overwrite: bool, retry: bool) -> list[Lens]:
    """Returns the lenses that must be done.

    Raises:
        InputError: If products of something else are in the way.
    """
    left, others = [], []
    for lens in lenses:
        row = read_row(folder, lens)
        same = row is not None and is_same(lens, row)
        if row is None or not same or not is_whole(folder, row) or (row.failed and retry):
            left.append(lens)
        if row is not None and not same and any((folder / file).exists() for file in row.files):
            others.append(lens.name)
    if others and not overwrite:
        raise InputError(
            f"{folder}: products are not replaced unasked, found {len(others)} that were made "
            "with other options, by another version or of files that have changed, such as "
            f"{others[0]!r}; choose another output or give --overwrite"
        )
    return left


class Pace:
    """Writes the table now and then, so that it takes a small part of the time."""

    def __init__(self) -> None:
        self.next = 0.0

    def write(self, folder: Path, lenses: Sequence[Lens]) -> None:
        """Writes the table, if it is time."""
        start = time.monotonic()
        if start < self.next:
            return
        write_survey(folder, lenses)
        end = time.monotonic()
        self.next = end + PAUSE * (end - start)


def write_survey(folder: Path, lenses: Sequence[Lens]) -> None:
    """Writes table, failures and page of the lenses that are done."""
    rows = rows_of(folder, lenses)
    write_tables(folder, rows)
    write_page(folder, rows)


def finish_survey(folder: Path, lenses: Sequence[Lens]) -> None:
    """Writes table, failures and page after the last lens of a part.

    Of parts that end beside each other, the one that writes last may have read the rows first. So
    each looks once more: where all lenses are done, and a row has changed since, it writes again.
    Where others are still at work, theirs is the last word.
    """
    for _ in range(AGAIN):
        before = _state_of_rows(folder, lenses)
        write_survey(folder, lenses)
        after = _state_of_rows(folder, lenses)
        if None in after or before == after:
            break


def _state_of_rows(folder: Path, lenses: Sequence[Lens]) -> list[tuple[int, int] | None]:
    """Returns by what it is seen that a row has been written; ``None`` where there is none."""
    found: list[tuple[int, int] | None] = []
    for lens in lenses:
        try:
            status = row_file(folder, lens).stat()
            found.append((status.st_mtime_ns, status.st_size))
        except OSError:
            found.append(None)
    return found
