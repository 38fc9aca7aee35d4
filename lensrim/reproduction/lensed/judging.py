"""What judgements of machines and of linear inversion have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ...rim import RIM
from ..paper import median
from .inversion import pixels
from .lenses import NAMES
from .machines import CALLS, Design, Ours
from .scene import Scene

WEIGHTS = (3.0, 10.0, 30.0, 100.0, 300.0)
"""Weights of the gradient, among which the inversion on pixels chooses by the error."""

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

    def states(self, scene: Scene) -> list[Tensor]:
        """Runs it; returns the source at the start and after each step."""
        with torch.no_grad():
            trajectory = self.design.run(self.rim, scene)
        return [value["source"] for value in trajectory.values]


def last_of(scene: Scene, *, weight: float, calls: int) -> list[Tensor]:
    """Returns what each iteration on pixels makes."""
    with torch.no_grad():
        return list(islice(pixels(scene, weight=weight), calls))


def chosen_weight(scene: Scene) -> float:
    """Chooses the weight of the gradient on separate lenses, by the mean relative error."""

    def error(weight: float) -> float:
        source = last_of(scene, weight=weight, calls=END)[-1]
        return float(scene.errors(source)["relative L2"].mean())

    return min(WEIGHTS, key=error)


def iterated(
    scene: Scene, machines: Mapping[str, Machine], weight: float
) -> dict[str, list[Tensor]]:
    """Returns what machines and the inversion on pixels make after each of their calls."""
    solve = partial(last_of, scene)
    steps: dict[str, list[Tensor]] = {TRUTH: [scene.truth]}
    for name, machine in machines.items():
        own = machine.states(scene)
        if isinstance(machine.design, Ours):
            own = [*solve(weight=machine.design.weight, calls=CALLS)[:-1], *own]
        else:
            own = own[1:]
        steps[name] = own
    steps[PIXELS] = solve(weight=weight, calls=END)
    return steps


class Notes:
    """Collects what was measured of a few lenses at a time, on the CPU."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, dict[str, list[Tensor]]]] = {}
        self.curves: dict[str, dict[str, list[Tensor]]] = {}
        self.shown: dict[str, Tensor] = {}

    @classmethod
    def together(cls, parts: Sequence["Notes"]) -> "Notes":
        """Puts parts into one, in their order; the maps are those of the first."""
        whole = cls()
        for part in parts:
            for label, methods in part.found.items():
                for name, own in methods.items():
                    for measure, values in own.items():
                        for value in values:
                            whole.add(label, name, measure, value)
            for label, curves in part.curves.items():
                for name, few in curves.items():
                    whole.curves.setdefault(label, {}).setdefault(name, []).extend(few)
            whole.shown = part.shown | whole.shown
        return whole

    def take(self, label: str, scene: Scene, steps: Mapping[str, list[Tensor]]) -> None:
        """Measures what all made of a few lenses; keeps the maps of the first."""
        for name, sources in steps.items():
            measured = [scene.errors(source) for source in sources]
            for measure, value in measured[-1].items():
                self.add(label, name, measure, value)
            curve = torch.stack([m["relative L2"] for m in measured], 1).cpu()
            self.curves.setdefault(label, {}).setdefault(name, []).append(curve)
            self.show(f"{label}: {name}", sources[-1])

    def add(self, label: str, name: str, measure: str, value: Tensor) -> None:
        """Takes in one more measure of what a method made of a few lenses, with shape (B)."""
        own = self.found.setdefault(label, {}).setdefault(name, {})
        own.setdefault(measure, []).append(value.cpu())

    def show(self, name: str, maps: Tensor) -> None:
        """Keeps maps of a few lenses for the figure, unless there are some."""
        if name not in self.shown:
            self.shown[name] = maps[:KEPT].cpu().clone()

    @property
    def errors(self) -> dict[str, dict[str, dict[str, Tensor]]]:
        """All that was measured, by label, method and measure, with shape (B)."""
        return {
            label: {
                name: {measure: torch.cat(parts) for measure, parts in own.items()}
                for name, own in methods.items()
            }
            for label, methods in self.found.items()
        }

    def curves_of(self, label: str) -> dict[str, Tensor]:
        """Means of the relative error after each call, by method."""
        return {name: torch.cat(parts).mean(0) for name, parts in self.curves[label].items()}


@dataclass(frozen=True)
class Judged:
    """Holds what was measured of a part of the lenses, on the CPU.

    Arguments:
        notes: Of what was sought.
        off: Absolute errors of the lens, by what it was read off, with shape (B, 7).
        snr: Signal over noise, with shape (B).
        effective: Parameters of the modes, with shape (B).
    """

    notes: Notes
    off: Mapping[str, Tensor]
    snr: Tensor
    effective: Tensor

    def plain(self) -> dict[str, Any]:
        """Returns what is in it as dictionaries, lists and tensors, which can be kept."""
        return {
            "notes": vars(self.notes),
            "off": dict(self.off),
            "snr": self.snr,
            "effective": self.effective,
        }

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> "Judged":
        """Makes it again of what :meth:`plain` returned."""
        notes = Notes()
        notes.found, notes.curves, notes.shown = (
            plain["notes"][name] for name in ("found", "curves", "shown")
        )
        return cls(notes, plain["off"], plain["snr"], plain["effective"])


def together(parts: Sequence[Judged]) -> dict[str, Any]:
    """Puts parts together.

    Returns:
        ``errors``, by what is sought, method and measure, with shape (B); ``curves``: means of the
        relative error after each call, by what is sought and method; ``lens errors``: absolute
        errors of the numbers, by what they were read off; ``snr`` and ``effective`` (B);
        ``shown``: maps of a few lenses.
    """
    notes = Notes.together([part.notes for part in parts])
    return {
        "errors": notes.errors,
        "curves": {label: notes.curves_of(label) for label in notes.curves},
        "lens errors": {
            kind: dict(zip(NAMES, torch.cat([p.off[kind] for p in parts]).unbind(1), strict=True))
            for kind in parts[0].off
        },
        "snr": torch.cat([part.snr for part in parts]),
        "shown": notes.shown,
        "effective": torch.cat([part.effective for part in parts]),
    }


def rows_of(errors: Mapping[str, Any], first: str) -> list[dict[str, object]]:
    """Makes rows of what was measured, the label in a column of the name ``first``."""
    return [
        {
            first: label,
            "method": name,
            "measure": measure,
            "median": median(value),
            "mean": float(value.mean()),
            "standard_error": float(value.std()) / len(value) ** 0.5,
            "lenses": len(value),
        }
        for label, methods in errors.items()
        for name, own in methods.items()
        for measure, value in own.items()
    ]
