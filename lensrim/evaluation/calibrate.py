r"""Measures what the posterior's errors are worth on validation mocks, and calibrates them.

Every mock is reconstructed by the chain; the errors that its posterior has, before any
calibration, are compared with those that were made, one line of JSON per mock, so that a run can
be interrupted, resumed, or divided (``--shard``). Of all lines a calibration is fitted
(:mod:`lensrim.inference.calibration`), and printed beside what it is worth on mocks that it was
not fitted to: each half of them is judged by a fit to the other. The calibration of the package is
made by::

    python -m lensrim.evaluation.calibrate --n 240 --output calibration

which writes ``calibration/calibration.json``; it takes the place of that in
``lensrim/inference``.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import __version__, metrics
from ..errors import InputError
from ..inference.calibration import (
    KINDS,
    ONE_SIGMA,
    PIVOT,
    Calibration,
    Scale,
    write_calibration,
)
from ..inference.reconstruct import Reconstruction, ReconstructOptions, reconstruct
from ..inference.together import prior_of
from ..inference.uncertainty import uncertainty_of
from ..plotting.coverage import Curve, plot_coverage
from ..progress import progress
from .comparison import Maps, region_of, true_source
from .mocks import Mock
from .standard import standard_mock
from .stated import LEVELS, reached, true_numbers

Row = Mapping[str, Any]

QUANTILES = (np.arange(64) + 0.5) / 64
"""Of the pixels of a map those errors are kept that are quantiles of these probabilities."""

DOFS = (1.5, 40.0)
"""Range of the degrees of freedom."""

STIFF = 0.5
"""Prior standard deviation of an exponent of the signal over noise."""


def row_of(mock: Mock, result: Reconstruction) -> dict[str, Any]:
    """Compares errors of a reconstruction's posterior with those that were made.

    Returns:
        ``snr``; ``numbers``: truth, estimate and standard deviation by name; within the arcs'
        reach, ``kappa``: ``QUANTILES`` of the errors in units of the standard deviations; and
        ``source``: of as many pixels the error, its standard deviation for want of the mass, and
        that given the mass, in units of the source's peak.
    """
    assert result.scene is not None and result.state is not None
    answer = result.answers[result.product.value("STAGE")]
    prior = prior_of(result.scene, mock.truth.system.lens_light is not None)
    found = uncertainty_of(result.scene, answer, result.state, prior, calibration=Calibration())
    truth, region = true_numbers(mock), mock.truth.arc_mask & region_of(mock)
    alpha = (answer.alpha_x, answer.alpha_y)
    maps = Maps(answer.arcs, answer.kappa, alpha, answer.source, answer.source_grid)
    seen = reached(mock, maps)
    seen &= found.source_std > 0  # which it is not beyond the disc of the source's prior
    kappa = (mock.truth.kappa - maps.kappa)[region] / found.kappa_std[region]
    posterior = found.posterior
    parts = (posterior.source_axes, posterior.scatter)
    errors = np.stack(
        [
            (true_source(mock, maps) - maps.source)[seen],
            *(part.square().sum(0).sqrt().numpy()[seen] for part in parts),
        ]
    )
    errors = errors / max(float(maps.source.max()), 1e-300)
    numbers = found.posterior.numbers
    return {
        "snr": found.snr,
        "numbers": {
            name: [value, numbers[name].value, numbers[name].std]
            for name, value in truth.items()
            if name in numbers
        },
        "kappa": np.quantile(kappa, QUANTILES).round(4).tolist() if kappa.size else [],
        "source": _some(errors),
    }


def _some(errors: NDArray[np.float64]) -> list[list[float]]:
    """Picks pixels of the source whose errors in standard deviations are quantiles of all's."""
    if not errors.size:
        return []
    order = np.argsort(errors[0] / np.hypot(errors[1], errors[2]))
    chosen = order[(QUANTILES * len(order)).astype(int)]
    return [[float(f"{v:.4g}") for v in each] for each in errors[:, chosen]]


