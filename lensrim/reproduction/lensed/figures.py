"""Figures of what several papers judge: the error against the calls, and the spread of errors."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .judging import MODES, PIXELS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {"published": "C0", "ours": "k", PIXELS: "C2", MODES: "C1"}


def curves_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws the mean relative error of the source against the calls of the score."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes: Any = figure.subplots()
    for name, color in COLORS.items():
        curve = found["curves"][name]
        if len(curve) == 1:
            axes.axhline(float(curve), color=color, ls="--", label=name)
            continue
        axes.plot(range(1, len(curve) + 1), curve.numpy(), color=color, label=name)
        axes.plot(len(curve), float(curve[-1]), "o", color=color)
    axes.set(xscale="log", yscale="log", xlabel="calls of the score")
    axes.set_ylabel("relative error of the source, mean")
    axes.legend(fontsize="small")
    return figure


def spread_figure(found: Mapping[str, Any], measures: Sequence[str]) -> "Figure":
    """Draws the distributions of measures, the last a χ², for lenses known, read and refined."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels: Any = figure.subplots(1, 2)
    labels = list(found["errors"])
    for axes, measure in zip(panels, measures, strict=True):
        for k, (name, color) in enumerate(COLORS.items()):
            values = [found["errors"][label][name][measure].numpy() for label in labels]
            places = [i + 0.2 * (k - 1.5) for i in range(len(labels))]
            boxes = axes.boxplot(values, positions=places, widths=0.15, sym=".", whis=(5, 95))
            for part in (part for parts in boxes.values() for part in parts):
                part.set(color=color, markeredgecolor=color, markersize=3)
            axes.plot([], color=color, label=name)
        axes.set(yscale="log", ylabel=measure, xticks=range(len(labels)))
        axes.set_xticklabels([f"lens {label}" for label in labels])
    panels[1].axhline(1, color="0.7", zorder=0)
    panels[0].legend(fontsize="x-small")
    return figure
