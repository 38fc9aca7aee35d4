"""The picture of a score that tells wrong answers from right ones."""

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from .panels import STYLE

COLOURS = ("#35618f", "#c2571a", "#1b7f5c", "0.45", "#7d3c98")


def plot_roc(
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    points: Mapping[str, tuple[float, float]] = {},
    *,
    title: str = "",
) -> Figure:
    """Draws the share of wrong answers that are flagged against that of right ones.

    Arguments:
        curves: False and true alarms, each from 0 to 1, by what they are called.
        points: False and true alarms of a verdict that has no threshold; what begins with an
            underscore is not in the legend.
        title: What is written above.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.2, 6.4), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], color="0.85", linewidth=1, zorder=0)
        for (name, (false, true)), color in zip(curves.items(), _cycle(len(curves)), strict=True):
            axes.plot(false, true, color=color, linewidth=1.6, label=name)
        for (name, (false, true)), color in zip(points.items(), _cycle(len(points)), strict=True):
            axes.plot([false], [true], "o", color=color, markeredgecolor="white", label=name)
        axes.set(
            xlim=(-0.01, 1.01),
            ylim=(-0.01, 1.01),
            xlabel="share of the right answers that are flagged",
            ylabel="share of the wrong answers that are flagged",
        )
        axes.set_title(title, loc="left")
        axes.grid(color="0.92")
        if curves or points:
            figure.legend(frameon=False, loc="outside lower left")  # the curves may lie anywhere
        return figure


def _cycle(count: int) -> Sequence[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(count)]
