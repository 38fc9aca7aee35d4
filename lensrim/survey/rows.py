"""What is kept of each lens that was done: one small file, written when all else of it is there.

``products/<name>/row.json`` holds the values of the table, the digest of the options, and the
files that were there to be read, with their sizes and digests. It takes its place whole, after the
product: a lens whose row is there is done, and one whose row is not is done again. What is not
guaranteed: a file that was changed without a change of its size and of its time of change is taken
for the same.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Any

from .._weights import clear_leftovers, replacing
from ..io.cards import plain
from .columns import COLUMNS, DONE, FAILED, Column
from .lenses import Lens

SCHEMA = 1

State = tuple[str, int, int, str]
"""A file that was read: its path, size, time of change [ns] and SHA-256."""


@dataclass(frozen=True)
class Row:
    """Holds the row of a lens.

    Arguments:
        values: Values by the names of the columns.
        key: Digest of the options, as ``Lens.key``.
        inputs: The files that were there to be read.
        files: Files of the product, relative to the survey's folder.
        detail: What a developer needs of a failure, of many lines.
    """

    values: Mapping[str, Any]
    key: str
    inputs: tuple[State, ...] = ()
    files: tuple[str, ...] = ()
    detail: str = ""

    @property
    def failed(self) -> bool:
        """Whether the lens could not be done."""
        return self.values.get("status") != DONE


def failed_row(lens: Lens, reason: str, inputs: Sequence[State], detail: str = "") -> Row:
    """Creates the row of a lens that could not be done."""
    values = {"name": lens.name, "path": lens.path, "status": FAILED, "reason": reason}
    return Row(values, lens.key, tuple(inputs), detail=detail)


def folder_of(folder: Path, lens: Lens) -> Path:
    """Returns the folder of a lens in that of the survey."""
    return folder / "products" / lens.name


def row_file(folder: Path, lens: Lens) -> Path:
    """Returns where the row of a lens is."""
    return folder_of(folder, lens) / "row.json"


def write_row(folder: Path, lens: Lens, row: Row) -> None:
    """Writes a row in its place.

    Raises:
        OSError: If there is no room.
    """
    path = row_file(folder, lens)
    path.parent.mkdir(parents=True, exist_ok=True)
    clear_leftovers(path)
    content = {
        "schema": SCHEMA,
        "key": row.key,
        "inputs": row.inputs,
        "files": row.files,
        "values": row.values,
        "detail": row.detail,
    }
    text = json.dumps(plain(content), indent=1, allow_nan=False)
    with replacing(path) as file:
        file.write(text.encode())


def read_row(folder: Path, lens: Lens) -> Row | None:
    """Reads the row of a lens; None if it is not there, or is damaged."""
    try:
        content = json.loads(row_file(folder, lens).read_bytes())
        if content["schema"] != SCHEMA:
            return None
        inputs = tuple((str(p), int(s), int(t), str(d)) for p, s, t, d in content["inputs"])
        files = tuple(str(file) for file in content["files"])
        values = dict(content["values"])
        if not all(_is_right(values.get(column.name), column) for column in COLUMNS):
            return None
        return Row(values, str(content["key"]), inputs, files, str(content["detail"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_right(value: Any, column: Column) -> bool:
    """Whether a column can hold a value; one that is not known it holds as ``None``."""
    if value is None:
        return True
    if column.kind == "text":
        return isinstance(value, str)
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < 2**63
    return column.kind == "real" and isinstance(value, float) and isfinite(value)


def rows_of(folder: Path, lenses: Iterable[Lens]) -> list[Row]:
    """Reads the rows of those lenses that are done as they are asked for, in their order."""
    found = ((lens, read_row(folder, lens)) for lens in lenses)
    return [_compared(lens, row) for lens, row in found if row and row.key == lens.key]


def _compared(lens: Lens, row: Row) -> Row:
    """Puts what others have found beside what is in a row."""
    if lens.published is None:
        return row
    values: dict[str, Any] = {**row.values, "published_theta_e": lens.published}
    own = values.get("macro_theta_e")
    if own is not None:
        values["theta_e_change"] = own / lens.published - 1
    return replace(row, values=values)


def is_same(lens: Lens, row: Row) -> bool:
    """Whether a row is of these options, this version, and the files as they are now."""
    if row.key != lens.key:
        return False
    known = {path: (size, changed, digest) for path, size, changed, digest in row.inputs}
    files = [os.fspath(file) for file in lens.files()]
    return files == list(known) and all(_same(Path(f), *known[f]) for f in files)


def is_whole(folder: Path, row: Row) -> bool:
    """Whether all files of the product are there; none of them is empty."""
    places = [folder / file for file in row.files]
    return all(place.is_file() and _stat(place)[0] > 0 for place in places)


def states_of(files: Iterable[Path]) -> tuple[State, ...]:
    """Describes files, so that a change of them is seen."""
    return tuple((os.fspath(file), *_stat(file), _digest(file, *_stat(file))) for file in files)


def _same(file: Path, size: int, changed: int, digest: str) -> bool:
    now = _stat(file)
    return now == (size, changed) or (now[0] == size and _digest(file, *now) == digest)


def _stat(file: Path) -> tuple[int, int]:
    """Returns size and time of change; of a file that has just gone, what none has."""
    try:
        found = os.stat(file)
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=64)  # many lenses may lie in one mosaic
def _digest(file: Path, size: int, changed: int) -> str:
    """Computes the SHA-256 of a file; of one that must not be read there is none."""
    try:
        with open(file, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""
