"""Cards and files of weights in words, without torch and without a tensor being read."""

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._weight_files import opened, sha256_of
from ..errors import InputError
from . import DEFAULT, Card, cards
from .ranges import NAMES, beyond

if TYPE_CHECKING:
    from ..io.observation import Observation

ACCURACY = {
    "misfit": "noise-free misfit D on the arcs, in units of the noise's square",
    "source": "relative L2 error of the source, after the best mass sheet",
    "kappa": "error of log10 kappa [dex], after the best mass sheet",
    "source_plain": "relative L2 error of the source, as it is",
    "kappa_plain": "error of log10 kappa [dex], as it is",
    "gauge": "that mass sheet: |lambda - 1|",
}
"""The errors of a card. One source plane fixes kappa only up to a mass sheet, kappa -> lambda
kappa + 1 - lambda, with the source scaled by lambda; the best one has the true rays."""


def is_weights(path: Path) -> bool:
    """Whether a file seems to be one of weights: by its name, or by how it begins."""
    if path.suffix == ".safetensors":
        return True
    try:
        if not path.is_file():  # to open a pipe is to wait for it
            return False
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except (OSError, ValueError):
        return False


def table(known: Mapping[str, Card]) -> Iterator[str]:
    """Lists cards, a line each under a heading."""
    yield f"{'name':<10}{'date':<12}{'MB':>6}  {'sha256':<14}" + "  ".join(
        f"{key:<9}" for key in NAMES
    )
    for card in known.values():
        size = card.path.stat().st_size / 1e6 if card.path.is_file() else float("nan")
        ranges = "  ".join(f"{_range(card.valid.get(key)):<9}" for key in NAMES)
        star = "*" if card.name == DEFAULT else ""
        yield f"{card.name + star:<10}{card.date:<12}{size:>6.1f}  {card.sha256[:12]:<14}{ranges}"
    yield (
        f"(* the one of lensrim reconstruct --stage final; {', '.join(NAMES)}: "
        + "; ".join(NAMES.values())
        + ")"
    )


def describe(card: Card) -> Iterator[str]:
    """Says all that is on a card, and whether its file is the one it says."""
    size = f", {card.path.stat().st_size / 1e6:.1f} MB" if card.path.is_file() else ""
    yield f"{card.name}: a machine for lenses{size}, trained until {card.date}"
    yield f"  file      {card.path}"
    yield f"  sha256    {card.sha256} ({_state(card)})"
    yield f"  data      {card.data}"
    for key, name in NAMES.items():
        yield f"  valid     {name}: {_range(card.valid.get(key))}"
    if card.accuracy:
        yield "  measured  medians on validation data (in brackets, of its start: the macro-model)"
    for key in sorted(card.accuracy, key=_place):
        if key.endswith("_start"):
            continue
        start = card.accuracy.get(f"{key}_start")
        before = "" if start is None else f" ({start:.4g})"
        yield f"  measured  {ACCURACY.get(key, key)}: {card.accuracy[key]:.4g}{before}"
    yield f"  limits    {card.limits}"


def describe_file(path: Path) -> Iterator[str]:
    """Says what a file of weights holds, by its header alone.

    Raises:
        InputError: If it is none, or damaged.
    """
    sha = sha256_of(path)
    packaged = next((card for card in cards().values() if card.sha256 == sha), None)
    if packaged is not None:
        yield from describe(packaged)
        return
    tensors, header = read_structure(path)
    numbers = sum(_count(shape) for shape, _ in tensors.values())
    kinds = ", ".join(sorted({kind for _, kind in tensors.values()}))
    yield f"{path}: weights, {path.stat().st_size / 1e6:.1f} MB"
    yield f"  sha256    {sha} (of no packaged machine)"
    yield f"  tensors   {len(tensors)}, {numbers:,} numbers of type {kinds}"
    for key in ("model", "rim", "data", "step"):
        if key in header:
            yield f"  {key:<9} {json.dumps(header[key], ensure_ascii=False)[:300]}"
    valid = header.get("valid")
    if isinstance(valid, dict):
        for key, name in NAMES.items():
            yield f"  valid     {name}: {_range(valid.get(key))}"


def read_structure(path: Path) -> tuple[dict[str, tuple[list[int], str]], dict[str, Any]]:
    """Returns shapes and types of the tensors of a file, by name, and its header.

    Raises:
        InputError: If it is no safetensors file, or has no header of ours.
    """
    with opened(path, "numpy") as (file, header):
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        tensors = {n: (list(s.get_shape()), str(s.get_dtype())) for n, s in slices.items()}
    return tensors, header


def suits(observation: "Observation", *, cut: bool) -> Iterator[str]:
    """Says whether the packaged machine takes an observation, as far as can be told unfitted.

    Arguments:
        observation: As it was read.
        cut: Whether a part of it will be cut out, the side of which only a fit tells.
    """
    from ..lensing.fwhm import fwhm_of

    card = cards().get(DEFAULT)
    if card is None:
        return
    found = {"fwhm": fwhm_of(observation.psf)}
    if not cut:
        found = {"side": float(max(observation.shape)), **found}
    outside = beyond(card.valid, found)
    wide = cut and found["fwhm"] > card.valid.get("fwhm", (0.0, math.inf))[1]
    if outside and not wide:
        said = "; ".join(outside)
        yield f"the machine {card.name} (--stage final) is not for this frame: {said}"
    else:
        what = f"a cut-out of {_range(card.valid.get('side'))} pixels" if cut else "such a frame"
        if outside:  # large frames are binned, by how much only a fit tells
            what += f", so far as binning helps ({'; '.join(outside)})"
        yield f"the machine {card.name} takes {what}, if it is asked for (--stage final)"


def _range(given: Any) -> str:
    try:
        return f"{float(given[0]):g}-{float(given[1]):g}"
    except (TypeError, ValueError, IndexError, KeyError):
        return "not stated"


def _place(key: str) -> int:
    """Returns where an error is in :data:`ACCURACY`; those that are not there come last."""
    return [*ACCURACY, key].index(key)


def _count(shape: list[int]) -> int:
    number = 1
    for n in shape:
        number *= n
    return number


def _state(card: Card) -> str:
    try:
        return "whole" if sha256_of(card.path) == card.sha256 else "DAMAGED: install lensrim again"
    except InputError:
        return "MISSING: install lensrim again"
