"""What a run of the standard mocks has found: files, one figure, and the last part of its text."""

import csv
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from .. import metrics
from .bars import BARS, is_failure, parameter_bar, slopes, values
from .comparison import KAPPA_SCALES, SOURCE_SCALES
from .crossed import Table, aligned, crossed_groups
from .percentiles import percentile
from .report import SNR_BINS, STANDARD_GROUPS, Row
from .stages import KEYS, STANDARD_STAGES, STRUCTURED, format_stages
from .standard import SETTINGS
from .standard_coverage import coverage_table, expected_coverage, printed_coverage
from .standard_doubt import doubt_figure, doubt_table

UNSAID = ("seconds", "excess", "slope_error", "shear_error")
"""Errors and times that a stage may lack."""


def stages_table(rows: Sequence[Row]) -> Table:
    """Makes a line for each group and stage: medians and 90th percentiles of all errors.

    Each stage is judged on the mocks on which it was run, the answer on all: where there is none,
    it is infinitely wrong.
    """
    lines = []
    for group, belongs in crossed_groups().items():
        members = [row for row in rows if belongs(row)]
        stages = dict.fromkeys(name for row in members for name in row.get("stages") or {})
        for stage in stages:
            own = [row for row in members if stage in (row.get("stages") or {})]
            own = members if stage == "answer" else own
            line = {"group": group, "method": stage, "n": str(len(own))}
            for key in (*KEYS, "source_rmse", "seconds"):
                found = values(own, key, stage)
                for share in (50, 90):
                    value = percentile(found, share)
                    # Of an outside method perhaps no number of parameters is known, and so no
                    # expectation of its chi2; of the true mass no time; of old rows less.
                    known = key not in UNSAID or np.isfinite(value)
                    line[f"{key}_{share}"] = f"{value:.6g}" if known else ""
            lines.append(line | _coherences(own, stage))
    return lines


COHERENCES = {"kappa": KAPPA_SCALES, "angular": KAPPA_SCALES, "source": SOURCE_SCALES}
"""The coherences of :func:`~.comparison.coherences`, and the ends of their ranges of scales."""


def _coherences(rows: Sequence[Row], stage: str) -> dict[str, str]:
    """Returns the median signed coherence of a stage in each range of scales."""
    line = {}
    told = [((row.get("stages") or {}).get(stage) or {}).get("coherence") or {} for row in rows]
    for name, ends in COHERENCES.items():
        for i, (longest, shortest) in enumerate(pairwise(ends)):
            found = [each[name][i] for each in told if each.get(name) is not None]
            finite = [value for value in found if value is not None and np.isfinite(value)]
            median = f"{np.median(finite):.4f}" if finite else ""
            line[f"coherence_{name}_{longest:g}-{shortest:g}"] = median
    return line


PRINTED = {
    "misfit_50": ("D", "{:.3f}"),
    "misfit_90": ("p90", "{:.2f}"),
    "source_l2_50": ("src L2", "{:.3f}"),
    "source_sheet_50": ("-sheet", "{:.3f}"),
    "source_rmse_50": ("src RMSE", "{:.4f}"),
    "r50_50": ("R50", "{:+.1%}"),
    "r90_50": ("R90", "{:+.1%}"),
    "flux_50": ("flux", "{:+.1%}"),
    "kappa_50": ("logkappa", "{:.4f}"),
    "kappa_sheet_50": ("-sheet", "{:.4f}"),
    "alpha_50": ("dalpha", "{:.4f}"),
    "theta_error_50": ("dTHETAE", "{:.2%}"),
    "theta_error_90": ("p90", "{:.1%}"),
    "slope_error_50": ("dslope", "{:.3f}"),
    "shear_error_50": ("dshear", "{:.4f}"),
    "excess_50": ("excess", "{:+.4f}"),
    "chi2arc_50": ("chi2arc", "{:.3f}"),
    "seconds_50": ("seconds", "{:.1f}"),
}
"""What is printed of the stages, with heading and format."""

LEGEND = f"""\
Medians (p90: 90th percentile). D: noise-free misfit on the true arcs. src L2, src RMSE: source
error relative to its norm and to its peak; R50, R90, flux: of the source against the truth, with
their sign. logkappa: rms error of log10 kappa in 0.3-2 theta_E [dex]. -sheet: after the best mass
sheet. dalpha: rms deflection error on the arcs [theta_E]. dslope, dshear: errors of the slope of
the map of kappa, and of the shear that belongs to it. excess: chi2nu - (1 - p_eff / N), for white
noise. seconds: on the clock, until the stage has its answer; of adam and lbfgs without the
macro-model with which they begin. macro: the macro-model and its own inversion; true_mass: the
same inversion given the true deflection. structured: rms log10 kappa about the ellipsoid >
{STRUCTURED}.
stages.csv holds all errors, also of each setting in each bin of S/N, and coherences."""


def printed_stages(lines: Table) -> str:
    """Formats the stages of the groups that are no crossed ones."""
    cells = [["", "", "n", *(heading for heading, _ in PRINTED.values())]]
    last = ""
    for line in lines:
        if line["group"] not in STANDARD_STAGES:
            continue
        numbers = [
            form.format(float(line[key])) if line[key] else ""
            for key, (_, form) in PRINTED.items()
        ]
        cells.append(
            [line["group"] if line["group"] != last else "", line["method"], line["n"], *numbers]
        )
        last = line["group"]
    return f"{aligned(cells, left=2)}\n\n{LEGEND}"


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
    return aligned([names, *([line.get(name, "") for name in names] for line in lines)])


def write_standard(rows: Sequence[Row], folder: Path, *, parameters: int) -> str:
    """Writes ``stages.csv``, ``coverage.csv``, ``bars.csv``, ``doubt.csv`` and ``suite.png``, and
    ``doubt.png`` where some answers are wrong.

    Arguments:
        rows: The rows of the run, with those of outside methods among the stages.
        folder: Where to.
        parameters: Number of parameters of the machine.

    Returns:
        What is printed: stages, bars, coverage, slopes, quality and doubt.
    """
    from ..plotting import plot_suite

    stages, coverage = stages_table(rows), coverage_table(rows)
    bars = bars_table(rows, parameters=parameters)
    doubt = doubt_table(rows)
    tables = {"stages": stages, "coverage": coverage, "bars": bars, "doubt": doubt}
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
    if (curves := doubt_figure(rows)) is not None:
        curves.savefig(folder / "doubt.png", dpi=120)
    paired = {name: STANDARD_STAGES[name] for name in ("all", "S/N > 50", "structured")}
    parts = [
        printed_stages(stages),
        format_stages(rows, paired),
        f"{printed_coverage(coverage)} coverage.csv has all groups." if coverage else "",
        "\n".join(slope_lines(rows)),
    ]
    parts += [as_text(quality_table(rows)), f"{as_text(doubt)}\n{DOUBT}"]
    parts.append(f"On {len(rows)} mocks:\n{as_text(bars)}")
    return "\n\n".join(filter(None, parts))


DOUBT = (
    "(Of the answers that were made; area: under the curve of QSCORE, 0.5 if it tells nothing.)"
)


def _write(lines: Table, path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]) if lines else ["group"])
        writer.writeheader()
        writer.writerows(lines)
