"""The recipe: which machines are trained how, and on what they are judged."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ...errors import InputError
from ...evaluation.problems.problem import TRAINING, VALIDATION, generator
from ...rim import RIM
from ...training.config import TrainConfig
from ..judged import kept, signs
from ..paper import NOT_FOUND, Line, Number, Result, Scale, Setting
from ..training import Trainee, train
from .figures import curves_figure, examples_figure
from .judging import LONGER, Machine, judge
from .machines import Design, Ours, Published
from .pictures import Leaves, Photographs, Pictures
from .problems import DENOISING, TASKS, Draws, Kind, Trial, trials
from .rivals import rivals

SMALL = TrainConfig(
    steps=600,
    batch_size=8,
    learning_rate=3e-3,
    warmup=30,
    ema=0.99,
    weight_decay=0.0,
    validate_every=100,
    checkpoint_every=50,
)
FULL = TrainConfig(
    steps=50_000,
    batch_size=16,
    parts=8,
    learning_rate=1e-3,
    warmup=500,
    ema=0.999,
    weight_decay=0.0,
    validate_every=1000,
    checkpoint_every=500,
    workers=2,
)
"""Two epochs of 400 000 patches, as in the paper; rate and size of its batches are not said."""


@dataclass(frozen=True)
class Recipe:
    """Holds a scale of the recipe.

    Arguments:
        published, ours: The designs.
        configs: How machines are trained, by what they are trained on.
        size: Pixels of a side of the images.
        unseen: Images of each problem on which all are judged.
    """

    published: Published
    ours: Ours
    configs: Mapping[str, TrainConfig]
    size: int = 32
    unseen: int = 128

    def quickened(self, small: "Recipe") -> "Recipe":
        """Returns the recipe that only shows whether all works, with the machines of another."""
        return replace(self, published=small.published, ours=small.ours, unseen=4)


RECIPES: Mapping[str, Recipe] = {
    "small": Recipe(
        Published(features=24, hidden=48, steps=8),
        Ours(),
        {"3task": SMALL, "denoise": replace(SMALL, steps=200)},
    ),
    "full": Recipe(
        Published(),
        Ours(widths=(64, 128), lift=32, steps=20),
        {"3task": FULL, "denoise": FULL},
        unseen=1000,
    ),
}

KINDS: Mapping[str, Kind] = {"3task": TASKS, "denoise": DENOISING}
"""What machines are trained on, by the paper's own names."""


def pictures_of(data: Path | None, size: int) -> tuple[Pictures, Pictures]:
    """Returns the images to train on, and those to judge on.

    Arguments:
        data: Folder with the folders ``train`` and ``test`` of photographs, as BSDS300 has them;
            dead leaves where it is ``None``.
        size: Pixels of a side of the patches.

    Raises:
        InputError: If there are no such folders, or no images in them.
    """
    if data is None:
        return Leaves(), Leaves()
    for name in ("train", "test"):
        if not (data / name).is_dir():
            raise InputError(
                f"--data: must hold the folders train and test of photographs, found no {name} in "
                f"{data}; choose another folder"
            )
    train, test = (Photographs.of(data / name, size) for name in ("train", "test"))
    return train, test


@dataclass(frozen=True)
class Batches:
    """Draws batches for a training, by their number, here or in a worker.

    Arguments:
        kind: What is trained on, of :data:`KINDS`.
        pictures: Where its images come from.
        size: Pixels of a side.
        seed: Seed of the sequence.
    """

    kind: str
    pictures: Pictures
    size: int
    seed: int

    def __call__(self, number: int, batch: int) -> Draws:
        rng = generator(self.seed, TRAINING, number)
        return KINDS[self.kind].draw(self.pictures, self.size, batch, number, rng)

    def validation(self) -> Draws:
        """Draws the batch for validations."""
        rng = generator(self.seed, VALIDATION)
        return KINDS[self.kind].draw(self.pictures, self.size, 64, 0, rng)


