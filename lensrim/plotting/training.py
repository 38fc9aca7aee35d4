"""The picture of a training: whether it still learns, overfits, or shakes."""

from collections.abc import Mapping, Sequence
from math import inf, nan
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

from .panels import STYLE

TRAINED, VALIDATED, MUTED = "#35618f", "#c2571a", "0.45"


def plot_history(lines: Sequence[Mapping[str, Any]], *, title: str = "") -> Figure:
    """Draws the lines of a training's history: losses above, gradient and learning rate below.

    Arguments:
        lines: As in :class:`lensrim.training.history.History`, or in ``history.jsonl``.
        title: What is written above.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8, 6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1])
        steps = [line["step"] for line in lines]
        losses = {key: _values(lines, key) for key in ("loss", "validation_loss")}
        _draw(above, steps, losses["loss"], TRAINED, "training")
        _draw(above, steps, losses["validation_loss"], VALIDATED, "validation")
        known = [(v, n) for v, n in zip(losses["validation_loss"], steps, strict=True) if v == v]
        if known:
            loss, step = min(known)
            above.plot([step], [loss], "o", color=VALIDATED, label=f"best: {loss:.4g}")
        above.set_ylabel("loss")
        above.set_ylim(*_limits([*losses["loss"], *losses["validation_loss"]], len(steps)))
        above.set_title(title, loc="left", parse_math=False)
        norms = _values(lines, "gradient_norm")
        _draw(below, steps, norms, TRAINED, "gradient")
        if any(norm > 0 for norm in norms):
            below.set_yscale("log")
            below.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            below.yaxis.set_major_formatter(FormatStrFormatter("%g"))
            below.yaxis.set_minor_formatter(NullFormatter())
        below.set_ylabel("norm of the gradient", color=TRAINED)
        below.set_xlabel("step")
        rate = below.twinx()
        _draw(rate, steps, _values(lines, "learning_rate"), MUTED, "learning rate")
        rate.set_ylabel("learning rate", color=MUTED)
        rate.set_ylim(bottom=0)
        for axes in (above, below):
            axes.grid(color="0.9")
        if above.lines:
            above.legend(frameon=False)
        if lines:
            above.set_title(_said(lines), loc="right", fontsize=10, fontweight="normal")
        return figure


def _draw(axes: Axes, steps: list[int], values: list[float], color: str, label: str) -> None:
    """Draws a curve, if there is anything to draw; single points are seen, too."""
    if any(value == value for value in values):
        marker = "." if len(steps) < 40 else ""
        axes.plot(steps, values, color=color, marker=marker, linewidth=1.4, label=label)


def _values(lines: Sequence[Mapping[str, Any]], key: str) -> list[float]:
    return [nan if line[key] is None else float(line[key]) for line in lines]


def _limits(values: list[float], steps: int) -> tuple[float | None, float | None]:
    """Chooses limits for what follows the first tenth, whose losses would press all else flat."""
    curves = [values[:steps], values[steps:]]
    later = np.array([v for curve in curves for v in curve[steps // 10 :]])
    later = later[np.isfinite(later)]
    if not later.size:
        return None, None
    low, high = later.min(), later.max()
    margin = 0.06 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _said(lines: Sequence[Mapping[str, Any]]) -> str:
    """Says how long it took, and what of that was lost."""
    waited, before = 0.0, 0.0
    for line in lines:
        waited += line["waited"] * (line["seconds"] - before)
        before = line["seconds"]
    skipped = sum(line["skipped"] for line in lines)
    lost = 100 * waited / before if 0 < before < inf else 0.0
    return f"{before / 60:.1f} min, waited {lost:.0f} %, {skipped} steps skipped"
