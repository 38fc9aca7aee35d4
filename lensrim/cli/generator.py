"""``lensrim generator``: train a generator of galaxies or masses, from a recipe."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._command_line import parsed
from .._weights import replacing
from ..datasets.galaxies.generative import load_vae
from ..generation.fitting import GENERATOR, train_generator
from ..generation.quality import quality, shown_beside
from ..generation.recipe import read_generator_recipe
from ..training.config import check_max_minutes

SHEET, NUMBERS = "sheet.png", "quality.json"
"""What is in the folder beside the files of the training and the generator."""


@dataclass(frozen=True)
class GeneratorOptions:
    """Train a generator of images of galaxies, or of maps of log10 kappa, from a recipe.

    Writes generator.safetensors, quality.json and sheet.png (data, the same decoded, drawn ones)
    when it has ended.

    A recipe, galaxies.toml, of your own stamps has a line for each of:

    sources.galaxies = "stamps"

    model.power = 0.5

    elbo.sigma = 0.5

    train.steps = 2000

    train.batch_size = 16

    Train:
    $ lensrim generator galaxies.toml --output galaxies

    The same in slices; call again to go on:
    $ lensrim generator galaxies.toml --output galaxies --max-minutes 10

    Then, in a recipe of lensrim simulate, dataset or train:
    galaxies = "galaxies/generator.safetensors"
    """

    recipe: Annotated[str, tyro.conf.Positional]
    """Recipe (TOML): [sources] or [masses], [model], [elbo], [train]."""

    output: str = "generator"
    """Folder of the training; one that was interrupted goes on where it was."""

    max_minutes: float | None = None
    """Minutes after which to stop; call the command again to go on."""

    quiet: bool = False
    """Whether to print nothing but the last line."""


def parse(args: Sequence[str]) -> GeneratorOptions:
    """Parses the words after ``lensrim generator``."""
    return parsed(GeneratorOptions, prog="lensrim generator", args=args)


def run(options: GeneratorOptions) -> None:
    """Trains, measures and draws.

    Raises:
        InputError: If the recipe or the folder cannot be used.
    """
    recipe, folder = read_generator_recipe(options.recipe), Path(options.output)
    check_max_minutes(options.max_minutes)
    say = (lambda line: None) if options.quiet else print
    history = train_generator(
        recipe, folder, max_minutes=options.max_minutes, report=say, quiet=options.quiet
    )
    if history.stopped == "time":
        print(f"stopped after step {history.step} (time): call again to go on: {folder}")
        return
    vae = load_vae(folder / GENERATOR)
    found = quality(recipe, vae)
    say(found.table)
    with replacing(folder / NUMBERS) as file:
        file.write((json.dumps(asdict(found), indent=1) + "\n").encode())
    from ..plotting import contact_sheet

    images, titles, noises = shown_beside(recipe, vae)
    figure = contact_sheet(images, titles, noises=noises, heading=folder.name)
    with replacing(folder / SHEET) as file:
        figure.savefig(file, format="png")
    print(f"stopped after step {history.step} ({history.stopped}): {folder / GENERATOR}")
