"""Ablations: the machine for lenses, trained again with one thing changed at a time.

    python -m lensrim.evaluation.ablations ablations --scale small --max-minutes 60

trains each variant on the same lenses, one after the other, and writes ``table.txt`` and
``table.csv`` of all trainings in the folder that are at their end. Called again it goes on where
it was; ``--only`` and ``--seeds`` choose what is trained. The lenses are made once and kept in
``stock``: the first variant waits for them.

A small training tells which changes matter most, not what a long one would end with: the seeds of
the variant ``chosen`` tell by how much two trainings of the same differ.
"""

import csv
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from math import nan
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any, Literal

import torch
import tyro

from ..errors import InputError, status_of
from ..inference.data_config import DataConfig
from ..inference.lens_config import AUX, LensConfig, build
from ..inference.objective import LossConfig, loss_of
from ..inference.recipe import Recipe, ValidationConfig
from ..rim.unroll import Unroll
from ..training.config import TrainConfig
from ..training.feed import MadeOnce, to_device
from ..training.history import History
from ..training.loop import fit

CHOSEN = "chosen"

SHOWN = ("misfit", "source", "kappa", "gauge")
"""Errors of the table: D, relative L2 of the source and dex of kappa in the state's own gauge, and
the gauge's error. Medians over a validation batch, averaged over the batches."""


@dataclass(frozen=True)
class Variant:
    """Describes one change.

    Arguments:
        says: What is changed.
        model: Settings of :class:`~lensrim.inference.lens_config.LensConfig` that differ.
        loss: The loss.
        unroll: How the steps are computed.
    """

    says: str
    model: Mapping[str, Any] = field(default_factory=dict)
    loss: LossConfig = LossConfig()
    unroll: Unroll = Unroll()

    def applied(self, base: Recipe) -> Recipe:
        """Returns the recipe with the change."""
        model = replace(base.model, **self.model)
        return replace(base, model=model, loss=self.loss, unroll=self.unroll)


def _without(*names: str) -> tuple[str, ...]:
    return tuple(name for name in AUX if name not in names)


VARIANTS = {
    CHOSEN: Variant("as packaged machines are made"),
    "normalised": Variant("score normalised alone", {"encodings": ("normalized",)}),
    "arcsinh": Variant("score compressed alone", {"encodings": ("arcsinh",)}),
    "adam": Variant("score as Adam's direction alone", {"encodings": ("adam",)}),
    "no-residual": Variant("neither residual nor model", {"aux": _without("residual", "model")}),
    "no-pull": Variant("no score of the rays' places", {"aux": _without("pull")}),
    "no-newton": Variant(
        "no information, no Newton step", {"aux": _without("information", "newton")}
    ),
    "score-only": Variant("nothing beside the score", {"aux": ()}),
    "no-conditioning": Variant("not told of noise and PSF", {"conditioning": False}),
    "plain-start": Variant("no macro-model to begin with", {"start": "plain"}),
    "root-kappa": Variant("errors of kappa by its root", loss=LossConfig(kappa="root")),
    "even-kappa": Variant("errors of kappa evenly", loss=LossConfig(kappa="even")),
    "last-misfit": Variant("D of the last step alone", loss=LossConfig(every=False)),
    "through-score": Variant(
        "back-propagation through the score", unroll=Unroll(through_score=True)
    ),
    "one-step": Variant("T = 1", {"steps": 1}),
    "two-steps": Variant("T = 2", {"steps": 2}),
    "eight-steps": Variant("T = 8", {"steps": 8}),
    "feed-forward": Variant("no score at all, T = 1", {"steps": 1, "encodings": (), "aux": ()}),
    "narrow": Variant("half the channels", {"widths": "half"}),
    "wide": Variant("twice the channels", {"widths": "twice"}),
}
"""Variants, by name. Widths are relative to those of the scale."""


@dataclass(frozen=True)
class Scale:
    """Describes how large machines, lenses and trainings are.

    Arguments:
        data: Settings of the lenses.
        model, train, validation: As in a recipe.
    """

    data: Mapping[str, Any]
    model: LensConfig
    train: TrainConfig
    validation: ValidationConfig

    def recipe(self, stock: Path, galaxies: str | None) -> Recipe:
        """Returns the recipe that is varied, whose lenses are kept in ``stock``."""
        data = DataConfig(stock=str(stock), galaxies=galaxies, **self.data)
        return Recipe(data, self.model, self.train, self.validation)


