"""Judges machines on the same unseen lenses, as they are and fine-tuned, beside a macro-model.

The lenses are shared out to the processes of a group in parts of a few, whatever the number of
processes; machines, their fine-tuning and the search work on the setting's device, and what is
measured of maps is measured on the CPU. A search and a fine-tuning are of one lens each: what they
made is kept by the lens, in the folder of the process that made it.
"""

from collections.abc import Iterable, Mapping, Sequence
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
from ...training.feed import to_device
from ..judged import kept
from ..paper import Setting
from .designs import Design, Ours, Published
from .measures import coherences, measured
from .starts import searched, together
from .systems import Draws, Systems, noise_of
from .tuning import FineTuning

MACRO = "macro-model"
TUNED = "{}, tuned"

SHOWN = 5
"""Lenses whose maps are kept for the figure."""

COMPARED = 64
"""The first lenses that were found, whose maps are compared with those of others: they are brought
together."""

DECIDE = ("image", "source", "log_kappa", "shear")
"""Of a lens what decides on a fine-tuning to it: the image, and the start that was searched."""

States = Mapping[str, Tensor]


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
        """Runs it on lenses, where it is; returns its last states, on the CPU."""
        device = next(self.rim.parameters()).device
        with torch.no_grad():
            last = self.design.run(self.rim, to_device(draws, device)).last
        return {name: value.cpu() for name, value in last.items()}


@dataclass(frozen=True)
class Judging:
    """Says on what machines are judged, and how.

    Arguments:
        systems: The population.
        tuning: How machines are fine-tuned.
        unseen: Lenses on which all are judged.
        tuned: The first so many of them, to which ``published`` and ``ours`` are fine-tuned.
        together: Lenses of a part, which are worked on at once.
    """

    systems: Systems
    tuning: FineTuning
    unseen: int = 24
    tuned: int = 24
    together: int = 8

    def numbers(self, part: int) -> range:
        """Returns the numbers of the lenses of a part."""
        return range(part * self.together, min((part + 1) * self.together, self.unseen))


