"""The contact sheet of a survey: the lenses that are doubted most, at a glance."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .._weights import clear_leftovers, replacing
from .rows import Row

MOST = 60
"""Lenses of a sheet, at most."""

THUMBNAILS = "thumbnails.png"
SHEET = "sheet.png"


def write_sheet(folder: Path, rows: Sequence[Row]) -> Path | None:
    """Writes ``sheet.png`` in its place: the lenses by falling score, ``MOST`` of them.

    Returns:
        The file; ``None`` where no lens has thumbnails.

    Raises:
        OSError: If there is no room.
    """
    from matplotlib.image import imread

    from ..plotting.survey import survey_sheet

    seen = [(row, _picture(folder, row)) for row in rows if not row.failed]
    shown = [(row, path) for row, path in seen if path.is_file()]
    if not shown:
        return None
    shown = sorted(shown, key=lambda each: -float(each[0].values.get("score") or 0.0))[:MOST]
    figure = survey_sheet(
        [imread(path)[..., :3] for _, path in shown],
        [title_of(row) for row, _ in shown],
        [str(row.values.get("quality") or "") for row, _ in shown],
    )
    path, metadata = folder / SHEET, {"Software": None}
    clear_leftovers(path)
    with replacing(path) as file:
        figure.savefig(file, format="png", metadata=metadata)  # pyright: ignore[reportArgumentType]
    return path


def _picture(folder: Path, row: Row) -> Path:
    return folder / "products" / str(row.values["name"]) / THUMBNAILS


def title_of(row: Row) -> str:
    """Says in two lines which lens it is, and what was found."""
    values = row.values
    found = [_number("θ_E", values.get("macro_theta_e"), ".3f", "″")]
    change: Any = values.get("theta_e_change")
    if change is not None:
        found.append(f"({change:+.1%} of published)")
    found.append(_number("χ² arc", values.get("chi2_arc"), ".2f"))
    found.append(_number("score", values.get("score"), ".2f"))
    reasons = str(values.get("reasons") or "none")
    verdict = f"{values.get('quality')}" + ("" if reasons == "none" else f": {reasons}")
    return f"{values['name']}   {'  '.join(filter(None, found))}\n{verdict}"


def _number(label: str, value: Any, form: str, unit: str = "") -> str:
    return "" if value is None else f"{label} {value:{form}}{unit}"
