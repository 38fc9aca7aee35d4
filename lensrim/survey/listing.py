"""Tables that list the lenses of a survey: ECSV, CSV or FITS, a line a lens.

The column ``path`` is needed; it is relative to the folder of the table, and so are other files
that lie there (``psf``, ``model``); what does not is sought beside the observation, or is an HDU
of it, as for ``lensrim reconstruct``. ``name`` is the stem of what is written, ``center_x`` and
``center_y`` are pixel indices counted from 0, ``published_theta_e`` is an Einstein radius that
others have found [arcsec], which is put beside ours, and any option of ``lensrim reconstruct`` can
be a column of its name (``z_lens``, ``z_source``, ``pixel_scale``, ``noise``). An empty, masked or
NaN cell means that the option is not given. A line with an impossible cell is a lens that fails,
and does not keep the others from being done.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from math import isnan
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
from astropy.io import fits
from astropy.table import Table

from ..errors import InputError
from ..inference.options import ReconstructOptions
from ..io.fits import Files, one_line, quiet, split_reference
from ..io.options import NAMING, ReadOptions
from ..io.stream import SUFFIX, is_file, open_stream
from ..option_types import kinds_of, shown
from ..zoo import DEFAULT

LARGEST = 2**25
"""Bytes of a table, some hundred thousand lenses: a reader takes twelve times as many."""

FORMATS = {".ecsv": "ascii.ecsv", ".csv": "ascii.csv"}
PUBLISHED = "published_theta_e"
"""Column of Einstein radii that others have found."""
TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
FILES = {*NAMING, "model"}
"""Columns that may name files."""
HDUS = {*NAMING} - {"exposure"}
"""Columns that may hold numbers of HDUs: of a column with gaps some programs make 1.0 of 1."""


@dataclass(frozen=True)
class Line:
    """Holds a line of a table: a lens that has no name of its own yet."""

    path: str
    name: str
    read: ReadOptions
    fit: ReconstructOptions
    problem: str = ""
    published: float | None = None


def is_table(text: str, *, alone: bool) -> bool:
    """Whether this is a table of lenses rather than a lens.

    Arguments:
        text: A path.
        alone: Whether nothing else is given. Only then is a FITS file looked into, for a table
            with a column ``path``.
    """
    path = Path(text)
    if path.suffix.lower() in FORMATS:
        return True
    if not (alone and SUFFIX.search(path.name) and os.path.isfile(path)):
        return False
    try:
        with _first_table(path) as hdu:
            return "path" in [name.lower() for name in hdu.columns.names]
    except Exception:  # a damaged file is an observation that fails, with its reason
        return False


def read_listing(
    text: str, read: ReadOptions, fit: ReconstructOptions
) -> tuple[list[Line], list[str]]:
    """Reads a table of lenses.

    Arguments:
        text: The file.
        read, fit: Options of all, but for what the table says.

    Returns:
        The lines, and the names of the columns that mean nothing here.

    Raises:
        InputError: If it cannot be read, has no lines or no column ``path``, or one column twice.
    """
    path = Path(text)
    format_ = FORMATS.get(path.suffix.lower())
    try:
        if format_ is None:
            with _first_table(path) as hdu:
                _check_size(path, hdu.size)
                table = Table.read(hdu)
        else:
            with quiet():
                # of a CSV cells are text until it is known what they mean: 0037 may be a name
                types = {"converters": {"*": str}} if format_ == FORMATS[".csv"] else {}
                table = Table.read(_text_of(path), format=format_, **types)
    except InputError:
        raise
    except Exception as error:  # readers of tables fail in a dozen ways
        raise InputError(
            f"{path}: must be a table of lenses (ECSV, CSV or FITS), it cannot be read "
            f"({one_line(error)[:200]}); write it again"
        ) from error
    names = [str(name).lower() for name in table.colnames]
    if "path" not in names:
        raise InputError(f"{path}: a table of lenses must have a column 'path', found {names}")
    if twice := {name for name in names if names.count(name) > 1}:
        raise InputError(f"{path}: a column must be there once, found twice: {sorted(twice)}")
    if not len(table):
        raise InputError(f"{path}: a table of lenses must have lines, found none")
    table.rename_columns(table.colnames, names)
    known = {"path", "name", "center_x", "center_y", PUBLISHED, *_KINDS}
    used = [name for name in names if name in known]
    lines = [
        _line({name: _plain(table[name][k]) for name in used}, path.parent, read, fit)
        for k in range(len(table))
    ]
    return lines, [name for name in names if name not in known]


def _text_of(path: Path) -> list[str]:
    """Reads the lines of a table of text.

    Raises:
        InputError: If it is no regular file, or has more bytes than :data:`LARGEST`.
    """
    handle, size = open_stream(path)
    with handle:
        _check_size(path, size)
        # splitlines would also part what a cell may hold
        return re.split("\r\n|\r|\n", handle.read().decode("utf-8-sig"))


def _check_size(path: Path, size: int) -> None:
    """Raises where a table has more bytes than :data:`LARGEST`."""
    if size > LARGEST:
        raise InputError(
            f"{path}: a table of lenses must have {LARGEST >> 20} MB or less, found "
            f"{size / 2**20:.0f}; divide it"
        )


@contextmanager
def _first_table(path: Path) -> Iterator[Any]:
    """Opens the first table of a FITS file, whose headers are not believed before they are sane.

    Raises:
        InputError: If the file is damaged or asks for more than it may, or holds no table.
    """
    with Files() as files, quiet():
        hdus = files.open(path).hdus
        tables = (h for h in hdus if isinstance(h, fits.BinTableHDU | fits.TableHDU))
        if (first := next(tables, None)) is None:
            raise InputError(f"{path}: a table of lenses is needed, found none; give another file")
        yield first


def _plain(value: Any) -> Any:
    """Returns a cell as a number, truth, text or list of Python, None where it is empty."""
    if value is np.ma.masked:
        return None
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    value = value.decode(errors="replace") if isinstance(value, bytes) else value
    if isinstance(value, str):
        return None if value.strip().lower() in ("", "nan") else value.strip()
    return None if isinstance(value, float) and isnan(value) else value


def _line(
    cells: Mapping[str, Any], folder: Path, read: ReadOptions, fit: ReconstructOptions
) -> Line:
    cells = dict(cells)
    path, name = cells.pop("path"), cells.pop("name", None)
    told = cells.pop(PUBLISHED, None)
    center = [cells.pop(f"center_{axis}", None) for axis in "xy"]
    where = "" if path is None else str(folder / str(path))
    found: dict[str, Any] = {}
    problems = ["path: a lens must have one, found none; fill the cell"] if path is None else []
    for key, value in cells.items():
        if value is None:
            continue
        if key in HDUS:
            value = re.sub(r"^(\d+)\.0$", r"\1", str(value))
        try:
            found[key] = _converted(value, _KINDS[key])
        except (TypeError, ValueError, OverflowError) as error:
            problems.append(f"{key}: {error}, found {shown(value)}; correct the table")
    try:
        given = tuple(float(c) for c in center if c is not None)
        if len(given) == 1:
            problems.append("center_x and center_y: both or neither must be given")
        elif given:
            found["center"] = given
    except (TypeError, ValueError):
        problems.append(f"center: must be two numbers, found {shown(center)}; correct the table")
    for key in found.keys() & FILES:
        found[key] = _beside(folder, found[key])
    published = None if told is None else _positive(told)
    if told is not None and published is None:
        problems.append(
            f"{PUBLISHED}: must be a positive number, found {shown(told)}; correct the table"
        )
    readings = {k: v for k, v in found.items() if k in _READ}
    fitting = {k: v for k, v in found.items() if k not in _READ}
    fit = replace(fit, **fitting)
    if fit.stage == "macro" and "model" not in fitting:
        fit = replace(fit, model=DEFAULT)  # --model is for the other lines
    return Line(
        where,
        "" if name is None else str(name),
        replace(read, **readings),
        fit,
        "; ".join(problems),
        published,
    )


def _beside(folder: Path, reference: str) -> str:
    """Returns where a file is that lies in a folder; what does not is left as it is, as is a bare
    word, which may be an HDU or a packaged machine."""
    place = Path(split_reference(reference)[0])
    is_bare = len(place.parts) < 2 and not place.suffix
    return reference if is_bare or not is_file(folder / place) else os.fspath(folder / reference)


def _positive(value: Any) -> float | None:
    """Returns a cell as a positive and finite number; ``None`` where it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None


