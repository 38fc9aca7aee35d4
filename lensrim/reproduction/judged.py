"""What was judged, kept in files, so that a run that was ended goes on where it was."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from .._weight_files import sha256_of
from .._weights import replacing


def kept(
    path: Path, sign: Mapping[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Returns what a file keeps, or makes it and keeps it.

    Arguments:
        path: The file; its folder is made.
        sign: What it was made of: with another sign it is made anew.
        make: Makes it: tensors, numbers and text, in dictionaries and lists to any depth.
    """
    if path.exists():
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["sign"] == dict(sign):
            return content["found"]
    found = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        torch.save({"sign": dict(sign), "found": found}, file)
    return found


def signs(folder: Path, names: list[str], file: str) -> dict[str, str]:
    """Returns the checksums of the weights of machines, by name."""
    return {name: sha256_of(folder / name / file) for name in names}
