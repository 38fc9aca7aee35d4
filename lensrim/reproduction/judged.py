"""What was judged, kept in files, so that a run that was ended goes on where it was."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from .._weight_files import sha256_of
from .._weights import replacing
from ..training.checkpoint import refusing_damaged
from ..training.distributed import Group
from ..training.names import EMA


def kept(
    path: Path, sign: Mapping[str, Any], make: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Returns what a file keeps, or makes it and keeps it.

    Arguments:
        path: The file; its folder is made.
        sign: What it was made of: with another sign it is made anew, and by another version of the
            package, whose others may answer otherwise.
        make: Makes it: tensors, numbers and text, in dictionaries and lists to any depth.

    Raises:
        InputError: If the file cannot be read.
    """
    found = _read(path, sign)
    return _write(path, sign, make()) if found is None else found


def kept_by_first(
    path: Path, sign: Mapping[str, Any], make: Callable[[], dict[str, Any]], group: Group
) -> dict[str, Any] | None:
    """Returns what a file keeps that the first process of a group alone need see.

    Arguments:
        path, sign: See :func:`kept`.
        make: Makes it: called by all processes, or by none.
        group: The processes.

    Returns:
        What was kept or made; nothing in the other processes.

    Raises:
        InputError: In all processes, if the file cannot be read.
    """
    found: list[dict[str, Any] | None] = []

    def lacks() -> bool:
        found.append(_read(path, sign))
        return found[-1] is None

    # What cannot be read is an error of all: the others would wait for a first that is no more.
    if group.from_first(lacks):
        made = make()
        return _write(path, sign, made) if group.leads else None
    return found[-1] if group.leads else None


def _read(path: Path, sign: Mapping[str, Any]) -> dict[str, Any] | None:
    if not path.exists():
        return None
    with refusing_damaged(
        f"{path}: must be what was kept here, found a damaged file or one of another kind; "
        "remove it to make it anew"
    ):
        content = torch.load(path, map_location="cpu", weights_only=True)
        return content["found"] if content["sign"] == _signed(sign) else None


def _signed(sign: Mapping[str, Any]) -> dict[str, Any]:
    return {**sign, "version": __version__}


def _write(path: Path, sign: Mapping[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        torch.save({"sign": _signed(sign), "found": found}, file)
    return found


def signs(folder: Path, names: list[str], group: Group) -> dict[str, str]:
    """Returns the checksums of the weights of machines, by name, in all processes."""
    return group.from_first(lambda: {name: sha256_of(folder / name / EMA) for name in names})
