"""What science asks of the answers to the standard mocks, and whether it is met.

Each bar is a number that is measured on the rows of a run, and the range in which it has to be.
What a run does not measure, such as the coverage of errors that no product states, is said to be
so, and neither met nor missed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan

import numpy as np

from .. import metrics
from .percentiles import percentile
from .report import WRONG, Row
from .stages import is_structured
from .stated import LEVELS, MAPS, SCALARS

BRIGHT = 50.0
"""Signal over noise above which the narrower bars hold."""


@dataclass(frozen=True)
class Bar:
    """Creates a bar.

    Arguments:
        what: What is measured.
        measure: Computes it from the rows; NaN where they do not say.
        low, high: The range, its ends included.
        form: How numbers are written.
        published: What the published machine (Adam et al. 2023) has, in words.
    """

    what: str
    measure: Callable[[Sequence[Row]], float]
    low: float = -inf
    high: float = inf
    form: str = "{:.3f}"
    published: str = ""

    @property
    def said(self) -> str:
        """The range in words."""
        if isfinite(self.low) and isfinite(self.high):
            return f"{self.form.format(self.low)} to {self.form.format(self.high)}"
        if isfinite(self.low):
            return f">= {self.form.format(self.low)}"
        return f"<= {self.form.format(self.high)}"

    def judge(self, rows: Sequence[Row]) -> tuple[float, str]:
        """Measures, and says ``met``, ``missed`` or ``not measured``."""
        value = self.measure(rows) if rows else nan
        if np.isnan(value):
            return value, "not measured"
        return value, "met" if self.low <= value <= self.high else "missed"


def values(rows: Sequence[Row], key: str, stage: str = "answer") -> np.ndarray:
    """Returns an error of a stage of each row; of a failure, or where it is not finite, infinity.

    Empty where no row has that stage.
    """
    if not any(stage in (row.get("stages") or {}) for row in rows):
        return np.array([])
    found = [((row.get("stages") or {}).get(stage) or {}).get(key) for row in rows]
    return np.array([inf if value is None else float(value) for value in found])


def _median(key: str, *, bright: bool = False, share: float = 50) -> Callable:
    def measure(rows: Sequence[Row]) -> float:
        chosen = [row for row in rows if row["snr"] > BRIGHT] if bright else rows
        return percentile(values(chosen, key), share)

    return measure


def _fraction_fitted(rows: Sequence[Row]) -> float:
    found = values(rows, "chi2nu")
    return float(np.mean(found < 1.13)) if found.size else nan


def _excess(rows: Sequence[Row]) -> float:
    """Median of the excess of chi2 in units of half of its central 68 per cent."""
    found = values(rows, "excess")
    found = found[np.isfinite(found)]
    if found.size < 3:
        return nan
    low, middle, high = np.quantile(found, [0.16, 0.5, 0.84])
    return float(2 * middle / (high - low)) if high > low else nan


def is_failure(row: Row) -> bool:
    """Whether the circle of mean convergence 1 is wrong by more than a tenth, or not found."""
    error = row.get("theta_error")
    return row["status"] != "ok" or error is None or error > WRONG


def _failures(rows: Sequence[Row]) -> float:
    return float(np.mean([is_failure(row) for row in rows]))


def _unflagged(rows: Sequence[Row]) -> float:
    """Share of the failures that the program calls good; 0 of none."""
    wrong = [row for row in rows if is_failure(row)]
    return float(np.mean([row.get("quality") == "good" for row in wrong])) if wrong else 0.0


def slopes(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the slopes found and the true ones, of the power laws."""
    told = [row for row in rows if row.get("slope") is not None and not row.get("halo")]
    found = np.array([[row["slope"], row["gamma"]] for row in told], dtype=float).reshape(-1, 2)
    return found[:, 0], found[:, 1]


def _slope(rows: Sequence[Row]) -> float:
    found, true = slopes([row for row in rows if row["snr"] > BRIGHT])
    return metrics.regression(found, true)[0] if len(found) > 2 else nan


def _seconds(rows: Sequence[Row]) -> float:
    return percentile(np.array([row["seconds"] for row in rows], dtype=float), 50)


MACHINES = ("rim", "machine", "final")
"""Stages whose time is a machine's, the one that tells most first."""


def _machine_seconds(rows: Sequence[Row]) -> float:
    """Median time of the machine alone; with its inversions, where rows do not tell them apart."""
    told = [row.get("stage_seconds") or {} for row in rows]
    learnt = [each for each in told if not each.keys().isdisjoint(MACHINES)]
    found = [next(each[name] for name in MACHINES if name in each) for each in learnt]
    return percentile(np.array(found, dtype=float), 50)


def _gain(key: str) -> Callable:
    def measure(rows: Sequence[Row]) -> float:
        chosen = [row for row in rows if row.get("halo") and is_structured(row)]
        chosen = [row for row in chosen if {"macro", "rim"} <= {*(row.get("stages") or {})}]
        own, other = (percentile(values(chosen, key, stage), 50) for stage in ("rim", "macro"))
        return own / other - 1

    return measure


def map_coverage(rows: Sequence[Row], name: str) -> list[float]:
    """Returns the share of the pixels of a map within the intervals of all levels, and NaN."""
    parts = _maps(rows, name)
    if not parts:
        return [nan] * len(LEVELS)
    weights = [part["n"] for part in parts]
    return np.average([part["coverage"] for part in parts], axis=0, weights=weights).tolist()


