"""The recipe: which machines are trained how, and on what they are judged."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ...rim import RIM
from ...training.config import TrainConfig
from ..judged import kept_by_first, signs
from ..lensed.figures import curves_figure
from ..lensed.judging import MODES, PIXELS, Machine, rows_of
from ..lensed.lenses import Draws, galaxies_of
from ..lensed.machines import Design, Ours, Published
from ..lensed.reader import reading_loss
from ..lensed.recipe import FULL, Recipe, Unseen, trainee
from ..lensed.scene import Scene
from ..paper import NOT_FOUND, Line, Number, Result, Scale, Setting, median
from ..training import Batch, Trainee, train
from .coverage import Array
from .figures import reading_figure, skies_figure, sources_figure
from .judging import BLURRED, CHOSEN, COMPONENTS, REFINED, choices, in_spreads, judge
from .readers import CLEAN, DIRTY, Readers
from .skies import Skies, lens_scene, sky_scene

SMALL = TrainConfig(
    steps=150,
    batch_size=6,
    learning_rate=3e-3,
    warmup=15,
    ema=0.98,
    weight_decay=0.0,
    validate_every=75,
    checkpoint_every=25,
)
READING = replace(SMALL, steps=60, batch_size=16, learning_rate=2e-3, validate_every=30)


@dataclass(frozen=True)
class SkyRecipe(Recipe):
    """Holds a scale of the recipe.

    Arguments:
        skies: The population; for the others see
            :class:`~lensrim.reproduction.lensed.recipe.Recipe`.
    """

    skies: Skies = field(default_factory=Skies)


RECIPES: Mapping[str, SkyRecipe] = {
    "small": SkyRecipe(
        Published(24, (32, 32), 5, 6), Ours(weight=10.0), SMALL, READING, Unseen(24)
    ),
    "full": SkyRecipe(
        Published(),
        Ours(widths=(64, 96, 128), lift=32, steps=10, weight=10.0),
        FULL,
        replace(FULL, steps=30_000, batch_size=128),
        Unseen(200, drawn=4, together=4),
        Skies(shape=96, pixel_scale=0.06, array=Array(times=120), theta_E=(0.5, 2.0)),
    ),
}

DIFFERS = (
    "of the paper only the abstract was found: its numbers, ranges, arrays and networks are not "
    "here, and all ranges are ours",
    "the paper's machine looks for the sky, from which a network reads the lens; that it looks "
    "for the source through a known lens is added",
    "as published: the network of the same authors' paper of 2019, {features} channels, recurrent "
    "units of {hidden}, outer kernels of {kernel}, {steps} steps; no link",
    "sources: {galaxies}",
    "{antennas} antennas scattered by a rule, no list of ALMA's pads, {baselines} visibilities, "
    "another array for each lens; no phase errors, no observed data, no uncertainties of what is "
    "read; visibilities are made by the operator that inverts them, of a finer source",
    "images of {shape} pixels of {pixel} arcsec, Einstein radii of {low} to {high} arcsec, the "
    "peak of the dirty image 10 to 200 times its noise",
    "trained on {seen} lenses; judged on {unseen}",
    "ours begins with ten iterations of the inversion on pixels, and makes {ours} steps",
    "in the place of maximum likelihood in the uv plane: fifteen steps up the evidence, from what "
    "is read off the sky of ours",
    "where CLEAN stops, and the weight of the inversion on pixels, are chosen on separate lenses, "
    "by the error at the beam's resolution and the relative error; one choice serves all lines",
    "one seed; the errors behind the numbers are those of the {unseen} lenses alone",
)

COST = {
    "small": "measured on a busy machine, with a sixth to a half of a core: 36 minutes of the "
    "clock for five trainings, 2 to judge; by the times of single steps about 8 minutes of a core",
    "full": "not run; four trainings of 100 000 steps of 32 lenses: 2.9e11 operations a lens as "
    "published and 1.0e11 ours (counted), 70 GPU-hours together at 1e13 a second (assumed), "
    "shared by torchrun among 8 processes at most, a divisor of 8; their "
    "lenses and the readers' 17 million take 0.09 s of a core each (measured), 400 core-hours, in "
    "four workers of each process; to CLEAN the readers' takes 100 more (measured) where no GPU "
    "does it. To judge 200 lenses, four at a time, a matrix of 9216 rows is factored three times "
    "a lens in double precision: 8e11 operations, and 3 GB for the four",
}

SCENES: Mapping[str, Callable[[Draws], Scene]] = {
    "sky": sky_scene,
    "source": lambda draws: lens_scene(draws, draws["lens"]),
}
"""What is sought."""


@dataclass(frozen=True)
class Morningstar2018:
    """Creates the paper.

    Arguments:
        name, title, arxiv, reproduces: See :class:`~lensrim.reproduction.paper.Paper`.
        recipes: The recipe, by scale.
    """

    name: str = "morningstar2018"
    title: str = (
        "Analyzing interferometric observations of strong gravitational lenses with recurrent and "
        "convolutional neural networks (Morningstar et al.)"
    )
    arxiv: str = "1808.00011"
    recipes: Mapping[str, SkyRecipe] = field(default_factory=lambda: RECIPES)
    reproduces: str = (
        "the sky behind the dirty beam of an array like ALMA, beside CLEAN; the lens that is read "
        "off it by a network; and the source behind a known lens, beside linear inversion"
    )

    def cost(self, scale: Scale) -> str:
        return COST[scale]

    def run(self, setting: Setting) -> Result | None:
        recipe = self.recipes[setting.scale]
        recipe = recipe.quickened(self.recipes["small"]) if setting.quick else recipe
        recipe = replace(recipe, skies=replace(recipe.skies, galaxies=galaxies_of(setting.data)))
        machines, minutes = trained(recipe, setting)
        chosen = choices(recipe.skies, min(CHOSEN, recipe.unseen.count), setting)
        readers, minutes["readers"] = trained_readers(
            recipe, machines["sky"], chosen.stop, setting
        )
        setting.say("judging")
        folders = [f"{sought}_{name}" for sought, own in machines.items() for name in own]
        weights = signs(setting.folder, [*folders, "readers"], setting.group)
        found = kept_by_first(
            setting.folder / "judged.pt",
            {"unseen": str(recipe.unseen), "seed": setting.seed} | weights,
            partial(
                judge, recipe.skies, machines, readers, chosen, recipe.unseen, weights, setting
            ),
            setting.group,
        )
        return result(found, recipe, setting, minutes) if found is not None else None


def trained(
    recipe: SkyRecipe, setting: Setting
) -> tuple[dict[str, dict[str, Machine]], dict[str, float]]:
    """Trains the machines: by what is sought and name; and in how many minutes."""
    designs: dict[str, Design] = {"published": recipe.published, "ours": recipe.ours}
    machines: dict[str, dict[str, Machine]] = {sought: {} for sought in SCENES}
    minutes = {}
    for sought in SCENES:
        for name, design in designs.items():
            folder = f"{sought}_{name}"
            loss = partial(machine_loss, design, SCENES[sought])
            told = described(folder, design.machine, loss, recipe.config, recipe, setting)
            rim, minutes[folder] = train(told, setting)
            assert isinstance(rim, RIM)
            machines[sought][name] = Machine(design, rim)
    return machines, minutes


def trained_readers(
    recipe: SkyRecipe, machines: Mapping[str, Machine], stop: float, setting: Setting
) -> tuple[Readers, float]:
    """Trains the networks that read lenses off skies: those of machines, which do not belong to
    them and stay as they are, and CLEAN's; and in how many minutes.

    Raises:
        InputError: If they have been trained on skies of other machines, or cleaned otherwise.
    """
    weights = signs(setting.folder, [f"sky_{name}" for name in machines], setting.group)
    make = partial(Readers, recipe.skies.shape, machines, stop)
    told = described("readers", make, readers_loss, recipe.reading, recipe, setting)
    told = replace(told, said={**told.said, "stop": stop, "weights": weights})
    readers, minutes = train(told, setting)
    assert isinstance(readers, Readers)
    return readers, minutes


def machine_loss(
    design: Design, scene: Callable[[Draws], Scene], rim: nn.Module, draws: Batch
) -> Tensor:
    """Computes the loss of a machine; where it looks through a lens, that is the true one."""
    return design.loss(rim, scene(draws))


def readers_loss(readers: nn.Module, draws: Batch) -> Tensor:
    """Computes the loss of networks that read lenses; they may be wrapped."""
    found = readers(draws)
    return torch.stack([reading_loss(lens, draws["lens"]) for lens in found.values()]).sum()


def described(
    name: str, make: Any, loss: Any, config: TrainConfig, recipe: SkyRecipe, setting: Setting
) -> Trainee:
    """Describes the training of a machine, or of the networks that read lenses."""
    said = {
        "skies": str(replace(recipe.skies, galaxies={})),
        "design": str(recipe.published if name.endswith("published") else recipe.ours),
    }
    return trainee(name, make, loss, config, recipe.skies, setting, said)


def result(
    found: Mapping[str, Any], recipe: SkyRecipe, setting: Setting, minutes: Mapping[str, float]
) -> Result:
    """Makes the table and the figures of what was judged."""
    lens_rows = [
        {"read off": kind, "number": number, "median": median(value)}
        for kind, numbers in found["lens errors"].items()
        for number, value in numbers.items()
    ]
    told = recipe.told(recipe.skies, setting.data) | {
        "antennas": recipe.skies.array.antennas,
        "baselines": f"{recipe.skies.array.baselines:,}",
    }
    return Result(
        lines(found),
        {
            "skies": skies_figure(found),
            "sky_against_calls": curves_figure(found["curves"]["sky"], "sky"),
            "lenses": reading_figure(found),
            "sources": sources_figure(found),
            "source_against_calls": curves_figure(found["curves"]["source"], "source"),
        },
        {"errors": rows_of(found["errors"], "sought"), "lens_errors": lens_rows},
        [text.format(**told) for text in DIFFERS],
        minutes,
    )


def lines(found: Mapping[str, Any]) -> list[Line]:
    """Makes the lines of the table: of the sky, of what is read, and of the source."""
    errors, off = found["errors"], found["lens errors"]
    skies, sources = (CLEAN, COMPONENTS, DIRTY, PIXELS), (PIXELS, MODES)
    rivals = {"sky": skies, "source": sources, "source, read": sources}
    shown = (
        ("sky", "relative L2", "sky: relative error"),
        ("sky", BLURRED, "sky at the beam's resolution: relative error"),
        ("sky", "D", "sky: misfit without the noise"),
        ("source", "relative L2", "source, lens known: relative error"),
        ("source", "D", "source, lens known: misfit without the noise"),
        ("source, read", "relative L2", "source, lens read and refined: relative error"),
    )
    measured = [
        line(
            f"{told}, median",
            NOT_FOUND,
            {n: m[key] for n, m in errors[label].items()},
            rivals[label],
        )
        for label, key, told in shown
    ]
    read = {
        "error of theta_E, read off the sky, median": {
            kind: numbers["log_theta_E"] for kind, numbers in off.items()
        },
        "error of all seven numbers in their spreads, median": {
            kind: in_spreads(numbers) for kind, numbers in off.items()
        },
    }
    best = "lenses are read best off the machine's sky (abstract)"
    measured[3:3] = [line(told, best, values, (DIRTY, CLEAN)) for told, values in read.items()]
    return [
        *measured[:5],
        ratios(read["error of theta_E, read off the sky, median"]),
        *measured[5:],
    ]


def line(quantity: str, paper: str, values: Mapping[str, Tensor], rivals: tuple[str, ...]) -> Line:
    """Makes a line; the rival is the one that is best in it."""
    best = min(rivals, key=lambda name: median(values[name]))
    return Line(
        quantity,
        paper,
        Number.median(values["published"]),
        Number.median(values["ours"]),
        Number.median(values[best]),
        best,
    )


def ratios(errors: Mapping[str, Tensor]) -> Line:
    """Makes the line of errors of the Einstein radius over those of steps up the evidence."""
    least = median(errors[REFINED])

    def ratio(kind: str) -> Number:
        return Number(median(errors[kind]) / least)

    best = min((DIRTY, CLEAN), key=lambda kind: median(errors[kind]))
    return Line(
        "error of theta_E over that of the evidence's best",
        "less than 2, over maximum likelihood in the uv plane (abstract)",
        ratio("published"),
        ratio("ours"),
        ratio(best),
        best,
    )