@dataclass(frozen=True)
class Deviations:
    """Holds errors in units of the posterior's standard deviations.

    Arguments:
        z: The errors.
        snr: Signal over noise of each.
        weight: Weight of each; those of a map of one lens add up to 1.
    """

    z: NDArray[np.float64]
    snr: NDArray[np.float64]
    weight: NDArray[np.float64]

    @classmethod
    def of(cls, rows: Sequence[Row], names: Sequence[str], mass: Scale = Scale()) -> "Deviations":
        """Collects those of quantities; ``mass`` widens what the mass does to the source."""
        z, snr, weight = [], [], []
        for row in rows:
            for name in names:
                if name in row["numbers"]:
                    truth, value, std = row["numbers"][name]
                    found = np.array([(truth - value) / std])
                elif name == "source" and row["source"]:
                    error, by_mass, own = np.array(row["source"])
                    found = error / np.hypot(mass.at(row["snr"]) * by_mass, own)
                elif name == "kappa" and row["kappa"]:
                    found = np.array(row["kappa"])
                else:
                    continue
                z.append(found)
                snr.append(np.full(len(found), row["snr"]))
                weight.append(np.full(len(found), 1 / len(found)))
        return cls(*(np.concatenate(each) if each else np.zeros(0) for each in (z, snr, weight)))

    def covered(self, scale: Scale, half: float) -> float:
        """Share within ``half`` stated errors."""
        inside = np.abs(self.z) < half * self.factors(scale)
        return float(np.average(inside, weights=self.weight))

    def factors(self, scale: Scale) -> NDArray[np.float64]:
        """What the standard deviations are multiplied by."""
        return scale.scale * (np.maximum(self.snr, 1.0) / PIVOT) ** scale.exponent

    def loss(self, scale: Scale, dof: float) -> float:
        """Minus the log-likelihood of Student's t, whose central 68.27 % are stated."""
        from scipy.special import gammaln, stdtrit

        width = self.factors(scale) / float(stdtrit(dof, ONE_SIGMA))
        constant = float(gammaln((dof + 1) / 2) - gammaln(dof / 2)) - 0.5 * math.log(math.pi * dof)
        tail = (dof + 1) / 2 * np.log1p((self.z / width) ** 2 / dof)
        return float((self.weight * (np.log(width) + tail - constant)).sum())


def fit_scale(deviations: Deviations, dof: float) -> tuple[Scale, float]:
    """Fits scale and exponent at some degrees of freedom; returns the loss, too."""
    from scipy.optimize import minimize

    def loss(x: NDArray[np.float64]) -> float:
        found = Scale(math.exp(x[0]), float(x[1]))
        return deviations.loss(found, dof) + 0.5 * (x[1] / STIFF) ** 2

    best = minimize(loss, [0.0, 0.0], method="BFGS", options={"gtol": 1e-3})
    return Scale(math.exp(best.x[0]), float(best.x[1])), float(best.fun)


def fit(rows: Sequence[Row], card: Mapping[str, Any] | None = None) -> Calibration:
    """Fits a calibration by maximum likelihood: degrees of freedom, and each kind's scale."""
    from scipy.optimize import minimize_scalar

    # That of the convergence comes before that of the source, which is widened by it.
    kinds = {kind: [n for n, k in KINDS.items() if k == kind] for kind in KINDS.values()}

    def scales_at(dof: float) -> tuple[dict[str, Scale], float]:
        scales, total = {}, 0.0
        for kind, names in kinds.items():
            own = Deviations.of(rows, names, scales.get("kappa", Scale()))
            if own.z.size:
                scales[kind], loss = fit_scale(own, dof)
                total += loss
        return scales, total

    best: Any = minimize_scalar(
        lambda log_dof: scales_at(math.exp(log_dof))[1],
        bounds=tuple(map(math.log, DOFS)),
        method="bounded",
        options={"xatol": 0.02},
    )
    dof, snr = math.exp(best.x), [row["snr"] for row in rows]
    return Calibration(scales_at(dof)[0], dof, (min(snr), max(snr)), dict(card or {}))


