"""The figures: skies, sources, and how well the lens is read off each kind of image."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..lensed.figures import maps_figure
from ..lensed.judging import MODES, PIXELS, TRUTH
from ..lensed.lenses import NAMES
from .judging import CLEAN, DIRTY, REFINED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SKIES = {
    DIRTY: DIRTY,
    "truth": TRUTH,
    CLEAN: CLEAN,
    PIXELS: PIXELS,
    "as published": "published",
    "ours": "ours",
}
SOURCES = {
    "truth": f"source: {TRUTH}",
    PIXELS: f"source: {PIXELS}",
    MODES: f"source: {MODES}",
    "as published": "source: published",
    "ours": "source: ours",
    "ours, lens read": "source, read: ours",
}


def rows_of(found: Mapping[str, Any]) -> list[str]:
    """Returns the labels of the lenses that are shown."""
    return [
        f"S/N {float(snr):.0f}" for snr in found["snr"][: len(found["shown"][f"sky: {DIRTY}"])]
    ]


def skies_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws a few dirty images, and what is made of them: a row for each lens."""
    shown = found["shown"]
    columns = {title: shown[f"sky: {key}"] for title, key in SKIES.items()}
    return maps_figure(columns, rows_of(found), "truth")


def sources_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws a few dirty images, and the sources behind them."""
    shown = found["shown"]
    columns = {DIRTY: shown[f"sky: {DIRTY}"]} | {t: shown[key] for t, key in SOURCES.items()}
    return maps_figure(columns, rows_of(found), "truth")


def reading_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws the distributions of the errors of what is read off each kind of image."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), layout="constrained")
    panels: Any = figure.subplots(1, 2)
    kinds = list(found["lens errors"])
    skies = {"published": "published design's sky", "ours": "sky of ours"}
    ticks = [skies.get(kind, kind) for kind in kinds]
    ticks[kinds.index(REFINED)] = "ours, then evidence"
    shown = (
        (panels[0], (NAMES[0],), r"error of $\log \theta_E$"),
        (panels[1], NAMES[1:3], "error of the ellipticity"),
    )
    for axes, names, label in shown:
        numbers = [found["lens errors"][kind] for kind in kinds]
        values = [torch.stack([n[name] for name in names]).norm(dim=0).numpy() for n in numbers]
        axes.boxplot(values, sym=".", whis=(5, 95))
        axes.set(yscale="log", ylabel=label, xticks=range(1, len(kinds) + 1))
        axes.set_xticklabels(ticks, rotation=30, ha="right")
    return figure
