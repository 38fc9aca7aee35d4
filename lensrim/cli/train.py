"""``lensrim train``: train a machine for lenses from a recipe, or go on with it.

    torchrun --nproc-per-node 4 -m lensrim.cli train recipe.toml

trains it with four processes, each with a GPU of its own where there are any.
"""

import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Annotated, Literal

import torch
import tyro
from torch import nn

from .. import __version__
from .._command_line import parsed
from .._weights import replacing, sha256_of
from ..datasets.shards.reading import Shards
from ..errors import InputError
from ..inference.devices import check_cuda
from ..inference.lens_config import build
from ..inference.machine import load_machine
from ..inference.objective import loss_of
from ..inference.recipe import Recipe, read_recipe
from ..inference.validity import said_of, valid_of
from ..training.board import board
from ..training.config import check_max_minutes
from ..training.distributed import Group, joined
from ..training.feed import MadeOnce, to_device
from ..training.history import History
from ..training.loop import fit
from ..training.names import LAST

PICTURE, EVENTS = "history.png", "tensorboard"
"""What is in the folder of a training beside its own files."""


@dataclass(frozen=True)
class TrainOptions:
    """What to train, where, and for how long."""

    recipe: Annotated[str, tyro.conf.Positional]
    """Recipe (TOML): data, model, training; see notebooks/training.md."""

    output: str = "training"
    """Folder of the training; one that was interrupted goes on where it was."""

    max_minutes: float | None = None
    """Minutes after which to stop; call the command again to go on."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU where there is one."""

    tensorboard: bool = False
    """Whether to write for TensorBoard, too, into a folder of that name in the output; it needs
    the extra 'board'."""

    quiet: bool = False
    """Whether to print nothing but the last line."""


def parse(args: Sequence[str]) -> TrainOptions:
    """Parses the words after ``lensrim train``."""
    return parsed(
        TrainOptions,
        prog="lensrim train",
        description="Train a machine for lenses from a recipe, or go on with a training.\n\n"
        "For an hour; called again, it goes on:\n"
        "$ lensrim train recipe.toml --output training --max-minutes 60",
        args=args,
    )


def run(options: TrainOptions) -> None:
    """Trains.

    Raises:
        InputError: If the recipe, the folder or the device cannot be used.
    """
    recipe = read_recipe(options.recipe)
    check_max_minutes(options.max_minutes)
    if options.device == "cuda":
        check_cuda()
    gpu = options.device != "cpu" and torch.cuda.is_available()
    with joined("cuda" if gpu else "cpu") as group:
        events = Path(options.output) / EVENTS
        with board(events) if options.tensorboard and group.leads else nullcontext() as record:
            try:
                where = group.device("cuda" if gpu else "cpu")
                history = train(recipe, options, group, where, record)
            except KeyboardInterrupt:
                if group.leads and (Path(options.output) / LAST).exists():
                    print(
                        f"what was trained is kept in {options.output}: the same command goes on",
                        file=sys.stderr,
                    )
                raise
        if group.leads:
            draw(history, Path(options.output) / PICTURE)
            print(f"stopped after step {history.step} ({history.stopped}): {options.output}")


def train(
    recipe: Recipe,
    options: TrainOptions,
    group: Group,
    device: torch.device,
    record: Callable[..., None] | None = None,
) -> History:
    """Trains, alone or with others.

    Arguments:
        recipe: What to train.
        options: Where, and for how long.
        group: The processes that do it.
        device: Where this one does it.
        record: Called with each line of the history.

    Raises:
        InputError: If the recipe or the folder cannot be used.
    """
    begun = perf_counter()
    group.check(recipe.train.parts)
    recipe.check_workers(group.size)
    torch.manual_seed(recipe.train.seed)
    model, folder = build(recipe.model, recipe.unroll), Path(options.output)
    notes = {"recipe": recipe.described(), "version": __version__}
    notes |= {"valid": valid_of(recipe.data), "lenses": said_of(recipe.data)}
    header = {**recipe.identity(), **recipe.population()}
    if recipe.data.shards is not None:
        header["shards"] = Shards.open(recipe.data.shards).digest
    if recipe.start is not None and Path(recipe.start).is_file():
        notes["start"] = sha256_of(recipe.start)
    if recipe.start is not None and group.from_first(lambda: not (folder / LAST).exists()):
        begin_with(model, recipe.start)
    raw = device.type == "cuda"
    batches, validation = recipe.batches(raw=raw), recipe.batches("validation", raw=raw)
    say = print if group.leads and not options.quiet else lambda line: None
    if (folder / LAST).exists():
        say(f"going on with the training in {folder}")
    say(f"making {recipe.validation.batches} validation batches")
    validated = MadeOnce(
        lambda i: validation.finish(to_device(validation(i), device), i, device),
        recipe.validation.batches,
    )
    for first in range(0, len(validated), group.size):
        group.heed()
        if first + group.rank < len(validated):
            # Now, that what is wrong with the data is found before the training.
            validated[first + group.rank]
    say(f"made in {perf_counter() - begun:.0f} s, with all that was read for them")
    return fit(
        model,
        batches,
        partial(loss_of, config=recipe.model, loss=recipe.loss),
        recipe.train,
        folder=folder,
        validation=validated,
        max_minutes=options.max_minutes,
        begun=begun,
        device=device,
        header=header,
        notes=notes,
        report=say,
        record=record or (lambda line: None),
        quiet=options.quiet,
        finish=lambda batch, number: batches.finish(batch, number, device),
        group=group,
    )


def draw(history: History, path: Path) -> None:
    """Draws the history into a file, if there is anything to draw."""
    from ..plotting.training import plot_history

    if history.lines:
        with replacing(path) as file:
            plot_history(history.lines, title=path.parent.resolve().name).savefig(
                file, format="png"
            )


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
