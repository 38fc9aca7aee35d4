"""Compares the cells that remember, at equal steps of training and in equal time.

``python -m lensrim.evaluation.bench.cells`` prints what the table of :mod:`lensrim.rim.cells`
holds: for a small U-Net of each cell its parameters, the time of a training step, timed in turns,
and the error after as many steps as all, and after as many as fit into the time of the first. It
takes a quarter of an hour on one busy core.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from statistics import mean

import torch

from ...rim.cells import CELLS
from ...rim.networks import UNet
from .deconvolution import Deconvolution
from .machines import Machine, best_error, errors, ours, train
from .timing import Contender, Timing, keep_memory, time_in_turns

RATE, STEPS, SEEDS = 5e-3, 5, (0, 1, 2)
SMALL = partial(UNet, widths=(16, 24), lift=16, embedding=16)


@dataclass(frozen=True)
class Trial:
    """Holds a problem, and how long machines are trained on it.

    Arguments:
        problem: The problem.
        training: Steps of the training.
        batch: Samples of each.
    """

    problem: Deconvolution
    training: int
    batch: int


TRIALS = (
    Trial(Deconvolution(dims=1, n=32), training=160, batch=32),
    Trial(Deconvolution(dims=2, n=16), training=120, batch=16),
)


@dataclass(frozen=True)
class Found:
    """Holds what was found of a cell.

    Arguments:
        cell: Its name.
        size: Parameters of the whole network.
        timing: Times of a step of the training.
        equal_steps: Root mean square error of each seed after the steps of the trial.
        training: Steps that fit into the time of the first cell's.
        equal_time: Root mean square error of each seed after those.
    """

    cell: str
    size: int
    timing: Timing
    equal_steps: tuple[float, ...]
    training: int
    equal_time: tuple[float, ...]


def compare(trial: Trial, *, seeds: tuple[int, ...] = SEEDS) -> Iterator[Found]:
    """Trains machines of every cell, and tells of them one by one."""
    timings = times(trial.problem, trial.batch)
    first = timings[next(iter(CELLS))]
    for cell in CELLS:
        fit = round(trial.training / timings[cell].over(first)[1])
        same = tuple(_trained(trial, cell, trial.training, seed) for seed in seeds)
        longer = same
        if fit != trial.training:
            longer = tuple(_trained(trial, cell, fit, seed) for seed in seeds)
        yield Found(
            cell, _machine(trial.problem, cell, seed=0).size, timings[cell], same, fit, longer
        )


def times(problem: Deconvolution, batch: int) -> dict[str, Timing]:
    """Times a step of the training with every cell, in turns."""
    x, y = problem.draw(batch, torch.Generator().manual_seed(0))
    machines = {cell: _machine(problem, cell, seed=0) for cell in CELLS}
    contenders = {cell: Contender(partial(_step, m, x, y)) for cell, m in machines.items()}
    return time_in_turns(contenders, device=problem.device, repetitions=11)


def _machine(problem: Deconvolution, cell: str, *, seed: int) -> Machine:
    torch.manual_seed(seed)
    return ours(problem, partial(SMALL, cell=CELLS[cell]), steps=STEPS)


def _step(machine: Machine, x: torch.Tensor, y: torch.Tensor) -> None:
    machine.module.zero_grad()
    machine.loss(x, y).backward()


def _trained(trial: Trial, cell: str, training: int, seed: int) -> float:
    machine = _machine(trial.problem, cell, seed=seed)
    train(machine, trial.problem, steps=training, batch=trial.batch, rate=RATE, seed=seed)
    return errors(machine, trial.problem)[-1]


def format_found(found: Found) -> str:
    """Returns a line of the table."""
    low, middle, high = (1e3 * t for t in found.timing.quartiles)
    each = [
        f"{mean(e):.4f} ({min(e):.4f}-{max(e):.4f})" for e in (found.equal_steps, found.equal_time)
    ]
    return (
        f"  {found.cell:<14}{found.size:>8}{middle:>8.1f} ms [{low:.1f}, {high:.1f}]"
        f"   {each[0]}   {each[1]} after {found.training} steps"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    keep_memory()
    for n, batch in ((64, 8),):
        for cell, timing in times(Deconvolution(dims=2, n=n), batch).items():
            low, middle, high = (1e3 * t for t in timing.quartiles)
            print(
                f"{n}^2 pixels, batch {batch}: {cell:<14}{middle:.0f} ms [{low:.0f}, {high:.0f}]"
            )
    for trial in TRIALS:
        problem = trial.problem
        print(
            f"{problem.n}^{problem.dims} pixels, batch {trial.batch}, {trial.training} steps; "
            f"posterior mean {best_error(problem):.4f}"
        )
        for found in compare(trial):
            print(format_found(found), flush=True)
