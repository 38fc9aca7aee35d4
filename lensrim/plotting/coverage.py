"""Whether errors mean what they say: how often the truth is within intervals of a probability.

A curve on the diagonal is right, one below it too sure. Around the diagonal a band holds 95 per
cent of the curves of right errors, given how many independent truths there are: lenses, not the
pixels of a map.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from ..metrics import binomial_interval
from .panels import STYLE

COLORS = ("#1b7f5c", "#b3322c", "#2f6db3")


@dataclass(frozen=True)
class Curve:
    """Holds how often the truth of a quantity was covered.

    Arguments:
        levels: Probabilities of the intervals.
        shares: Shares of the truths within them.
        n: Number of independent truths.
    """

    levels: Sequence[float] | np.ndarray
    shares: Sequence[float] | np.ndarray
    n: int


def plot_coverage(
    curves: Mapping[str, Mapping[str, Curve]], *, columns: int = 4, side: float = 2.6
) -> Figure:
    """Draws a panel for each quantity.

    Arguments:
        curves: By quantity, and by what is compared (such as before and after a calibration); the
            band is that of the last one's number of truths.
        columns: Panels beside each other, at most.
        side: Side of a panel [inch].

    Returns:
        The figure.

    Raises:
        ValueError: If there is nothing to draw.
    """
    if not curves:
        raise ValueError("curves must hold a quantity or more, got none")
    columns = min(columns, len(curves))
    rows = -(-len(curves) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(side * columns + 0.6, side * rows + 0.9), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
        for axis, (title, compared) in zip(axes, curves.items(), strict=False):
            n = list(compared.values())[-1].n
            levels = np.linspace(0.02, 0.98, 33)
            band = np.array([binomial_interval(round(p * n), n) for p in levels])
            axis.fill_between(levels, band[:, 0], band[:, 1], color="0.9", lw=0)
            axis.plot([0, 1], [0, 1], color="0.6", lw=1)
            for k, (label, curve) in enumerate(compared.items()):
                points = [np.r_[0, np.asarray(each)] for each in (curve.levels, curve.shares)]
                axis.plot(*points, color=COLORS[k % len(COLORS)], lw=1.6, label=label)
            axis.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xticks=[0, 0.5, 1])
            axis.set_yticks([0, 0.5, 1])
            axis.set_title(f"{title} ({n})", loc="left")
        for axis in axes[len(curves) :]:
            axis.remove()
        axes[0].legend(frameon=False, fontsize=9, loc="upper left", handlelength=1.2)
        figure.supxlabel("stated probability", fontsize=10)
        figure.supylabel("share of truths covered", fontsize=10)
    return figure
