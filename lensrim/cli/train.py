"""``lensrim train``: train a machine for lenses from a recipe, or go on with it."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from torch import nn

from ..errors import InputError
from ..inference.learnt import build
from ..inference.machine import load_machine
from ..inference.objective import loss_of
from ..inference.recipe import read_recipe
from ..inference.reconstruct import check_cuda
from ..training.feed import to_device
from ..training.folder import LAST
from ..training.loop import fit


@dataclass(frozen=True)
class TrainOptions:
    """What to train, where, and for how long."""

    recipe: Annotated[str, tyro.conf.Positional]
    """Recipe (TOML): data, model, training; see the README."""

    output: str = "training"
    """Folder of the training; one that was interrupted goes on where it was."""

    max_minutes: float | None = None
    """Minutes after which to stop; call the command again to go on."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU where there is one."""

    quiet: bool = False
    """Whether to print nothing but the last line."""


def parse(args: Sequence[str]) -> TrainOptions:
    """Parses the words after ``lensrim train``."""
    return tyro.cli(
        TrainOptions,
        prog="lensrim train",
        description="Train a machine for lenses from a recipe, or go on with a training.",
        args=args,
        config=(tyro.conf.FlagCreatePairsOff,),
    )


def run(options: TrainOptions) -> None:
    """Trains.

    Raises:
        InputError: If the recipe, the folder or the device cannot be used.
    """
    recipe = read_recipe(options.recipe)
    if options.max_minutes is not None and not options.max_minutes >= 0:
        raise InputError(f"--max-minutes: must be 0 or more, found {options.max_minutes}")
    if options.device == "cuda":
        check_cuda()
    gpu = options.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    torch.manual_seed(recipe.train.seed)
    model = build(recipe.model)
    if recipe.start is not None and not (Path(options.output) / LAST).exists():
        begin_with(model, recipe.start)
    batches = recipe.batches(raw=gpu)
    validation = recipe.batches("validation", raw=gpu)
    say = (lambda line: None) if options.quiet else print
    say(f"making {recipe.validation.batches} validation batches")
    with ended_like_a_key():
        history = fit(
            model,
            batches,
            loss_of,
            recipe.train,
            folder=Path(options.output),
            validation=[
                validation.finish(to_device(validation(i), device), i)
                for i in range(recipe.validation.batches)
            ],
            max_minutes=options.max_minutes,
            device=device,
            header=recipe.identity(),
            report=say,
            quiet=options.quiet,
            finish=lambda batch, step: batches.finish(batch, step, device),
        )
    print(f"stopped after step {history.step} ({history.stopped}): {options.output}")


@contextmanager
def ended_like_a_key() -> Iterator[None]:
    """Lets the signal by which clusters end a job end it as a key does: with a checkpoint."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def begin_with(model: nn.Module, start: str) -> None:
    """Gives a model the weights of a file.

    Raises:
        InputError: If they are those of a machine of other sizes.
    """
    if not Path(start).is_file():
        raise InputError(f"{start}: start, of the recipe, must be a file of weights; change it")
    weights = load_machine(start).rim.state_dict()
    sizes = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if sizes != {name: tuple(value.shape) for name, value in weights.items()}:
        raise InputError(
            f"{start}: the weights to start with must be those of a machine with the widths, lift "
            "and embedding of the recipe, found other sizes; change [model], or start at random"
        )
    model.load_state_dict(weights)
