"""Judges a machine and its rivals: all on the same unseen draws, none on what it was set with."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import isfinite

import torch
from torch import Tensor

from ...rim import RIM
from .problem import CHOICE, UNSEEN, Draws, Measured, Problem, Rival, Solver, generator

CHOSEN_ON = 48
"""Draws on which rivals choose their settings."""

TOGETHER = 64
"""Draws that the machine works on at once."""

MACHINE = "RIM"

Errors = dict[str, Tensor]
"""Errors of all draws, with shape (B), by measure."""


@dataclass(frozen=True)
class Row:
    """Holds a line of the table.

    Arguments:
        method: Who.
        told: What it is told of the prior.
        calls: Calls of the score, or what is said in their place.
        setting: The setting that was chosen.
        errors: What it made of the unseen draws.
    """

    method: str
    told: str
    calls: int | str
    setting: str
    errors: Errors


@dataclass
class Found:
    """Holds what was found of a problem.

    Arguments:
        rows: The table.
        curves: Means of the first error after each call, for each setting that was chosen, by
            method; one number where there are no calls.
        estimates: What the last setting made of the unseen draws in the end, by method.
    """

    rows: list[Row] = field(default_factory=list)
    curves: dict[str, list[Tensor]] = field(default_factory=dict)
    estimates: dict[str, Tensor] = field(default_factory=dict)


def judge(problem: Problem, rim: RIM, seed: int, *, most: int | None = None) -> Found:
    """Judges a machine and its rivals.

    Arguments:
        problem: The problem.
        rim: Its trained machine.
        seed: Seed of the draws.
        most: Calls that no rival goes beyond.
    """
    found = Found()
    unseen = problem.draw(problem.unseen, generator(seed, UNSEEN))
    choice = problem.draw(min(CHOSEN_ON, problem.unseen), generator(seed, CHOICE))
    add_machine(found, problem, rim, unseen)
    for rival in problem.rivals(seed):
        if rival.converged is None:
            add_direct(found, problem, rival, unseen)
        else:
            end = rival.converged if most is None else min(rival.converged, most)
            add_iterative(found, problem, rival, sorted({rim.steps, end}), choice, unseen)
    return found


def add_machine(found: Found, problem: Problem, rim: RIM, unseen: Draws) -> None:
    """Adds the start, and the machine after 1, 2, 4, ... and all its steps."""
    parts = []
    with torch.no_grad():
        for at in range(0, problem.unseen, TOGETHER):
            draws = {name: value[at : at + TOGETHER] for name, value in unseen.items()}
            values = problem.run(rim, draws).values
            parts.append(torch.stack([value["x"] for value in values]))
    estimates = torch.cat(parts, 1)
    errors = [measured(problem, x, unseen) for x in estimates]
    found.rows.append(Row("start", "", 0, "", errors[0]))
    powers = {2**i for i in range(rim.steps.bit_length())}
    for calls in sorted({n for n in powers if n < rim.steps} | {rim.steps}):
        found.rows.append(Row(MACHINE, "draws", calls, "", errors[calls]))
    first = next(iter(problem.errors))
    found.curves[MACHINE] = [torch.stack([e[first].mean() for e in errors[1:]])]
    found.estimates[MACHINE] = estimates[-1]


def add_direct(found: Found, problem: Measured, rival: Rival, unseen: Draws) -> None:
    """Adds a rival that makes no calls."""
    ((setting, solver),) = rival.settings.items()
    (estimate,) = solver(unseen)
    errors = measured(problem, estimate, unseen)
    found.rows.append(Row(rival.name, rival.told, "direct", setting, errors))
    found.curves[rival.name] = [next(iter(errors.values())).mean()[None]]
    if rival.shown:
        found.estimates[rival.name] = estimate


def add_iterative(
    found: Found, problem: Measured, rival: Rival, ends: list[int], choice: Draws, unseen: Draws
) -> None:
    """Adds a rival after each number of calls, with the best setting for that number."""
    tried = {
        label: torch.stack([next(iter(e.values())).mean() for _, e in steps]).tolist()
        for label, solver in rival.settings.items()
        for steps in [follow(problem, solver, choice, ends[-1])]
    }
    curves: dict[str, Tensor] = {}
    for calls in ends:
        best = min(tried, key=lambda label: _or_worst(tried[label][calls - 1]))
        errors, estimate = [], unseen["y"]
        for x, error in follow(problem, rival.settings[best], unseen, calls):
            errors.append(error)
            estimate = x
        found.rows.append(Row(rival.name, rival.told, calls, best, errors[-1]))
        curves[best] = torch.stack([next(iter(e.values())).mean() for e in errors])
        if rival.shown:
            found.estimates[rival.name] = estimate
        if rival.oracle and calls == ends[-1]:
            name = f"{rival.name}, stopped by the truth"
            found.rows.append(Row(name, rival.told, "best", best, best_of(errors)))
    found.curves[rival.name] = list(curves.values())


def best_of(errors: Sequence[Errors]) -> Errors:
    """Returns the errors of each sample after the call where the first of them is least."""
    first = torch.stack([next(iter(e.values())) for e in errors])
    stop = first.argmin(0, keepdim=True)
    return {name: torch.stack([e[name] for e in errors]).gather(0, stop)[0] for name in errors[0]}


def follow(
    problem: Measured, solver: Solver, draws: Draws, calls: int
) -> Iterator[tuple[Tensor, Errors]]:
    """Yields estimate and errors after each of so many calls."""
    for estimate in islice(solver(draws), calls):
        yield estimate, measured(problem, estimate, draws)


def measured(problem: Measured, estimate: Tensor, draws: Draws) -> Errors:
    """Computes all errors of an estimate."""
    return {name: f(estimate, draws["truth"]) for name, f in problem.errors.items()}


def _or_worst(error: float) -> float:
    return error if isfinite(error) else float("inf")
