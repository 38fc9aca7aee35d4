"""Errors of a reconstruction beside those that its posterior states, without calibration."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import __version__
from ...errors import InputError
from ...inference.calibration import Calibration
from ...inference.macro import GAMMA
from ...inference.options import ReconstructOptions
from ...inference.reconstruct import Reconstruction
from ...inference.together import prior_of
from ...inference.uncertainty import uncertainty_of
from ...progress import progress
from ..comparison import Maps, true_source
from ..mass import region_of
from ..mocks import Mock
from ..standard import standard_mock
from ..stated import reached, true_numbers
from .options import CalibrateOptions

Row = Mapping[str, Any]

QUANTILES = (np.arange(64) + 0.5) / 64
"""Of the pixels of a map those errors are kept that are quantiles of these probabilities."""


def row_of(mock: Mock, result: Reconstruction) -> dict[str, Any]:
    """Compares errors of a reconstruction's posterior with those that were made.

    Returns:
        ``version`` of the package; ``snr``; ``sheet``: slope of the fit, ``bend`` of its mass
        sheet, and what this has of the error of the slope;
        ``numbers``: truth, estimate and standard deviation by name; within the arcs'
        reach, ``kappa``: ``QUANTILES`` of the errors in units of the standard deviations; and
        ``source``: of as many pixels the error, its standard deviation for want of the mass, that
        given the mass, and the brightness, in units of the source's peak.
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
            maps.source[seen],
        ]
    )
    errors = errors / max(float(maps.source.max()), 1e-300)
    numbers, sheet = found.posterior.numbers, answer.sheet
    return {
        "version": __version__,
        "snr": found.snr,
        "sheet": [float(result.state.p[0, GAMMA]), sheet.bend, sheet.response * sheet.std],
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


def measured(
    options: CalibrateOptions, row: Callable[[int, Mock, ReconstructOptions], Row]
) -> list[dict[str, Any]]:
    """Measures the mocks of a shard that are not done, each a line of the folder, and returns all
    that the folder has.

    Arguments:
        options: Which mocks, and the folder.
        row: Measures one, of its number, the mock and how it is reconstructed.
    """
    folder = Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    done = {each["index"] for each in read_rows(folder)}
    todo = [index for index in options.indices() if index not in done]
    path = folder / f"rows-{options.shard.replace('/', 'of')}.jsonl"
    with progress("mocks", total=len(todo)) as bar:
        for index in todo:
            mock = standard_mock(index, split="validation")
            light = "none" if mock.truth.system.lens_light is None else "auto"
            found = row(index, mock, ReconstructOptions(lens_light=light))
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"index": index, **found}) + "\n")
            bar.update()
    return read_rows(folder)


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """Reads all rows of a folder, by number; lines that were cut off are left out.

    Raises:
        InputError: If they are those of another version.
    """
    rows = {}
    for path in sorted(folder.glob("rows*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            if (found := row.get("version")) != __version__:
                raise InputError(
                    f"{path}: rows must be those of version {__version__}, found those of "
                    f"{found or 'an older one'}; take another --output"
                )
            rows[row["index"]] = row
    return [rows[index] for index in sorted(rows)]
