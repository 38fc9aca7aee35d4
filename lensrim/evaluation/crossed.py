"""Groups of the standard mocks that are crossed, and tables of text."""

from collections.abc import Sequence
from itertools import product

from .report import GROUPS, STANDARD_GROUPS
from .stages import STANDARD_STAGES, Groups
from .standard import SETTINGS

Table = list[dict[str, str]]


def crossed_groups() -> Groups:
    """Returns the groups of the CSV files: those of the text, and each setting in each S/N bin."""
    bins = {name: belongs for name, belongs in GROUPS.items() if name.startswith("S/N")}
    return {**STANDARD_STAGES} | {
        f"{setting}, {name}": lambda row, a=STANDARD_GROUPS[setting], b=belongs: a(row) and b(row)
        for setting, (name, belongs) in product(SETTINGS, bins.items())
    }


def aligned(cells: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Puts rows of cells together, the first columns to the left."""
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            c.ljust(w) if i < left else c.rjust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )
