"""The table of a survey, as ECSV and as FITS, and that of its failures.

They are functions of the rows alone: however the rows came to be there, the bytes are the same.
ECSV holds all characters and leaves empty what is not known; FITS holds ASCII (others are written
out, as ``\\u03b1``), NaN for a number that is not known and -1 for an integer.
"""

from collections.abc import Sequence
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.units import Unit

from .. import __version__
from .._weights import clear_leftovers, replacing
from ..io.cards import ascii_only
from .columns import COLUMNS, FLAGS, Column
from .rows import Row

TYPES = {"text": str, "real": np.float64, "integer": np.int64}
EMPTY: dict[str, Any] = {"text": "", "real": np.nan, "integer": -1}
"""What stands in FITS for a value that is not known."""
FORMATS = {"real": "D", "integer": "K"}

FAILURES = tuple(c for c in COLUMNS if c.name in ("name", "path", "reason"))
META = {
    "lensrim": __version__,
    "flags": {1 << bit: meaning for bit, meaning in enumerate(FLAGS)},
}


def table_of(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> Table:
    """Returns the rows as a table of astropy, with units and descriptions."""
    made = []
    for column in columns:
        values = [row.values.get(column.name) for row in rows]
        if column.kind == "text":
            values = ["" if v is None else readable(str(v)) for v in values]
        mask = [v is None for v in values]
        filled = [EMPTY[column.kind] if v is None else v for v in values]
        made.append(
            MaskedColumn(
                np.array(filled, dtype=TYPES[column.kind]),
                mask=mask if any(mask) else False,
                name=column.name,
                unit=column.unit or None,
                description=column.description,
            )
        )
    return Table(made, meta=META)


def ecsv_of(rows: Sequence[Row], columns: Sequence[Column] = COLUMNS) -> str:
    """Returns the rows as ECSV: what astropy writes of :func:`table_of`, but sooner."""
    text = StringIO()
    table_of(rows[:0], columns).write(text, format="ascii.ecsv")
    # astropy itself takes each number singly out of a masked column
    for row in rows:
        cells = (_cell(row.values.get(column.name)) for column in columns)
        text.write(" ".join(cells) + "\n")
    return text.getvalue()


def _cell(value: Any) -> str:
    # a line that began with a bare # would be read as a comment
    text = "" if value is None else readable(str(value))
    if text and text[0] != "#" and not any(c in text for c in ' "'):
        return text
    return '"' + text.replace('"', '""') + '"'


def readable(text: str) -> str:
    """Writes out, on one line, what a file in UTF-8 cannot hold."""
    return " ".join(text.encode(errors="backslashreplace").decode().split())


def fits_of(rows: Sequence[Row]) -> fits.HDUList:
    """Returns the rows as a FITS table, with units and with descriptions as TCOMM."""
    made = []
    for column in COLUMNS:
        values = [row.values.get(column.name) for row in rows]
        values = [EMPTY[column.kind] if v is None else v for v in values]
        if column.kind == "text":
            array = np.array([ascii_only(readable(str(v))) for v in values], dtype=np.str_)
            code = f"{max(1, array.dtype.itemsize // 4)}A"
        else:
            array, code = np.array(values, dtype=TYPES[column.kind]), FORMATS[column.kind]
        unit = _fits_unit(column.unit)
        null = EMPTY["integer"] if column.kind == "integer" else None
        made.append(fits.Column(column.name, code, array=array, unit=unit, null=null))
    table = fits.BinTableHDU.from_columns(made, name="LENSES")
    for k, column in enumerate(COLUMNS, start=1):
        table.header.set(f"TCOMM{k}", column.description, after=f"TFORM{k}")
    for bit, meaning in META["flags"].items():
        table.header["COMMENT"] = f"flags {bit}: {meaning}"
    primary = fits.PrimaryHDU()
    primary.header["VERSION"] = __version__, "version of lensrim"
    for hdu in (primary, table):
        hdu.add_checksum(when="checksum of the HDU")  # the default comment is the time of day
    return fits.HDUList([primary, table])


def _fits_unit(unit: str) -> str | None:
    return Unit(unit).to_string("fits") if unit else None


def write_tables(folder: Path, rows: Sequence[Row]) -> None:
    """Writes ``catalogue.ecsv``, ``catalogue.fits`` and ``failures.ecsv``, each in its place.

    Raises:
        OSError: If there is no room.
    """
    failed = [row for row in rows if row.failed]
    _put(folder / "catalogue.ecsv", ecsv_of(rows).encode())
    _put(folder / "failures.ecsv", ecsv_of(failed, FAILURES).encode())
    memory = BytesIO()
    fits_of(rows).writeto(memory)
    _put(folder / "catalogue.fits", memory.getvalue())


def _put(path: Path, data: bytes) -> None:
    clear_leftovers(path)
    with replacing(path) as file:
        file.write(data)
