"""The table of trainings that are at their end."""

import json
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from math import nan
from pathlib import Path
from statistics import fmean, median
from typing import Any

from ..._weights import read_header
from ...errors import InputError
from ...inference.lens_config import build
from ...inference.recipe import Recipe
from ...training.names import EMA
from .variants import CHOSEN, VARIANTS, varied

SHOWN = ("misfit", "source", "kappa", "gauge")
"""Errors of the table: D, relative L2 of the source and dex of kappa in the state's own gauge, and
the gauge's error. Medians over a validation batch, averaged over the batches."""


def others(folder: Path, base: Recipe, done: Collection[tuple[str, int]]) -> list[dict[str, Any]]:
    """Makes the lines of those trainings in a folder that were done by other calls.

    Those of another recipe, or with and without a folder of galaxies, are left out, and those
    whose weights are not there to tell.
    """
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
        if not lines or lines[-1]["step"] != recipe.train.steps:
            continue
        try:
            header = read_header(path.parent / EMA)
        except InputError:
            continue
        if recipe.differing(header) is None:
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
