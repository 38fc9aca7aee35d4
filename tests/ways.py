"""Searches that take little time: the ways of :mod:`lensrim.inference.fit`, with other stages."""

from dataclasses import replace

from lensrim.inference.fit import WAYS, SearchName, Way
from lensrim.inference.search import STAGES, Stage


def few_stages(modes: int = 6, steps: int = 2) -> tuple[Stage, Stage]:
    """Returns two stages, the last of which ends with a single candidate.

    Arguments:
        modes, steps: Of the last stage.
    """
    first = replace(STAGES[0], modes=4, steps=2, keep=2)
    return first, replace(STAGES[-1], modes=modes, steps=steps, keep=1)


def short(stages: tuple[Stage, ...] = few_stages()) -> dict[SearchName, Way]:
    """Returns the ways with these stages, of which those from the network's guesses lack one."""
    return {
        name: replace(way, stages=stages if way.draws is None else stages[1:])
        for name, way in WAYS.items()
    }
