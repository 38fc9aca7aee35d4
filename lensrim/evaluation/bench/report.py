"""What the benchmark found: lines of the table, files, and a picture of the growth."""

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

COLUMNS = (
    "work",
    "contender",
    "ms",
    "ms_low",
    "ms_high",
    "repetitions",
    "ratio",
    "ratio_low",
    "ratio_high",
    "bar",
    "met",
    "peak_MB",
    "note",
)
"""Columns of ``bench.csv``: milliseconds per lens, median and quartiles; how many times the time
of this package that is, within each repetition; what is asked of it."""


def format_row(row: Row) -> str:
    """Returns a row of the table as lines of text, one for each contender."""
    lines = [f"\n{row['work']}"]
    for entry in row["contenders"]:
        line = f"  {entry['contender']:<20}"
        if "ms" in entry:
            line += f"{entry['ms']:>10.3f} ms [{entry['ms_low']:.3f}, {entry['ms_high']:.3f}]"
        else:
            line += f"{'-':>10}    {entry['note']}"
        if "ratio" in entry:
            low, high = entry["ratio_low"], entry["ratio_high"]
            line += f"   x {entry['ratio']:.2f} [{low:.2f}, {high:.2f}]"
        if "bar" in entry:
            line += f"   at least {entry['bar']:.2f}: {'met' if entry['met'] else 'MISSED'}"
        if "peak_MB" in entry:
            line += f"   peak {entry['peak_MB']:.0f} MB"
        lines.append(line)
    if "roofline_fraction" in row:
        lines.append(
            f"  {row['lenses_per_second']:.0f} lenses per second, "
            f"{row['roofline_fraction']:.1%} of the roofline of the memory: "
            f"{row['bytes_per_lens'] / 1e6:.2f} MB per lens (each necessary kernel reads its "
            f"input and writes its output once) at {row['bandwidth_GBps']:.0f} GB/s (a copy)"
        )
    return "\n".join(lines)


def format_growth(growth: Mapping[str, Sequence[Row]]) -> str:
    """Returns the growth as text, each time also as a multiple of what theory makes of the first.

    One lens of N x N pixels takes N² log N, B lenses B times as long as one.
    """
    lines = []
    for axis, points in growth.items():
        cost = _costs(axis, points)
        law = "N² log N" if axis == "N" else "B"
        lines.append(f"\ngradient, growth with {axis} (time over {law}, 1 at the largest)")
        for point, expected in zip(points, cost, strict=True):
            relative = point["ms"] / expected
            lines.append(
                f"  {axis} = {point[axis]:<6}{point['ms']:>10.3f} ms "
                f"[{point['ms_low']:.3f}, {point['ms_high']:.3f}]{relative:>8.2f}"
            )
    return "\n".join(lines)


def _costs(axis: str, points: Sequence[Row]) -> list[float]:
    """Returns what theory says of each time, if the last is as it is."""
    law = {"N": lambda n: n**2 * math.log(n), "B": float}[axis]
    return [points[-1]["ms"] * law(p[axis]) / law(points[-1][axis]) for p in points]


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """Writes one line for each contender of each row."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for row in rows:
            writer.writerows({"work": row["work"], **entry} for entry in row["contenders"])


def write_json(found: Mapping[str, Any], path: Path) -> None:
    """Writes all that was found."""
    path.write_text(json.dumps(found, indent=1) + "\n")


def draw_growth(growth: Mapping[str, Sequence[Row]]) -> "Figure":
    """Draws the times with their quartiles over the number of pixels and of lenses."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, (axis, points) in zip(figure.subplots(1, 2), growth.items(), strict=True):
        values, times = [p[axis] for p in points], [p["ms"] for p in points]
        spread = [
            [p["ms"] - p["ms_low"] for p in points],
            [p["ms_high"] - p["ms"] for p in points],
        ]
        axes.errorbar(values, times, spread, fmt="o-", capsize=3, label="measured")
        law = "N² log N" if axis == "N" else "B"
        axes.plot(values, _costs(axis, points), "--", color="0.5", label=law)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xlabel("pixels along each side N" if axis == "N" else "lenses of 128² pixels B")
        axes.set_ylabel("time of a gradient [ms]")
        axes.legend()
    return figure
