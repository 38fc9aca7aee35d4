"""Trained machines: a card for each, and the weights that come with the package.

``cards.toml`` holds a table for each machine, by its name::

    [fourth]
    file = "fourth.safetensors"
    sha256 = "..."                 # of the file
    date = "2026-11-26"
    data = "..."                   # what it was trained on
    limits = "..."                 # what it is not for
    recipe = "fourth.toml"         # how: beside the file
    curve = "fourth.csv"           # errors on validation data against steps

    [fourth.valid]                 # what it was trained for, from and to
    side = [48, 160]               # of the frame [pixels]
    theta_E = [6.0, 44.0]          # Einstein radius [pixels]
    fwhm = [1.0, 4.0]              # of the PSF [pixels]
    snr = [10.0, 200.0]            # brightest pixel of the arcs over the noise

    [fourth.accuracy]              # measured, and on what

The weights are safetensors files; their header says what the machine is made of.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from .._weight_files import check_sum
from ..errors import InputError

FOLDER = Path(__file__).parent

DEFAULT = "fourth"
"""The machine that is used where none is named."""

Range = tuple[float, float]


@dataclass(frozen=True)
class Card:
    """Holds what is known of a machine.

    Arguments:
        name: Its name.
        path: File of its weights.
        sha256: Checksum of the file.
        date: When its training ended.
        data: What it was trained on.
        limits: What it is not for.
        valid: Ranges within which it may be used, by quantity.
        accuracy: What was measured, and on what.
        recipe, curve: Files beside the weights: how it was trained, and its errors against steps.
    """

    name: str
    path: Path
    sha256: str
    date: str
    data: str
    limits: str
    valid: Mapping[str, Range]
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    recipe: str = ""
    curve: str = ""


@cache
def cards() -> dict[str, Card]:
    """Reads the cards of the packaged machines, by name."""
    content = tomllib.loads((FOLDER / "cards.toml").read_text(encoding="utf-8"))
    found = {}
    for name, entry in content.items():
        given = dict(entry)
        given["valid"] = {key: (float(a), float(b)) for key, (a, b) in entry["valid"].items()}
        found[name] = Card(name=name, path=FOLDER / given.pop("file"), **given)
    return found


def card(name: str = DEFAULT) -> Card:
    """Returns the card of a packaged machine, whose file is checked.

    Raises:
        InputError: If there is none of that name, or its file is not the one of the card.
    """
    known = cards()
    if name not in known:
        packaged = f"one of {', '.join(known)}" if known else "the name of a packaged machine"
        raise InputError(
            f"model {name!r}: must be a file of weights or {packaged}, found neither; give one, "
            "or --stage macro"
        )
    found = known[name]
    check_sum(found.path, found.sha256)
    return found
