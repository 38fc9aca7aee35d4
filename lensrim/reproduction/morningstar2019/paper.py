"""The recipe: which machines are trained how, and on what they are judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from ...rim import RIM
from ...training.config import TrainConfig
from ..judged import kept_by_first, signs
from ..lensed.figures import curves_figure
from ..lensed.judging import MODES, PIXELS, Machine, rows_of
from ..lensed.lenses import galaxies_of
from ..lensed.machines import Design, Ours, Published
from ..lensed.reader import Reader, reading_loss
from ..lensed.recipe import FULL, Recipe, Unseen, trainee
from ..paper import NOT_FOUND, Line, Number, Result, Scale, Setting, median
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


@dataclass(frozen=True)
class LensRecipe(Recipe):
    """Holds a scale of the recipe.

    Arguments:
        lenses: The population; for the others see
            :class:`~lensrim.reproduction.lensed.recipe.Recipe`.
    """

    lenses: Lenses = field(default_factory=Lenses)


RECIPES: Mapping[str, LensRecipe] = {
    "small": LensRecipe(Published(24, (32, 32), 5, 6), Ours(), SMALL, READING),
    "full": LensRecipe(
        Published(),
        Ours(widths=(64, 96, 128), lift=32, steps=10),
        FULL,
        replace(FULL, steps=30_000, batch_size=128),
        Unseen(200, drawn=8),
        Lenses(shape=128, pixel_scale=0.05, theta_E=(0.5, 2.0), disc=(4.0, 16.0)),
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
    "full": "not run; two trainings of 100 000 steps of 32 lenses: 5.2e11 operations a lens as "
    "published and 1.8e11 ours (counted), 62 GPU-hours together at 1e13 a second (assumed), "
    "shared by torchrun among 8 processes at most, a divisor of 8; their "
    "lenses and the reader's, 10 million, take 0.03 s of a core each (measured), 90 core-hours, "
    "in four workers of each process; 200 lenses are judged in parts of eight",
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
    recipes: Mapping[str, LensRecipe] = field(default_factory=lambda: RECIPES)
    reproduces: str = (
        "the source behind an isothermal ellipsoid with shear, whose seven numbers are known, or "
        "read off the image by a network, through noise and masks; beside linear inversion"
    )

    def cost(self, scale: Scale) -> str:
        return COST[scale]

    def run(self, setting: Setting) -> Result | None:
        recipe = self.recipes[setting.scale]
        recipe = recipe.quickened(self.recipes["small"]) if setting.quick else recipe
        lenses = replace(recipe.lenses, galaxies=galaxies_of(setting.data))
        recipe = replace(recipe, lenses=lenses)
        designs: dict[str, Design] = {"published": recipe.published, "ours": recipe.ours}
        machines, minutes = {}, {}
        for name, design in designs.items():
            loss = partial(machine_loss, design)
            told = described(name, design.machine, loss, recipe.config, recipe, setting)
            rim, minutes[name] = train(told, setting)
            assert isinstance(rim, RIM)
            machines[name] = Machine(design, rim)
        make = partial(Reader, recipe.lenses.shape)
        told = described("reader", make, reader_loss, recipe.reading, recipe, setting)
        reader, minutes["reader"] = train(told, setting)
        setting.say("judging")
        weights = signs(setting.folder, [*designs, "reader"], setting.group)
        found = kept_by_first(
            setting.folder / "judged.pt",
            {"unseen": str(recipe.unseen), "seed": setting.seed} | weights,
            partial(judge, recipe.lenses, machines, reader, recipe.unseen, weights, setting),
            setting.group,
        )
        return result(found, recipe, setting, minutes) if found is not None else None


def machine_loss(design: Design, rim: nn.Module, draws: Batch) -> Tensor:
    """Computes the loss of a machine that is shown true lenses."""
    return design.loss(rim, scene_of(draws, draws["lens"]))


def reader_loss(reader: nn.Module, draws: Batch) -> Tensor:
    """Computes the loss of a network that reads lenses."""
    return reading_loss(reader(shown(draws)), draws["lens"])


def described(
    name: str, make: Any, loss: Any, config: TrainConfig, recipe: LensRecipe, setting: Setting
) -> Trainee:
    """Describes the training of a machine, or of the network that reads lenses."""
    said = {
        "lenses": str(replace(recipe.lenses, galaxies={})),
        "design": str(recipe.published if name == "published" else recipe.ours),
    }
    return trainee(name, make, loss, config, recipe.lenses, setting, said)


def result(
    found: Mapping[str, Any], recipe: LensRecipe, setting: Setting, minutes: Mapping[str, float]
) -> Result:
    """Makes the table and the figures of what was judged."""
    lines = [
        line(found["errors"][key], measure, f"{told}: {called}, median")
        for key, told in SETTINGS.items()
        for measure, called in MEASURES
    ]
    rows = rows_of(found["errors"], "lens")
    lens_rows = [
        {"lens": label, "number": number, "median": median(value)}
        for label, numbers in found["lens errors"].items()
        if label != "known"
        for number, value in numbers.items()
    ]
    told = recipe.told(recipe.lenses, setting.data)
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
        return median(methods[name]["relative L2"])

    best = min((MODES, PIXELS), key=error)
    return Line(
        quantity,
        NOT_FOUND,
        Number.median(methods["published"][measure]),
        Number.median(methods["ours"][measure]),
        Number.median(methods[best][measure]),
        best,
    )
