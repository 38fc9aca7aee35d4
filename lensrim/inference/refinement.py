"""What is done to the last stage's answer, and when it is not kept.

- ``descent``: the mass is refined on the image's evidence, under a prior that was fitted to what
  true masses have besides a macro-model, or besides a machine's answers
  (:mod:`~lensrim.inference.refine`), and the source solved for once more;
- ``weights``: the weights of the machine are adapted to the image, held by an elastic penalty
  (:mod:`~lensrim.inference.weights`), and the source solved for once more.

The answers of the stages before stay beside the new one.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal, Protocol, runtime_checkable

import torch

from ..io.stream import one_line
from .answer import Answer, adapted, answer, arc_chi2, maps_of
from .learning import ROUNDS, WORSE, Outcome
from .macro import MacroPrior, MacroState
from .perturbation import MACRO, packaged_prior
from .refine import refine
from .scene import Scene
from .search import Stage

RefineName = Literal["none", "descent", "weights"]
REFINED = ("descent", "weights")
"""The stages that are refinements."""


@runtime_checkable
class Refinement(Protocol):
    """Adds an answer to those of the stages, or a note why there is none."""

    def __call__(self, outcome: Outcome, scene: Scene, state: MacroState) -> Outcome: ...


@dataclass(frozen=True)
class Descent:
    """Creates the descent.

    Arguments:
        prior: Prior of the macro-model.
        stage: The last stage of its search.
    """

    prior: MacroPrior
    stage: Stage

    def __call__(self, outcome: Outcome, scene: Scene, state: MacroState) -> Outcome:
        """Refines the mass of the last answer, and solves for the source once more.

        Where the evidence prefers no change, the answer stays, with a note.
        """
        last = outcome.last
        plain = outcome.begun == "macro"
        refined = refine(
            scene,
            state,
            self.prior,
            start=None if plain else maps_of(last),
            perturbations=packaged_prior("masses" if plain else "answers").without_rings(),
            stage=self.stage,
        )
        outcome = replace(outcome, refined=refined)
        if refined.scale == 0:
            note = "descent: the evidence prefers the mass unchanged"
            return replace(outcome, notes=[*outcome.notes, note])
        own = replace(refined.state, p=refined.state.p[:, :MACRO])
        side = last.source_grid.fov[0]
        found = answer(scene, refined.maps, own, source_fov=side, tune=ROUNDS)
        least = -math.inf  # a machine's mass was not chosen by its evidence
        if plain:  # a source prior that climbs has more evidence with any mass
            before = answer(scene, maps_of(last), state, source_fov=side, tune=ROUNDS)
            least = before.log_evidence
        return kept(outcome, scene, "descent", adapted(scene, found), least=least)


def tried(
    refinement: Refinement, name: str, outcome: Outcome, scene: Scene, state: MacroState
) -> Outcome:
    """Refines, or leaves the answer as it is, with a note, where a matrix cannot be inverted."""
    try:
        return refinement(outcome, scene, state)
    except torch.linalg.LinAlgError as error:  # type: ignore[reportPrivateImportUsage]
        note = f"the answer is that before {name}, which failed: {one_line(error)}"
        return replace(outcome, notes=[*outcome.notes, note])


def kept(
    outcome: Outcome, scene: Scene, name: str, found: Answer, *, least: float = -math.inf
) -> Outcome:
    """Makes an answer the last one, unless it fits clearly worse, or is less likely: then it stays
    beside, with a note.

    Arguments:
        outcome: What there is.
        scene: The observation.
        name: Stage of the answer.
        found: The answer.
        least: Log-evidence of the answer before, its source prior found in the same way.
    """
    last = outcome.last
    answers = {**outcome.answers, name: found}
    before, after = arc_chi2(scene, last), arc_chi2(scene, found)
    lost = found.log_evidence < least
    if after <= max(WORSE * before, 1.0) and not lost:
        return replace(outcome, answers=answers, stage=name, origin=outcome.begun)
    said = f"chi2 of the arcs {after:.2f}, before {before:.2f}"
    if lost:
        said = f"log-evidence {found.log_evidence:.1f}, before {least:.1f}"
    note = f"the answer is that before {name}, which fits worse: {said}"
    return replace(outcome, answers=answers, notes=[*outcome.notes, note])
