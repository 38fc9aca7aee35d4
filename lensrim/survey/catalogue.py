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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ..errors import InputError
from ..inference.reconstruct import reconstruct
from .lenses import Lens
from .page import write_page
from .rows import (
    Row,
    failed_row,
    is_same,
    is_whole,
    read_row,
    row_file,
    rows_of,
    states_of,
    write_row,
)
from .tables import write_tables
from .work import AtOnce, DoLens, Outcome, Reconstruct
from .workers import Alone, Crew

AGAIN = 5
"""Times at most that the last table is written, while others change rows."""

PAUSE = 20.0
"""How much longer than it takes to write the table, the next writing of it is put off."""


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
