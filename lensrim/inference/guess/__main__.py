"""``python -m lensrim.inference.guess RECIPE``: train the network that guesses macro-models."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..._weights import write_weights
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
    """Trains, and writes the weights."""
    recipe = read_guess_recipe(options.recipe)
    network, done = train(
        recipe, options.output, max_minutes=options.max_minutes, quiet=options.quiet
    )
    path = options.output / WEIGHTS
    write_weights(path, network.state_dict(), identity(recipe), half=True)
    print(f"{'trained' if done else 'stopped (time): call again to go on'}: {path}")


if __name__ == "__main__":
    run(tyro.cli(Options, prog="python -m lensrim.inference.guess"))
