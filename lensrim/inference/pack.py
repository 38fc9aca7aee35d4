"""A training made into what can be given to others: one small file of weights, and its papers."""

import json
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .._weights import read_weights, replacing, write_weights
from ..errors import InputError
from ..training.folder import BEST, HISTORY
from .machine import SIDE, VALID
from .plan import HUGE
from .recipe import read_recipe

CURVE = (
    ("step", "minutes", "learning_rate", "loss", "validation_loss"),
    ("misfit", "source", "source_plain", "kappa", "kappa_plain", "gauge"),
)
"""Columns of the curve: of the history, and validation errors of the machine and of its start."""


def pack(recipe: str | Path, training: str | Path, name: str, output: str | Path) -> str:
    """Packs the best weights of a training.

    Writes into a folder ``NAME.safetensors`` (half precision; the header says what the machine is
    made of and for what it may be used), ``NAME.toml`` (the recipe) and ``NAME.csv`` (errors on
    validation data against steps).

    Arguments:
        recipe: Recipe of the training.
        training: Its folder.
        name: Name of the machine.
        output: Folder for the files.

    Returns:
        The card: a table for ``cards.toml``.

    Raises:
        InputError: If the training has no best weights yet, or a file cannot be used.
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
    wanted = json.loads(json.dumps(described.identity()))
    differ = [key for key, value in wanted.items() if header.get(key) != value]
    if differ:
        raise InputError(
            f"{recipe}: must be the recipe of {training / BEST}, found another {differ[0]}; give "
            "the one that it was trained with"
        )
    sides = described.data.sides
    # Radii follow the frame, as the population's do. Frames above HUGE are binned unless the user
    # objects: a machine is not promised for them that was not trained on them.
    valid = {key: list(pair) for key, pair in VALID.items()}
    for key in ("side", "theta_E"):
        low, high = valid[key]
        valid[key] = [low * min(sides) / SIDE, high * max(sides) / SIDE]
    valid["side"][1] = min(valid["side"][1], float(max(HUGE, *sides)))
    output.mkdir(parents=True, exist_ok=True)
    said = {**header, "valid": valid}
    sha = write_weights(output / f"{name}.safetensors", tensors, said, half=True)
    if Path(recipe).resolve() != (output / f"{name}.toml").resolve():
        shutil.copyfile(recipe, output / f"{name}.toml")
    lines = [json.loads(line) for line in (training / HISTORY).read_text().splitlines()]
    write_curve(output / f"{name}.csv", lines)
    best = next((line for line in lines if line["step"] == header["step"]), lines[-1])
    data = [
        "real galaxies" if described.data.galaxies else "synthetic galaxies",
        "real PSFs" if described.data.psfs else "analytic PSFs",
        f"{header['step']} steps of {described.train.batch_size} lenses",
        *(f"as often as many pixels in frames of {side}" for side in described.data.larger),
    ]
    return card_text(name, sha, ", ".join(data), valid, best["validation_metrics"])


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