def _kind(hint: Any) -> tuple[Any, ...]:
    """Returns the types that an option may have, without None."""
    return tuple(part for part in kinds_of(hint) if part is not type(None))


_READ = {f.name for f in fields(ReadOptions)}
_KINDS = {
    name: _kind(hint)
    for options in (ReadOptions, ReconstructOptions)
    for name, hint in get_type_hints(options).items()
    if name != "center"
}
"""Types of each option that a column can give."""


def _converted(value: Any, kinds: Sequence[Any]) -> Any:
    """Brings a cell to the first of the types of an option that can hold it.

    Raises:
        ValueError: With the rules, if it has no such value.
    """
    problems = []
    for kind in kinds:
        try:
            return _as(value, kind)
        except ValueError as error:
            problems.append(str(error))
    raise ValueError(", or ".join(problems))


def _as(value: Any, kind: Any) -> Any:
    """Brings a cell to a type.

    Raises:
        ValueError: With the rule, if it has no such value.
    """
    if get_origin(kind) is Literal:
        if (text := str(value)) not in get_args(kind):
            raise ValueError(f"must be one of {', '.join(map(str, get_args(kind)))}")
        return text
    if kind is bool:
        if (text := str(value).lower()) not in TRUTHS:
            raise ValueError("must be true or false")
        return TRUTHS[text]
    if kind is int:
        # 2.0 is one, and not by way of a float, which does not hold every seed
        whole = str(value).removesuffix(".0")
        try:
            return int(whole)
        except ValueError:
            raise ValueError("must be an integer") from None
    if kind is float:
        try:
            return float(value)
        except ValueError:
            raise ValueError("must be a number") from None
    return str(value)
