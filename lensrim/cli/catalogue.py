"""``lensrim catalogue``: many lenses, one table of them, and a page to look at."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._command_line import parsed, part_of
from ..errors import InputError, printable
from ..inference.devices import check_cuda
from ..inference.machine import load_machine
from ..inference.options import ReconstructOptions
from ..io import ReadOptions
from ..progress import progress
from ..survey.catalogue import run_survey
from ..survey.lenses import Lens, find_lenses
from ..survey.quickly import Quickly, is_quick
from ..survey.rows import rows_of
from ..survey.sheet import write_sheet
from ..survey.work import Outcome
from ..survey.workers import Cluster, Crew, Workers
from .dataset import dask_client

LOOKED_AT = 100
"""Different options of lenses, at most, that are looked at before the work."""


@dataclass(frozen=True)
class Catalogue:
    """Reconstruct many lenses: a product of each, one table of all, and a page to look at.

    Killed at any moment and run again, the command goes on where it was. A file that cannot be
    used does not stop it: it becomes a row with its reason, and a line of failures.ecsv. The exit
    status is 0 if all lenses were done, 1 if some failed, 2 if it could not begin, or not write.

    The output folder holds products/NAME/ (what lensrim reconstruct writes), catalogue.ecsv,
    catalogue.fits, failures.ecsv and index.html, which a browser opens from the disk.

    All files of a folder, by two processes:
    $ lensrim catalogue 'obs/*.fits' --output survey --workers 2

    A table (ECSV, CSV, or FITS) with a column path, and columns named like options, such as
    z_lens, z_source, center_x, center_y or pixel_scale; they come before what is given here:
    $ lensrim catalogue lenses.ecsv --stage rim

    Many, with no pictures but thumbnails, which saves a second of a core a lens:
    $ lensrim catalogue 'obs/*.fits' --no-pictures --workers 16

    In pieces, by the jobs of a SLURM array (1 to 16), into one folder:
    $ lensrim catalogue 'obs/**/*.fits' --output survey --shard $SLURM_ARRAY_TASK_ID/16

    Beside published Einstein radii (column published_theta_e), with a contact sheet:
    $ lensrim catalogue lenses.csv --rescale-noise sky --sheet

    Very many, in batches on a GPU; those of no good answer are searched for:
    $ lensrim catalogue 'obs/*.fits' --search quick --stage rim --device cuda --workers 16

    Faster, with neither errors nor pictures:
    $ lensrim catalogue 'obs/*.fits' --search quick --stage rim --no-errors --no-pictures

    On a Dask cluster, and once more what failed:
    $ lensrim catalogue 'obs/*.fits' --dask tcp://head:8786 --retry
    """

    observations: Annotated[tuple[str, ...], tyro.conf.Positional]
    """FITS files, folders, patterns in quotes, or a table of lenses."""
    read: tyro.conf.OmitArgPrefixes[ReadOptions] = ReadOptions()
    fit: tyro.conf.OmitArgPrefixes[ReconstructOptions] = ReconstructOptions()
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("survey")
    """Folder of the survey."""
    workers: int = 1
    """Processes; each computes with one thread."""
    batch: int = 64
    """Lenses that are answered at once with --search quick, by this process beside the others."""
    shard: str = "1/1"
    """Which part of the lenses this command does, i/n with i from 1 to n."""
    dask: str | None = None
    """Address of a Dask scheduler whose workers do the lenses, in place of processes."""
    retry: bool = False
    """Try those lenses again that failed before."""
    pictures: bool = True
    """Whether the picture of each product is drawn, which takes a second of a core a lens;
    products that are there stay as they are. The page shows thumbnails also without."""
    sheet: bool = False
    """Write sheet.png, too: the thumbnails of the lenses that are doubted most, 60 at most."""
    overwrite: bool = False
    """Replace products made with other options, by another version, or of changed files."""
    quiet: bool = False
    """Print errors only."""


def parse(args: Sequence[str]) -> Catalogue:
    """Parses the words after ``lensrim catalogue``."""
    return parsed(Catalogue, prog="lensrim catalogue", args=args)


def run(options: Catalogue) -> int:
    """Does the lenses that are left, and returns the exit status: 1 if some failed.

    Raises:
        InputError: If an option cannot be used, no lens is found, or products are in the way.
    """
    if options.workers < 1:
        raise InputError(f"--workers: must be 1 or more, found {options.workers}")
    if options.batch < 1:
        raise InputError(f"--batch: must be 1 or more, found {options.batch}")
    part = part_of(options.shard)
    check(options)
    found = find_lenses(options.observations, options.read, options.fit, output=options.output)
    if all(lens.fit.stage == "macro" for lens in found.lenses):
        options.fit.check_model()
    check_all(found.lenses)
    if options.fit.stage != "macro":
        load_machine(options.fit.model)
    if not options.quiet:
        for note in found.notes:
            print(f"note: {printable(note)}", file=sys.stderr)
    total = len(found.lenses[part[0] - 1 :: part[1]])
    bar = progress("lenses", total=total, enabled=not options.quiet)

    def begin(there: int) -> None:
        bar.initial = bar.n = there  # the time that is left is told from what is done now

    def report(outcome: Outcome) -> None:
        bar.update()
        if outcome.reason:
            line = f"{outcome.name} failed: {' '.join(outcome.reason.split())}"
            bar.write(f"lensrim: {printable(line)}", file=sys.stderr)

    try:
        with crew_of(options) as crew:
            summary = run_survey(
                options.output,
                found.lenses,
                part=part,
                crew=crew,
                at_once=quick_pass(options, found.lenses),
                pictures=options.pictures,
                overwrite=options.overwrite,
                retry=options.retry,
                begin=begin,
                report=report,
            )
    except KeyboardInterrupt:
        bar.close()
        print(f"{options.output}: give the same command again to go on", file=sys.stderr)
        raise
    finally:
        bar.close()
    sheet = None
    if options.sheet:
        sheet = write_sheet(options.output, rows_of(options.output, found.lenses))
    failed = len(summary.failures)
    if not options.quiet:
        of = f" of {len(found.lenses)} in all" if part[1] > 1 else ""
        print(
            f"{options.output}: {summary.total} lenses{of}, {summary.made} done now, "
            f"{summary.there} before; of both {failed} failed"
            + (f": see {options.output / 'failures.ecsv'}, and --retry" if failed else "")
            + f"\nWritten:\n  {options.output / 'catalogue.ecsv'}\n  "
            f"{options.output / 'catalogue.fits'}\n  {options.output / 'index.html'}"
            + (f"\n  {sheet}" if sheet else "")
        )
    return 1 if failed else 0


def check(options: Catalogue) -> None:
    """Tells before the work what would fail every lens.

    Raises:
        InputError: If an option or the trained machine cannot be used.
    """
    options.read.check()
    if options.fit.device == "cuda":
        check_cuda()


def check_all(lenses: Sequence[Lens]) -> None:
    """Tells before the work what is impossible of the options of all lenses alike.

    Of a table, one of two options that need each other may be its: so the lenses are looked at.
    What is impossible of some of them is a row of each.

    Raises:
        InputError: If it is the same of every one.
    """
    told: set[str] = set()
    for fit in list(dict.fromkeys(lens.fit for lens in lenses))[:LOOKED_AT]:
        try:
            fit.check()
        except InputError as error:
            told.add(str(error))
        else:
            return
    if len(told) == 1 and not any(lens.problem for lens in lenses):
        raise InputError(told.pop())


def quick_pass(options: Catalogue, lenses: Sequence[Lens]) -> Quickly | None:
    """Opens what does many lenses at once, where that is wanted of any, and by this machine."""
    if options.dask is not None or not any(is_quick(lens) for lens in lenses):
        return None
    return Quickly(options.workers, options.batch)


@contextmanager
def crew_of(options: Catalogue) -> Iterator[Crew]:
    """Opens what does the lenses: processes here, or a Dask cluster."""
    if options.dask is None:
        yield Workers(options.workers)
        return
    with dask_client(options.dask) as client:
        yield Cluster(client)