SCALES = {
    "small": Scale(
        data={"shape": 48, "stocked": 60, "reuse": 4},
        model=LensConfig(steps=4, widths=(16, 32, 48), lift=8, embedding=32),
        train=TrainConfig(
            steps=240,
            batch_size=16,
            learning_rate=2e-3,
            warmup=20,
            ema=0.98,
            validate_every=60,
            checkpoint_every=60,
        ),
        validation=ValidationConfig(batches=4, batch_size=32),
    ),
    "full": Scale(
        data={"shape": 64, "stocked": 400, "reuse": 5},
        model=LensConfig(steps=6, widths=(64, 128, 192), lift=32),
        train=TrainConfig(
            steps=850,
            batch_size=256,
            learning_rate=1.5e-3,
            warmup=80,
            ema=0.995,
            validate_every=100,
            checkpoint_every=100,
            workers=16,
            ahead=5,
        ),
        validation=ValidationConfig(batches=1, batch_size=96),
    ),
}
"""``small``: minutes on one core. ``full``: that of the machine ``second``, 8 minutes of an H100
with 16 cores beside it, for each variant."""


@dataclass(frozen=True)
class AblationOptions:
    """What to train, and where."""

    output: tyro.conf.Positional[str]
    """Folder of the trainings, their stock of lenses and the table."""

    scale: Literal["small", "full"] = "small"
    """Size of lenses, machine and training."""

    only: tuple[str, ...] = ()
    """Names of the variants; all by default."""

    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of the chosen variant's weights; of the others the first alone is trained."""

    galaxies: str | None = None
    """Galaxies, as in a recipe; synthetic ones by default."""

    max_minutes: float | None = None
    """Minutes after which to stop; call the command again to go on."""

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.only) - set(VARIANTS)):
            raise InputError(f"--only: must be of {', '.join(VARIANTS)}, found {unknown[0]!r}")
        if not self.seeds:
            raise InputError("--seeds: must be one or more, found none; give some")

    def recipe(self) -> Recipe:
        """The recipe that is varied."""
        return SCALES[self.scale].recipe(Path(self.output) / "stock", self.galaxies)

    def runs(self) -> list[tuple[str, int]]:
        """Names and seeds of the trainings, in their order."""
        names = self.only or tuple(VARIANTS)
        chosen = [(CHOSEN, seed) for seed in self.seeds] if CHOSEN in names else []
        first = chosen[:1] + [(name, self.seeds[0]) for name in names if name != CHOSEN]
        return first + chosen[1:]


def varied(name: str, base: Recipe, seed: int) -> Recipe:
    """Returns the recipe of a variant.

    Arguments:
        name: Its name.
        base: The recipe that is varied.
        seed: Seed of its weights and of its steps; its lenses are those of the base.
    """
    variant, factor = VARIANTS[name], {"half": 0.5, "twice": 2.0}
    settings = dict(variant.model)
    if settings.get("widths") in factor:
        scale = factor[settings["widths"]]
        settings["widths"] = tuple(round(scale * width) for width in base.model.widths)
    recipe = replace(variant, model=settings).applied(base)
    return replace(recipe, train=replace(recipe.train, seed=seed))


def train(
    recipe: Recipe,
    folder: Path,
    validation: Sequence[Any],
    device: torch.device,
    minutes: float | None,
) -> tuple[History, int]:
    """Trains a variant, or goes on with it; returns its history and number of parameters."""
    torch.manual_seed(recipe.train.seed)
    model = build(recipe.model, recipe.unroll)
    raw = device.type == "cuda"
    batches = recipe.batches(raw=raw)
    history = fit(
        model,
        batches,
        partial(
            loss_of,
            config=recipe.model,
            loss=recipe.loss,
            through_score=recipe.unroll.through_score,
        ),
        recipe.train,
        folder=folder,
        validation=validation,
        max_minutes=minutes,
        device=device,
        finish=lambda batch, number: batches.finish(batch, number, device),
        header=recipe.identity(),
        report=lambda line: print(f"{folder.name}: {line}", flush=True),
    )
    return history, sum(p.numel() for p in model.parameters())


