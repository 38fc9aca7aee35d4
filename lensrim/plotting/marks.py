"""Marks on maps: outlines, directions, scale bars, curves; and the stretches of their colours."""

from collections.abc import Iterable
from math import floor, log10
from typing import Any

import numpy as np
from astropy.wcs import WCS
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import FuncNorm, Normalize
from matplotlib.patheffects import AbstractPathEffect, withStroke
from numpy import ndarray

from ..grid import PixelGrid
from ..io.frames import sky_axes

OUTLINE: list[AbstractPathEffect] = [withStroke(linewidth=2.6, foreground="black", alpha=0.65)]
LEGEND: dict[str, Any] = {
    "fontsize": 9,
    "handlelength": 1.3,
    "facecolor": "black",
    "edgecolor": "none",
    "framealpha": 0.75,
    "labelcolor": "white",
}
INSIDE: dict[str, Any] = {"loc": "upper right"}
ABOVE: dict[str, Any] = {
    "loc": "lower right",
    "bbox_to_anchor": (1.0, 1.01),
    "borderaxespad": 0.0,
    "ncols": 2,
}
"""Where a legend is: over the map, or beside its title."""


THINNEST = 1e-290
"""Half width of a stretch, at least: colour bars ask for values near 1 in units of it."""


def arcsinh_norm(
    values: ndarray, width: float, *, zero: float = 0.0, low: float, high: float | None = None
) -> FuncNorm:
    """Creates a stretch that is linear within ``width`` of ``zero`` and logarithmic far from it.

    Arguments:
        values: What is drawn; its brightest thousandth saturates.
        width: Half width of the linear part.
        zero: Middle of the linear part.
        low: Value of the first colour.
        high: Value of the last colour, if not from ``values``.
    """
    width = max(width, THINNEST)
    finite = values[np.isfinite(values)]
    if high is None:
        high = float(np.percentile(finite, 99.9)) if finite.size else zero
    functions = (
        lambda x: np.arcsinh((np.asarray(x) - zero) / width),
        lambda z: zero + width * np.sinh(np.asarray(z)),
    )
    return FuncNorm(functions, vmin=low, vmax=max(high, zero + 3 * width))


def round_ticks(norm: Normalize) -> ndarray:
    """Chooses round values, evenly spread over a colour bar whatever its stretch."""
    if norm.vmin is None or norm.vmax is None:
        raise ValueError("the stretch must have both limits")
    low, high = float(norm.vmin), float(norm.vmax)
    largest = max(abs(low), abs(high))
    decades = range(floor(log10(largest)), floor(log10(largest)) - 4, -1)
    candidates = [0.0]
    # the rounder a value, the earlier its turn
    for mantissa in (1, 3, 2, 5, 4):
        candidates += [s * mantissa * 10.0**d for d in decades for s in (1, -1)]
    chosen: list[float] = []
    places: list[float] = []
    for value in candidates:
        place = float(norm(value)) if low <= value <= high else np.nan
        if np.isfinite(place) and all(abs(place - p) > 0.085 for p in places):
            chosen.append(value)
            places.append(place)
    return np.sort(np.array(chosen or [low, high]))


def outline_regions(
    ax: Axes, regions: Iterable[tuple[ndarray, str, str]], grid: PixelGrid, *, above: bool
) -> None:
    """Outlines sets of pixels exactly, and names them in a legend.

    Arguments:
        ax: Where to draw.
        regions: Each a mask with shape :math:`(H, W)`, a colour and a label.
        grid: Grid of the masks.
        above: Whether the legend is above the map.
    """
    handles = []
    for region, color, label in regions:
        if region.any():
            lines = LineCollection(
                _borders(region, grid), colors=color, linewidths=1.2, label=label
            )
            handles.append(ax.add_collection(lines, autolim=False))
    if handles:
        ax.legend(handles=handles, **LEGEND, **(ABOVE if above else INSIDE))


def _borders(region: ndarray, grid: PixelGrid) -> list[ndarray]:
    """Returns the sides of pixels between a region and the rest [arcsec], each ``(2, 2)``."""
    padded = np.pad(region, 1)
    sides = []
    row, column = np.nonzero(padded[1:-1, 1:] != padded[1:-1, :-1])
    sides += [[(c - 0.5, r - 0.5), (c - 0.5, r + 0.5)] for r, c in zip(row, column, strict=True)]
    row, column = np.nonzero(padded[1:, 1:-1] != padded[:-1, 1:-1])
    sides += [[(c - 0.5, r - 0.5), (c + 0.5, r - 0.5)] for r, c in zip(row, column, strict=True)]
    return [np.stack(grid.from_index(*np.array(side).T), axis=-1) for side in sides]


def draw_directions(ax: Axes, wcs: WCS, grid: PixelGrid) -> None:
    """Draws arrows to North and East in the lower right corner."""
    vectors = sky_axes(wcs, grid)
    length = 0.11 * min(grid.fov)
    _, x_max, y_min, _ = grid.extent
    # about the middle of both arrows, so that they stay in the corner whatever their directions
    middle = np.array([x_max - 1.35 * length, y_min + 1.35 * length])
    start = middle - 0.5 * length * np.add(*vectors)
    for letter, vector in zip("NE", vectors, strict=True):
        style: dict[str, Any] = {
            "arrowstyle": "-|>",
            "color": "white",
            "lw": 1.6,
            "path_effects": OUTLINE,
        }
        style |= {"shrinkA": 0, "shrinkB": 0}
        tip = (start[0] + length * vector[0], start[1] + length * vector[1])
        ax.annotate("", tip, (start[0], start[1]), arrowprops=style)
        x, y = start + 1.3 * length * vector
        write(ax, x, y, letter, transform=ax.transData, va="center")


def draw_curves(ax: Axes, curves: Iterable[ndarray], label: str, *, above: bool) -> None:
    """Draws curves in white, named once in a legend: above the map, or in it."""
    for number, curve in enumerate(curves):
        name = label if number == 0 else None
        ax.plot(*curve.T, color="white", lw=1.5, label=name, path_effects=OUTLINE)
    if ax.lines:
        ax.legend(**LEGEND, **(ABOVE if above else INSIDE))


def draw_scale_bar(ax: Axes, *, color: str = "white") -> None:
    """Draws a bar of a round number of arcsec in the lower left corner."""
    low, high = ax.get_xlim()
    rounds = [m * 10.0**d for d in range(-6, 6) for m in (1, 2, 5)]
    length = max(r for r in rounds if r <= 0.3 * (high - low))
    end = 0.05 + length / (high - low)
    ax.plot(
        [0.05, end],
        [0.055, 0.055],
        transform=ax.transAxes,
        color=color,
        lw=2.5,
        solid_capstyle="butt",
        path_effects=OUTLINE if color == "white" else [],
    )
    write(ax, (0.05 + end) / 2, 0.075, f"{length:g}″", color=color)


def write(ax: Axes, x: float, y: float, text: str, *, color: str = "white", **style: Any) -> None:
    """Writes bold text on a map, in axes fractions unless ``transform`` says otherwise."""
    ax.text(
        x,
        y,
        text,
        color=color,
        ha="center",
        fontsize=11,
        fontweight="bold",
        path_effects=OUTLINE if color == "white" else [],
        **{"transform": ax.transAxes, **style},
    )
