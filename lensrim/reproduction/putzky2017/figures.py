"""The figures: PSNR against calls of the score, and examples."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLES = {
    "published-3task": ("C0", "-", 1.8),
    "ours-3task": ("k", "-", 1.8),
    "published-denoise": ("C0", "--", 1.8),
    "ours-denoise": ("k", "--", 1.8),
    "gradient descent, no prior": ("C7", "-", 1.0),
    "conjugate gradients": ("C2", "-", 1.0),
    "total variation": ("C1", "-", 1.0),
}
"""Colour, dashes and width of each method."""

LEAST = 12.0
"""Least PSNR that is drawn [dB]."""


def curves_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws the mean PSNR against the calls of the score: a panel for each problem."""
    from matplotlib.figure import Figure

    columns = 3
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(11, 2.9 * rows), layout="constrained")
    panels: Any = figure.subplots(rows, columns, sharex=True, squeeze=False)
    for axes, (name, each) in zip(panels.flat, found.items(), strict=False):
        lowest = LEAST
        for method, curves in each["curves"].items():
            color, dashes, width = STYLES[method]
            for i, curve in enumerate(curves):
                calls = range(1, len(curve) + 1)
                label = None if i else method
                axes.plot(calls, curve.numpy(), color=color, ls=dashes, lw=width, label=label)
        axes.set(xscale="log", title=name)
        axes.set_ylim(bottom=max(lowest, axes.get_ylim()[0]))
        axes.title.set_fontsize("medium")
    for axes in panels[:, 0]:
        axes.set_ylabel("PSNR [dB], mean")
    for axes in panels[-1]:
        axes.set_xlabel("calls of the score")
    handles: dict[str, Any] = {}
    for axes in panels.flat:
        handles |= dict(zip(*axes.get_legend_handles_labels()[::-1], strict=True))
    figure.legend(
        list(handles.values()), list(handles), loc="outside lower center", ncols=4, frameon=False
    )
    return figure


def examples_figure(found: Mapping[str, Any]) -> "Figure":
    """Draws one image of each problem: truth, what is seen (of projections, sent back), and what
    is made of it."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for each in found.values() for name in each["shown"]))
    figure = Figure(figsize=(1.5 * len(names), 1.55 * len(found)), layout="constrained")
    panels: Any = figure.subplots(len(found), len(names), squeeze=False)
    for row, (problem, each) in zip(panels, found.items(), strict=True):
        for axes, name in zip(row, names, strict=True):
            axes.set(xticks=[], yticks=[])
            if name not in each["shown"]:
                axes.axis("off")
                continue
            image = each["shown"][name][0, 0]
            reach = (None, None) if name == "data" else (0, 1)
            axes.imshow(image.numpy(), cmap="gray", vmin=reach[0], vmax=reach[1])
        row[0].set_ylabel(problem.replace(", ", ",\n"), fontsize=6)
    for axes, name in zip(panels[0], names, strict=True):
        axes.set_title(name, fontsize=7)
    return figure
