"""``lensrim pack``: a training made into one small file that others can use."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from .._command_line import parsed
from ..inference.pack import pack


@dataclass(frozen=True)
class PackOptions:
    """What to pack, and where."""

    recipe: Annotated[str, tyro.conf.Positional]
    """Recipe (TOML) of the training."""

    training: Annotated[str, tyro.conf.Positional]
    """Folder of the training."""

    name: str
    """Name of the machine, and of its files."""

    output: str = "."
    """Folder for the files."""

    overwrite: bool = False
    """Whether files of that name in the folder are replaced."""


def parse(args: Sequence[str]) -> PackOptions:
    """Parses the words after ``lensrim pack``."""
    return parsed(
        PackOptions,
        prog="lensrim pack",
        description="Pack the best weights of a training into one small file, for "
        "lensrim reconstruct --model, with its recipe and its curve; print its card.\n\n"
        "$ lensrim pack recipe.toml training --name mine --output models",
        args=args,
    )


def run(options: PackOptions) -> None:
    """Packs, and prints the card.

    Raises:
        InputError: If the training or the recipe cannot be used.
    """
    card = pack(
        options.recipe,
        options.training,
        options.name,
        options.output,
        overwrite=options.overwrite,
    )
    print(card, end="")