@dataclass(frozen=True)
class Half:
    """Holds half of the lenses, and a calibration that was fitted to the other half."""

    rows: Sequence[Row]
    calibration: Calibration

    def deviations(self, name: str) -> Deviations:
        """Those of a quantity, the source widened as the convergence is."""
        return Deviations.of(self.rows, [name], self.calibration.scales.get("kappa", Scale()))


def halved(rows: Sequence[Row]) -> tuple[Half, Half]:
    """Fits each half of the lenses, and gives it the other's fit."""
    first, second = rows[::2], rows[1::2]
    return Half(first, fit(second)), Half(second, fit(first))


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
            levels = [found.half_width(level) for level in (0.6827, 0.95)]
            before.append([raw.covered(Scale(), z) for z in (1.0, 1.96)])
            after.append([own.covered(scale, z) for z in levels])
            counts.append(own.weight.sum())
            for row in half.rows:
                if name in row["numbers"]:
                    truth, value, std = row["numbers"][name]
                    stated.append(found.factor(name, row["snr"]) * std / abs(truth))
                    errors.append((value - truth) / truth)
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
                told.append([each.covered(scale, c.half_width(p)) for p in LEVELS])
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


@dataclass(frozen=True)
class CalibrateOptions:
    """Holds the options of a calibration."""

    n: int = 240
    """Number of validation mocks."""

    first: int = 0
    """Number of the first."""

    shard: str = "1/1"
    """Which part of the mocks this process does, i/n with i from 1 to n."""

    output: str = "calibration"
    """Folder of the results. Mocks that it holds are not repeated."""

    def indices(self) -> list[int]:
        """The mocks of this shard.

        Raises:
            InputError: If ``shard`` is not ``i/n`` with i from 1 to n, or a number is negative.
        """
        part, _, parts = self.shard.partition("/")
        if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
            raise InputError(
                f"--shard: must be i/n with i from 1 to n, found {self.shard}; give such as 2/4"
            )
        if self.n < 1 or self.first < 0:
            raise InputError(
                f"--n, --first: must be 1 or more and 0 or more, found {self.n}, {self.first}"
            )
        return list(range(self.first + int(part) - 1, self.first + self.n, int(parts)))


def card_of(about: str) -> dict[str, str]:
    """Says on what a calibration was measured: it is that of one prior of the perturbations."""
    file = resources.files("lensrim.inference") / "perturbations.json"
    return {
        "about": about,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": "python -m lensrim.evaluation.calibrate",
        "version": __version__,
        "perturbations": hashlib.sha256(file.read_bytes()).hexdigest()[:16],
    }


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Reads all rows of a folder, by number; lines that were cut off are left out."""
    rows = {}
    for path in sorted(folder.glob("rows*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            rows[row["index"]] = row
    return [rows[index] for index in sorted(rows)]


def run(options: CalibrateOptions) -> Calibration:
    """Measures, fits and writes a calibration, and prints what it is worth.

    Raises:
        InputError: If an option is impossible, or there are too few mocks to fit.
    """
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    done = {row["index"] for row in read_rows(folder)}
    todo = [index for index in options.indices() if index not in done]
    path = folder / f"rows-{options.shard.replace('/', 'of')}.jsonl"
    with progress("mocks", total=len(todo)) as bar:
        for index in todo:
            mock = standard_mock(index, split="validation")
            light = "none" if mock.truth.system.lens_light is None else "auto"
            result = reconstruct(mock.observation, ReconstructOptions(lens_light=light))
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"index": index, **row_of(mock, result)}) + "\n")
            bar.update()
    rows = read_rows(folder)
    if len(rows) < 10:
        raise InputError(
            f"--n: a calibration needs 10 mocks or more, found {len(rows)}; give more"
        )
    about = f"errors of macro-models' answers to {len(rows)} standard validation mocks"
    found = fit(rows, card_of(about))
    (folder / "calibration.json").write_text(write_calibration(found), encoding="utf-8")
    halves = halved(rows)
    plot_coverage(curves(halves)).savefig(folder / "coverage.png", dpi=120)
    print(write_calibration(found), format_lines(judge(halves)), sep="\n")
    return found


if __name__ == "__main__":
    import tyro

    run(tyro.cli(CalibrateOptions, description=__doc__))
