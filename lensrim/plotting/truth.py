"""The picture of an answer beside the truth: arcs, source and convergence."""

from collections.abc import Mapping
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy import ndarray

from ..grid import PixelGrid
from .marks import arcsinh_norm, draw_scale_bar
from .panels import BRIGHTNESS, CONVERGENCE, DEVIATION, STYLE, Panel, draw_panel, kappa_limits

Pair = tuple[ndarray, ndarray]


def plot_truth(
    arcs: Pair,
    source: Pair,
    kappa: Pair,
    errors: Mapping[str, ndarray],
    *,
    grid: PixelGrid,
    source_grid: PixelGrid,
    unit: str = "data units",
    heading: str = "",
) -> Figure:
    """Draws truth, answer, and what is between them, in a row for each kind of map.

    Truth and answer of a row have the same colours. What is between them is in units of the noise,
    and of the stated errors; of a kind without these in per cent, of the peak of the source and of
    the convergence itself.

    Arguments:
        arcs, kappa: Truth and answer, each with shape (H, W).
        source: The same with shape (n, m).
        errors: ``arcs`` (the noise), and ``source`` and ``kappa`` where they are stated, each with
            its map's shape.
        grid, source_grid: Their pixels.
        unit: Unit of the data.
        heading: Over all.
    """
    noise, peak = float(np.median(errors["arcs"])), max(map(float, map(np.max, source)))
    peak = max(peak, np.finfo(float).tiny)
    bottom, top = kappa_limits(kappa[0])
    rows = [
        _Row(
            "arcs",
            arcs,
            grid,
            arcsinh_norm(np.stack(arcs), 2 * noise, low=-2 * noise),
            BRIGHTNESS,
            unit,
            _between(arcs, errors["arcs"], 2.0, "noise"),
        ),
        _Row(
            "source",
            source,
            source_grid,
            arcsinh_norm(source[0], 0.1 * peak, low=-0.03 * peak, high=peak),
            BRIGHTNESS,
            f"{unit}, per image pixel area",
            _stated(source, errors.get("source"), np.full(source[0].shape, peak), "peak"),
        ),
        _Row(
            "convergence",
            (np.clip(kappa[0], bottom, None), np.clip(kappa[1], bottom, None)),
            grid,
            LogNorm(bottom, top),
            CONVERGENCE,
            "convergence κ",
            _stated(kappa, errors.get("kappa"), np.maximum(kappa[0], bottom), "truth"),
        ),
    ]
    with matplotlib.rc_context(STYLE):
        # inches: rows as high as the image is, within reason, and room for titles and labels
        panel = float(np.clip(3.9 * grid.fov[1] / grid.fov[0], 2.4, 6.0))
        height = 1.1 + 3 * panel + 2 * 0.65 + 0.45
        figure = Figure(figsize=(15, height))
        spec = figure.add_gridspec(
            3,
            3,
            left=0.045,
            right=0.93,
            bottom=0.45 / height,
            top=1 - 1.1 / height,
            wspace=0.33,
            hspace=0.65 / panel,
        )
        for k, panel in enumerate(panel for row in rows for panel in row.panels):
            ax = figure.add_subplot(spec[k // 3, k % 3], anchor="W")
            draw_panel(ax, panel)
            draw_scale_bar(ax, color="0.15" if k % 3 == 2 else "white")
        figure.text(
            0.045, 1 - 0.55 / height, heading, fontsize=16, fontweight="bold", parse_math=False
        )
    return figure


@dataclass(frozen=True)
class _Row:
    """Holds truth and answer of a kind, and what is between them with its largest colour."""

    what: str
    pair: Pair
    grid: PixelGrid
    norm: Normalize
    colors: str
    label: str
    between: tuple[ndarray, float, str]

    @property
    def panels(self) -> tuple[Panel, ...]:
        """Truth, answer, difference."""
        (truth, answer), (difference, limit, said) = self.pair, self.between
        own = (self.grid, self.norm, self.colors, self.label)
        apart = (self.grid, Normalize(-limit, limit), DEVIATION, said)
        return (
            Panel(f"True {self.what}", truth, *own),
            Panel(f"Answer: {self.what}", answer, *own),
            Panel("Difference", difference, *apart),
        )


def _between(pair: Pair, unit: ndarray, limit: float, name: str) -> tuple[ndarray, float, str]:
    """A difference in a unit, no number where that is 0; its largest colour, and its label."""
    difference = pair[1] - pair[0]
    ratio = np.divide(difference, unit, out=np.full(difference.shape, np.nan), where=unit > 0)
    return ratio, limit, f"(answer − truth) / {name}"


def _stated(
    pair: Pair, error: ndarray | None, whole: ndarray, name: str
) -> tuple[ndarray, float, str]:
    """A difference in units of the stated error; where none is stated, in per cent of a whole."""
    if error is not None:
        return _between(pair, error, 3.0, "stated error")
    percent, _, said = _between(pair, whole / 100, 0.0, name)
    return percent, max(float(np.nanpercentile(np.abs(percent), 99)), 1.0), f"{said} [%]"