def trainee(
    label: str, design: Design, kind: str, recipe: Recipe, pictures: Pictures, setting: Setting
) -> Trainee:
    """Describes the training of a machine."""
    batches = Batches(kind, pictures, recipe.size, setting.seed)
    said = {"images": str(setting.data) if setting.data else "dead leaves", "design": str(design)}
    name, config = f"{label}-{kind}", recipe.configs[kind]
    return Trainee(name, design.machine, batches, batches.validation, design.loss, config, said)


TABLE2 = {
    15: "RIM-denoise 31.31, RIM-3task 31.19, BM3D 31.08, EPLL 31.19",
    25: "RIM-denoise 28.91, RIM-3task 28.67, BM3D 28.56, EPLL 28.68",
    50: "RIM-denoise 26.06, RIM-3task 25.78, BM3D 25.62, EPLL 25.67",
}
"""PSNR [dB] of grey images with noise of these deviations, without quantisation, on 68 images of
BSD300: table 2 of the version on OpenReview."""

DIFFERS = (
    "images: {images}; the paper's are patches of BSD300, which may not be passed on (give them "
    "with --data)",
    "judged on {unseen} patches of {size} pixels a side each; the paper's tables are of 68 whole "
    "photographs, so that decibels are not to be compared across columns, only differences within",
    "as published: {features} channels and {hidden} in the recurrent unit, {steps} steps (paper: "
    "64, 256, 20); each sample is normalised by itself, not by its batch; epsilon is fixed at "
    "0.05**2, and not learnt; the engine shows the network how far the state was moved, too",
    "trained on {patches} patches, each seen once (paper: 800 000, two epochs of 400 000)",
    "projections are scaled so that their mean is orthonormal, noise 1/255; the shares of 0.1 to "
    "0.5 in training are ours, and the Fourier ensemble is real (Hartley)",
    "total variation chooses among five weights, a factor of three apart: finer ones would give "
    "it some tenths of a decibel more",
    "one seed; the errors behind the numbers are those of the {unseen} patches alone",
    "super-resolution and inpainting are shown to machines that were trained on projections only; "
    "the numbers of the paper's own test of super-resolution were not found",
)


@dataclass(frozen=True)
class Putzky2017:
    """Creates the paper.

    Arguments:
        name, title, arxiv, reproduces: See :class:`~lensrim.reproduction.paper.Paper`.
        recipes: The recipe, by scale.
    """

    name: str = "putzky2017"
    title: str = "Recurrent Inference Machines for Solving Inverse Problems (Putzky & Welling)"
    arxiv: str = "1706.04008"
    recipes: Mapping[str, Recipe] = field(default_factory=lambda: RECIPES)
    reproduces: str = (
        "patches of images from random projections and from noise, and by the same machine from "
        "half of the pixels and from coarse ones; beside iterations without a machine"
    )

    def cost(self, scale: Scale) -> str:
        return COST[scale]

    def run(self, setting: Setting) -> Result | None:
        recipe = self.recipes[setting.scale]
        recipe = recipe.quickened(self.recipes["small"]) if setting.quick else recipe
        train_on, test_on = pictures_of(setting.data, recipe.size)
        machines: dict[str, dict[str, Machine]] = {kind: {} for kind in KINDS}
        minutes = {}
        for kind in KINDS:
            designs: dict[str, Design] = {"published": recipe.published, "ours": recipe.ours}
            for label, design in designs.items():
                told = trainee(label, design, kind, recipe, train_on, setting)
                rim, minutes[told.name] = train(told, setting)
                assert isinstance(rim, RIM)
                machines[kind][told.name] = Machine(design, rim)
        problems = trials(recipe.published.steps, test_on, train_on)
        problems = problems[:1] + problems[-4:-2] if setting.quick else problems
        others = rivals(train_on, recipe.size, setting.seed)
        names = [name for own in machines.values() for name in own]
        weights = signs(setting.folder, names, setting.group)

        def judged(number: int) -> dict[str, Any]:
            trial = problems[number]
            setting.report(f"judging: {trial.name}")
            used = machines["3task"] | (machines["denoise"] if trial.is_denoising else {})
            return kept(
                setting.folder / "judged" / f"{trial.label}.pt",
                {"unseen": recipe.unseen, "seed": setting.seed, "quick": setting.quick}
                | {"test": test_on.digest, "train": train_on.digest}
                | {name: weights[name] for name in used},
                partial(
                    judge,
                    trial,
                    used,
                    others,
                    size=recipe.size,
                    unseen=recipe.unseen,
                    seed=setting.seed,
                    most=12 if setting.quick else None,
                    device=setting.device,
                ),
            )

        # A problem is one process's: the setting of each of the others is chosen on it as a whole.
        parts = setting.group.dealt(len(problems), judged)
        if not setting.group.leads:
            return None
        found = {trial.name: part for trial, part in zip(problems, parts, strict=True)}
        return result(problems, found, recipe, setting, minutes)


