r"""Errors by noise resampling, a second method.

``python -m lensrim.evaluation.calibrate.resampled --n 24 --output FOLDER`` goes on where it was.

The answer to each standard validation mock is taken for the truth: its image gets new noise, of
the noise map, and is reconstructed as the observation was, ``draws`` times. The scatter of these
answers is an error that knows of no prior, no curvature and no calibration,

.. math:: s^2 = \frac{1}{n - 1} \sum_i (x_i - \bar x)^2 \, ,

and its interval one of Student's t with :math:`n - 1` degrees of freedom. It has what noise does
to the whole chain, search and all; it lacks what a model cannot have: what the answers are off by
together. The table sets it beside the posterior alone (Laplace's approximation) and the
posterior with the packaged calibration. The mocks are in what this was fitted to.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ... import metrics
from ..._command_line import parsed
from ...errors import InputError, status_of
from ...inference.calibration import packaged_calibration
from ...inference.learning import StageName
from ...inference.options import ReconstructOptions
from ...inference.reconstruct import Reconstruction, reconstruct
from ..crossed import aligned
from ..mass import region_of
from ..mocks import Mock
from ..stated import SCALARS
from .options import CalibrateOptions
from .rows import Row, measured, row_of, traits_of_row

NUMBERS = ("theta_E", "macro_theta_E", "gamma1", "gamma2", "slope", "q", "flux", "magnification")
"""What is compared, beside the convergence."""


@dataclass(frozen=True)
class ResampledOptions(CalibrateOptions):
    """Holds the options of a comparison."""

    n: int = 24
    """Number of validation mocks."""

    stage: StageName = "macro"
    """Last stage of the reconstructions, whose answer is compared."""

    output: str = "resampled"
    """Folder of the results. Mocks that it holds are not repeated."""

    draws: int = 6
    """Noise realisations of each, 3 or more: the score of a scatter of two is infinite."""

    @property
    def what(self) -> str:
        """What is measured: rows of something else are not mixed in."""
        return f"errors and those of {self.draws} noise realisations"


def resample(mock: Mock, options: ReconstructOptions, draws: int, *, seed: int) -> dict[str, Any]:
    """Compares errors by resampling with those that a posterior states, and with those made.

    Returns:
        What :func:`~.rows.row_of` does, and ``resampled``: standard deviations by number, of
        ``draws`` answers; ``kappa_ratio``: the median, over the pixels of the arcs, of that of the
        convergence over the posterior's.
    """
    first = reconstruct(mock.observation, options)
    observation, found, maps = mock.observation, [], []
    rng = np.random.default_rng([seed, 7])
    shown = first.product.image_maps
    fitted = shown["MODEL"] + shown["LENS_LIGHT"] + shown["SKY"]
    for _ in range(draws):
        noise = rng.normal(size=fitted.shape) * observation.sigma
        result = reconstruct(replace(observation, image=fitted + noise), options)
        found.append(_numbers(result))
        maps.append(result.product.image_maps["KAPPA"])
    row = row_of(mock, first, str(first.product.value("STAGE")))
    told = [name for name in NUMBERS if name in row["numbers"] and all(name in f for f in found)]
    seen = mock.truth.arc_mask & region_of(mock)
    kappa = first.product.image_maps["KAPPA_STD"]
    kappa = kappa / packaged_calibration().factor("kappa", row["snr"], traits_of_row(row))
    ratio = (np.std(maps, axis=0, ddof=1) / kappa)[seen] / _usual(draws - 1)
    return row | {
        "draws": draws,
        "resampled": {name: float(np.std([f[name] for f in found], ddof=1)) for name in told},
        "kappa_ratio": float(np.median(ratio)) if ratio.size else None,
    }


def _numbers(result: Reconstruction) -> dict[str, float]:
    """The numbers of a product, by name."""
    values = {name: result.product.value(scalar.value) for name, scalar in SCALARS.items()}
    return {k: float(v) for k, v in values.items() if v is not None and np.isfinite(v)}


def compare(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Judges the methods.

    Returns:
        For each number: ``n`` lenses, ``ratio``: the median of the resampled error over the
        posterior's (1 if they are alike, however few the draws), and by method ``covered``
        (shares within 68 and 95 %) and ``crps``, in units of the truth where it has a scale.
    """
    from scipy.special import ndtr, stdtrit

    calibration, lines = packaged_calibration(), []
    for name in NUMBERS:
        own = [row for row in rows if name in row.get("resampled", {})]
        if not own:
            continue
        unit = [abs(r["numbers"][name][0]) if SCALARS[name].relative else 1.0 for r in own]
        truth, value, posterior = (np.array([r["numbers"][name] for r in own]).T) / unit
        scatter = np.array([r["resampled"][name] for r in own]) / unit
        few = np.array([r["draws"] - 1.0 for r in own])
        factor = np.array([calibration.factor(name, r["snr"], traits_of_row(r)) for r in own])
        tails = np.array([calibration.dof_at(r["snr"]) for r in own])
        # half of 68.27 % of a Student's t is more than its scale
        half = scatter * stdtrit(few, ndtr(1.0))
        methods = {
            "resampled": (half, few),
            "posterior": (posterior, np.full(len(own), np.inf)),
            "calibrated": (factor * posterior, tails),
        }
        told = {
            method: metrics.calibration(truth, value, std, dof)
            for method, (std, dof) in methods.items()
        }
        lines.append(
            {
                "name": name,
                "n": len(own),
                "ratio": float(np.median(scatter / posterior / _usual(few))),
                "covered": {method: each.covered for method, each in told.items()},
                "crps": {method: each.crps for method, each in told.items()},
            }
        )
    return lines


def _usual(dof: Any) -> Any:
    """The median of a standard deviation of few draws over the true one."""
    from scipy.special import chdtri

    return np.sqrt(chdtri(dof, 0.5) / dof)


def format_comparison(lines: Sequence[Mapping[str, Any]]) -> str:
    """Formats what :func:`compare` returns."""
    methods = list(lines[0]["covered"]) if lines else []
    head = ["", "n", "resampled / posterior"]
    cells = [[*head, *(f"{m}, 68 / 95 %" for m in methods), *(f"{m}, crps" for m in methods)]]
    for line in lines:
        covered = [" / ".join(f"{v:.0%}" for v in line["covered"][m]) for m in methods]
        crps = [f"{line['crps'][m]:.4f}" for m in methods]
        cells.append([line["name"], str(line["n"]), f"{line['ratio']:.2f}", *covered, *crps])
    return aligned(cells)


def run(options: ResampledOptions) -> list[dict[str, Any]]:
    """Measures what is left to measure, and prints the comparison.

    Raises:
        InputError: If an option is impossible.
    """
    if options.split == "test":
        raise InputError(
            "--split: methods are compared on validation mocks, found test; leave it out"
        )
    if options.draws < 3:
        raise InputError(f"--draws: must be 3 or more, found {options.draws}; give such as 6")
    rows = measured(
        options, lambda i, mock, how: {"answer": resample(mock, how, options.draws, seed=i)}
    )
    lines = compare(rows)
    ratios = [row["kappa_ratio"] for row in rows if row.get("kappa_ratio") is not None]
    print(format_comparison(lines))
    if ratios:
        print(
            f"kappa: resampled over posterior, median of the arcs' pixels {np.median(ratios):.2f}"
        )
    return lines


if __name__ == "__main__":
    sys.exit(status_of(lambda: run(parsed(ResampledOptions, description=__doc__))))
