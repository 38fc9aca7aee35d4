"""Judges all on the same unseen observations: of the sky, of the lens, and of the source."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...evaluation.problems.problem import CHOICE, UNSEEN
from ..lensed.inversion import invert, refine
from ..lensed.judging import (
    KEPT,
    MODES,
    Machine,
    Notes,
    chosen_weight,
    in_parts,
    iterated,
)
from ..lensed.lenses import NAMES, Draws
from ..lensed.reader import SPREADS
from .clean import chosen_stop, clean, smoothed, smoothed_error
from .readers import CLEAN, DIRTY, Readers
from .skies import Skies, lens_scene, sky_scene

COMPONENTS = "CLEAN, components"

BLURRED = "relative L2 at the beam's resolution"

CHOSEN = 24
"""Separate lenses on which settings are chosen."""

REFINED = "refined"
"""What is read off the sky of our machine, after steps up the evidence."""


@dataclass(frozen=True)
class Choices:
    """Holds settings of the others, chosen on separate lenses.

    Arguments:
        stop: Where CLEAN stops.
        sky, source: Weights of the gradient.
    """

    stop: float
    sky: float
    source: float


def choices(skies: Skies, count: int, seed: int) -> Choices:
    """Chooses settings of the others."""
    draws = skies.draw(count, seed, CHOICE, 0, "validation")
    sky = sky_scene(draws)
    return Choices(
        chosen_stop(sky), chosen_weight(sky), chosen_weight(lens_scene(draws, draws["lens"]))
    )


def judge(
    skies: Skies,
    machines: Mapping[str, Mapping[str, Machine]],
    readers: Readers,
    chosen: Choices,
    *,
    unseen: int,
    seed: int,
) -> dict[str, Any]:
    """Judges machines, CLEAN, inversions, and what is read of the lens.

    Arguments:
        skies: The population.
        machines: The machines by name, for the ``sky`` and for the ``source``.
        readers: The networks that read lenses.
        chosen: Settings of the others.
        unseen: Number of lenses.
        seed: Seed of the draws.

    Returns:
        ``errors``: by what is sought (``sky``, ``source``, and ``source, read`` with the lens that
        was read and refined), method and measure, with shape (B); ``curves``: means of the
        relative error after each call, by what is sought and method; ``lens errors``: absolute
        errors of the numbers, by what they were read off; ``snr`` (B); ``shown``: maps of a few
        lenses; ``effective`` (B), parameters of the modes.
    """
    draws = skies.draw(unseen, seed, UNSEEN, 0, "test")
    notes, effective = Notes(), []
    offs: dict[str, list[Tensor]] = {}
    for part in in_parts(draws):
        judge_sky(part, machines["sky"], chosen, notes)
        with torch.no_grad():
            read = readers(part)
        read[REFINED] = refine(lens_scene(part, read["ours"]), read["ours"])
        for kind, lens in read.items():
            offs.setdefault(kind, []).append((lens - part["lens"]).abs())
        for label, lens in {"source": part["lens"], "source, read": read[REFINED]}.items():
            scene = lens_scene(part, lens)
            steps = iterated(scene, machines["source"], chosen.source)
            source, count = invert(scene, lens)
            notes.take(label, scene, steps | {MODES: [source]})
            effective += [count] if label == "source" else []
    return {
        "errors": notes.errors,
        "curves": {label: notes.curves_of(label) for label in notes.curves},
        "lens errors": {
            kind: dict(zip(NAMES, torch.cat(parts).unbind(1), strict=True))
            for kind, parts in offs.items()
        },
        "snr": peaks(draws),
        "shown": notes.shown | {f"sky: {DIRTY}": draws["image"][:KEPT].clone()},
        "effective": torch.cat(effective),
        "stop": chosen.stop,
        "weights": {"sky": chosen.sky, "source": chosen.source},
    }


def judge_sky(
    draws: Draws, machines: Mapping[str, Machine], chosen: Choices, notes: Notes
) -> None:
    """Judges what is made of the sky of a few lenses."""
    scene = sky_scene(draws)
    cleaned = clean(scene, stop=chosen.stop)
    steps = iterated(scene, machines, chosen.sky) | {
        DIRTY: [draws["image"]],
        CLEAN: [cleaned.restored],
        COMPONENTS: [cleaned.components],
    }
    notes.take("sky", scene, steps)
    for name, images in steps.items():
        # These have the resolution of the beam already, or worse.
        blurred = images[-1] if name in (DIRTY, CLEAN) else smoothed(images[-1], draws["spread"])
        notes.add("sky", name, BLURRED, smoothed_error(scene, blurred))


def peaks(draws: Draws) -> Tensor:
    """Computes the peaks of dirty images over their noise, with shape (B)."""
    scene = sky_scene(draws)
    return (scene.data.moment / scene.data.precision.sqrt()).amax((1, 2, 3))


def in_spreads(numbers: Mapping[str, Tensor]) -> Tensor:
    """Computes the root mean square of errors of the seven numbers, in their spreads, (B)."""
    errors = [numbers[name] / spread for name, spread in zip(NAMES, SPREADS, strict=True)]
    return torch.stack(errors).square().mean(0).sqrt()
