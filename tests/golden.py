"""Golden products: what the packaged machine and the chain gave of ``data/ring.fits``.

``python tests/golden.py`` makes ``tests/golden.json`` again, from the root of the checkout. It is
to be made again where an answer was meant to change, and the difference looked at: a product is
held to it in tenths of its own stated errors, which is less than anybody would see, and more than
other versions of the libraries do.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lensrim
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.reconstruct import Reconstruction, reconstruct
from lensrim.io.product import Product

ROOT = Path(__file__).parents[1]
RING = ROOT / "data" / "ring.fits"
FILE = Path(__file__).with_suffix(".json")

CASES = {
    "machine": ReconstructOptions(stage="final", z_lens=0.4, z_source=1.5, samples=2),
    "descent": ReconstructOptions(bin=2, refine="descent"),
}
"""The whole chain with the packaged machine; and larger pixels, on which it is not valid, with a
refinement."""

ERRORS = {
    "THETAE": "THETAEER",
    "MACROTE": "MACROTER",
    "MACROQ": "MACROQER",
    "MACROPHI": "MACROPHE",
    "SLOPE": "SLOPEERR",
    "GAMMA1": "GAMMA1ER",
    "GAMMA2": "GAMMA2ER",
    "MACROG1": "MACROG1E",
    "MACROG2": "MACROG2E",
    "MAGTOT": "MAGTOTER",
    "MAGSRC": "MAGSRCER",
    "FLUXSRC": "FLUXSRCE",
}
"""Numbers, and the keywords of their errors."""
OTHERS = {"CHI2NU": 0.01, "CHI2ARC": 0.01, "SKYNOISE": 0.01, "QSCORE": 0.02}
"""Numbers without an error, and by how much they may differ."""
WORDS = ("STAGE", "MODEL", "MODELSHA", "QUALITY", "NOISKIND", "PSFKIND", "BIN")
MAPS = {"KAPPA": "KAPPA_STD", "SOURCE": "SOURCE_STD"}
"""Maps, and those of their errors."""

SHARE = 0.1
"""Part of the stated error by which a number or a mean over a block may differ."""
BLOCKS = 6
"""Blocks along each side of a map, whose means are kept."""


@dataclass(frozen=True)
class Golden:
    """Holds what is kept of a product: numbers, words, and means of maps over blocks."""

    numbers: Mapping[str, float]
    words: Mapping[str, Any]
    maps: Mapping[str, list[list[float]]]


def made(case: str) -> Reconstruction:
    """Reconstructs a case; with one thread, as the processes of a survey do."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return reconstruct(RING, CASES[case])
    finally:
        torch.set_num_threads(before)


def kept(product: Product) -> Golden:
    """Returns what is kept of a product."""
    every = product.image_maps | product.source_maps
    keywords = [*ERRORS, *ERRORS.values(), *OTHERS]
    return Golden(
        numbers={k: _short(product.value(k)) for k in keywords if k in product.header},
        words={key: product.value(key) for key in WORDS if key in product.header},
        maps={
            name: blocks(np.asarray(every[name], dtype=float))
            for pair in MAPS.items()
            for name in pair
            if name in every
        },
    )


def blocks(values: np.ndarray) -> list[list[float]]:
    """Returns means over blocks, with shape (BLOCKS, BLOCKS)."""
    rows = np.array_split(values, BLOCKS, axis=0)
    return [[_short(b.mean()) for b in np.array_split(row, BLOCKS, axis=1)] for row in rows]


def _short(value: Any) -> float:
    """Rounds a number to what a file needs of it."""
    return float(f"{float(value):.7g}")


def allowed(golden: Golden) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Returns by how much numbers and maps may differ from golden ones."""
    numbers = {key: value for key, value in OTHERS.items() if key in golden.numbers}
    for key, error in ERRORS.items():
        if error in golden.numbers:
            numbers |= dict.fromkeys((key, error), SHARE * golden.numbers[error])
    maps = {}
    for name, error in MAPS.items():
        maps |= dict.fromkeys((name, error), SHARE * np.array(golden.maps[error]))
    return numbers, maps


def differences(found: Golden, golden: Golden) -> dict[str, float]:
    """Returns by which part of what is allowed each number and map differs, at most."""
    numbers, maps = allowed(golden)
    told = {
        key: abs(found.numbers[key] - golden.numbers[key]) / limit
        for key, limit in numbers.items()
    }
    for name, limit in maps.items():
        off = np.abs(np.array(found.maps[name]) - np.array(golden.maps[name]))
        told[name] = float((off / limit).max())
    return told


def read(case: str) -> Golden:
    """Reads what is golden of a case."""
    return Golden(**json.loads(FILE.read_text(encoding="utf-8"))["cases"][case])


def write() -> None:
    """Makes the file again."""
    content = {
        "made by": "python tests/golden.py",
        "lensrim": lensrim.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cases": {case: vars(kept(made(case).product)) for case in CASES},
    }
    text = json.dumps(content, indent=1) + "\n"
    text = re.sub(r"\[([^][]*)\]", lambda row: f"[{' '.join(row[1].split())}]", text)
    partial = FILE.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, FILE)


if __name__ == "__main__":
    before = {case: read(case) for case in CASES} if FILE.exists() else {}
    write()
    for case, golden in before.items():
        worst = differences(read(case), golden)
        name = max(worst, key=worst.__getitem__)
        print(f"{case}: {name} differs most, by {SHARE * worst[name]:.2g} of its stated error")