def judge(
    judging: Judging, machines: Mapping[str, Machine], folder: Path, setting: Setting
) -> dict[str, Any]:
    """Judges machines and the macro-model that the search finds, in all processes of a group.

    Arguments:
        judging: On what, and how.
        machines: The machines, by name, on the setting's device; ``published`` and ``ours`` are
            fine-tuned as well.
        folder: Where what was found of single lenses is kept.
        setting: The seed, the device and the group.

    Returns:
        ``measures``: by machine (or ``macro-model``) and measure, of
        :func:`~.measures.measured`; those of fine-tuned ones are of the first lenses alone;
        ``steps`` of the fine-tunings, by machine; ``noise`` (B), that of the brightest pixel's;
        ``unrelated``: coherences of answers with the truths of other lenses, of the first
        :data:`COMPARED` of them; ``shown``: maps of a few lenses; ``lenses`` and ``tuned``, their
        numbers.

    Raises:
        InputError: If the search finds arcs in none of the first lenses, to which machines are
            fine-tuned, or in fewer than two of all.
    """
    count = -(-judging.unseen // judging.together)
    own: dict[int, dict[str, Tensor]] = {}

    def one(part: int) -> dict[str, Any]:
        found, own[part] = judge_part(judging, machines, folder, setting, part)
        return found

    dealt = setting.group.dealt(count, one)
    parts = [part for part in dealt if part["lenses"]]
    first = [part for part in parts if part["tuned"]]
    if not first:
        raise InputError(
            f"seed: must give lenses with arcs, found none of the first {judging.tuned}, to which "
            "machines are fine-tuned; change it"
        )
    # Which are the first that were found is known when all were searched; each is asked of the
    # process whose part it is.
    wanted = first_parts([part["lenses"] for part in dealt], COMPARED)
    compared = setting.group.dealt(count, lambda part: own[part] if part in wanted else {})
    names = [TUNED.format(name) for name in first[0]["steps"]]
    return {
        "measures": {
            name: joined([part["measures"][name] for part in (first if name in names else parts)])
            for name in first[0]["measures"]
        },
        "steps": joined([part["steps"] for part in first]),
        "noise": torch.cat([part["noise"] for part in parts]),
        "unrelated": unrelated(
            {k: v[:COMPARED] for k, v in joined(part for part in compared if part).items()},
            judging.systems.pixel_scale,
        ),
        "shown": {k: v[:SHOWN] for k, v in joined([part["shown"] for part in first]).items()},
        "lenses": sum(part["lenses"] for part in parts),
        "tuned": sum(part["tuned"] for part in first),
    }


def joined(parts: Iterable[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Puts what was found of parts, by name, into one."""
    parts = list(parts)
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def first_parts(counts: Sequence[int], most: int) -> list[int]:
    """Returns the numbers of the parts that hold the first so many lenses; empty ones do not."""
    before = [sum(counts[:part]) for part in range(len(counts))]
    return [part for part, n in enumerate(before) if counts[part] and n < most]


def judge_part(
    judging: Judging, machines: Mapping[str, Machine], folder: Path, setting: Setting, part: int
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Judges all on the lenses of a part; no lenses, if the search refuses them all.

    Returns:
        What was found, and what :func:`unrelated` needs of these lenses.
    """
    lenses = unseen_lenses(judging, judging.numbers(part), folder / "starts", setting)
    if not lenses:
        return {"lenses": 0}, {}
    draws, numbers = together([*lenses.values()]), [*lenses]
    few = sum(number < judging.tuned for number in numbers)
    states: dict[str, tuple[Design, dict[str, Tensor]]] = {
        MACRO: (Ours(), {name: value.clone() for name, value in start_state(draws).items()})
    }
    steps = {}
    for name, machine in machines.items():
        states[name] = machine.design, machine.states(draws)
        if few and name in ("published", "ours"):
            found = fine_tuned(
                machine,
                {number: lenses[number] for number in numbers[:few]},
                judging.tuning,
                folder / f"tuned-{name}",
                setting,
            )
            states[TUNED.format(name)] = machine.design, found["state"]
            steps[name] = found["steps"]
    side, scale = judging.systems.source_side, judging.systems.pixel_scale
    measures = {}
    for name, (design, state) in states.items():
        own = {key: value[: len(state["source"])] for key, value in draws.items()}
        measures[name] = measured(design, state, own, scale, side)
    setting.report(f"judged lenses {numbers[0]} to {numbers[-1]} of {judging.unseen}")
    found = {
        "measures": measures,
        "steps": steps,
        "noise": noise_of(draws),
        "shown": shown(states, draws) if few else {},
        "lenses": len(numbers),
        "tuned": few,
    }
    return found, to_compare(*states["published"], draws)


def unseen_lenses(
    judging: Judging, numbers: Iterable[int], folder: Path, setting: Setting
) -> dict[int, Draws]:
    """Draws lenses, by number, each with the start that a search finds.

    Those in which it finds no arcs are left out, and told.
    """
    lenses = {}
    for number in numbers:
        sign = {"systems": str(judging.systems), "seed": setting.seed}
        one = partial(_searched, judging.systems, setting, number)
        found = kept(folder / f"{number:05d}.pt", sign, one)
        if "refused" in found:
            setting.report(f"lens {number} is left out: {found['refused']}")
        else:
            lenses[number] = found
    return lenses


def _searched(systems: Systems, setting: Setting, number: int) -> dict[str, Any]:
    """Draws a lens and searches it; tells why, where the search refuses it."""
    raw = systems.raw(1, setting.seed, UNSEEN, number, "test")
    try:
        return dict(searched(raw, seed=setting.seed, device=setting.device))
    except InputError as error:
        return {"refused": str(error)}


def fine_tuned(
    machine: Machine,
    lenses: Mapping[int, Draws],
    tuning: FineTuning,
    folder: Path,
    setting: Setting,
) -> dict[str, Any]:
    """Fine-tunes a machine to lenses, by number; returns ``state`` and ``steps`` (B)."""

    def one(number: int) -> dict[str, Any]:
        state, steps = tuning(machine.design, machine.rim, lenses[number], setting.seed + number)
        return {"state": state, "steps": steps}

    sign = {"weights": machine.weights, "tuning": str(tuning), "seed": setting.seed}
    found = [
        kept(
            folder / f"{number:05d}.pt",
            sign | {name: float(lens[name].double().sum()) for name in DECIDE},
            partial(one, number),
        )
        for number, lens in lenses.items()
    ]
    return {
        "state": joined([each["state"] for each in found]),
        "steps": torch.tensor([each["steps"] for each in found]),
    }


def to_compare(design: Design, state: States, draws: Draws) -> dict[str, Tensor]:
    """Collects what :func:`unrelated` needs of a few lenses."""
    truth = {f"true {name}": value for name, value in design.truth(draws).items()}
    return {**state, **truth, "side": design.source_side(draws)}


def unrelated(found: Mapping[str, Tensor], pixel_scale: float) -> dict[str, Tensor]:
    """Compares states with the truths of other lenses, of which they know nothing.

    Raises:
        InputError: If there is no other.
    """
    if len(found["side"]) < 2:
        raise InputError(
            "seed: must give two lenses with arcs or more, for each to be compared with another, "
            f"found {len(found['side'])}; change it"
        )
    maps = ("source", "log_kappa")
    state = {name: found[name] for name in maps}
    other = {name: found[f"true {name}"].roll(1, 0) for name in maps}
    return coherences(state, other, found["side"] * pixel_scale, pixel_scale)


def shown(states: Mapping[str, tuple[Design, States]], draws: Draws) -> dict[str, Tensor]:
    """Collects what the figure of single lenses shows, of those that are in all states."""
    count = min(SHOWN, *(len(state["source"]) for _, state in states.values()))
    few = {name: value[:count] for name, value in draws.items()}
    kept_maps = {"image": few["image"], "sigma": few["sigma"]}
    for name, (design, state) in states.items():
        own = {key: value[:count] for key, value in state.items()}
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
