"""Cases: answers of which it is known whether they are right, with their symptoms.

One line of JSON for each answer. What the chain was given gives its own answer and, where it is
one of the standard validation mocks, a wrong one: the best that has another Einstein radius.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from ...datasets.presets import PRESETS
from ...datasets.priors import SystemPrior
from ...errors import InputError
from ...inference.answer import adapted, answer, mass_maps_of
from ...inference.answer_sheet import sheet_of, with_sheet
from ...inference.judgement import numbers_of
from ...inference.macro import MacroState
from ...inference.options import ReconstructOptions
from ...inference.reconstruct import reconstruct
from ...inference.scene import Scene
from ...inference.search import Stage, climb, problem
from ...inference.symptoms import Symptoms, symptoms_of
from ...inference.together import prior_of
from ...io.observation import Observation
from ..comparison import compare_maps
from ..maps import Maps
from ..mocks import Mock, light_option, make_mock
from ..rows import append_line, read_lines
from ..standard import standard_mock
from .fitting import Judged
from .no_lenses import no_lens

WRONG = 0.1
"""Relative error of the Einstein radius above which an answer is wrong."""

SEED = 40_000
"""First seed of the mocks that are not standard ones."""


@dataclass(frozen=True)
class Case:
    """Creates a case.

    Arguments:
        kind: What was observed.
        number: Which of its kind.
        made: Whether the answer was made wrong, and is not the chain's own.
        theta_error: Relative error of the macro-model's Einstein radius; NaN where there is no
            lens.
        misfit: Noise-free misfit D on the true arcs; NaN likewise.
        kappa: Error of log10 kappa [dex]; NaN likewise.
        symptoms: Those of the answer.
    """

    kind: str
    number: int
    made: bool
    theta_error: float
    misfit: float
    kappa: float
    symptoms: Symptoms

    @property
    def wrong(self) -> bool:
        """Whether the Einstein radius is wrong, as it is where there is no lens."""
        return not self.theta_error <= WRONG

    @property
    def bad(self) -> bool:
        """Whether maps are bad: kappa by more than 0.15 dex, or D above 2."""
        return not (self.kappa <= 0.15 and self.misfit <= 2)

    @property
    def judged(self) -> Judged:
        """What the score is fitted to."""
        return Judged(self.symptoms, self.wrong, f"{self.kind} {self.number}")


def blurred(mock: Mock, number: int) -> Mock:
    """Gives a mock a PSF that is too wide, by 0.6 to 1.2 pixels in quadrature."""
    width = np.random.default_rng([number, 1]).uniform(0.6, 1.2)
    psf = gaussian_filter(np.pad(mock.observation.psf, 4), width)
    return replace(mock, observation=replace(mock.observation, psf=psf))


def spoilt(number: int) -> Mock:
    """Makes a mock with the contaminants of one of the presets."""
    preset = PRESETS[("slacs", "euclid", "jwst")[number % 3]].system
    prior = SystemPrior(contaminants=preset.contaminants, psf_changes=preset.psf_changes)
    return make_mock(SEED + number, prior=prior)


def drawn(**population: Any) -> Callable[[int], Mock]:
    """Returns a maker of mocks of a population."""
    return lambda number: make_mock(SEED + number, prior=SystemPrior(**population))


KINDS: Mapping[str, Callable[[int], Mock | Observation]] = {
    "standard": lambda number: standard_mock(number, split="validation"),
    "spoilt": spoilt,
    "faint": drawn(snr=(4.0, 9.0)),
    "one-sided": drawn(source_offset=1.2),
    "wrong PSF": lambda number: blurred(make_mock(SEED + number), number),
    "points": drawn(source_radius=(0.004, 0.008), source_radius_min=0.05),
    "no lens": no_lens,
}
"""Makers of what is observed, by kind."""


def cases_of(kind: str, number: int) -> Iterator[Case]:
    """Makes the cases of an observation; none where the chain refuses it."""
    seen = KINDS[kind](number)
    mock = seen if isinstance(seen, Mock) else None
    observation = seen if isinstance(seen, Observation) else seen.observation
    light = mock is None or mock.lit
    options = ReconstructOptions(lens_light=light_option(light))
    try:
        found = reconstruct(observation, options)
    except InputError:
        return
    symptoms = Symptoms(**found.product.stages["report"]["symptoms"])  # pyright: ignore
    radius = float(found.product.value("MACROTE"))
    yield Case(kind, number, False, *_errors(mock, radius, found.answers["macro"]), symptoms)
    if kind == "standard" and mock and found.scene is not None and found.state is not None:
        yield made_wrong(mock, found.scene, found.state, number)


def made_wrong(mock: Mock, scene: Scene, right: MacroState, number: int) -> Case:
    """Makes the best answer that has another Einstein radius, by 15 to 70 %.

    Arguments:
        mock, number: The mock.
        scene: What is fitted of it.
        right: The macro-model that was found.
    """
    prior = prior_of(scene, not scene.light.is_dark)
    state = displaced(scene, right, np.random.default_rng([number, 2]))
    p, maps = state.p[0], mass_maps_of(scene, state)
    sheet = sheet_of(maps, p, scene.frame.grid, "expected")
    result = with_sheet(scene, adapted(scene, answer(scene, maps, state)), sheet, p)
    theta_E = numbers_of(scene, result)["theta_E"]
    symptoms = symptoms_of(scene, result, state, prior, theta_E=theta_E)
    radius = math.exp(float(state.p[0, 0]))
    return Case("standard", number, True, *_errors(mock, radius, result), symptoms)


def displaced(scene: Scene, state: MacroState, rng: np.random.Generator) -> MacroState:
    """Climbs from other Einstein radii, and never back across the middle between them."""
    prior = prior_of(scene, not scene.light.is_dark)
    (low, high), radius = prior.theta_E, float(state.p[0, 0].exp())
    factor = rng.uniform(0.45, 0.85) if rng.random() < 2 / 3 else rng.uniform(1.2, 1.7)
    factor = float(np.clip(factor, 1.05 * low / radius, 0.97 * high / radius))
    end = (low, max(1.04 * factor * radius, 1.06 * low))
    allowed = replace(prior, theta_E=end if factor < 1 else (0.96 * factor * radius, high))
    p = state.p.repeat(3, 1)
    p[:, 0], p[:, 7] = math.log(factor * radius), 2.0
    p[1, [1, 2, 5, 6]] = 0.0
    p[2, [1, 2, 5, 6]] = torch.from_numpy(rng.normal(size=4) * [0.15, 0.15, 0.06, 0.06])
    start = p.new_full((3,), 0.03)
    tried = MacroState(p, state.hyper.repeat(3, 1), torch.zeros_like(start), start)
    for stage in (
        Stage(modes=8, steps=6, keep=3, softening=0.05, subsample=1),
        Stage(modes=14, steps=6, keep=1, softening=0.0, free_slope=True),
    ):
        current = problem(scene, allowed, stage)
        tried = replace(tried, damping=torch.full_like(tried.damping, 0.03))
        tried = climb(current, current.tune(tried, rounds=6), stage.steps)
        tried = tried.select(tried.value.argsort(descending=True)[:1])
    return tried


def _errors(mock: Mock | None, radius: float, found: Any) -> tuple[float, float, float]:
    """Errors of Einstein radius, of the image and of kappa."""
    if mock is None:
        return float("nan"), float("nan"), float("nan")
    alpha = (found.alpha_x, found.alpha_y)
    maps = Maps(found.arcs, found.kappa, alpha, found.source, found.source_grid)
    errors = compare_maps(mock, maps)
    return abs(radius / mock.truth.macro_theta_E - 1), errors["misfit"], errors["kappa"]


def write_case(path: Path, case: Case) -> None:
    """Appends a case to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    append_line(path, json.dumps(asdict(case)))


def read_cases(path: Path) -> list[Case]:
    """Reads the cases of a file; a line that was cut off is left out.

    Raises:
        InputError: If it was made by a version with other symptoms.
    """
    if not path.exists():
        return []
    cases = []
    for values in read_lines(path):
        try:
            symptoms = Symptoms(**values["symptoms"])
        except TypeError as error:
            raise InputError(
                f"{path}: cases must have the symptoms of this version, found others ({error}); "
                "make them anew in another folder"
            ) from error
        cases.append(Case(**{**values, "symptoms": symptoms}))
    return cases


def left(cases: Sequence[Case], n: int) -> list[tuple[str, int]]:
    """Lists what is not done of ``n`` of every kind, of the standard ones twice as many."""
    done = {(case.kind, case.number) for case in cases}
    wanted = [(kind, k) for k in range(n) for kind in KINDS]
    wanted += [("standard", k) for k in range(n, 2 * n)]
    return [each for each in wanted if each not in done]
