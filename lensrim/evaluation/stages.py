"""The stages of the chain compared, on the same mocks: what each adds to the one before."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .percentiles import percentile
from .report import GROUPS, STANDARD_GROUPS, Row

STRUCTURED = 0.01
"""Rms of log10 of the true convergence about its ellipsoid above which a lens has structure."""


def is_structured(row: Row) -> bool:
    """Whether a lens has structure."""
    return row.get("structure") is not None and row["structure"] > STRUCTURED


STAGE_GROUPS: dict[str, Callable[[Row], bool]] = {**GROUPS, "structured": is_structured}
STANDARD_STAGES = {**STANDARD_GROUPS, "structured": is_structured}

Groups = Mapping[str, Callable[[Row], bool]]

KEYS = {
    "misfit": ("D", "{:.3f}"),
    "source_l2": ("src L2", "{:.3f}"),
    "source_sheet": ("-sheet", "{:.3f}"),
    "kappa": ("logkappa", "{:.4f}"),
    "kappa_sheet": ("-sheet", "{:.4f}"),
    "alpha": ("dalpha", "{:.5f}"),
    "theta_error": ("dTHETAE", "{:.2%}"),
    "slope_error": ("dslope", "{:.3f}"),
    "shear_error": ("dshear", "{:.4f}"),
    "r50": ("R50", "{:+.1%}"),
    "r90": ("R90", "{:+.1%}"),
    "flux": ("flux", "{:+.1%}"),
    "excess": ("excess", "{:+.4f}"),
    "chi2nu": ("chi2nu", "{:.3f}"),
    "chi2arc": ("chi2arc", "{:.3f}"),
    "peff": ("p_eff", "{:.0f}"),
}
"""Errors that are shown, with heading and format: median, and for ``TAIL`` the 90th percentile."""

TAIL = ("misfit", "source_l2", "source_sheet", "kappa", "kappa_sheet", "alpha", "theta_error")


def complete(rows: Sequence[Row]) -> list[Row]:
    """Returns the rows in which a machine was run or, where none was, a refinement.

    Those are rows of more stages than the macro-model; outside methods are no stages. Quick
    answers have no macro-model to be compared with, and are left out beside others that have.
    """
    stages = [
        set(row.get("stages") or {}) - {"answer", *row.get("references", ())} for row in rows
    ]
    machine = any("rim" in each for each in stages)
    wanted = {"rim"} if machine else set()
    if any({"macro", *wanted} <= each for each in stages):
        wanted |= {"macro"}
    return [
        row
        for row, each in zip(rows, stages, strict=True)
        if wanted <= each and each - ({"macro"} if not machine else set())
    ]


def _is_refused(row: Row) -> bool:
    """Whether a macro-model has an answer, and a machine none."""
    return "macro" in (row.get("stages") or {}) and "rim" not in row["stages"]


def compare_groups(
    rows: Sequence[Row], groups: Groups = STAGE_GROUPS
) -> dict[str, dict[str, dict[str, tuple[float, float]]]]:
    """Computes median and 90th percentile of every error, by group, stage and error.

    A stage that a mock lacks counts as infinitely wrong there. Outside methods, which may be run
    on a part of the mocks, are compared where all of a group have them.
    """
    found: dict[str, dict[str, dict[str, tuple[float, float]]]] = {}
    for group, belongs in groups.items():
        members = [row for row in rows if row.get("stages") and belongs(row)]
        if not members:
            continue
        every = [set(row["stages"]) for row in members]
        outside = {name for row in members for name in row.get("references", ())}
        outside -= set.intersection(*every)
        longest = sorted(members, key=lambda row: -len(row["stages"]))
        stages = dict.fromkeys(name for row in longest for name in row["stages"])
        names = [name for name in stages if name not in outside]
        found[group] = {
            name: {
                key: _percentiles([row["stages"].get(name, {}).get(key) for row in members])
                for key in KEYS
            }
            for name in names
        }
    return found


def _percentiles(values: Sequence[Any]) -> tuple[float, float]:
    found = _numbers(values)
    return percentile(found, 50), percentile(found, 90)


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """Numbers of a row; a missing one counts as infinitely wrong."""
    return np.array([np.inf if v is None or v != v else float(v) for v in values])


def format_stages(rows: Sequence[Row], groups: Groups = STAGE_GROUPS) -> str:
    """Formats the comparison as text; empty where no machine was used.

    Beneath each stage of a group the medians are given relative to the first stage's, with the
    share of mocks on which it did better.
    """
    found = compare_groups(complete(rows), groups)
    if not found:
        return ""
    lines = [["", "stage"]]
    for key, (heading, _) in KEYS.items():
        lines[0] += [heading, "p90"] if key in TAIL else [heading]
    for group, stages in found.items():
        members = [row for row in complete(rows) if groups[group](row)]
        base = next(iter(stages))
        for name, errors in stages.items():
            label = f"{group} ({len(members)})" if name == base else ""
            lines.append([label, name, *_values(errors)])
            if name != base:
                lines.append(["", "", *_changes(members, name, base, stages)])
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    text = [
        "  ".join(
            c.ljust(w) if i < 2 else c.rjust(w)
            for i, (c, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    missing = ""
    if any("rim" in (row.get("stages") or {}) for row in rows):
        refused = sum(_is_refused(row) for row in rows)
        missing = f" Beyond its ranges, so not in the table, the machine was on {refused} mocks."
    if failed := sum(row.get("status", "ok") != "ok" for row in rows):
        missing += f" {failed} mocks failed and are not in the table."
    text.append(
        f"\nstages on the same mocks (medians); below: change, and share of mocks on which it is "
        f"better. answer: the macro-model's where the machine fits worse. true_mass: the "
        f"inversion, given the true deflection. R50, R90, flux: of the source against the truth, "
        f"with their sign. excess: chi2nu - (1 - p_eff / N), for white noise. structured: rms "
        f"log10 kappa about the ellipsoid > {STRUCTURED}.{missing}"
    )
    return "\n".join(text)


def _values(errors: Mapping[str, tuple[float, float]]) -> list[str]:
    line = []
    for key, (_, form) in KEYS.items():
        line += [form.format(v) for v in errors[key][: 1 + (key in TAIL)]]
    return line


def _changes(members: Sequence[Row], name: str, base: str, stages: Mapping) -> list[str]:
    line = []
    for key in KEYS:
        if key not in TAIL:
            line.append("")
            continue
        change = stages[name][key][0] / max(stages[base][key][0], 1e-12) - 1
        own, other = (
            _numbers([row["stages"].get(stage, {}).get(key) for row in members])
            for stage in (name, base)
        )
        better = np.mean(own < other)
        line += [f"{change:+.0%}", f"{better:.0%}"]
    return line
