"""What a run of the standard mocks has found: files, one figure, and the last part of its text."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path

import numpy as np

from .. import metrics
from .bars import (
    BARS,
    is_failure,
    map_coverage,
    map_crps,
    map_ratio,
    numbers,
    parameter_bar,
    slopes,
)
from .comparison import KAPPA_SCALES, SOURCE_SCALES
from .report import GROUPS, SNR_BINS, STANDARD_GROUPS, Row
from .stages import KEYS, STANDARD_STAGES, Groups, compare_groups
from .standard import SETTINGS
from .stated import LEVELS, MAPS, SCALARS

SHOWN = (0.68, 0.95)
"""Levels of the table of coverage."""

Table = list[dict[str, str]]


def crossed_groups() -> Groups:
    """Returns the groups of the CSV files: those of the text, and each setting in each S/N bin."""
    bins = {name: belongs for name, belongs in GROUPS.items() if name.startswith("S/N")}
    return {**STANDARD_STAGES} | {
        f"{setting}, {name}": lambda row, a=STANDARD_GROUPS[setting], b=belongs: a(row) and b(row)
        for setting, (name, belongs) in product(SETTINGS, bins.items())
    }


def stages_table(rows: Sequence[Row]) -> Table:
    """Makes a line for each group and stage: medians and 90th percentiles of all errors."""
    lines = []
    for group, stages in compare_groups(rows, crossed_groups()).items():
        n = sum(bool(row.get("stages")) and crossed_groups()[group](row) for row in rows)
        for stage, errors in stages.items():
            line = {"group": group, "method": stage, "n": str(n)}
            for key in KEYS:
                line[f"{key}_50"], line[f"{key}_90"] = (f"{v:.6g}" for v in errors[key])
            lines.append(line)
    return lines


def coverage_table(rows: Sequence[Row]) -> Table:
    """Makes a line for each stated quantity and group that has it: coverage, width and CRPS.

    CRPS is in units of the mean truth of maps, and of the truth of numbers that have a scale.
    """
    lines = []
    for name, (group, belongs) in product((*MAPS, *SCALARS), STANDARD_GROUPS.items()):
        members = [row for row in rows if belongs(row)]
        if name in MAPS:
            covered, ratio = map_coverage(members, name), map_ratio(members, name)
            crps, n = map_crps(members, name), _stated(members, name)
        else:
            found = numbers(members, name)
            n = len(found)
            if n:
                covered = [metrics.coverage(*found.T, level=level) for level in LEVELS]
                of_all = metrics.calibration(*found.T)
                ratio, crps = of_all.ratio, of_all.crps
        if not n:
            continue
        line = {"quantity": name, "group": group, "n": str(n)}
        for level, share in zip(LEVELS, covered, strict=True):
            line[f"{level:.0%}"] = f"{share:.4f}"
        lines.append(line | {"width": f"{ratio:.3f}", "crps": f"{crps:.4g}"})
    return lines


def _stated(rows: Sequence[Row], name: str) -> int:
    return sum(name in ((row.get("stated") or {}).get("maps") or {}) for row in rows)


def bars_table(rows: Sequence[Row], *, parameters: int) -> Table:
    """Makes a line for each bar: what was measured, the bar, and whether it is met."""
    lines = []
    for bar in (*BARS, parameter_bar(parameters)):
        value, verdict = bar.judge(rows)
        found = "" if np.isnan(value) else bar.form.format(value)
        lines.append(
            {
                "measured": bar.what,
                "value": found,
                "bar": bar.said,
                "verdict": verdict,
                "published": bar.published,
            }
        )
    return lines


def quality_table(rows: Sequence[Row]) -> Table:
    """Makes a line for each quality that the program gave: mocks, and failures among them."""
    given = [str(row.get("quality", "none")) for row in rows]
    lines = []
    for quality in sorted(set(given)):
        members = [row for row, own in zip(rows, given, strict=True) if own == quality]
        failures = sum(is_failure(row) for row in members)
        lines.append({"quality": quality, "n": str(len(members)), "failures": str(failures)})
    return lines


def slope_lines(rows: Sequence[Row]) -> list[str]:
    """Says how slopes follow the true ones, of power laws."""
    lines = []
    for name in ("all", "S/N > 50"):
        found, true = slopes([row for row in rows if STANDARD_GROUPS[name](row)])
        if len(found) < 3:
            continue
        coefficient, error = metrics.regression(found, true)
        lines.append(
            f"slope of {len(found)} power laws, {name}: regression {coefficient:.2f} +- "
            f"{error:.2f}, rms error {np.sqrt(np.mean((found - true) ** 2)):.3f}, truth "
            f"{true.mean():.3f} +- {true.std():.3f}"
        )
    return lines


def as_text(lines: Table, columns: Iterable[str] | None = None) -> str:
    """Formats lines as text, the first column to the left."""
    if not lines:
        return ""
    names = list(columns or lines[0])
    cells = [names, *([line.get(name, "") for name in names] for line in lines)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(names))]
    return "\n".join(
        "  ".join(
            c.rjust(w) if i else c.ljust(w)
            for i, (c, w) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def write_standard(rows: Sequence[Row], folder: Path, *, parameters: int) -> str:
    """Writes ``stages.csv``, ``coverage.csv``, ``bars.csv`` and ``suite.png``.

    Arguments:
        rows: The rows of the run, with those of outside methods among the stages.
        folder: Where to.
        parameters: Number of parameters of the machine.

    Returns:
        What is printed: bars, coverage, slopes and quality.
    """
    from ..plotting import plot_suite

    coverage, bars = coverage_table(rows), bars_table(rows, parameters=parameters)
    tables = {"stages": stages_table(rows), "coverage": coverage, "bars": bars}
    for name, lines in tables.items():
        _write(lines, folder / f"{name}.csv")
    figure = plot_suite(
        [dict(row) for row in rows],
        settings=tuple(SETTINGS),
        snr_bins=SNR_BINS,
        kappa_scales=KAPPA_SCALES,
        source_scales=SOURCE_SCALES,
        coverage=expected_coverage(rows),
    )
    figure.savefig(folder / "suite.png", dpi=120)
    shown = ["quantity", "group", "n", *(f"{level:.0%}" for level in SHOWN), "width", "crps"]
    whole = [line for line in coverage if line["group"] == "all"]
    parts = [as_text(bars), as_text(whole, shown), "\n".join(slope_lines(rows))]
    return "\n\n".join(filter(None, [*parts, as_text(quality_table(rows))]))


def expected_coverage(rows: Sequence[Row]) -> Mapping[str, tuple[list[float], list[float]]]:
    """Returns, for each stated quantity by its label, levels and the shares that are covered."""
    found = {}
    for name, label in MAPS.items():
        if _stated(rows, name):
            found[label] = list(LEVELS), map_coverage(rows, name)
    for name, scalar in SCALARS.items():
        told = numbers(rows, name)
        if len(told):
            shares = [metrics.coverage(*told.T, level=level) for level in LEVELS]
            found[scalar.label] = list(LEVELS), shares
    return found


def _write(lines: Table, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]) if lines else ["group"])
        writer.writeheader()
        writer.writerows(lines)
