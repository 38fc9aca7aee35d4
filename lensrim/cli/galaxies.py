"""``lensrim galaxies``: how good stamps of galaxies are, and the galaxies of them."""

import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from .. import __version__
from .._command_line import parsed
from .._weights import replacing
from ..datasets.fits_files import fits_files
from ..datasets.galaxies.cosmos import GalSimCatalogue, catalogues
from ..datasets.galaxies.folder import GalaxyFolder, write_galaxy
from ..datasets.galaxies.opening import Collection
from ..datasets.galaxies.quality import Quality, quality
from ..datasets.galaxies.stamps import THOROUGH, Cleaning, Isolated, Stamp, clean, galaxy_from
from ..errors import InputError
from ..progress import progress

TABLE = "galaxies.ecsv"
"""The table of all galaxies; the last that is written."""

SHEET = 48
"""Galaxies on one contact sheet."""

VERDICTS = ("good", "fair", "bad", "unusable")
"""From the best to those that cannot be read, or show no object."""


@dataclass(frozen=True)
class Galaxies:
    """Look through stamps of galaxies before they are lensed, and clean them.

    Each galaxy is cut out of its sky, its noise removed, neighbours cut off, and judged: good,
    fair or bad, and why. The report is a table of all of them, galaxies.ecsv, and contact sheets,
    galaxies-01.png and so on, each stamp beside the galaxy made of it.

    A folder of FITS stamps:
    $ lensrim galaxies stamps --report report

    The same, and the galaxies as stamps that a recipe takes as they are (galaxies = "clean"):
    $ lensrim galaxies stamps --output clean --psf-fwhm 0.1

    The first thousand of the COSMOS galaxies of GalSim:
    $ lensrim galaxies COSMOS_25.2_training_sample --count 1000 --output clean
    """

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of FITS stamps, or of a catalogue in the layout of GalSim."""

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder of the cleaned stamps; none are written by default."""

    report: Path | None = None
    """Folder of the table and the contact sheets; that of the output, or galaxies-report, by
    default."""

    keep: bool = False
    """Write bad galaxies too."""

    count: int | None = None
    """Number of galaxies, the first ones; all by default."""

    pixel_scale: float | None = None
    """Side of a pixel [arcsec]; what the headers say by default, 0.05 where they say nothing."""

    psf_fwhm: float | None = None
    """Width of the PSF that is in the stamps [arcsec]; what the headers or the catalogue's PSFs
    say by default."""

    exclusion: Literal["none", "bad_stamp", "bad_fits", "marginal"] = "marginal"
    """Of a catalogue: what is left out, by the rules of GalSim."""

    denoise: float = THOROUGH.denoise
    """Standard deviations by which light must stand out to be kept; 0 leaves the noise in."""

    contrast: float = THOROUGH.contrast
    """A neighbour that touches is cut off where its peak is this many times brighter than the
    saddle; 0 leaves them."""

    sheets: int = 8
    """Contact sheets at most; they show galaxies evenly over the folder."""

    overwrite: bool = False
    """Replace the files of another run."""

    quiet: bool = False
    """Print errors only: what is left out is one."""


@dataclass(frozen=True)
class Judged:
    """One galaxy: what became of it."""

    name: str
    stamp: Stamp | None = None
    found: Isolated | None = None
    quality: Quality | None = None
    error: str = ""

    @property
    def verdict(self) -> str:
        """The verdict, also where there is no galaxy."""
        return "unusable" if self.quality is None else self.quality.verdict


def parse(args: Sequence[str]) -> Galaxies:
    """Parses the words after ``lensrim galaxies``."""
    return parsed(Galaxies, prog="lensrim galaxies", args=args)


def run(options: Galaxies) -> None:
    """Judges the galaxies, and writes the report and the cleaned stamps.

    Raises:
        InputError: If the folder cannot be used, an option is out of range, or the output holds
            files already.
    """
    for name in ("count", "sheets"):
        if (found := getattr(options, name)) is not None and found < 1:
            raise InputError(f"--{name}: must be 1 or more, found {found}")
    for name in ("pixel_scale", "psf_fwhm"):
        if (found := getattr(options, name)) is not None and not 0 < found < np.inf:
            raise InputError(f"--{name.replace('_', '-')}: must be above 0, found {found}")
    if not 0 <= options.denoise < np.inf:
        raise InputError(f"--denoise: must be 0 or more, found {options.denoise}")
    if options.contrast and not 1 < options.contrast < np.inf:
        raise InputError(f"--contrast: must be 0, or above 1, found {options.contrast}")
    _apart(options)
    collection = opened(options)
    names = collection.names[: options.count]
    report = options.report or options.output or Path("galaxies-report")
    folders = {report, options.output} - {None}
    for folder in folders:
        _free(folder, options)
    _remove(report, options.output)
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
    shown = _evenly(names, SHEET * options.sheets)
    rows, page, sheets = [], [], 0
    with progress("galaxies", total=len(names), enabled=not options.quiet) as bar:
        for each in judged(collection, names, cleaning_of(options)):
            rows.append(_row(each))
            if each.error:
                bar.write(f"lensrim: left out: {each.error}", file=sys.stderr)
            elif options.output is not None and (options.keep or each.verdict != "bad"):
                _write(options.output, each, options)
            if each.found is not None and each.name in shown:
                page.append(each)
            if len(page) == SHEET:
                sheets += 1
                _sheet(report, sheets, page)
                page = []
            bar.update()
    if page:
        _sheet(report, sheets + 1, page)
    _table(report / TABLE, rows)
    if not options.quiet:
        print(f"{options.folder}: {len(rows)} galaxies\n\n{summary(rows)}\n\n{report}: the report")


