"""The page of a survey: one file that a browser opens from the disk, without a network.

The rows are embedded as JSON in which no character can end the script element; the page writes
them as text, never as markup, so that nothing in a header or a file name is executed. Pictures and
products are files beside the page, by names that :func:`lensrim.survey.lenses.safe_name` made.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from .. import __version__
from .._weights import clear_leftovers, replacing
from .columns import COLUMNS, FLAGS
from .rows import Row

MARK = "@@DATA@@"
"""What the template holds in place of the rows."""
LEFT_OUT = {"model_sha"}
ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}
"""Characters that mean something to HTML, or end a line of a script, as JSON writes them."""


def page_of(rows: Sequence[Row]) -> str:
    """Returns the page of these rows."""
    shown = [c for c in COLUMNS if c.name not in LEFT_OUT]
    content = {
        "version": __version__,
        "flags": list(FLAGS),
        "columns": [
            {"name": c.name, "unit": c.unit, "about": c.description, "kind": c.kind} for c in shown
        ],
        # a number more than there are columns: whether there is a picture
        "rows": [
            [*(_short(row.values.get(c.name)) for c in shown), int(has_picture(row))]
            for row in rows
        ],
    }
    return _template().replace(MARK, embedded(content), 1)


def has_picture(row: Row) -> bool:
    """Whether the picture of a product was drawn, beside its thumbnails."""
    return any(file.endswith("_lensrim.png") for file in row.files)


def embedded(content: Any) -> str:
    """Returns JSON that can stand in a script element, whatever its strings hold."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.translate(ESCAPES)


def _short(value: Any) -> Any:
    """Rounds a number to the digits that are shown."""
    return float(f"{value:.6g}") if isinstance(value, float) else value


@lru_cache
def _template() -> str:
    return resources.files("lensrim.survey").joinpath("page.html").read_text("utf-8")


def write_page(folder: Path, rows: Sequence[Row]) -> None:
    """Writes ``index.html`` in its place.

    Raises:
        OSError: If there is no room.
    """
    path = folder / "index.html"
    clear_leftovers(path)
    with replacing(path) as file:
        file.write(page_of(rows).encode())
