"""Judges all on the same unseen observations: of the sky, of the lens, and of the source."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...evaluation.problems.problem import CHOICE
from ...training.feed import to_device
from ..judged import kept_by_first
from ..lensed.inversion import invert, refine
from ..lensed.judging import (
    MODES,
    Judged,
    Machine,
    Notes,
    chosen_weight,
    iterated,
    together,
)
from ..lensed.lenses import NAMES, Draws
from ..lensed.reader import SPREADS
from ..lensed.recipe import Unseen
from ..paper import Setting
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


def choices(skies: Skies, count: int, setting: Setting) -> Choices:
    """Chooses settings of the others on so many lenses; the first process does it for all, for two
    might differ by their rounding, and so might two sessions: what was chosen is kept."""

    def choose(_: int) -> Choices:
        drawn = skies.draw(count, setting.seed, CHOICE, 0, "validation")
        draws = to_device(drawn, setting.device)
        sky = sky_scene(draws)
        return Choices(
            chosen_stop(sky), chosen_weight(sky), chosen_weight(lens_scene(draws, draws["lens"]))
        )

    found = kept_by_first(
        setting.folder / "chosen.pt",
        {
            "skies": str(replace(skies, galaxies={})),
            "galaxies": str(setting.data),
            "count": count,
            "seed": setting.seed,
        },
        lambda: asdict(setting.group.dealt(1, choose)[0]),
        setting.group,
    )
    return setting.group.from_first(lambda: Choices(**(found or {})))


def judge(
    skies: Skies,
    machines: Mapping[str, Mapping[str, Machine]],
    readers: Readers,
    chosen: Choices,
    unseen: Unseen,
    sign: Mapping[str, Any],
    setting: Setting,
) -> dict[str, Any]:
    """Judges machines, CLEAN, inversions, and what is read of the lens, in all processes.

    Arguments:
        skies: The population.
        machines: The machines by name, for the ``sky`` and for the ``source``, on the setting's
            device.
        readers: The networks that read lenses, likewise.
        chosen: Settings of the others.
        unseen: The lenses on which they are judged.
        sign: The checksums of the weights, by which it is told what was judged before.
        setting: The folder, the seed, the device and the group.

    Returns:
        What :func:`~lensrim.reproduction.lensed.judging.together` returns, of the ``sky``, the
        ``source``, and ``source, read`` with the lens that was read and refined; and the settings:
        ``stop`` and ``weights``.
    """
    one = partial(judge_part, machines, readers, chosen)
    parts = unseen.judged(skies, one, {**asdict(chosen), **sign}, setting)
    return together(parts) | {
        "stop": chosen.stop,
        "weights": {"sky": chosen.sky, "source": chosen.source},
    }


def judge_part(
    machines: Mapping[str, Mapping[str, Machine]],
    readers: Readers,
    chosen: Choices,
    draws: Draws,
) -> Judged:
    """Judges all on a few lenses, on their device."""
    notes, effective = Notes(), {}
    judge_sky(draws, machines["sky"], chosen, notes)
    with torch.no_grad():
        read = readers(draws)
    read[REFINED] = refine(lens_scene(draws, read["ours"]), read["ours"])
    for label, lens in {"source": draws["lens"], "source, read": read[REFINED]}.items():
        scene = lens_scene(draws, lens)
        steps = iterated(scene, machines["source"], chosen.source)
        source, effective[label] = invert(scene, lens)
        notes.take(label, scene, steps | {MODES: [source]})
    return Judged(
        notes,
        {kind: (lens - draws["lens"]).abs().cpu() for kind, lens in read.items()},
        peaks(draws).cpu(),
        effective["source"].cpu(),
    )


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