def map_ratio(rows: Sequence[Row], name: str) -> float:
    """Returns the stated width over that of the errors, of a map.

    It is one over what 68 per cent of the lenses' own widths of errors, in units of the stated
    ones, are within: 1 where they are right, whether the pixels of a lens err together or each by
    itself. The median of the ratio, lens by lens, is not: an error that all pixels share, as that
    of a mass sheet, is one draw, and the best stated one over it is 1 / 0.6745 = 1.48 in the
    median.
    """
    parts = [part for part in _maps(rows, name) if part["width"]]
    if not parts:
        return nan
    made = float(np.quantile([part["empirical"] / part["width"] for part in parts], 0.68))
    return 1 / made if made else inf


def map_crps(rows: Sequence[Row], name: str) -> float:
    """Returns the median ranked score of a map, in units of its mean."""
    scores = [part["crps"] for part in _maps(rows, name)]
    return float(np.median(scores)) if scores else nan


def _maps(rows: Sequence[Row], name: str) -> list[dict]:
    told = [((row.get("stated") or {}).get("maps") or {}).get(name) for row in rows]
    return [part for part in told if part]


def numbers(rows: Sequence[Row], name: str) -> np.ndarray:
    """Returns truth, estimate, stated error and degrees of freedom of a number, (n, 4)."""
    told = [row.get("stated") or {} for row in rows]
    held = [(each.get("numbers", {}).get(name), each.get("dof", inf)) for each in told]
    found = [[*number, dof] for number, dof in held if number]
    return np.array(found, dtype=float).reshape(-1, 4)


def number_coverage(rows: Sequence[Row], name: str, level: float) -> float:
    """Returns the share of a number's truths within the intervals of a level; NaN of none."""
    truth, mean, std, dof = numbers(rows, name).T
    return metrics.coverage(truth, mean, std, level=level, dof=dof)


def _covered(name: str, level: float) -> Callable:
    def measure(rows: Sequence[Row]) -> float:
        if name in MAPS:
            return map_coverage(rows, name)[LEVELS.index(level)]
        return number_coverage(rows, name, level)

    return measure


def _ratio(name: str) -> Callable:
    def measure(rows: Sequence[Row]) -> float:
        if name in MAPS:
            return map_ratio(rows, name)
        found = numbers(rows, name)
        return metrics.calibration(*found.T).ratio if len(found) else nan

    return measure


def _coverage_bars() -> list[Bar]:
    bars = []
    for name in (*MAPS, *(name for name, scalar in SCALARS.items() if scalar.asked)):
        bars += [
            Bar(f"coverage of 68 %: {name}", _covered(name, 0.68), 0.65, 0.71, "{:.1%}"),
            Bar(f"coverage of 95 %: {name}", _covered(name, 0.95), 0.93, 0.97, "{:.1%}"),
            Bar(f"stated over empirical width: {name}", _ratio(name), high=1.3, form="{:.2f}"),
        ]
    return bars


BARS = (
    Bar("share with chi2_nu < 1.13", _fraction_fitted, 0.95, form="{:.1%}", published="7 %, 88 %"),
    Bar("median chi2 excess over its half-width", _excess, -1, 1, "{:+.2f}"),
    Bar("D, median", _median("misfit"), high=0.3),
    Bar("D, 90th percentile", _median("misfit", share=90), high=1.0),
    Bar("log10 kappa rmse [dex]", _median("kappa"), high=0.05, published="0.091"),
    Bar("log10 kappa rmse, S/N > 50 [dex]", _median("kappa", bright=True), high=0.04),
    Bar("source relative L2", _median("source_l2"), high=0.35),
    Bar("source relative L2, S/N > 50", _median("source_l2", bright=True), high=0.25),
    Bar(
        "source rmse of peak, S/N > 50",
        _median("source_rmse", bright=True),
        high=0.012,
        form="{:.4f}",
        published="0.020",
    ),
    Bar("source R90 bias", _median("r90"), -0.1, 0.1, "{:+.1%}", published="R99: +100 %"),
    Bar("theta_E error, median", _median("theta_error"), high=0.005, form="{:.2%}"),
    Bar(
        "theta_E error, 90th percentile",
        _median("theta_error", share=90),
        high=0.02,
        form="{:.2%}",
    ),
    Bar("slope regression, power laws, S/N > 50", _slope, low=0.5, published="strongly shrunk"),
    Bar("failures: theta_E wrong by > 10 %", _failures, high=0.02, form="{:.1%}"),
    Bar("failures that are called good", _unflagged, high=0.0, form="{:.1%}"),
    Bar("seconds on the clock, median", _seconds, high=10.0, form="{:.1f}"),
    Bar("seconds of the machine alone, median", _machine_seconds, high=1.0, form="{:.2f}"),
    Bar(
        "source error, rim over macro, halo structure",
        _gain("source_l2"),
        high=-0.3,
        form="{:+.0%}",
    ),
    Bar("kappa error, rim over macro, halo structure", _gain("kappa"), high=-0.2, form="{:+.0%}"),
    *_coverage_bars(),
)
"""The bars, medians over all mocks where nothing else is said."""


def parameter_bar(parameters: int) -> Bar:
    """Returns the bar of the number of parameters."""
    return Bar("parameters", lambda rows: parameters, high=12e6, form="{:,.0f}", published="348 M")
