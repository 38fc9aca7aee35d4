"""What a calibration is worth on mocks that it was not fitted to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from ... import metrics
from ...inference.calibration import KINDS, Calibration, Scale
from ...plotting.coverage import Curve
from ..stated import LEVELS, SCALARS
from .deviations import Deviations
from .fitting import fit, folds
from .rows import Row, traits_of_row


@dataclass(frozen=True)
class Half:
    """Holds half of the lenses, and a calibration that was fitted to the other half."""

    rows: Sequence[Row]
    calibration: Calibration

    def deviations(self, name: str) -> Deviations:
        """Those of a quantity, the source widened as the convergence is."""
        return Deviations.of(self.rows, [name], self.calibration.scales.get("kappa", Scale()))


def halved(rows: Sequence[Row]) -> tuple[Half, Half]:
    """Fits each half of the lenses (:func:`~.fitting.folds`), and gives it the other's fit."""
    first, second = folds(rows, 2)
    return Half(first, fit(second)), Half(second, fit(first))


def of_kinds(halves: Sequence[Half]) -> dict[str, list[Half]]:
    """Returns the last stage's answers to each kind of mocks, each of which counts whole."""
    kinds = sorted({row["kind"] for half in halves for row in half.rows})
    return {
        kind: [
            replace(
                half,
                rows=[
                    {**row, "weight": 1.0}
                    for row in half.rows
                    if row["kind"] == kind and row["last"]
                ],
            )
            for half in halves
        ]
        for kind in kinds
    }


def judge(halves: Sequence[Half]) -> list[dict[str, Any]]:
    """Judges a calibration by what :func:`halved` returns.

    Returns:
        A line for each quantity: ``n`` lenses, ``before`` and ``after`` (shares within the 68 and
        95 % intervals), ``interval`` (95 % binomial interval of the share that should be 68 %),
        and, of numbers, ``ratio`` (median stated error over that of the errors that were made, by
        :func:`lensrim.metrics.empirical_width`).
    """
    lines = []
    for name in KINDS:
        if not all(Deviations.of(half.rows, [name]).z.size for half in halves):
            continue
        before, after, counts, stated, errors = [], [], [], [], []
        for half in halves:
            raw, found = Deviations.of(half.rows, [name]), half.calibration
            own = half.deviations(name)
            scale = found.scales[KINDS[name]]
            levels = [partial(found.half_width, level) for level in (0.6827, 0.95)]
            before.append([raw.covered(Scale(), z) for z in (1.0, 1.96)])
            after.append([own.covered(scale, z) for z in levels])
            counts.append(own.weight.sum())
            for row in half.rows:
                if name in row["numbers"]:
                    truth, value, std = row["numbers"][name]
                    unit = abs(truth) if name in SCALARS and SCALARS[name].relative else 1.0
                    stated.append(found.factor(name, row["snr"], traits_of_row(row)) * std / unit)
                    errors.append((value - truth) / unit)
        n = round(sum(counts))
        line = {
            "name": name,
            "n": n,
            "before": np.average(before, axis=0, weights=counts).tolist(),
            "after": np.average(after, axis=0, weights=counts).tolist(),
            "interval": metrics.binomial_interval(round(0.6827 * n), n),
        }
        if errors:
            line["ratio"] = float(np.median(stated)) / metrics.empirical_width(errors)
        lines.append(line)
    return lines


def curves(halves: Sequence[Half]) -> dict[str, dict[str, Curve]]:
    """Returns how often truths are covered, for :func:`lensrim.plotting.plot_coverage`."""
    found = {}
    for name in KINDS:
        raw = [Deviations.of(half.rows, [name]) for half in halves]
        counts = [float(each.weight.sum()) for each in raw]
        if not all(counts):
            continue
        own = [half.deviations(name) for half in halves]
        shares = {}
        for label, used in (("before", raw), ("after", own)):
            told = []
            for half, each in zip(halves, used, strict=True):
                c = half.calibration if label == "after" else Calibration()
                scale = c.scales.get(KINDS[name], Scale())
                told.append([each.covered(scale, partial(c.half_width, p)) for p in LEVELS])
            shares[label] = np.average(told, axis=0, weights=counts)
        found[name] = {k: Curve(LEVELS, v, round(sum(counts))) for k, v in shares.items()}
    return found


def format_lines(lines: Sequence[Mapping[str, Any]]) -> str:
    """Formats what :func:`judge` returns."""
    text = [f"{'':14}{'n':>5}{'before':>16}{'after':>16}{'binomial':>16}{'width':>8}"]
    for line in lines:
        shares = ["  ".join(f"{v:.1%}" for v in line[key]) for key in ("before", "after")]
        low, high = line["interval"]
        ratio = f"{line['ratio']:.2f}" if "ratio" in line else ""
        text.append(
            f"{line['name']:14}{line['n']:5}{shares[0]:>16}{shares[1]:>16}"
            f"{f'{low:.0%} to {high:.0%}':>16}{ratio:>8}"
        )
    return "\n".join(text)
