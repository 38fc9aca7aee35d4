"""What the score of doubt tells of wrong answers, in a run of the standard mocks.

A curve needs answers of both kinds: of a target that no answer misses there is none.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .bars import is_failure
from .crossed import Table
from .doubt.roc import Roc, alarms, roc_of
from .report import Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _beyond(key: str, most: float) -> Callable[[Row], bool]:
    def is_so(row: Row) -> bool:
        value = row.get(key)  # null where it is not finite
        return value is None or not value <= most

    return is_so


TARGETS: Mapping[str, Callable[[Row], bool]] = {
    "theta_E off by > 10 %": is_failure,
    "theta_E off by > 2 %": _beyond("theta_error", 0.02),
    "D > 1": _beyond("misfit", 1.0),
    "D > 0.5": _beyond("misfit", 0.5),
    "log10 kappa off by > 0.15 dex": _beyond("kappa", 0.15),
}
"""What a doubt should tell, from what makes an answer useless to what no image tells."""


def judged(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows of answers that have a score."""
    return [row for row in rows if row["status"] == "ok" and row.get("score") is not None]


def doubt_curves(rows: Sequence[Row]) -> dict[str, Roc]:
    """Computes the curve of the score for each target that some of the answers miss."""
    own = judged(rows)
    wrong = {name: [is_so(row) for row in own] for name, is_so in TARGETS.items()}
    scores = [row["score"] for row in own]
    return {
        name: roc_of(scores, each) for name, each in wrong.items() if any(each) and not all(each)
    }


def doubt_table(rows: Sequence[Row]) -> Table:
    """Makes a line for each target: answers that miss it and those that do not, how many of both
    are not called good, and the area under the curve with its standard error."""
    own, curves, lines = judged(rows), doubt_curves(rows), []
    doubted = np.array([row.get("quality") != "good" for row in own], dtype=bool)
    for name, is_so in TARGETS.items():
        wrong = np.array([is_so(row) for row in own], dtype=bool)
        curve = curves.get(name)
        lines.append(
            {
                "an answer is wrong if": name,
                "wrong": str(wrong.sum()),
                "of them not good": str((doubted & wrong).sum()),
                "right": str((~wrong).sum()),
                "right, but not good": str((doubted & ~wrong).sum()),
                "area": f"{curve.area:.3f}" if curve else "",
                "error of area": f"{curve.error:.3f}" if curve and curve.error else "",
            }
        )
    return lines


def _area(curve: Roc) -> str:
    return f"{curve.area:.2f}" + (f" ± {curve.error:.2f}" if curve.error else "")


def doubt_figure(rows: Sequence[Row]) -> "Figure | None":
    """Draws the curves, and where the verdict is on each; ``None`` if there is none."""
    from ..plotting import plot_roc

    curves, own = doubt_curves(rows), judged(rows)
    if not curves:
        return None
    doubted, points = [row.get("quality") != "good" for row in own], {}
    for name in curves:
        # one name for all: they have the colours of the curves
        label = "quality is not good" if not points else f"_{name}"
        points[label] = alarms(doubted, [TARGETS[name](row) for row in own])
    drawn = {
        f"{name} ({curve.wrong}): {_area(curve)}": (curve.false, curve.true)
        for name, curve in curves.items()
    }
    return plot_roc(drawn, points, title=f"{len(own)} standard mocks")
