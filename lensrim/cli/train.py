"""``lensrim train``: train a machine for lenses from a recipe, or go on with it."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro

from ..errors import InputError
from ..inference.learnt import build, loss_of
from ..inference.recipe import read_recipe
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
    gpu = torch.cuda.is_available()
    if options.device == "cuda" and not gpu:
        raise InputError("--device cuda: torch finds no CUDA device: give --device cpu")
    device = "cuda" if gpu and options.device != "cpu" else "cpu"
    torch.manual_seed(recipe.train.seed)
    model = build(recipe.model)
    validation = recipe.batches("validation")
    say = (lambda line: None) if options.quiet else print
    say(f"making {recipe.validation.batches} validation batches")
    history = fit(
        model,
        recipe.batches(),
        loss_of,
        recipe.train,
        folder=Path(options.output),
        validation=[validation(i) for i in range(recipe.validation.batches)],
        max_minutes=options.max_minutes,
        device=device,
        header={"model": asdict(recipe.model), "recipe": recipe.to_dict()},
        report=say,
        quiet=options.quiet,
    )
    print(f"stopped after step {history.step} ({history.stopped}): {options.output}")
