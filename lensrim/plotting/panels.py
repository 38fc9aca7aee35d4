"""A map with its frame, title and colour bar: what pictures of several maps are made of."""

from dataclasses import dataclass
from math import floor, log10
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from numpy import ndarray

from ..grid import PixelGrid
from .marks import round_ticks

STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "0.4",
    "axes.labelcolor": "0.25",
    "xtick.color": "0.4",
    "ytick.color": "0.4",
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.dpi": 100,
    "savefig.dpi": "figure",
    "image.interpolation": "nearest",
}
BRIGHTNESS, CONVERGENCE, DEVIATION = "magma", "viridis", "RdBu_r"
IGNORED = "0.62"
"""Colour of pixels that are no number."""


@dataclass(frozen=True)
class Panel:
    """Holds a map, how it is coloured, and what is said about it."""

    title: str
    values: ndarray
    grid: PixelGrid
    norm: Normalize
    cmap: str
    label: str
    note: str = ""


def kappa_limits(kappa: ndarray) -> tuple[float, float]:
    """Returns the convergence of the first and of the last colour of its map."""
    top = max(float(np.nanpercentile(kappa, 99.9)), 0.2)
    return float(np.clip(np.nanpercentile(kappa, 0.5), top / 300, top / 5)), top


def draw_panel(ax: Axes, panel: Panel) -> None:
    """Draws a panel in its axes [arcsec], with round values beside its colours."""
    cmap = matplotlib.colormaps[panel.cmap].with_extremes(bad=IGNORED)
    image = ax.imshow(
        panel.values, origin="lower", extent=panel.grid.extent, norm=panel.norm, cmap=cmap
    )
    ax.set_title(panel.title)
    ax.set_title(panel.note, loc="right", fontsize=9, fontweight="normal", color="0.35")
    ax.tick_params(length=3)
    ax.xaxis.set_major_formatter("{x:g}″")
    ax.yaxis.set_major_formatter("{x:g}″")
    ax.locator_params(nbins=6)
    bar = ax.figure.colorbar(image, cax=ax.inset_axes((1.025, 0, 0.04, 1)))
    ticks = round_ticks(panel.norm)
    exponent = _exponent(np.abs(ticks).max())
    bar.set_ticks(list(ticks), labels=[f"{t / 10.0**exponent:g}".replace("-", "−") for t in ticks])
    bar.ax.minorticks_off()
    bar.ax.tick_params(length=2, pad=2)
    bar.outline.set_visible(False)
    factor = rf"$10^{{{exponent}}}$ " if exponent else ""
    bar.set_label(factor + panel.label.replace("$", r"\$"), fontsize=9, labelpad=4)


def _exponent(largest: float) -> int:
    """Returns the power of ten that a colour bar leaves to its label."""
    order = floor(log10(largest)) if largest > 0 else 0
    return order if not -3 < order < 5 else 0
