"""Judges machines and inversions: the same lenses, first with the true numbers, then as read."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...evaluation.problems.problem import CHOICE, UNSEEN
from ..lensed.inversion import invert, refine
from ..lensed.judging import KEPT, MODES, Machine, Notes, chosen_weight, in_parts, iterated
from ..lensed.lenses import NAMES
from .lenses import Lenses, scene_of, shown


def judge(
    lenses: Lenses, machines: Mapping[str, Machine], reader: nn.Module, *, unseen: int, seed: int
) -> dict[str, Any]:
    """Judges machines, inversions and what a network reads.

    Arguments:
        lenses: The population.
        machines: The machines, by name.
        reader: The network that reads lenses.
        unseen: Number of lenses.
        seed: Seed of the draws.

    Returns:
        ``errors``: by lens (``known``, ``read``, ``refined``), method and measure, with shape (B);
        ``curves``: means of the relative error after each call, by method, for known lenses;
        ``lens errors``: absolute errors of the numbers, by lens; ``snr`` (B); ``shown``: maps of a
        few lenses; ``weight``, of the gradient, and ``effective`` (B), parameters of the modes.
    """
    other = lenses.draw(min(32, unseen), seed, CHOICE, 0, "validation")
    weight = chosen_weight(scene_of(other, other["lens"]))
    draws = lenses.draw(unseen, seed, UNSEEN, 0, "test")
    notes, effective = Notes(), []
    offs: dict[str, list[Tensor]] = {}
    for part in in_parts(draws):
        with torch.no_grad():
            read = reader(shown(part))
        used = {
            "known": part["lens"],
            "read": read,
            "refined": refine(scene_of(part, read), read),
        }
        for label, lens in used.items():
            scene = scene_of(part, lens)
            steps = iterated(scene, machines, weight)
            source, count = invert(scene, lens)
            notes.take(label, scene, steps | {MODES: [source]})
            effective += [count] if label == "known" else []
            offs.setdefault(label, []).append((lens - part["lens"]).abs())
    first = {name: value[:KEPT].clone() for name, value in draws.items()}
    return {
        "errors": notes.errors,
        "curves": notes.curves_of("known"),
        "lens errors": {
            label: dict(zip(NAMES, torch.cat(parts).unbind(1), strict=True))
            for label, parts in offs.items()
        },
        "snr": 1 / draws["sigma"].flatten(1).median(1).values,
        "shown": notes.shown | {"image": first["image"], "mask": first["mask"]},
        "weight": weight,
        "effective": torch.cat(effective),
    }
