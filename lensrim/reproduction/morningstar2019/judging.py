"""Judges machines and inversions: the same lenses, first with the true numbers, then as read."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from ...evaluation.problems.problem import CHOICE, UNSEEN
from ...rim import RIM
from .inversion import invert, pixels, refine
from .lenses import NAMES, Draws, Lenses, View, errors, source_on, view_of
from .machines import CALLS, Design, Ours

TOGETHER = 8
"""Lenses that are worked on at once."""

WEIGHTS = (3.0, 10.0, 30.0, 100.0, 300.0)
"""Weights of the gradient, among which the inversion on pixels chooses by the source's error."""

END = 60
"""Iterations of the inversion on pixels."""

PIXELS, MODES = "pixels, conjugate gradients", "modes, evidence"

TRUTH = "truth on the map"

KEPT = 4
"""Lenses whose maps are kept for the figure."""


@dataclass(frozen=True)
class Machine:
    """Holds a trained machine and how it is run."""

    design: Design
    rim: RIM

    def states(self, draws: Draws, view: View) -> list[Tensor]:
        """Runs it; returns the source at the start and after each step."""
        with torch.no_grad():
            trajectory = self.design.run(self.rim, draws, view)
        return [value["source"] for value in trajectory.values]


def in_parts(draws: Draws) -> Iterator[Draws]:
    """Yields a few lenses at a time."""
    for at in range(0, len(draws["image"]), TOGETHER):
        yield {name: value[at : at + TOGETHER] for name, value in draws.items()}


def last_of(draws: Draws, view: View, *, weight: float, calls: int) -> list[Tensor]:
    """Returns what each iteration on pixels makes."""
    with torch.no_grad():
        return list(islice(pixels(draws, view, weight=weight), calls))


def chosen_weight(lenses: Lenses, count: int, seed: int) -> float:
    """Chooses the weight of the gradient on separate lenses, by the mean relative error."""
    draws = lenses.draw(count, seed, CHOICE, 0, "validation")
    view = view_of(draws, draws["lens"])

    def error(weight: float) -> float:
        source = last_of(draws, view, weight=weight, calls=END)[-1]
        return float(errors(draws, view, source)["relative L2"].mean())

    return min(WEIGHTS, key=error)


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
    weight = chosen_weight(lenses, min(32, unseen), seed)
    draws = lenses.draw(unseen, seed, UNSEEN, 0, "test")
    found: dict[str, dict[str, dict[str, list[Tensor]]]] = {}
    curves: dict[str, list[Tensor]] = {}
    offs: dict[str, list[Tensor]] = {}
    shown: dict[str, Tensor] = {}
    effective = []
    for part in in_parts(draws):
        with torch.no_grad():
            read = reader(part)
        used = {"known": part["lens"], "read": read, "refined": refine(part, read)}
        for label, lens in used.items():
            view = view_of(part, lens)
            steps, count = answers(part, view, lens, machines, weight)
            effective += [count] if label == "known" else []
            offs.setdefault(label, []).append((lens - part["lens"]).abs())
            for name, sources in steps.items():
                measured = [errors(part, view, source) for source in sources]
                own = found.setdefault(label, {}).setdefault(name, {})
                for measure, value in measured[-1].items():
                    own.setdefault(measure, []).append(value)
                if label == "known":
                    curve = torch.stack([m["relative L2"] for m in measured], 1)
                    curves.setdefault(name, []).append(curve)
                if not shown.get(f"{label}: {name}", torch.zeros(0)).numel():
                    shown[f"{label}: {name}"] = sources[-1][:KEPT].clone()
    first = {name: value[:KEPT].clone() for name, value in draws.items()}
    return {
        "errors": {
            label: {
                name: {measure: torch.cat(parts) for measure, parts in own.items()}
                for name, own in methods.items()
            }
            for label, methods in found.items()
        },
        "curves": {name: torch.cat(parts).mean(0) for name, parts in curves.items()},
        "lens errors": {
            label: dict(zip(NAMES, torch.cat(parts).unbind(1), strict=True))
            for label, parts in offs.items()
        },
        "snr": 1 / draws["sigma"].flatten(1).median(1).values,
        "shown": shown | {"image": first["image"], "mask": first["mask"]},
        "weight": weight,
        "effective": torch.cat(effective),
    }


def answers(
    draws: Draws, view: View, lens: Tensor, machines: Mapping[str, Machine], weight: float
) -> tuple[dict[str, list[Tensor]], Tensor]:
    """Solves for the sources of a few lenses, by all.

    Returns:
        Of each the sources after its calls, and the effective number of parameters of the modes.
    """
    solve = partial(last_of, draws, view)
    steps: dict[str, list[Tensor]] = {TRUTH: [source_on(draws, view)]}
    for name, machine in machines.items():
        own = machine.states(draws, view)
        if isinstance(machine.design, Ours):
            own = [*solve(weight=machine.design.weight, calls=CALLS)[:-1], *own]
        else:
            own = own[1:]
        steps[name] = own
    steps[PIXELS] = solve(weight=weight, calls=END)
    source, effective = invert(draws, view, lens)
    steps[MODES] = [source]
    return steps, effective
