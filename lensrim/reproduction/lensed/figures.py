"""Figures of what several papers judge: maps, errors against the calls, and their spread."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .judging import MODES, PIXELS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {"published": "C0", "ours": "k", PIXELS: "C2", MODES: "C1"}


def maps_figure(columns: Mapping[str, Tensor], rows: Sequence[str], truth: str) -> "Figure":
    """Draws maps: a row for each lens, and a column for each method.

    Arguments:
        columns: Maps, with shape (B, 1, n, n), by the title of their column.
        rows: Labels of the lenses.
        truth: The column whose range of brightness is that of all from it on; those before it
            have ranges of their own.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.6 * len(columns), 1.65 * len(rows)), layout="constrained")
    panels: Any = figure.subplots(len(rows), len(columns), squeeze=False)
    own = list(columns).index(truth)
    for i, row in enumerate(panels):
        top = float(columns[truth][i].max())
        for k, (axes, maps) in enumerate(zip(row, columns.values(), strict=True)):
            limits = {} if k < own else {"vmin": 0, "vmax": top}
            axes.imshow(maps[i, 0].numpy(), origin="lower", cmap="magma", **limits)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(rows[i])
    for axes, title in zip(panels[0], columns, strict=True):
        axes.set_title(title, fontsize=8)
    return figure


def curves_figure(curves: Mapping[str, Tensor], what: str) -> "Figure":
    """Draws the mean relative error of what is sought against the calls of the score."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes: Any = figure.subplots()
    for name, color in COLORS.items():
        if name not in curves:
            continue
        curve = curves[name]
        if len(curve) == 1:
            axes.axhline(float(curve), color=color, ls="--", label=name)
            continue
        axes.plot(range(1, len(curve) + 1), curve.numpy(), color=color, label=name)
        axes.plot(len(curve), float(curve[-1]), "o", color=color)
    axes.set(xscale="log", yscale="log", xlabel="calls of the score")
    axes.set_ylabel(f"relative error of the {what}, mean")
    axes.legend(fontsize="small")
    return figure
