"""Errors of a reconstruction beside those that its posterior states, without calibration."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import __version__, metrics
from ...errors import InputError
from ...inference.calibration import USUAL, Calibration
from ...inference.macro import GAMMA
from ...inference.options import ReconstructOptions
from ...inference.reconstruct import Reconstruction
from ...inference.symptoms import Symptoms, symptoms_of
from ...inference.together import prior_of
from ...inference.traits import traits_of
from ...inference.uncertainty import uncertainty_of
from ...progress import progress
from ...zoo import DEFAULT, cards
from ..known import Known
from ..maps import Maps
from ..mocks import Mock, light_option
from ..options import EvaluateOptions
from ..rows import append_line, read_lines
from ..stated import BRIGHT, true_numbers
from ..suites import Standard
from .options import CalibrateOptions

Row = Mapping[str, Any]

QUANTILES = (np.arange(64) + 0.5) / 64
"""Of the pixels of a map those errors are kept that are quantiles of these probabilities."""


def answers_of(mock: Mock, result: Reconstruction) -> dict[str, dict[str, Any]]:
    """Measures a macro-model's answer and that of the last stage: :func:`row_of`, by stage."""
    stages = dict.fromkeys(("macro", str(result.product.value("STAGE"))))
    return {stage: row_of(mock, result, stage) for stage in stages}


def row_of(mock: Mock, result: Reconstruction, stage: str) -> dict[str, Any]:
    """Compares errors of a reconstruction's posterior with those that were made.

    Arguments:
        mock: The mock.
        result: Its reconstruction.
        stage: Whose answer is measured.

    Returns:
        ``snr``; ``symptoms`` by name; ``sheet``: slope of the fit, ``bend`` of its mass
        sheet, and what this has of the error of the slope;
        ``numbers``: truth, estimate and standard deviation by name; of some pixels within the
        arcs' reach, whose errors in standard deviations are ``QUANTILES`` of all's, ``kappa``:
        error and standard deviation, in units of the mean true convergence there; and
        ``source``: error, its standard deviation for want of the mass, that given the mass, and
        the brightness, in units of the mean true one; ``bright``: the same of pixels brighter than
        a fifth of the peak; ``pixels``: how many there are of each.
    """
    assert result.scene is not None and result.state is not None
    answer = result.answers[stage]
    prior = prior_of(result.scene, mock.lit)
    theta_E = metrics.effective_theta_E(answer.kappa, result.scene.frame.grid)
    symptoms = symptoms_of(result.scene, answer, result.state, prior, theta_E=theta_E)
    said: Any = result.product.stages["report"]["symptoms"]
    if stage == result.product.value("STAGE"):
        symptoms = Symptoms(**said)
    else:  # what the search found is the same
        symptoms = replace(symptoms, rival=said["rival"], rival_change=said["rival_change"])
    found = uncertainty_of(
        result.scene, answer, result.state, prior, symptoms, calibration=Calibration()
    )
    truth, known = true_numbers(mock), Known.of(mock)
    region = known.arc_mask & known.region
    alpha = (answer.alpha_x, answer.alpha_y)
    maps = Maps(answer.arcs, answer.kappa, alpha, answer.source, answer.source_grid)
    seen = known.reached(maps)
    seen &= found.source_std > 0  # which it is not beyond the disc of the source's prior
    kappa = np.stack([mock.truth.kappa - maps.kappa, found.kappa_std])
    posterior, right = found.posterior, known.source_on(maps)
    axes, rest = (
        p.square().sum(0).sqrt().numpy() for p in (posterior.source_axes, posterior.scatter)
    )
    source = np.stack([right - maps.source, axes, rest, maps.source])
    bright = seen & (maps.source > BRIGHT * maps.source.max())
    numbers, sheet = found.posterior.numbers, answer.sheet
    return {
        "snr": found.snr,
        "symptoms": asdict(symptoms),
        "sheet": [float(result.state.p[0, GAMMA]), sheet.bend, sheet.response * sheet.std],
        "numbers": {
            name: [value, numbers[name].value, numbers[name].std]
            for name, value in truth.items()
            if name in numbers
            and np.isfinite([value, numbers[name].value, numbers[name].std]).all()
        },
        "kappa": _some(kappa, mock.truth.kappa, region),
        "source": _some(source, right, seen),
        "bright": _some(source, right, bright),
        "pixels": {
            "kappa": int(region.sum()),
            "source": int(seen.sum()),
            "bright": int(bright.sum()),
        },
    }


