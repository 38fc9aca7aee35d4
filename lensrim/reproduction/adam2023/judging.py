"""Judges machines on the same unseen lenses, as they are and fine-tuned, beside a macro-model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...errors import InputError
from ...evaluation.problems.problem import UNSEEN
from ...inference.learnt import start_state
from ...rim import RIM
from ..judged import kept
from .designs import Design, Ours, Published
from .measures import coherences, measured
from .starts import searched, together
from .systems import Draws, Systems, noise_of
from .tuning import FineTuning

TOGETHER = 8
"""Lenses that are worked on at once."""

MACRO = "macro-model"
TUNED = "{}, tuned"

SHOWN = 5
"""Lenses whose maps are kept for the figure."""


@dataclass(frozen=True)
class Machine:
    """Holds a trained machine and how it is run.

    Arguments:
        design: How.
        rim: The machine.
        weights: The checksum of its weights.
    """

    design: Design
    rim: RIM
    weights: str

    def states(self, draws: Draws) -> dict[str, Tensor]:
        """Runs it on all lenses, a few at a time."""
        parts = []
        for at in range(0, len(draws["image"]), TOGETHER):
            few = {name: value[at : at + TOGETHER] for name, value in draws.items()}
            with torch.no_grad():
                parts.append(dict(self.design.run(self.rim, few).last))
        return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def unseen_lenses(
    systems: Systems, folder: Path, *, count: int, seed: int, report: Callable[[str], None]
) -> Draws:
    """Draws the lenses on which all are judged, each with the start that a search finds.

    Those in which it finds no arcs are left out, and told.
    """
    lenses = []
    for i in range(count):
        sign = {"systems": str(systems), "seed": seed}
        found = kept(folder / f"{i:05d}.pt", sign, partial(_searched, systems, seed, i))
        if "refused" in found:
            report(f"lens {i} is left out: {found['refused']}")
        else:
            lenses.append(found)
    if not lenses:
        raise InputError(f"seed: must give lenses with arcs, found none of {count}; change it")
    return together(lenses)


def _searched(systems: Systems, seed: int, number: int) -> dict[str, Any]:
    """Draws a lens and searches it; tells why, where the search refuses it."""
    raw = systems.raw(1, seed, UNSEEN, number, "test")
    try:
        return dict(searched(raw, seed=seed))
    except InputError as error:
        return {"refused": str(error)}


def fine_tuned(
    machine: Machine, draws: Draws, tuning: FineTuning, path: Path, seed: int
) -> dict[str, Any]:
    """Fine-tunes a machine to each of the lenses; returns ``state`` and ``steps`` (B)."""

    def one(number: int) -> dict[str, Any]:
        lens = {name: value[number : number + 1] for name, value in draws.items()}
        state, steps = tuning(machine.design, machine.rim, lens, seed + number)
        return {"state": state, "steps": steps}

    sign = {"weights": machine.weights, "tuning": str(tuning), "seed": seed}
    found = [
        kept(
            path / f"{i:05d}.pt",
            sign | {"image": float(draws["image"][i].double().sum())},
            partial(one, i),
        )
        for i in range(len(draws["image"]))
    ]
    names = found[0]["state"]
    return {
        "state": {name: torch.cat([each["state"][name] for each in found]) for name in names},
        "steps": torch.tensor([each["steps"] for each in found]),
    }


def judge(
    systems: Systems,
    machines: Mapping[str, Machine],
    tuning: FineTuning,
    folder: Path,
    *,
    unseen: int,
    seed: int,
    report: Callable[[str], None],
) -> dict[str, Any]:
    """Judges machines and the macro-model that the search finds.

    Arguments:
        systems: The population.
        machines: The machines, by name; ``published`` and ``ours`` are fine-tuned as well.
        tuning: How.
        folder: Where what was found of single lenses is kept.
        unseen: Number of lenses.
        seed: Seed of the draws.
        report: Called with lines of text.

    Returns:
        ``measures``: by machine (or ``macro-model``) and measure, of
        :func:`~.measures.measured`; ``steps`` (B) of the fine-tunings, by machine; ``noise`` (B),
        that of the brightest pixel's; ``unrelated``: coherences of answers with the truths of
        other lenses; ``shown``: maps of a few lenses; ``lenses``, their number.
    """
    draws = unseen_lenses(systems, folder / "starts", count=unseen, seed=seed, report=report)
    scale = systems.pixel_scale
    states: dict[str, tuple[Design, dict[str, Tensor]]] = {
        MACRO: (Ours(), {name: value.clone() for name, value in start_state(draws).items()})
    }
    steps = {}
    for name, machine in machines.items():
        states[name] = machine.design, machine.states(draws)
        if name in ("published", "ours"):
            report(f"fine-tuning {name}")
            found = fine_tuned(machine, draws, tuning, folder / f"tuned-{name}", seed)
            states[TUNED.format(name)] = machine.design, found["state"]
            steps[name] = found["steps"]
    measures = {
        name: measured(design, state, draws, scale, systems.source_side)
        for name, (design, state) in states.items()
    }
    return {
        "measures": measures,
        "steps": steps,
        "noise": noise_of(draws),
        "unrelated": unrelated(*states["published"], draws, scale),
        "shown": shown(states, draws),
        "lenses": len(draws["image"]),
    }


def unrelated(
    design: Design, state: Mapping[str, Tensor], draws: Draws, pixel_scale: float
) -> dict[str, Tensor]:
    """Compares states with the truths of other lenses, of which they know nothing."""
    other = {name: value.roll(1, 0) for name, value in design.truth(draws).items()}
    return coherences(dict(state), other, design.source_side(draws) * pixel_scale, pixel_scale)


def shown(
    states: Mapping[str, tuple[Design, Mapping[str, Tensor]]], draws: Draws
) -> dict[str, Tensor]:
    """Collects what the figure of single lenses shows."""
    few = {name: value[:SHOWN] for name, value in draws.items()}
    kept_maps = {"image": few["image"], "sigma": few["sigma"]}
    for name, (design, state) in states.items():
        own = {key: value[:SHOWN] for key, value in state.items()}
        with torch.no_grad():
            kept_maps[f"{name}: image"] = design.image(own, few)
        kept_maps[f"{name}: source"] = own["source"]
        kept_maps[f"{name}: log_kappa"] = own["log_kappa"]
        kept_maps[f"{name}: side"] = design.source_side(few)
        if isinstance(design, Published):
            kept_maps["truth: source"] = few["fixed_source"]
            kept_maps["truth: side"] = design.source_side(few)
    kept_maps["truth: log_kappa"] = few["true_log_kappa"]
    return {name: value.clone() for name, value in kept_maps.items()}
