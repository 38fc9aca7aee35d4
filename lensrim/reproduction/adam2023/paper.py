"""The recipe: which machines are trained how, and on what they are judged."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from ...evaluation.problems.problem import TRAINING, VALIDATION
from ...inference.lens_config import LensConfig
from ...rim import RIM
from ...training.config import TrainConfig
from ..judged import kept_by_first, signs
from ..paper import Result, Scale, Setting
from ..training import Trainee, parameters, train
from .designs import Design, Ours, Published
from .figures import (
    added_figure,
    chi2_figure,
    coherence_figure,
    noise_figure,
    radii_figure,
    recovered_figure,
    systems_figure,
)
from .judging import Judging, Machine, judge
from .results import added_rows, measure_rows, table_lines
from .systems import Stock, Systems, check_data, own_data
from .tuning import FineTuning

SMALL = TrainConfig(
    steps=120,
    batch_size=8,
    learning_rate=2e-3,
    warmup=12,
    ema=0.97,
    weight_decay=0.0,
    validate_every=40,
    checkpoint_every=20,
)
FULL = TrainConfig(
    steps=200_000,
    batch_size=32,
    parts=32,
    learning_rate=1e-4,
    warmup=2000,
    ema=0.999,
    weight_decay=0.0,
    validate_every=2000,
    checkpoint_every=500,
    workers=4,
)


def steps_to_ours(whole: LensConfig) -> dict[str, Design]:
    """Returns the designs between the published one and ours, which is the last, by name."""
    plain = replace(whole, encodings=("adam",), aux=(), conditioning=False, start="plain")
    scores = replace(plain, encodings=whole.encodings)
    told = replace(scores, aux=whole.aux, conditioning=True)
    found = {"frame": plain, "scores": scores, "told": told, "ours": whole}
    return {name: Ours(config) for name, config in found.items()}


@dataclass(frozen=True)
class Recipe:
    """Holds a scale of the recipe.

    Arguments:
        published: The published design.
        ours: Our machine, whole.
        config: How each machine is trained.
        systems: The population.
        tuning: How machines are fine-tuned.
        stocked: Training batches that are made; further ones are these, turned and mirrored.
        validated: Lenses of the validation.
        unseen: Lenses on which all are judged.
        tuned: The first so many of them, to which machines are fine-tuned.
        together: Lenses that are judged at once.
    """

    published: Published
    ours: LensConfig
    config: TrainConfig
    systems: Systems
    tuning: FineTuning
    stocked: int
    validated: int = 16
    unseen: int = 24
    tuned: int = 24
    together: int = 8

    @property
    def designs(self) -> dict[str, Design]:
        """All designs, by name, from the published one to ours."""
        return {"published": self.published, **steps_to_ours(self.ours)}

    @property
    def judging(self) -> Judging:
        """On what machines are judged, and how."""
        return Judging(self.systems, self.tuning, self.unseen, self.tuned, self.together)

    def quickened(self, small: "Recipe") -> "Recipe":
        """Returns the recipe that only shows whether all works, with the machines of another."""
        return replace(
            self,
            published=replace(small.published, side=self.published.side),
            ours=small.ours,
            tuning=replace(self.tuning, steps=1, samples=1),
            stocked=2,
            validated=2,
            unseen=2,
            tuned=2,
            together=1,
        )


SMALL_SYSTEMS = Systems()
FULL_SYSTEMS = Systems(
    shape=128, theta_E=(0.5, 2.5), fwhm=(1.0, 5.0), halo_share=1.0, haloes=10_000
)

RECIPES: Mapping[str, Recipe] = {
    "small": Recipe(
        Published(SMALL_SYSTEMS.source_side, (12, 20, 28, 28), 1),
        LensConfig(steps=7, widths=(16, 32, 48), lift=8, embedding=32),
        SMALL,
        SMALL_SYSTEMS,
        FineTuning(),
        stocked=48,
    ),
    "full": Recipe(
        Published(FULL_SYSTEMS.source_side),
        LensConfig(steps=7, widths=(64, 128, 192, 256), lift=32),
        FULL,
        FULL_SYSTEMS,
        FineTuning(steps=2000, rate=1e-6, samples=100),
        stocked=100_000,
        unseen=1000,
        tuned=96,
    ),
}

DIFFERS = (
    "of the paper's text only the abstract was found: its numbers here are those that the "
    "public code of its authors stores, and its ranges those of that code",
    "masses: {masses}; the paper's are of IllustrisTNG, and of a generator that learnt them (put "
    "a file of lensrim haloes, haloes.safetensors, into the folder of --data)",
    "sources: {galaxies}; the paper's are of COSMOS, and of a generator (put stamps into the "
    "folder galaxies of --data); no name of a galaxy or halo is both trained and judged on",
    "images of {shape} pixels of {pixel:.3f} arcsec, the paper's of 128 of 0.06; Einstein radii "
    "of {low} to {high} arcsec, the paper's of 0.5 to 2.5; PSFs of {narrow} to {wide} pixels; "
    "noise of 0.001 to 0.036 of the peak, as there, but evenly in its logarithm",
    "as published: the layout of the public code, as far as it could be told, with channels of "
    "{widths}, {parameters:,} parameters against 348.5 million (225.9 at its widths); trained "
    "by AdamW in {steps} steps of {batch} lenses ({stocked} different ones), theirs by Adamax on "
    "2.2 million for up to 238 hours of a GPU",
    "fine-tuning, to {few} of the {unseen} lenses: {tuned} steps at a rate of {rate:g}, chosen on "
    "nothing, theirs up to 2000 at 1e-6; lenses around an answer are drawn by the packaged "
    "generator of sources and prior of perturbations, theirs by two generators",
    "our machines have frames, and the last one a start, from macro-models: in training these err "
    "as fits do, and where all are judged they are searched with no look at the truth",
    "macro-models, and so our machines, have mass beyond the frame and a shear; the paper's "
    "world, which is that of all images here, has neither",
    "errors of maps are plain, as the paper's: no mass sheet is taken off, which no image knows; "
    "sources of our machines are compared about their own frames' middles, for no image knows a "
    "constant deflection, the published design's on its fixed frame",
    "one seed; the errors behind the numbers are those of the {unseen} lenses alone",
)

COST = {
    "small": "measured on a busy machine, with two thirds of a core: 11 minutes of the clock for "
    "five trainings and their lenses, about 8 to search, fine-tune and judge",
    "full": "not run; five trainings of 200 000 steps of 32 lenses: 5.8e12 operations a lens as "
    "published and 1.9e11 ours (counted), 103 and four times 3.4 GPU-hours at 1e14 a second "
    "(assumed), shared by torchrun among 32 processes at most, a divisor of 32; "
    "100 000 lenses, made once, 2.9 s of a core each (measured on "
    "two), 80 core-hours, and 90 GB. To judge 1000: 59 s of a core to search one (measured on "
    "one), 16 core-hours, or on the GPU, and 0.1 s to measure a state; to fine-tune to 96 of them "
    "in at most 2000 steps, 1.2e16 operations a lens as published, 3 GPU-hours, ours less",
}


@dataclass(frozen=True)
class Adam2023:
    """Creates the paper.

    Arguments:
        name, title, arxiv, reproduces: See :class:`~lensrim.reproduction.paper.Paper`.
        recipes: The recipe, by scale.
    """

    name: str = "adam2023"
    title: str = (
        "Pixelated Reconstruction of Foreground Density and Background Surface Brightness in "
        "Gravitational Lensing Systems using Recurrent Inference Machines (Adam et al.)"
    )
    arxiv: str = "2301.04168"
    recipes: Mapping[str, Recipe] = field(default_factory=lambda: RECIPES)
    reproduces: str = (
        "source and convergence together, on pixels, fine-tuned with elastic weights; and what "
        "each of our changes adds to the published design at an equal number of training lenses"
    )

    def cost(self, scale: Scale) -> str:
        return COST[scale]

    def run(self, setting: Setting) -> Result | None:
        check_data(setting.data)
        recipe = self.recipes[setting.scale]
        recipe = recipe.quickened(self.recipes["small"]) if setting.quick else recipe
        recipe = replace(recipe, systems=replace(recipe.systems, data=setting.data))
        machines, minutes = {}, {}
        for name, design in recipe.designs.items():
            rim, minutes[name] = train(trainee(name, design, recipe, setting), setting)
            assert isinstance(rim, RIM)
            machines[name] = Machine(design, rim.requires_grad_(False), "")
        weights = signs(setting.folder, [*machines], setting.group)
        machines = {name: replace(m, weights=weights[name]) for name, m in machines.items()}
        setting.say("judging")
        judging = recipe.judging
        found = kept_by_first(
            setting.folder / "judged.pt",
            {"judging": str(judging), "seed": setting.seed} | weights,
            partial(judge, judging, machines, setting.folder / "lenses", setting),
            setting.group,
        )
        if found is None:
            return None
        sizes = {name: parameters(machine.rim) for name, machine in machines.items()}
        return result(found, recipe, setting, minutes, sizes)


def trainee(name: str, design: Design, recipe: Recipe, setting: Setting) -> Trainee:
    """Describes the training of a machine."""
    stock = setting.folder / "stock"
    training = Stock(recipe.systems, stock, setting.seed, TRAINING, recipe.stocked)
    held = Stock(recipe.systems, stock / "held", setting.seed, VALIDATION, 1, "validation")
    return Trainee(
        name,
        design.machine,
        training,
        partial(held.made, 0, recipe.validated),
        design.loss,
        recipe.config,
        {"systems": str(recipe.systems), "stocked": recipe.stocked, "design": str(design)},
    )


def result(
    found: Mapping[str, Any],
    recipe: Recipe,
    setting: Setting,
    minutes: Mapping[str, float],
    sizes: Mapping[str, int],
) -> Result:
    """Makes the table and the figures of what was judged."""
    systems, added = recipe.systems, added_rows(found, minutes, sizes)
    low, high = systems.theta_E
    stamps, haloes = own_data(setting.data)
    told = {
        "masses": f"{systems.halo_share:.0%} haloes ({haloes or 'the halo model'}), "
        "else power laws with subhalos",
        "galaxies": f"{stamps}" if stamps else "those that the packaged generator draws",
        "shape": systems.shape,
        "pixel": systems.pixel_scale,
        "low": low,
        "high": high,
        "narrow": systems.fwhm[0],
        "wide": systems.fwhm[1],
        "widths": recipe.published.widths,
        "parameters": sizes["published"],
        "steps": recipe.config.steps,
        "batch": recipe.config.batch_size,
        "stocked": f"{recipe.stocked * recipe.config.part_size:,}",
        "tuned": recipe.tuning.steps,
        "rate": recipe.tuning.rate,
        "unseen": found["lenses"],
        "few": found["tuned"],
    }
    return Result(
        table_lines(found),
        {
            "systems": systems_figure(found, systems.pixel_scale),
            "chi2": chi2_figure(found),
            "chi2_against_noise": noise_figure(found),
            "recovered": recovered_figure(found),
            "coherence": coherence_figure(found),
            "radii": radii_figure(found),
            "what_we_add": added_figure(added),
        },
        {"measures": measure_rows(found), "what_we_add": added},
        [text.format(**told) for text in DIFFERS],
        minutes,
    )
