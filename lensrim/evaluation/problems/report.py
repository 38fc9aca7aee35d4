"""What was found of a problem: a table, a CSV file, and a figure."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..percentiles import percentile
from .judging import MACHINE, Found, Row
from .problem import Draws

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EXAMPLES = 3


def summary(error: Tensor) -> dict[str, float]:
    """Computes median, mean and the standard error of the mean."""
    count = len(error) ** 0.5
    return {
        "median": percentile(error.double().numpy(), 50),
        "mean": float(error.mean()),
        "standard_error": float(error.std()) / count,
    }


def format_table(rows: Sequence[Row]) -> str:
    """Returns the table as text; the first error with its standard error, of others the mean."""
    width = max(len(row.method) for row in rows)
    told = max(len(row.told) for row in rows)
    names = list(rows[0].errors)
    head = f"{'':<{width}}  {'told':<{told}}  {'calls':>6}"
    head += "".join(f"  {'median':>7}  {name + ', mean':<20}" for name in names)
    lines = [f"{head}  setting"]
    for row in rows:
        line = f"{row.method:<{width}}  {row.told:<{told}}  {row.calls:>6}"
        for name in names:
            s = summary(row.errors[name])
            mean = f"{s['mean']:.4g} +- {s['standard_error']:.2g}"
            line += f"  {s['median']:>7.4g}  {mean:<20}"
        lines.append(f"{line}  {row.setting}".rstrip())
    return "\n".join(lines)


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Writes a line for each row and measure."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["method", "told", "calls", "setting", "error", "draws", *summary_names()])
        for row in rows:
            for name, error in row.errors.items():
                s = summary(error)
                first = [row.method, row.told, row.calls, row.setting, name, len(error)]
                writer.writerow([*first, *(f"{s[n]:.6g}" for n in summary_names())])


def summary_names() -> list[str]:
    """Returns the columns that :func:`summary` gives."""
    return ["median", "mean", "standard_error"]


def draw_figure(found: Found, unseen: Draws, measure: str, steps: int) -> "Figure":
    """Draws the errors over the calls, and below them a few examples.

    Arguments:
        found: What was found.
        unseen: The draws of the estimates.
        measure: The name of the first error.
        steps: Calls of the machine.
    """
    from matplotlib.figure import Figure

    maps = unseen["truth"].ndim == 4
    columns = 2 + len(found.estimates)
    figure = Figure(figsize=(10, 12 if maps else 10), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(1, 1.4 if maps else 1.2))
    above, below = parts
    _draw_curves(above.subplots(), found, measure, steps)
    if maps:
        for row, index in zip(below.subplots(EXAMPLES, columns), range(EXAMPLES), strict=True):
            _draw_images(row, found, unseen, index)
    else:
        for index, axes in enumerate(below.subplots(EXAMPLES, 1)):
            _draw_lines(axes, found, unseen, index)
            axes.label_outer()
        below.axes[0].legend(ncols=3, fontsize="small")
    return figure


def _draw_curves(axes: Any, found: Found, measure: str, steps: int) -> None:
    for name, curves in found.curves.items():
        color, width = _style(found, name)
        for j, curve in enumerate(curves):
            label = None if j else name
            if len(curve) == 1:
                axes.axhline(float(curve), color=color, ls="--", label=label)
                continue
            calls = range(1, len(curve) + 1)
            axes.plot(calls, curve, color=color, lw=width, label=label)
            axes.plot(len(curve), float(curve[-1]), "o", color=color, ms=5)
    axes.axvline(steps, color="0.8", zorder=0)
    axes.set_xscale("log")
    axes.set_yscale("log")
    every = [curve for curves in found.curves.values() for curve in curves]
    ends = [float(curve[-1]) for curve in every]
    # What diverges on its way, or begins badly, shall not hide the rest.
    axes.set_ylim(0.9 * min(ends), 1.1 * min(max(float(c.max()) for c in every), 2 * max(ends)))
    axes.set_xlabel("calls of the score")
    axes.set_ylabel(f"{measure} error, mean")
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))


def _draw_images(row: Any, found: Found, unseen: Draws, index: int) -> None:
    shown = {"truth": unseen["truth"], "data": unseen["y"], **found.estimates}
    for axes, (name, images) in zip(row, shown.items(), strict=True):
        axes.imshow(images[index, 0].numpy(), vmin=0, vmax=1, cmap="gray", origin="lower")
        axes.set_xticks([])
        axes.set_yticks([])
        if not index:
            axes.set_title(name, fontsize="small")
    row[0].set_ylabel(f"sigma {float(unseen['sigma'][index]):.3f}")


def _draw_lines(axes: Any, found: Found, unseen: Draws, index: int) -> None:
    truth, y = unseen["truth"][index, 0], unseen["y"]
    axes.plot(truth, color="0.7", lw=4, label="truth")
    if y.shape == unseen["truth"].shape:
        axes.plot(y[index, 0], ".", color="0.4", ms=4, label="data")
    for name, lines in found.estimates.items():
        color, width = _style(found, name)
        axes.plot(lines[index, 0], color=color, lw=width, label=name)
    axes.set_ylabel(f"sigma {float(unseen['sigma'][index]):.3f}")


def _style(found: Found, name: str) -> tuple[str, float]:
    """Returns colour and width of a method's lines: black and thick for the machine."""
    if name == MACHINE:
        return "k", 2
    return f"C{(list(found.curves).index(name) - 1) % 10}", 1