def _some(
    maps: NDArray[np.float64], truth: NDArray[np.float64], region: NDArray[np.bool_]
) -> list[list[float]]:
    """Picks pixels of a region whose errors in standard deviations are quantiles of all's.

    Arguments:
        maps: Errors, one or two parts of their standard deviations, and more, (k, h, w).
        truth: What is true, whose mean modulus is the unit, (h, w).
        region: The region.

    Returns:
        Their values; none where there is no pixel, or no unit.
    """
    pixels, unit = maps[:, region], float(np.abs(truth[region]).sum()) / max(region.sum(), 1)
    if not unit > 0:  # a source that is elsewhere
        return []
    error, *parts = pixels / unit
    order = np.argsort(error / np.hypot(parts[0], parts[1] if len(parts) > 1 else 0.0))
    chosen = order[(QUANTILES * len(order)).astype(int)]
    return [[float(f"{v:.4g}") for v in each[chosen]] for each in (error, *parts)]


def traits_of_row(row: Row) -> NDArray[np.float64]:
    """Returns the traits of an answer; those of a usual one where nothing is known of it."""
    if "traits" in row:
        return row["traits"]
    return traits_of(Symptoms(**row["symptoms"]), row["snr"]) if "symptoms" in row else USUAL


def measured(
    options: CalibrateOptions,
    answers: Callable[[int, Mock, ReconstructOptions], Mapping[str, Row]],
) -> list[dict[str, Any]]:
    """Measures the mocks of a shard that are not done, each a line of the folder, and returns all
    that the folder has.

    Arguments:
        options: Which mocks, and the folder.
        answers: Measures one, of its number, the mock and how it is reconstructed: a row for each
            stage, the last one's last.

    Raises:
        InputError: If an option is impossible, or the folder holds rows of something else.
    """
    folder, kind = Path(options.output), "standard" if options.recipe is None else "recipe"
    indices = options.indices()
    suite = Standard(EvaluateOptions(suite="standard", split=options.split, recipe=options.recipe))
    if options.recipe is not None and not suite.own_galaxies:
        raise InputError(
            f"{options.recipe}: must name galaxies, for mocks other than the standard ones; found "
            "none; leave --recipe out, or give another"
        )
    run = run_of(options)
    if options.recipe is not None:
        run["recipe"] = suite.digest
    folder.mkdir(parents=True, exist_ok=True)
    done = {each["index"] for each in read_rows(folder, run) if each["kind"] == kind}
    todo = [index for index in indices if index not in done]
    path = folder / f"rows-{kind}-{options.shard.replace('/', 'of')}.jsonl"
    with progress("mocks", total=len(todo)) as bar:
        for index in todo:
            mock = suite.mock(index)
            light = light_option(mock.lit)
            how = ReconstructOptions(lens_light=light, stage=options.stage)
            line = {
                **run,
                "kind": kind,
                "index": index,
                "facts": mock.facts | suite.facts(index),
                "answers": answers(index, mock, how),
            }
            append_line(path, json.dumps(line))
            bar.update()
    return read_rows(folder, run)


def run_of(options: CalibrateOptions) -> dict[str, str]:
    """Returns what all rows of a folder have to have in common, but for the recipe's mocks."""
    machine = "none" if options.stage == "macro" else cards()[DEFAULT].sha256[:16]
    return {
        "version": __version__,
        "symptoms": " ".join(field.name for field in fields(Symptoms)),
        "measured": options.what,
        "split": options.split,
        "last stage": options.stage,
        "machine": machine,
    }


def read_rows(folder: Path, run: Mapping[str, str]) -> list[dict[str, Any]]:
    """Reads all rows of a folder; lines that were cut off are left out.

    Arguments:
        folder: The folder.
        run: What they must have in common (:func:`run_of`), and those of a recipe's mocks as
            ``recipe`` what these are made of.

    Returns:
        Those of each kind of mocks by number, a row for each answer: what was measured,
        ``kind``, ``index``, ``stage``, whether that is the ``last``, ``facts`` of the mock,
        ``traits``, and as ``weight`` the inverse of the number of the answers to the same mock.

    Raises:
        InputError: If they are those of another version, set of mocks, stage, machine or recipe.
    """
    lines = {}
    for path in sorted(folder.glob("rows*.jsonl")):
        for line in read_lines(path):
            for name, right in run.items():
                if name == "recipe" and line.get("kind") == "standard":
                    continue
                if (found := line.get(name)) != right:
                    raise InputError(
                        f"{path}: rows must be those of {name} {right}, found those of "
                        f"{found or 'an older one'}; take another --output"
                    )
            lines[line["kind"], line["index"]] = line
    return [
        {
            "kind": kind,
            "index": index,
            "stage": stage,
            "last": stage == list(line["answers"])[-1],
            "facts": line["facts"],
            "weight": 1 / len(line["answers"]),
            "traits": traits_of_row(row),
            **row,
        }
        for (kind, index), line in sorted(lines.items())
        for stage, row in line["answers"].items()
    ]
