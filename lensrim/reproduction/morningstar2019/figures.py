"""The figures: sources, the error against the calls of the score, and the spread of errors."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .judging import MODES, PIXELS, TRUTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLORS = {"published": "C0", "ours": "k", PIXELS: "C2", MODES: "C1"}
SHOWN = (
    (f"known: {TRUTH}", "truth"),
    ("known: published", "as published"),
    ("known: ours", "ours"),
    (f"known: {MODES}", MODES),
    ("read: ours", "ours, lens read"),
    ("refined: ours", "ours, refined"),
)


def sources_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws a few images and what is made of them: a row for each lens."""
    import numpy as np
    from matplotlib.figure import Figure

    shown = found["shown"]
    count = len(shown["image"])
    columns = 1 + len(SHOWN)
    figure = Figure(figsize=(1.6 * columns, 1.65 * count), layout="constrained")
    panels: Any = figure.subplots(count, columns, squeeze=False)
    for i, row in enumerate(panels):
        image = np.where(shown["mask"][i, 0].numpy() > 0, shown["image"][i, 0].numpy(), np.nan)
        row[0].imshow(image, origin="lower", cmap="magma")
        row[0].set_ylabel(f"S/N {float(found['snr'][i]):.0f}")
        top = float(shown[SHOWN[0][0]][i].max())
        for axes, (key, _) in zip(row[1:], SHOWN, strict=True):
            axes.imshow(shown[key][i, 0].numpy(), origin="lower", cmap="magma", vmin=0, vmax=top)
        for axes in row:
            axes.set(xticks=[], yticks=[])
    for axes, title in zip(panels[0], ("image", *(title for _, title in SHOWN)), strict=True):
        axes.set_title(title, fontsize=8)
    return figure


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
