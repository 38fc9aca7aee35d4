"""The figures: sources, and the spread of errors."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..lensed.figures import COLORS, maps_figure
from ..lensed.judging import MODES, TRUTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = {
    "truth": f"known: {TRUTH}",
    "as published": "known: published",
    "ours": "known: ours",
    MODES: f"known: {MODES}",
    "ours, lens read": "read: ours",
    "ours, refined": "refined: ours",
}


def sources_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws a few images and what is made of them: a row for each lens."""
    shown = found["shown"]
    image = torch.where(shown["mask"] > 0, shown["image"], torch.nan)
    rows = [f"S/N {float(snr):.0f}" for snr in found["snr"][: len(image)]]
    columns = {"image": image} | {title: shown[key] for title, key in SHOWN.items()}
    return maps_figure(columns, rows, "truth")


def spread_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws the distributions of the source's error and of the arcs' χ², for lenses known, read
    and refined."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    panels: Any = figure.subplots(1, 2)
    labels = list(found["errors"])
    for axes, measure in zip(panels, ("relative L2", "chi2 arc"), strict=True):
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
