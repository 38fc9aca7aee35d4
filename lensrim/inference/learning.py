"""What a trained machine adds to the macro-model's answer, or why it adds nothing.

After the macro-model's own answer, ``macro``, come

- ``rim``: what the machine returns;
- ``rim_inversion``: the source solved for anew, given the machine's deflection, under the source
  prior of the macro-model's inversion;
- ``final``: the same once more, under a prior that follows the light of that source
  (:mod:`~.envelope`), as in the macro-model's answer.

The standard deviations of ``rim``, and its effective number of parameters, are of an inversion on
the machine's own source map: what the image alone would leave, given the deflection.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from time import perf_counter
from typing import Literal

import torch

from ..errors import InputError
from ..grid import PixelGrid
from ..io.stream import one_line
from .answer import MOST, Answer, adapted, answer, arc_chi2, with_source
from .apply import apply, batch_of, measured
from .machine import Machine
from .macro import MacroState
from .refine import Refined
from .scene import Scene
from .source_system import preferred
from .view import Known, are_finite

StageName = Literal["macro", "rim", "final"]

WORSE = 1.2
"""Ratio of the arcs' χ² to that of the macro-model's answer above which a machine has failed."""

ROUNDS = 10
"""Rounds in which a source prior climbs the evidence."""

PARTS = 3
"""Parts of the work of :func:`learn`, after each of which it ticks."""


@dataclass(frozen=True)
class Outcome:
    """Holds the answers of the stages.

    Arguments:
        answers: By stage, in their order.
        stage: The one that is the answer.
        notes: What the user should know.
        origin: The stage that was refined, where the answer is that of a refinement.
        refined: The refined mass, where it was made.
        seconds: Time of each stage of a machine [s], beside that of those before it.
    """

    answers: dict[str, Answer]
    stage: str = "macro"
    notes: list[str] = field(default_factory=list)
    origin: str | None = None
    refined: Refined | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def last(self) -> Answer:
        """The answer."""
        return self.answers[self.stage]

    @property
    def begun(self) -> str:
        """The last stage before any refinement."""
        return self.origin or self.stage


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
        until: Stage that shall be the answer.
        strict: Whether to raise where the machine cannot be used.
        source_fov: Side of the source map [arcsec]. If ``None`` it is the machine's own, or for
            ``rim_inversion`` and ``final`` that of the macro-model's answer, where it is larger
            and the inversion has more evidence on it. Its pixels are those of the macro-model's
            answer where these are finer, and the evidence asks for it, whoever set the side.
        tick: Called after each of ``PARTS``.

    Returns:
        The answers; the macro-model's is the answer where the machine is not valid, where it has
        no finite answer, or no source given its mass, or where the arcs' χ² is larger by
        ``WORSE``.

    Raises:
        InputError: If ``strict`` and the machine cannot be used.
    """
    batch, found = batch_of(scene, macro, has_light), {"macro": macro}
    beyond = machine.beyond(measured(batch, state.p, scene.frame.grid.spacing))
    if beyond:
        return _refused(found, f"is not valid here: the {'; the '.join(beyond)}", machine, strict)
    ends = [perf_counter()]
    try:
        deflector, known = apply(machine, scene, batch, state)
        ends.append(perf_counter())
        tick()
        if not are_finite(deflector, known):
            return _refused(found, "gives no finite answer here", machine, strict)
        grids = [_own(known, source_fov)]
        if until == "final":
            grids += _other(grids[0], macro.source_grid)
        solved = [answer(scene, deflector, state, source_grid=grid, tune=ROUNDS) for grid in grids]
        inverted = preferred(*solved)
        ends.append(perf_counter())
        tick()
        last = adapted(scene, inverted) if until == "final" else inverted
    except torch.linalg.LinAlgError as error:  # type: ignore[reportPrivateImportUsage]
        said = f"has a mass with which no source can be solved for ({one_line(error)})"
        return _refused(found, said, machine, strict)
    # the machine's source has nothing to put on a larger map, or finer pixels
    found["rim"] = with_source(scene, deflector, solved[0], known)
    found["rim_inversion"] = inverted
    if until == "final":
        found["final"] = last
        ends.append(perf_counter())
    tick()
    plain, learnt = arc_chi2(scene, macro), arc_chi2(scene, found[until])
    if not learnt <= max(WORSE * plain, 1.0):
        said = f"fits the arcs worse: chi2 {learnt:.2f}, macro-model {plain:.2f}"
        return _refused(found, said, machine, strict)
    spent = (after - before for before, after in pairwise(ends))
    names = ("rim", "rim_inversion", "final")
    seconds: dict[str, float] = dict(zip(names, spent, strict=False))
    return Outcome(found, until, seconds=seconds)


def _own(known: Known, side: float | None) -> PixelGrid:
    """Returns the pixels of the machine's source map, more or fewer of them where a side [arcsec]
    is asked for: on other pixels its source is blurred, and would fit worse than it does."""
    n = known.source.shape[-1]
    spacing = known.fov / n
    if side is not None:
        # as many on either side
        more = n + 2 * round((side / spacing - n) / 2)
        if not 2 <= more <= MOST:
            return PixelGrid((n, n), side / n, known.center)
        n = more
    return PixelGrid((n, n), spacing, known.center)


def _other(own: PixelGrid, macro: PixelGrid) -> list[PixelGrid]:
    """Returns the pixels of another source map that is tried, or none.

    The machine's own map is tight about what it began with. Where the macro-model's source needed
    a larger one, faint light may lie beyond it, and where it needed finer pixels, there is a cusp
    that the machine's miss: the evidence of the inversion tells.
    """
    needed = macro.fov[0] > 1.05 * own.fov[0] or macro.shape[0] > own.shape[0]
    return [replace(macro, center=own.center)] if needed else []


def _refused(found: dict[str, Answer], reason: str, machine: Machine, strict: bool) -> Outcome:
    """Gives the macro-model's answer with a note, or raises."""
    if strict:
        raise InputError(
            f"--strict: model {machine.name} {reason}; give --stage macro, or no --strict"
        )
    note = f"the answer is the macro-model's: model {machine.name} {reason}"
    return Outcome(found, "macro", [note])
