"""The figure of the sources."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..lensed.judging import MODES, TRUTH

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
