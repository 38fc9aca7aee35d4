"""The recipe: which machines are trained how, and on what they are judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from ...evaluation.problems.problem import TRAINING, VALIDATION
from ...rim import RIM
from ...training.config import TrainConfig
from ...training.folder import EMA
from ..judged import kept, signs
from ..lensed.figures import curves_figure
from ..lensed.judging import MODES, PIXELS, Machine, rows_of
from ..lensed.lenses import Draws, galaxies_of
from ..lensed.machines import Design, Ours, Published
from ..lensed.reader import Reader, reading_loss
from ..paper import NOT_FOUND, Line, Number, Result, Scale, Setting
from ..training import Batch, Trainee, train
from .figures import sources_figure, spread_figure
from .judging import judge
from .lenses import Lenses, scene_of, shown

SMALL = TrainConfig(
    steps=300,
    batch_size=6,
    learning_rate=3e-3,
    warmup=30,
    ema=0.99,
    weight_decay=0.0,
    validate_every=50,
    checkpoint_every=25,
)
READING = replace(SMALL, steps=200, batch_size=32, learning_rate=2e-3)
FULL = TrainConfig(
    steps=100_000,
    batch_size=32,
    parts=8,
    learning_rate=5e-4,
    warmup=1000,
    ema=0.999,
    validate_every=1000,
    checkpoint_every=500,
)


@dataclass(frozen=True)
class Recipe:
    """Holds a scale of the recipe.

    Arguments:
        published, ours: The designs.
        config: How each machine is trained.
        reading: How the network that reads lenses is trained.
        lenses: The population.
        unseen: Lenses on which all are judged.
    """

    published: Published
    ours: Ours
    config: TrainConfig
    reading: TrainConfig
    lenses: Lenses = field(default_factory=Lenses)
    unseen: int = 64


RECIPES: Mapping[str, Recipe] = {
    "small": Recipe(Published(24, (32, 32), 5, 6), Ours(), SMALL, READING),
    "full": Recipe(
        Published(),
        Ours(widths=(64, 96, 128), lift=32, steps=10),
        FULL,
        replace(FULL, steps=30_000, batch_size=128),
        Lenses(shape=128, pixel_scale=0.05, theta_E=(0.5, 2.0), disc=(4.0, 16.0)),
        unseen=200,
    ),
}

DIFFERS = (
    "neither the paper's numbers nor its ranges were found (only its abstract and what public "
    "code says of its network): all ranges are ours",
    "sources: {galaxies}; the paper's are images of real galaxies (give a folder of stamps with "
    "--data)",
    "images of {shape} pixels of {pixel} arcsec, Einstein radii of {low} to {high} arcsec, S/N of "
    "10 to 200, Gaussian and Moffat PSFs, a disc hidden in half of them",
    "as published: {features} channels, recurrent units of {hidden}, outer kernels of {kernel}, "
    "{steps} steps; no link",
    "trained on {seen} lenses; judged on {unseen}",
    "ours begins with ten iterations of the inversion on pixels, and makes {ours} steps",
    "the network that reads the lens is small, and trained for minutes: its errors are listed",
    "one seed; the errors behind the numbers are those of the {unseen} lenses alone",
)

COST = {
    "small": "measured: trainings of 11.6, 10.5 and 2.2 minutes of the clock, each with a fifth "
    "to a third of one core, and 5 minutes of judging; less on two cores of their own",
    "full": "trainings of 100 000 steps of 32 lenses; on paper, not measured: 1.7e13 operations a "
    "step as published, 46 hours on a GPU that makes 1e13 a second, shared by torchrun",
}

MEASURES = (("relative L2", "relative error of the source"), ("chi2 arc", "chi2 of the arcs"))
SETTINGS = {
    "known": "lens known",
    "read": "lens read by a network",
    "refined": "read, then refined",
}


@dataclass(frozen=True)
class Morningstar2019:
    """Creates the paper.

    Arguments:
        name, title, arxiv, reproduces: See :class:`~lensrim.reproduction.paper.Paper`.
        recipes: The recipe, by scale.
    """

    name: str = "morningstar2019"
    title: str = (
        "Data-Driven Reconstruction of Gravitationally Lensed Galaxies using Recurrent Inference "
        "Machines (Morningstar et al.)"
    )
    arxiv: str = "1901.01359"
    recipes: Mapping[str, Recipe] = field(default_factory=lambda: RECIPES)
    reproduces: str = (
        "the source behind an isothermal ellipsoid with shear, whose seven numbers are known, or "
        "read off the image by a network, through noise and masks; beside linear inversion"
    )

    def cost(self, scale: Scale) -> str:
        return COST[scale]

    def run(self, setting: Setting) -> Result | None:
        recipe = self.recipes[setting.scale]
        lenses = replace(recipe.lenses, galaxies=galaxies_of(setting.data))
        recipe = replace(recipe, lenses=lenses)
        if setting.quick:
            recipe = replace(recipe, unseen=4)
        designs: dict[str, Design] = {"published": recipe.published, "ours": recipe.ours}
        machines, minutes = {}, {}
        for name, design in designs.items():
            loss = partial(machine_loss, design)
            told = trainee(name, design.machine, loss, recipe.config, recipe, setting)
            rim, minutes[name] = train(told, setting)
            assert isinstance(rim, RIM)
            machines[name] = Machine(design, rim.cpu())
        make = partial(Reader, recipe.lenses.shape)
        told = trainee("reader", make, reader_loss, recipe.reading, recipe, setting)
        reader, minutes["reader"] = train(told, setting)
        if not setting.group.leads:
            return None
        setting.report("judging")
        found = kept(
            setting.folder / "judged.pt",
            {"unseen": recipe.unseen, "seed": setting.seed}
            | signs(setting.folder, [*designs, "reader"], EMA),
            partial(
                judge,
                recipe.lenses,
                machines,
                reader.cpu(),
                unseen=recipe.unseen,
                seed=setting.seed,
            ),
        )
        return result(found, recipe, setting, minutes)


def machine_loss(design: Design, rim: nn.Module, draws: Batch) -> Tensor:
    """Computes the loss of a machine that is shown true lenses."""
    return design.loss(rim, scene_of(draws, draws["lens"]))


def reader_loss(reader: nn.Module, draws: Batch) -> Tensor:
    """Computes the loss of a network that reads lenses."""
    return reading_loss(reader(shown(draws)), draws["lens"])


def trainee(
    name: str, make: Any, loss: Any, config: TrainConfig, recipe: Recipe, setting: Setting
) -> Trainee:
    """Describes the training of a machine, or of the network that reads lenses."""

    def draw(number: int, batch: int) -> Draws:
        return recipe.lenses.draw(batch, setting.seed, TRAINING, number)

    def validation() -> Draws:
        return recipe.lenses.draw(32, setting.seed, VALIDATION, 0, "validation")

    said = {
        "galaxies": str(setting.data) if setting.data else "clumpy",
        "lenses": str(replace(recipe.lenses, galaxies={})),
        "design": str(recipe.published if name == "published" else recipe.ours),
    }
    return Trainee(name, make, draw, validation, loss, config, said)


def result(
    found: Mapping[str, Any], recipe: Recipe, setting: Setting, minutes: Mapping[str, float]
) -> Result:
    """Makes the table and the figures of what was judged."""
    lines = [
        line(found["errors"][key], measure, f"{told}: {called}, median")
        for key, told in SETTINGS.items()
        for measure, called in MEASURES
    ]
    rows = rows_of(found["errors"], "lens")
    lens_rows = [
        {"lens": label, "number": number, "median": float(value.median())}
        for label, numbers in found["lens errors"].items()
        if label != "known"
        for number, value in numbers.items()
    ]
    low, high = recipe.lenses.theta_E
    told = {
        "galaxies": f"those of {setting.data}" if setting.data else "clumpy synthetic galaxies",
        "shape": recipe.lenses.shape,
        "pixel": recipe.lenses.pixel_scale,
        "low": low,
        "high": high,
        "features": recipe.published.features,
        "hidden": recipe.published.hidden,
        "kernel": recipe.published.kernel,
        "steps": recipe.published.steps,
        "ours": recipe.ours.steps,
        "seen": f"{recipe.config.steps * recipe.config.batch_size:,}",
        "unseen": recipe.unseen,
    }
    return Result(
        lines,
        {
            "sources": sources_figure(found),
            "error_against_calls": curves_figure(found["curves"], "source"),
            "errors_and_chi2": spread_figure(found),
        },
        {"errors": rows, "lens_errors": lens_rows},
        [text.format(**told) for text in DIFFERS],
        minutes,
    )


def line(methods: Mapping[str, Any], measure: str, quantity: str) -> Line:
    """Makes a line of the table; the best of the others is the one with the best sources."""

    def error(name: str) -> float:
        return float(methods[name]["relative L2"].median())

    best = min((MODES, PIXELS), key=error)
    return Line(
        quantity,
        NOT_FOUND,
        Number.median(methods["published"][measure]),
        Number.median(methods["ours"][measure]),
        Number.median(methods[best][measure]),
        best,
    )
