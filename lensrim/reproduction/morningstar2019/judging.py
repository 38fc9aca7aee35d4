"""Judges machines and inversions: the same lenses, first with the true numbers, then as read."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from ...evaluation.problems.problem import CHOICE
from ...training.feed import to_device
from ..lensed.inversion import invert, refine
from ..lensed.judging import MODES, Judged, Machine, Notes, chosen_weight, iterated, together
from ..lensed.lenses import Draws
from ..lensed.recipe import Unseen
from ..paper import Setting
from .lenses import Lenses, scene_of, shown

CHOSEN = 32
"""Separate lenses on which the weight of the gradient is chosen."""


def judge(
    lenses: Lenses,
    machines: Mapping[str, Machine],
    reader: nn.Module,
    unseen: Unseen,
    sign: Mapping[str, Any],
    setting: Setting,
) -> dict[str, Any]:
    """Judges machines, inversions and what a network reads, in all processes of a group.

    Arguments:
        lenses: The population.
        machines: The machines, by name, on the setting's device.
        reader: The network that reads lenses, likewise.
        unseen: The lenses on which they are judged.
        sign: The checksums of the weights, by which it is told what was judged before.
        setting: The folder, the seed, the device and the group.

    Returns:
        What :func:`~lensrim.reproduction.lensed.judging.together` returns, by lens (``known``,
        ``read``, ``refined``), with ``curves`` of known lenses alone, the images and masks that
        are ``shown``, and ``weight``, of the gradient.
    """

    def choose(_: int) -> float:
        drawn = lenses.draw(min(CHOSEN, unseen.count), setting.seed, CHOICE, 0, "validation")
        other = to_device(drawn, setting.device)
        return chosen_weight(scene_of(other, other["lens"]))

    # By one of them for all: two might differ by their rounding.
    (weight,) = setting.group.dealt(1, choose)
    one = partial(judge_part, machines, reader, weight)
    parts = unseen.judged(lenses, one, {"weight": weight, **sign}, setting)
    found = together(parts)
    return found | {"curves": found["curves"]["known"], "weight": weight}


def judge_part(
    machines: Mapping[str, Machine], reader: nn.Module, weight: float, draws: Draws
) -> Judged:
    """Judges all on a few lenses, on their device."""
    with torch.no_grad():
        read = reader(shown(draws))
    used = {
        "known": draws["lens"],
        "read": read,
        "refined": refine(scene_of(draws, read), read),
    }
    notes, effective = Notes(), {}
    for name in ("image", "mask"):
        notes.show(name, draws[name])
    for label, lens in used.items():
        scene = scene_of(draws, lens)
        steps = iterated(scene, machines, weight)
        source, effective[label] = invert(scene, lens)
        notes.take(label, scene, steps | {MODES: [source]})
    return Judged(
        notes,
        {label: (lens - draws["lens"]).abs().cpu() for label, lens in used.items()},
        1 / draws["sigma"].flatten(1).median(1).values.cpu(),
        effective["known"].cpu(),
    )
