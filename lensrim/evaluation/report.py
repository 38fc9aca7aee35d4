"""What the suite found: a table, a CSV file, and a picture of the worst cases."""

import csv
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..metrics import binomial_interval
from .percentiles import percentile

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]

WRONG = 0.1
"""Relative error of the macro-model's Einstein radius above which it is in a wrong minimum."""

SNR_BINS = (10.0, 20.0, 50.0, 100.0, 200.0)

GROUPS: dict[str, Callable[[Row], bool]] = {
    "all": lambda row: True,
    "no lens light": lambda row: not row["lens_light"],
    "lens light": lambda row: row["lens_light"],
} | {
    f"S/N {low:.0f}-{high:.0f}": (lambda row, low=low, high=high: low <= row["snr"] < high)
    for low, high in pairwise(SNR_BINS)
}
"""The rows of the table: name, and which mocks belong to it."""

STANDARD_GROUPS: dict[str, Callable[[Row], bool]] = {
    **GROUPS,
    "S/N > 50": lambda row: row["snr"] > 50,
    "hst": lambda row: row.get("setting") == "hst",
    "euclid": lambda row: row.get("setting") == "euclid",
    "jwst": lambda row: row.get("setting") == "jwst",
    "power law": lambda row: row.get("halo") is False,
    "halo": lambda row: row.get("halo") is True,
    "synthetic galaxy": lambda row: row.get("learnt") is False,
    "learnt galaxy": lambda row: row.get("learnt") is True,
}
"""The same of the standard mocks."""

COLUMNS = {
    "n": ("n", "{:d}"),
    "failed": ("failed", "{:d}"),
    "macro_error_50": ("dMACROTE", "{:.2%}"),
    "macro_error_90": ("p90", "{:.2%}"),
    "wrong": ("wrong", "{:.1%}"),
    "wrong_low": ("from", "{:.1%}"),
    "wrong_high": ("to", "{:.1%}"),
    "theta_error_50": ("dTHETAE", "{:.2%}"),
    "misfit_50": ("D", "{:.3f}"),
    "misfit_90": ("p90", "{:.2f}"),
    "chi2nu_50": ("chi2nu", "{:.3f}"),
    "chi2arc_50": ("chi2arc", "{:.3f}"),
    "kappa_50": ("logkappa", "{:.3f}"),
    "kappa_sheet_50": ("-sheet", "{:.3f}"),
    "alpha_50": ("dalpha", "{:.4f}"),
    "source_l2_50": ("src L2", "{:.3f}"),
    "source_sheet_50": ("-sheet", "{:.3f}"),
    "source_rmse_50": ("src RMSE", "{:.4f}"),
    "seconds_50": ("seconds", "{:.1f}"),
}
"""Keys of the summary, with their heading and format in the table."""

LEGEND = """\
medians, p90: 90th percentile. dMACROTE, dTHETAE: relative errors of the Einstein radii.
wrong: share with dMACROTE > 10 % or failed, with its 95 % interval. D: noise-free misfit on the
true arcs. logkappa: rms error of log10 kappa in 0.3-2 theta_E [dex]; -sheet: after the best mass
sheet. dalpha: rms deflection error on the arcs [theta_E]. src L2, src RMSE: source error relative
to its norm (-sheet: after the best mass sheet), and to its peak."""


def _values(rows: Sequence[Row], key: str) -> np.ndarray:
    """Values of a key; a missing one (a failure, or not a number) counts as infinitely wrong."""
    return np.array([np.inf if row.get(key) is None else row[key] for row in rows], dtype=float)


def is_wrong(row: Row) -> bool:
    """Whether a mock failed or ended in a wrong minimum."""
    error = row.get("macro_error")
    return row["status"] != "ok" or error is None or error > WRONG


def _group(rows: Sequence[Row]) -> dict[str, float]:
    """Summarises the mocks of one group, of which there is at least one."""
    wrong = sum(is_wrong(row) for row in rows)
    low, high = binomial_interval(wrong, len(rows))
    summary: dict[str, float] = {
        "n": len(rows),
        "failed": sum(row["status"] != "ok" for row in rows),
        "wrong": wrong / len(rows),
        "wrong_low": low,
        "wrong_high": high,
    }
    for column in COLUMNS:
        key, _, share = column.rpartition("_")
        if share in ("50", "90"):
            summary[column] = percentile(_values(rows, key), int(share))
    return summary


