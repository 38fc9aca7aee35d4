"""``python -m lensrim.inference.guess RECIPE``: train the network that guesses macro-models."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..._command_line import parsed
from ..._weights import write_weights
from ...errors import status_of
from ...training.config import check_max_minutes
from .fitting import identity, read_guess_recipe, train

WEIGHTS = "guess.safetensors"


@dataclass(frozen=True)
class Options:
    """Train the network that guesses macro-models, from a recipe; call again to go on."""

    recipe: Annotated[Path, tyro.conf.Positional]
    """Recipe (TOML): [data] and [train]."""

    output: Path = Path("guess")
    """Folder of the training."""

    max_minutes: float | None = None
    """Minutes after which to stop."""

    quiet: bool = False
    """Whether to print nothing but the last line."""


def run(options: Options) -> None:
    """Trains, and writes the weights.

    Raises:
        InputError: If recipe, data or folder cannot be used.
    """
    recipe = read_guess_recipe(options.recipe)
    check_max_minutes(options.max_minutes)
    network, done = train(
        recipe, options.output, max_minutes=options.max_minutes, quiet=options.quiet
    )
    path = options.output / WEIGHTS
    write_weights(path, network.state_dict(), identity(recipe), half=True)
    print(f"{'trained' if done else 'stopped (time): call again to go on'}: {path}")


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command and returns the exit status."""
    prog = "python -m lensrim.inference.guess"
    return status_of(lambda: run(parsed(Options, prog=prog, args=args)))


if __name__ == "__main__":
    sys.exit(main())
