"""Judges all machines and their rivals on one problem: the same images, the same noise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ...evaluation.problems.judging import Found, add_direct, add_iterative
from ...evaluation.problems.problem import CHOICE, UNSEEN, Rival, generator
from ...rim import RIM
from ...training.feed import to_device
from .machines import Design
from .problems import Draws, Trial, minus_psnr

CHOSEN_ON = 32
"""Images on which rivals choose their settings."""

TOGETHER = 64
"""Images that a machine works on at once."""

LONGER = 2
"""How many times the steps it was trained with a machine is let go on, to see whether it stays."""

EXAMPLES = 3
"""Images that are kept for the figure."""


@dataclass(frozen=True)
class Machine:
    """Holds a trained machine and how it is run."""

    design: Design
    rim: RIM

    def psnr(self, draws: Draws) -> tuple[Tensor, Tensor]:
        """Runs it, where it is, on draws that are there too.

        Returns:
            The PSNR at the start and after each step, with shape (steps + 1, B), and the estimates
            after as many steps as it was trained with, on the CPU.
        """
        values, answers = [], []
        for at in range(0, len(draws["truth"]), TOGETHER):
            part = {
                name: value[at : at + TOGETHER] if isinstance(value, Tensor) else value
                for name, value in draws.items()
            }
            with torch.no_grad():
                steps = LONGER * self.rim.steps
                trajectory = self.design.run(self.rim, part, steps=steps)
                states = [value["x"] for value in trajectory.values]
            values.append(torch.stack([-minus_psnr(x, part["truth"]) for x in states]).cpu())
            answers.append(states[self.rim.steps].cpu())
        return torch.cat(values, 1), torch.cat(answers)


def judge(
    trial: Trial,
    machines: Mapping[str, Machine],
    rivals: Sequence[Rival],
    *,
    size: int,
    unseen: int,
    seed: int,
    most: int | None = None,
    device: torch.device = torch.device("cpu"),
) -> dict[str, Any]:
    """Judges machines and rivals on a problem.

    Arguments:
        trial: The problem.
        machines: The machines, by name.
        rivals: Those who do without.
        size: Pixels of a side.
        unseen: Number of images.
        seed: Seed of the draws.
        most: Calls that no rival goes beyond.
        device: Where all work; what is returned is on the CPU.

    Returns:
        ``curves``, the mean PSNR [dB] after each call, by method; ``rows``, by method, calls and
        setting, with the PSNR of each image; and ``shown``, a few images.
    """
    draws = to_device(trial.draw(unseen, size, generator(seed, UNSEEN)), device)
    known = replace(trial, pictures=trial.chosen_on)
    choice = known.draw(min(CHOSEN_ON, unseen), size, generator(seed, CHOICE))
    choice = to_device(choice, device)
    rows: list[dict[str, Any]] = []
    curves: dict[str, list[Tensor]] = {}
    shown = {"truth": draws["truth"], "data": draws["operator"].adjoint(draws["y"])}
    for name, machine in machines.items():
        values, answers = machine.psnr(draws)
        for calls in sorted({1, 2, 4, machine.rim.steps, LONGER * machine.rim.steps}):
            rows.append({"method": name, "calls": calls, "setting": "", "psnr": values[calls]})
        curves[name], shown[name] = [values[1:].mean(1)], answers
    found = Found()
    for rival in rivals:
        if rival.converged is None:
            add_direct(found, trial, rival, draws)
        else:
            end = rival.converged if most is None else min(most, rival.converged)
            ends = sorted({min(trial.steps, end), end})
            add_iterative(found, trial, rival, ends, choice, draws)
    for row in found.rows:
        psnr = -row.errors["-PSNR"]
        rows.append(
            {"method": row.method, "calls": row.calls, "setting": row.setting, "psnr": psnr}
        )
    curves |= {name: [-curve for curve in each] for name, each in found.curves.items()}
    shown |= found.estimates
    few = {name: images[:EXAMPLES].clone() for name, images in shown.items()}
    return to_device({"rows": rows, "curves": curves, "shown": few}, torch.device("cpu"))