def opened(options: Galaxies) -> Collection:
    """Opens the folder as what it is."""
    if catalogues(options.folder):
        if options.pixel_scale or options.psf_fwhm:
            raise InputError(
                "--pixel-scale, --psf-fwhm: a catalogue tells them itself; leave the options out"
            )
        return GalSimCatalogue(options.folder, exclusion=options.exclusion)
    scale, width = options.pixel_scale, options.psf_fwhm
    return GalaxyFolder(options.folder, pixel_scale=scale, psf_fwhm=width)


def cleaning_of(options: Galaxies) -> Cleaning:
    """Returns the way to clean that the options ask for."""
    isophote = THOROUGH.isophote if options.denoise else Cleaning().isophote
    return replace(THOROUGH, denoise=options.denoise, isophote=isophote, contrast=options.contrast)


def judged(collection: Collection, names: Sequence[str], cleaning: Cleaning) -> Iterator[Judged]:
    """Cleans and judges galaxies, one by one; what cannot be used is told, and no reason to stop.

    Arguments:
        collection: The stamps.
        names: Which.
        cleaning: How they are cleaned.
    """
    for name in names:
        try:
            stamp = collection.stamp(name)
        except InputError as error:
            yield Judged(name, error=str(error))
            continue
        try:
            found = clean(stamp.image, cleaning, noise=stamp.noise)
        except ValueError as error:
            yield Judged(name, stamp, error=f"{name}: {error}")
            continue
        width = None if stamp.psf_fwhm is None else stamp.psf_fwhm / stamp.pixel_scale
        yield Judged(name, stamp, found, quality(found, psf_fwhm=width))


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Writes how many galaxies have each verdict, and for what reasons."""
    verdicts = Counter(row["verdict"] for row in rows)
    reasons: Counter[tuple[str, str]] = Counter()
    for row in rows:
        reasons.update((row["verdict"], reason) for reason in row["reasons"].split("; ") if reason)
    lines = []
    for verdict in VERDICTS:
        lines.append(f"{verdict:<10}{verdicts[verdict]:>7}")
        for (which, reason), count in reasons.most_common():
            if which == verdict:
                lines.append(f"{'':<10}{'':>7}{count:>7}  {reason}")
    return "\n".join(lines)


def _evenly(names: Sequence[str], most: int) -> set[str]:
    """At most so many of the names, evenly over them."""
    count = min(most, len(names))
    return {names[k * len(names) // count] for k in range(count)}


def _apart(options: Galaxies) -> None:
    """Refuses to write galaxies among the stamps, where each would be there twice, in two sets,
    and stamps among the galaxies, which a run that is begun again removes."""
    if not options.folder.exists():
        return  # which is told where it is read
    stamps = options.folder if options.folder.is_dir() else options.folder.parent
    if options.output is None:
        return
    here, there = options.output.resolve(), stamps.resolve()
    if here.is_relative_to(there):
        raise InputError(
            f"--output: must be outside of {stamps}, found {options.output}; its galaxies would "
            "be read as further stamps, or replace them"
        )
    if there.is_relative_to(here):
        raise InputError(
            f"--output: must not be a folder that holds the stamps, {stamps}, found "
            f"{options.output}; give one of its own"
        )


def _free(folder: Path, options: Galaxies) -> None:
    """Refuses to mix the files of two runs."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: must be a folder, found a file; choose another name")
    if not options.overwrite and any(folder.iterdir()):
        raise InputError(
            f"{folder}: must be empty, found files; choose another folder, or --overwrite"
        )


