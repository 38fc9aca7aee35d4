"""What a trained machine adds to the macro-model's answer, or why it adds nothing.

Two stages follow the macro-model: ``rim`` is what the machine returns; in ``final`` the source is
solved for once more, linearly, given the machine's deflection, under a prior about the machine's
source whose strength follows the evidence: what the machine has explained is kept, and what it
left over is fitted as far as it is more than noise.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from ..errors import InputError
from .answer import Answer, answer, with_source
from .apply import apply, batch_of, measured
from .judgement import arc_chi2
from .machine import Machine
from .macro import MacroState
from .search import Scene

StageName = Literal["macro", "rim", "final"]

WORSE = 1.2
"""Ratio of the arcs' χ² to that of the macro-model's answer above which a machine has failed."""

ROUNDS = 10
"""Rounds in which the prior of what a machine's source lacks climbs the evidence."""


@dataclass(frozen=True)
class Outcome:
    """Holds the answers of the stages.

    Arguments:
        answers: By stage, in their order; the last is the answer.
        notes: What the user should know.
    """

    answers: dict[str, Answer]
    notes: list[str] = field(default_factory=list)

    @property
    def stage(self) -> str:
        """The last stage."""
        return list(self.answers)[-1]

    @property
    def last(self) -> Answer:
        """The answer."""
        return self.answers[self.stage]


def learn(
    machine: Machine,
    scene: Scene,
    state: MacroState,
    macro: Answer,
    *,
    has_light: bool,
    until: StageName = "final",
    strict: bool = False,
    source_fov: float | None = None,
    tick: Callable[[], object] = lambda: None,
) -> Outcome:
    """Runs the stages of a machine.

    Arguments:
        machine: The machine.
        scene: The observation.
        state: Its macro-model.
        macro: The macro-model's answer.
        has_light: Whether the image holds its lens galaxy.
        until: Last stage.
        strict: Whether to raise where the machine cannot be used.
        source_fov: Side of the source map [arcsec]; the machine's own if ``None``.
        tick: Called after each stage.

    Returns:
        The answers, of the macro-model alone where the machine is not valid, or fits worse.

    Raises:
        InputError: If ``strict`` and the machine cannot be used.
    """
    batch = batch_of(scene, macro, has_light)
    beyond = machine.beyond(measured(batch, state.p, scene.frame.grid.spacing))
    if beyond:
        return _refused(macro, f"is not valid here: the {'; the '.join(beyond)}", machine, strict)
    deflector, known = apply(machine, scene, batch, state)
    tick()
    final = answer(scene, deflector, state, known=known, source_fov=source_fov, tune=ROUNDS)
    tick()
    found = {"macro": macro, "rim": with_source(scene, deflector, final, known)}
    if until == "final":
        found["final"] = final
    before, after = arc_chi2(scene, macro), arc_chi2(scene, list(found.values())[-1])
    if not after <= max(WORSE * before, 1.0):
        said = f"fits the arcs worse: chi2 {after:.2f}, macro-model {before:.2f}"
        return _refused(macro, said, machine, strict)
    return Outcome(found)


def _refused(macro: Answer, reason: str, machine: Machine, strict: bool) -> Outcome:
    """Gives the macro-model's answer with a note, or raises."""
    if strict:
        raise InputError(
            f"--strict: model {machine.name} {reason}; give --stage macro, or no --strict"
        )
    note = f"the answer is the macro-model's: model {machine.name} {reason}"
    return Outcome({"macro": macro}, [note])