def others(folder: Path, base: Recipe, done: Collection[tuple[str, int]]) -> list[dict[str, Any]]:
    """Makes the lines of those trainings in a folder that were done by other calls."""
    rows = []
    for path in sorted(folder.glob("*-*/history.jsonl")):
        name, _, seed = path.parent.name.rpartition("-")
        if name not in VARIANTS or not seed.isdigit() or (name, int(seed)) in done:
            continue
        recipe = varied(name, base, int(seed))
        try:
            lines = [json.loads(line) for line in path.read_text().splitlines()]
        except json.JSONDecodeError:  # another process is about to write it
            continue
        if lines and lines[-1]["step"] == recipe.train.steps:
            model = build(recipe.model)
            count = sum(p.numel() for p in model.parameters())
            rows.append(row_of(name, int(seed), recipe, lines, count))
    return rows


def row_of(
    name: str, seed: int, recipe: Recipe, lines: Sequence[Mapping[str, Any]], parameters: int
) -> dict[str, Any]:
    """Makes the line of the table of a training that is at its end.

    Errors that were not finite, of a training that diverged, are NaN.
    """
    line = lines[-1]
    times = [each["seconds"] for each in lines]
    spent = [b - a for a, b in pairwise(times)] or times
    measured = {k: nan if v is None else v for k, v in line["validation_metrics"].items()}
    return {
        "variant": name,
        "says": VARIANTS[name].says,
        "seed": seed,
        "parameters": parameters,
        "steps": line["step"],
        "seconds": median(spent) / recipe.train.validate_every,
        **{key: measured[key] for key in SHOWN},
        **{f"{key}_start": measured[f"{key}_start"] for key in SHOWN},
    }


def table_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Formats the rows: errors at the end, and their change against the chosen variant's mean."""
    lines = [["variant", "what", "seeds", "param.", "s/step", *SHOWN]]
    by_name: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(row["variant"], []).append(row)
    base = (
        {key: fmean(r[key] for r in by_name[CHOSEN]) for key in SHOWN} if CHOSEN in by_name else {}
    )
    if rows:
        start = [f"{rows[0][f'{key}_start']:.4f}" for key in SHOWN]
        lines.append(["", "start (macro-model's errors)", "", "", "", *start])
    for name, found in by_name.items():
        cells = []
        for key in SHOWN:
            values = [row[key] for row in found]
            text = f"{fmean(values):.4f}"
            if len(values) > 1:
                text += f" ({min(values):.4f}-{max(values):.4f})"
            elif base and name != CHOSEN:
                text += f" ({fmean(values) / base[key] - 1:+.0%})"
            cells.append(text)
        first = found[0]
        lines.append(
            [
                name,
                first["says"],
                str(len(found)),
                f"{first['parameters']:,}",
                f"{fmean(row['seconds'] for row in found):.2f}",
                *cells,
            ]
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < 2 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def run(options: AblationOptions, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Trains the variants, or what is left of them, and writes and prints the table.

    Returns:
        The rows of those whose training is at its end, and of others in the folder.

    Raises:
        InputError: If a folder cannot be used, or holds trainings of another recipe.
    """
    begun, base, folder = perf_counter(), options.recipe(), Path(options.output)
    folder.mkdir(parents=True, exist_ok=True)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    source = base.batches("validation", raw=device.type == "cuda")

    def made(index: int) -> dict[str, torch.Tensor]:
        with torch.enable_grad():  # the starts are fits; a validation asks for no gradients
            return source.finish(to_device(source(index), device), index, device)

    validation = MadeOnce(made, base.validation.batches)
    rows = []
    for name, seed in options.runs():
        recipe, left = varied(name, base, seed), None
        if options.max_minutes is not None:
            left = max(options.max_minutes - (perf_counter() - begun) / 60, 0.0)
        history, parameters = train(recipe, folder / f"{name}-{seed}", validation, device, left)
        if history.step == recipe.train.steps:
            rows.append(row_of(name, seed, recipe, history.lines, parameters))
    rows += others(folder, base, options.runs())
    text = table_of(rows)
    (folder / "table.txt").write_text(text + "\n")
    if rows:
        with (folder / "table.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    say(text)
    return rows


if __name__ == "__main__":
    prog = "python -m lensrim.evaluation.ablations"
    sys.exit(status_of(lambda: run(tyro.cli(AblationOptions, prog=prog))))