COST = {
    "small": "measured: trainings of 13.7, 20.3, 3.8 and 4.0 minutes of the clock, each with a "
    "fifth to a third of one core, and 17 minutes of judging; less on two cores of their own",
    "full": "not run; four trainings of 50 000 steps of 16 patches: 7.3e10 operations a patch as "
    "published and 2.2e10 ours (counted), 4 GPU-hours together at 1e13 a second (assumed), shared "
    "by torchrun among 8 processes at most, a divisor of 8; "
    "each of nine problems is judged by one process, on 1000 patches eight times the work of the "
    "small scale",
}


def result(
    judged: Sequence[Trial],
    found: Mapping[str, Any],
    recipe: Recipe,
    setting: Setting,
    minutes: Mapping[str, float],
) -> Result:
    """Makes the table and the figures of what was judged."""
    lines = [
        line(trial, found[trial.name]["rows"], kind)
        for trial in judged
        for kind in (("3task", "denoise") if trial.is_denoising else ("3task",))
    ]
    rows = [
        {
            "problem": name,
            "method": row["method"],
            "calls": row["calls"],
            "setting": row["setting"],
            "PSNR": float(row["psnr"].mean()),
            "standard_error": float(row["psnr"].std()) / len(row["psnr"]) ** 0.5,
            "images": len(row["psnr"]),
        }
        for name, each in found.items()
        for row in each["rows"]
    ]
    told = {
        "images": f"photographs of {setting.data}" if setting.data else "dead leaves",
        "unseen": recipe.unseen,
        "size": recipe.size,
        "features": recipe.published.features,
        "hidden": recipe.published.hidden,
        "steps": recipe.published.steps,
        "patches": " and ".join(
            f"{config.steps * config.batch_size:,} ({kind})"
            for kind, config in recipe.configs.items()
        ),
    }
    return Result(
        lines,
        {"psnr_against_steps": curves_figure(found), "examples": examples_figure(found)},
        {"psnr": rows},
        [text.format(**told) for text in DIFFERS],
        minutes,
    )


def line(trial: Trial, rows: Sequence[Mapping[str, Any]], kind: str) -> Line:
    """Makes a line of the table: machines after the steps they were trained with, rivals at their
    end."""

    def psnr(name: str, place: int) -> Tensor:
        return [row for row in rows if row["method"] == name][place]["psnr"]

    def trained(label: str) -> Number:
        own = {r["calls"]: r["psnr"] for r in rows if r["method"] == f"{label}-{kind}"}
        return Number.mean(own[max(own) // LONGER])

    def best(place: int) -> tuple[str, Number]:
        names = dict.fromkeys(row["method"] for row in rows)
        others = [name for name in names if not name.startswith(("published-", "ours-"))]
        name = max(others, key=lambda name: float(psnr(name, place).mean()))
        return name, Number.mean(psnr(name, place))

    # Rivals have two rows: after as many calls as the machine as published, and at their end.
    (early_name, early), (name, rival) = best(0), best(-1)
    paper = f"{TABLE2[int(trial.noise)]} (table 2)" if trial.is_denoising else NOT_FOUND
    return Line(
        f"{trial.name}, machine of {kind}: PSNR [dB]",
        paper,
        trained("published"),
        trained("ours"),
        rival,
        name,
        early,
        early_name,
    )