def _remove(report: Path, output: Path | None) -> None:
    """Removes the sheets and the cleaned stamps of the run whose table is in the report.

    What that run kept and the next one rejects would else stay among the galaxies of the next.

    Raises:
        InputError: If the output holds cleaned stamps that are not of that run.
    """
    from astropy.table import Table

    known = (report / TABLE).is_file()
    names = Table.read(report / TABLE, format="ascii.ecsv")["name"] if known else ()
    listed = {Path(f"{output}/{name}.fits") for name in names}
    cleaned = [p for p in fits_files(output, below=True) if _is_cleaned(p)] if output else []
    if others := [path for path in cleaned if path not in listed]:
        raise InputError(
            f"{output}: must hold no galaxies but those of the run whose table is in {report}, "
            f"found {len(others)} others, such as {others[0]}; they would be taken for this "
            "run's: give the --report of that run, or another --output, or remove them"
        )
    for path in cleaned:
        path.unlink()
    if not known:
        return
    for sheet in report.glob("galaxies-[0-9][0-9].png"):
        sheet.unlink()
    (report / TABLE).unlink()


def _is_cleaned(path: Path) -> bool:
    """Whether a file is a stamp that was cleaned; what cannot be read is none."""
    from astropy.io import fits

    try:
        return fits.getheader(path).get("CLEANED") is True
    except (OSError, TypeError, ValueError):
        return False


def _row(each: Judged) -> dict[str, Any]:
    """A row of the table."""
    row: dict[str, Any] = {"name": each.name, "verdict": each.verdict, "reasons": ""}
    if each.quality is None or each.found is None or each.stamp is None:
        missing = dict.fromkeys(("pixel_scale", "psf_fwhm", "flux", "noise", *NUMBERS), np.nan)
        what = re.sub(r".*: ", "", each.error.split(";")[0])
        return row | {"reasons": what} | missing
    row["reasons"] = "; ".join(each.quality.reasons)
    row |= {"pixel_scale": each.stamp.pixel_scale, "psf_fwhm": each.stamp.psf_fwhm}
    row |= {"flux": each.found.flux, "noise": each.found.noise}
    numbers = asdict(each.quality)
    row |= {name: numbers[name] for name in NUMBERS}
    return {key: np.nan if value is None else _short(value) for key, value in row.items()}


def _short(value: Any) -> Any:
    """Five digits of a number."""
    return float(f"{value:.5g}") if isinstance(value, float) else value


NUMBERS = (
    "snr",
    "half_light_radius",
    "psf_widths",
    "lost",
    "off",
    "step",
    "box",
    "cut",
    "neighbours",
)
"""What the table tells of the quality: that of :mod:`lensrim.datasets.galaxies.quality`."""

UNITS = {"pixel_scale": "arcsec", "psf_fwhm": "arcsec", "half_light_radius": "pix"}
"""Units of the table."""


def _table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Writes the table of all galaxies."""
    import io

    from astropy.table import Table

    table = Table(list(rows), units=UNITS)
    text = io.StringIO()
    table.write(text, format="ascii.ecsv")
    with replacing(path) as file:
        file.write(text.getvalue().encode())


def _write(folder: Path, each: Judged, options: Galaxies) -> None:
    """Writes the galaxy of a stamp."""
    assert each.stamp is not None and each.found is not None and each.quality is not None
    path = folder / f"{each.name}.fits"
    path.parent.mkdir(parents=True, exist_ok=True)
    cleaning = cleaning_of(options)
    write_galaxy(
        path,
        galaxy_from(each.name, each.stamp, each.found),
        provenance={
            "VERDICT": each.verdict,
            "REASONS": "; ".join(each.quality.reasons),
            "DENOISE": cleaning.denoise,
            "ISOPHOTE": cleaning.isophote,
            "CONTRAST": cleaning.contrast,
            "TAPER": cleaning.taper,
            "ORIGIN": f"lensrim {__version__}",
        },
    )


def _sheet(folder: Path, number: int, page: Sequence[Judged]) -> None:
    """Draws a contact sheet of stamps and galaxies."""
    from ..plotting import galaxy_sheet

    pairs, titles, noises = [], [], []
    for each in page:
        assert each.found is not None and each.quality is not None
        found, peak = each.found, each.found.peak
        rows, columns = np.nonzero(found.inside | found.others)
        top, left = max(rows.min() - 8, 0), max(columns.min() - 8, 0)
        frame = np.s_[top : rows.max() + 9, left : columns.max() + 9]
        raw = np.where(found.blank & (found.noise > 0), np.nan, found.signal) / peak
        pairs.append((raw[frame], found.kept[frame] / peak))
        noises.append(max(found.noise / peak, 2e-3))
        short = each.name if len(each.name) < 30 else "…" + each.name[-28:]
        titles.append(f"{short}\n{each.verdict} {'; '.join(each.quality.reasons)[:40]}")
    figure = galaxy_sheet(pairs, titles, verdicts=[each.verdict for each in page], noises=noises)
    with replacing(folder / f"galaxies-{number:02d}.png") as file:
        figure.savefig(file, format="png", metadata={"Software": None})
