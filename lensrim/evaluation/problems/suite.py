"""Trains the machine of a problem, judges it and its rivals on unseen draws, and reports."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Annotated, Any, Literal

import torch
import tyro
from torch import Tensor, nn

from ..._command_line import parsed
from ..._weights import read_weights
from ...errors import InputError
from ...rim import RIM, save_rim
from ...training.loop import fit
from ...training.names import EMA
from .images import Images
from .judging import TOGETHER, Row, judge
from .linear import Linear
from .problem import TRAINING, UNSEEN, VALIDATION, Draws, Problem, generator
from .report import draw_figure, format_table, write_csv
from .spectra import Spectra

PROBLEMS: dict[str, Callable[[], Linear | Images | Spectra]] = {
    "linear": Linear,
    "images": Images,
    "spectra": Spectra,
}
"""The problems, by name."""


@dataclass(frozen=True)
class ProblemOptions:
    """What to solve, and how long to train for it."""

    name: Annotated[Literal["linear", "images", "spectra"], tyro.conf.Positional]
    """The problem."""

    steps: int | None = None
    """Steps of the training; by default those of the table in notebooks/rim.md."""

    seed: int = 0
    """Seed of the weights and of all draws."""

    output: str = "problems"
    """Folder; what belongs to a problem goes into one of its name. A training that was interrupted
    goes on where it was."""

    quick: bool = False
    """Whether to try whether all works: a training of a few steps, and few draws."""

    def check(self) -> None:
        """Makes sure that the options can be used.

        Raises:
            InputError: If one is out of its range.
        """
        for name, value, least in (("steps", self.steps, 1), ("seed", self.seed, 0)):
            if value is not None and value < least:
                raise InputError(f"--{name}: must be {least} or more, found {value}; change it")


def parse(args: Sequence[str] | None = None) -> ProblemOptions:
    """Parses the words after ``python -m lensrim.evaluation.problems``."""
    return parsed(
        ProblemOptions,
        prog="python -m lensrim.evaluation.problems",
        description="Train a machine on a problem that is not lensing, and judge it.",
        args=args,
    )


def run(options: ProblemOptions) -> list[Row]:
    """Trains, judges, prints the table, and writes table, figure and machine.

    Raises:
        InputError: If the options or the folder cannot be used.
    """
    options.check()
    problem = PROBLEMS[options.name]()
    if options.quick:
        problem = replace(problem, unseen=8)
    quick: dict[str, Any] = {"steps": 2, "batch_size": 2, "warmup": 1} if options.quick else {}
    steps: dict[str, Any] = {} if options.steps is None else {"steps": options.steps}
    config = replace(problem.config, **{**quick, **steps})
    problem = replace(problem, config=replace(config, warmup=min(config.warmup, config.steps - 1)))
    folder = Path(options.output) / options.name
    begun = perf_counter()
    rim = train(problem, options.seed, folder / "training")
    print(f"training: {perf_counter() - begun:.0f} s in this session", flush=True)
    save_rim(folder / "machine.safetensors", rim)
    begun = perf_counter()
    found = judge(problem, rim, options.seed, most=12 if options.quick else None)
    print(f"judging: {perf_counter() - begun:.0f} s, {problem.unseen} unseen draws\n")
    print(format_table(found.rows))
    write_csv(found.rows, folder / "errors.csv")
    unseen = problem.draw(problem.unseen, generator(options.seed, UNSEEN))
    figure = draw_figure(found, unseen, next(iter(problem.errors)), rim.steps)
    figure.savefig(folder / "errors.png", dpi=100)
    print(f"\nWritten: {folder}/errors.csv, errors.png, machine.safetensors")
    return found.rows


def train(problem: Problem, seed: int, folder: Path) -> RIM:
    """Trains a machine, or goes on with it; returns it with its averaged weights."""
    config = problem.config
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        rim = problem.machine()

    def loss_fn(model: nn.Module, draws: Draws) -> tuple[Tensor, dict[str, float]]:
        assert isinstance(model, RIM)
        return problem.loss(model, draws), {}

    fit(
        rim,
        lambda step: problem.draw(config.batch_size, generator(seed, TRAINING, step)),
        loss_fn,
        config,
        folder=folder,
        validation=[problem.draw(TOGETHER, generator(seed, VALIDATION))],
        header={"problem": problem.name, "seed": seed},
        report=lambda line: print(line, flush=True),
        quiet=False,
    )
    averaged, _ = read_weights(folder / EMA)
    rim.load_state_dict(averaged)
    return rim.eval()
