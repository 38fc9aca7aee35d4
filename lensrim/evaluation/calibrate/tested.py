"""What a calibration is worth on the mocks of a test, in the form of an evaluation's report.

The answers' own errors are kept in the rows (:mod:`~.rows`), so that another calibration is judged
on them without any reconstruction.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ...inference.calibration import KINDS, Calibration, Scale
from ..standard_coverage import coverage_table, printed_coverage
from ..stated import MAPS, SCALARS, map_errors
from .rows import Row, traits_of_row


def stated_by(calibration: Calibration, row: Row) -> dict[str, Any]:
    """Returns what :func:`lensrim.evaluation.stated.stated_errors` does of an answer's product,
    with the errors of a calibration; without the major axis and the pixels of the source that have
    no error, for they are beyond its prior's disc, neither of which rows have."""
    snr, traits = row["snr"], traits_of_row(row)
    dof = calibration.dof_at(snr)

    def factor(name: str) -> float:
        return calibration.factor(name, snr, traits)

    numbers, maps = {}, {}
    for name in (name for name in row["numbers"] if name in SCALARS):
        truth, value, std = row["numbers"][name]
        unit = truth if SCALARS[name].relative else 1.0
        numbers[name] = [truth / unit, value / unit, factor(name) * std / unit]
    floor = calibration.scales.get(KINDS["source"], Scale()).floor
    for name in (name for name in MAPS if row[name]):
        error, std, *rest = np.array(row[name])
        if rest:
            given, bright = rest
            std = factor("source") * np.hypot(factor("kappa") * std, given)
            std = np.hypot(std, floor * bright)
        else:
            std = factor("kappa") * std
        maps[name] = map_errors(error, std, dof) | {"n": row["pixels"][name]}
    return {"numbers": numbers, "maps": maps} | ({"dof": dof} if np.isfinite(dof) else {})


def format_tested(calibration: Calibration, rows: Sequence[Row]) -> str:
    """Formats how often the truth is within what is stated, of each kind of mocks and stage."""
    tables = []
    for kind in sorted({row["kind"] for row in rows}):
        both = [row for row in rows if row["kind"] == kind]
        parts = {
            "last stage": [row for row in both if row["last"]],
            # of a machine that was refused the macro-model's answer is the last
            "macro-model": [row for row in both if row["stage"] == "macro"],
        }
        if parts["last stage"] == parts["macro-model"]:
            del parts["last stage"]
        for name, own in parts.items():
            judged = [{**row["facts"], "stated": stated_by(calibration, row)} for row in own]
            table = printed_coverage(coverage_table(judged))
            tables.append(f"{len(own)} {kind} mocks, {name}\n{table}")
    return "\n\n".join(tables)
