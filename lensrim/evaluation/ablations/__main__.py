"""``python -m lensrim.evaluation.ablations``: trains what is left, and writes the table."""

import csv
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
import tyro

from ..._command_line import parsed
from ...errors import InputError, status_of
from ...inference.lens_config import build
from ...inference.objective import loss_of
from ...inference.recipe import Recipe
from ...training.feed import MadeOnce, to_device
from ...training.history import History
from ...training.loop import fit
from .table import others, row_of, table_of
from .variants import CHOSEN, SCALES, VARIANTS, varied


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

    def check(self) -> None:
        """Checks them: before, a command line is to be read whole.

        Raises:
            InputError: If there is no such variant, or no seed.
        """
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
        partial(loss_of, config=recipe.model, loss=recipe.loss),
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


def run(options: AblationOptions, say: Callable[[str], None] = print) -> list[dict[str, Any]]:
    """Trains the variants, or what is left of them, and writes and prints the table.

    Returns:
        The rows of those whose training is at its end, and of others in the folder.

    Raises:
        InputError: If an option is impossible, or a folder cannot be used, or holds trainings of
            another recipe.
    """
    options.check()
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
    sys.exit(status_of(lambda: run(parsed(AblationOptions, prog=prog))))
