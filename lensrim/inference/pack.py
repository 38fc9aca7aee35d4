"""A training made into what can be given to others: one small file of weights, and its papers."""

import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .._weights import read_weights, replacing, write_weights
from ..datasets.galaxies.learnt import is_learnt
from ..errors import InputError
from ..training.names import BEST, HISTORY
from .data_config import FOLDERS
from .recipe import read_recipe
from .validity import said_of, valid_of

CURVE = (
    ("step", "minutes", "learning_rate", "loss", "validation_loss"),
    ("misfit", "source", "source_plain", "kappa", "kappa_plain", "gauge"),
)
"""Columns of the curve: of the history, and validation errors of the machine and of its start."""


def pack(
    recipe: str | Path,
    training: str | Path,
    name: str,
    output: str | Path,
    *,
    overwrite: bool = False,
) -> str:
    """Packs the best weights of a training.

    Writes into a folder ``NAME.safetensors`` (half precision; the header says what the machine is
    made of and for what it may be used), ``NAME.toml`` (the recipe) and ``NAME.csv`` (errors on
    validation data against steps).

    Arguments:
        recipe: Recipe of the training.
        training: Its folder.
        name: Name of the machine.
        output: Folder for the files.
        overwrite: Whether files of that name in the folder are replaced.

    Returns:
        The card: a table for ``cards.toml``.

    Raises:
        InputError: If the training has no best weights yet, a file cannot be used, or a
            file of such a name is there.
    """
    training, output = Path(training), Path(output)
    if not (training / BEST).is_file():
        raise InputError(
            f"{training}: must hold {BEST}, which a training writes at its first validation; "
            "train on"
        )
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise InputError(f"name: must be of letters, digits, - and _, found {name!r}; change it")
    described = read_recipe(recipe)
    tensors, header = read_weights(training / BEST)
    if (differing := described.differing(header)) is not None:
        raise InputError(
            f"{recipe}: must be the recipe of {training / BEST}, found another {differing}; give "
            "the one that it was trained with"
        )
    # A training says them itself, unless it was made by an earlier version.
    valid = header.get("valid") or valid_of(described.data)
    lenses = header.get("lenses") or said_of(described.data)
    weights, copied, curve = (output / f"{name}{e}" for e in (".safetensors", ".toml", ".csv"))
    own = Path(recipe).resolve() == copied.resolve()
    for path in (weights, curve, *([] if own else [copied])):
        if path.exists() and not overwrite:
            raise InputError(f"{path}: exists; choose another --name or --output, or --overwrite")
    output.mkdir(parents=True, exist_ok=True)
    said = {**header, "valid": valid}
    sha = write_weights(weights, tensors, said, half=True)
    if not own:
        with replacing(copied) as file:
            file.write(moved(Path(recipe), output).encode())
    lines = [json.loads(line) for line in (training / HISTORY).read_text().splitlines()]
    write_curve(curve, lines)
    best = next((line for line in lines if line["step"] == header["step"]), lines[-1])
    data = [
        lenses,
        f"{header['step']} steps of {described.train.batch_size} lenses",
        *(f"as often as many pixels in frames of {side}" for side in described.data.larger),
    ]
    return card_text(name, sha, ", ".join(data), valid, best["validation_metrics"])


def moved(recipe: Path, folder: Path) -> str:
    """Returns the text of a recipe with its paths as they are seen from another folder."""

    def seen(found: re.Match[str]) -> str:
        there = recipe.parent / found[3]
        if Path(found[3]).is_absolute() or is_learnt(found[3]) or not there.exists():
            return found[0]
        path = Path(os.path.relpath(there, folder)).as_posix()
        return f"{found[1]}{found[2]}{path}{found[2]}"

    def with_paths(names: tuple[str, ...], text: str) -> str:
        return re.sub(rf"(?m)^(\s*(?:{'|'.join(names)})\s*=\s*)([\"'])(.*?)\2", seen, text)

    # At the top ``start`` is a file of weights, in the table of the model a word.
    text = recipe.read_text(encoding="utf-8")
    top = table.start() if (table := re.search(r"(?m)^\s*\[", text)) else len(text)
    return with_paths(("start",), text[:top]) + with_paths((*FOLDERS, "file"), text[top:])


def write_curve(path: Path, lines: list[dict[str, Any]]) -> None:
    """Writes the history as a table."""
    own, errors = CURVE
    starts = [f"{key}_start" for key in errors]
    text = [",".join((*own, *errors, *starts))]
    for line in lines:
        row = {**line, "minutes": line["seconds"] / 60}
        seen = line["validation_metrics"]
        values = [row[key] for key in own] + [seen[key] for key in (*errors, *starts)]
        text.append(",".join("" if v is None else f"{v:.5g}" for v in values))
    with replacing(path) as file:
        file.write(("\n".join(text) + "\n").encode())


def card_text(
    name: str, sha: str, data: str, valid: dict[str, list[float]], errors: dict[str, float | None]
) -> str:
    """Writes the card of a machine."""
    ranges = [f"{key} = [{low:g}, {high:g}]" for key, (low, high) in valid.items()]
    known = {key: value for key, value in errors.items() if value is not None}
    accuracy = [f"{key} = {value:.4g}" for key, value in known.items()]
    return "\n".join(
        [
            f"[{name}]",
            f'file = "{name}.safetensors"',
            f'sha256 = "{sha}"',
            f'date = "{datetime.now(UTC).date().isoformat()}"',
            f'data = "{data}"',
            'limits = ""',
            f'recipe = "{name}.toml"',
            f'curve = "{name}.csv"',
            "",
            f"[{name}.valid]",
            *ranges,
            "",
            f"[{name}.accuracy]  # medians on validation data, of the machine and of its start",
            *accuracy,
            "",
        ]
    )