def summarise(
    rows: Sequence[Row], groups: Mapping[str, Callable[[Row], bool]] = GROUPS
) -> dict[str, dict[str, float]]:
    """Computes the summary: for each non-empty group, by name, the values named in ``COLUMNS``."""
    members = {name: [row for row in rows if belongs(row)] for name, belongs in groups.items()}
    return {name: _group(group) for name, group in members.items() if group}


def format_table(summary: Mapping[str, Mapping[str, float]]) -> str:
    """Formats the summary as text."""
    lines = [[""] + [heading for heading, _ in COLUMNS.values()]]
    for name, values in summary.items():
        lines.append([name] + [form.format(values[key]) for key, (_, form) in COLUMNS.items()])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = "\n".join(
        "  ".join(
            [line[0].ljust(widths[0])]
            + [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
        )
        for line in lines
    )
    return f"{text}\n\n{LEGEND}"


def write_csv(summary: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """Writes the summary, one group per line, with the keys of ``COLUMNS``."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["group", *COLUMNS])
        writer.writeheader()
        for name, values in summary.items():
            writer.writerow({"group": name} | {key: f"{values[key]:.6g}" for key in COLUMNS})


def worst_cases(rows: Sequence[Row], maps: Path, *, count: int = 10) -> "Figure | None":
    """Draws the mocks in a wrong minimum, then those with the largest noise-free misfit.

    Arguments:
        rows: The rows of the suite.
        maps: Folder of the maps saved by it.
        count: Largest number of mocks drawn.

    Returns:
        The figure, or none if no maps are there.
    """
    from matplotlib.figure import Figure

    def badness(row: Row) -> tuple[bool, float]:
        return is_wrong(row), float(row["misfit"] if row.get("misfit") is not None else np.inf)

    drawn = sorted((row for row in rows if row["status"] == "ok"), key=badness, reverse=True)
    drawn = [row for row in drawn if (maps / f"mock{row['seed']:04d}.npz").exists()][:count]
    if not drawn:
        return None
    figure = Figure(figsize=(16, 2.1 * len(drawn)), layout="tight")
    axes = figure.subplots(len(drawn), 8, squeeze=False)
    for row, line in zip(drawn, axes, strict=True):
        with np.load(maps / f"mock{row['seed']:04d}.npz") as arrays:
            _draw(row, line, arrays)
    return figure


def _draw(row: Row, axes: np.ndarray, maps: Mapping[str, np.ndarray]) -> None:
    """Draws one mock: data, arcs, model, residual, source and convergence with their truth."""
    peak, bright = float(maps["arcs"].max()), float(maps["true_source"].max()) or None
    low, high = (
        float(f(np.log10(np.maximum(maps["true_kappa"], 1e-3)))) for f in (np.min, np.max)
    )
    panels = [
        ("data", {"vmin": -0.05 * peak, "vmax": 1.5 * peak}),
        ("arcs", {"vmin": 0, "vmax": peak}),
        ("model", {"vmin": 0, "vmax": peak}),
        ("residual", {"vmin": -4, "vmax": 4, "cmap": "RdBu_r"}),
        ("true_source", {"vmin": 0, "vmax": bright}),
        ("source", {"vmin": 0, "vmax": bright}),
        ("true_kappa", {"vmin": low, "vmax": high, "cmap": "magma"}),
        ("kappa", {"vmin": low, "vmax": high, "cmap": "magma"}),
    ]
    for axis, (name, style) in zip(axes, panels, strict=True):
        image = maps[name]
        if "kappa" in name:
            image = np.log10(np.maximum(image, 1e-3))
        axis.imshow(image, origin="lower", **style)
        axis.set_title(name.replace("_", " "), fontsize=7)
        axis.set_axis_off()
    axes[0].set_title(
        f"mock {row['seed']}: S/N {row['snr']:.0f}\n"
        f"dMACROTE {row['macro_error']:.1%}, D {row['misfit']:.2f}",
        fontsize=7,
    )
