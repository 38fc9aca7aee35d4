"""Banks: projections of many haloes in one file, read lazily by many processes.

A file of weights (:mod:`lensrim._weights`) with the tensors ``rings`` (N, 2, RINGS, ANGLES) of
int16, ``steps`` (N, 2) and ``macro`` (N, 8) of :class:`~.scaled.ScaledHalo`; the header
holds ``schema``, for each projection its names, numbers, provenance and the SHA-256 of its rings,
what the bank was made of, and what was left out and why.

Haloes that are the same have one name here: what divides a bank between sets divides by ``halo``,
before anything else is done with it.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..._weights import Rows, read_header, write_weights
from ...errors import InputError
from ..splits import groups, split
from .macro_fits import Macro
from .polar_maps import ANGLES, RINGS
from .scaled import ScaledHalo, ScaledHaloes

KIND = "haloes"
"""What the header says the file is."""
SCHEMA = 1
"""Version of the layout."""
KEPT = 512
"""Projections that a process remembers, 170 kB each."""
DESCRIBED = ("name", "halo", "rms", "theta_E", "z_lens", "z_source", "provenance")


def write_bank(
    path: str | Path,
    haloes: Sequence[ScaledHalo],
    *,
    made: Mapping[str, Any] | None = None,
    left_out: Sequence[str] = (),
) -> str:
    """Writes a bank, in place of a file that is there.

    Equal arguments give equal bytes.

    Arguments:
        path: The file; its folder must exist.
        haloes: The projections.
        made: What they were made of, as JSON holds it.
        left_out: What was left out, and why: a line each.

    Returns:
        The SHA-256 of the file.

    Raises:
        InputError: If two projections have one name.
    """
    names = Counter(halo.name for halo in haloes)
    if twice := sorted(name for name, count in names.items() if count > 1):
        raise InputError(f"{path}: projections must have names of their own, found two {twice[0]}")
    rows = [
        {**{name: getattr(halo, name) for name in DESCRIBED}, "sha256": _digest(halo.rings)}
        for halo in haloes
    ]
    rings = [torch.from_numpy(halo.rings) for halo in haloes]
    tensors = {
        "rings": torch.stack(rings) if rings else torch.zeros(0, 2, RINGS, ANGLES).short(),
        "steps": torch.tensor([h.steps for h in haloes], dtype=torch.float64).reshape(-1, 2),
        "macro": torch.tensor([astuple(h.macro) for h in haloes], dtype=torch.float64),
    }
    header = {"kind": KIND, "schema": SCHEMA, "haloes": rows, "left_out": list(left_out)}
    return write_weights(path, tensors, {**header, "made": dict(made or {})})


def _digest(rings: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(rings).tobytes()).hexdigest()


@dataclass(frozen=True)
class HaloBank:
    """Creates the projections of a bank. It may be sent to processes; each keeps the file open.

    Arguments:
        path: The file.

    Raises:
        InputError: If it is not a bank of this schema.
    """

    path: str

    def __post_init__(self) -> None:
        if not Path(self.path).is_file():
            raise InputError(
                f"haloes: must be a file that lensrim haloes wrote, found {self.path!r}"
            )
        header = self.header
        if header.get("kind") != KIND or header.get("schema") != SCHEMA:
            raise InputError(
                f"{self.path}: haloes must be a file that lensrim haloes wrote, of schema "
                f"{SCHEMA}, found {header.get('kind')!r} of {header.get('schema')!r}; write it "
                "again"
            )

    @property
    def changed(self) -> int:
        """When the file was changed [ns]: whoever remembers what is in it has to look."""
        return Path(self.path).stat().st_mtime_ns

    @property
    def header(self) -> dict[str, Any]:
        """What the file says of itself."""
        return _header(self.path, self.changed)

    @property
    def rows(self) -> dict[str, dict[str, Any]]:
        """Description of each projection, by name."""
        return self.header["rows"]

    @property
    def halos(self) -> dict[str, str]:
        """The halo that each projection shows, by the projection's name."""
        return {name: row["halo"] for name, row in self.rows.items()}

    def __len__(self) -> int:
        return len(self.rows)

    def load(self, name: str) -> ScaledHalo:
        """Reads one projection, unless this process remembers it.

        Raises:
            InputError: If there is none of this name, or it is damaged.
        """
        if name not in self.rows:
            raise InputError(f"{self.path}: no projection {name!r} among {len(self)}")
        return _read(self, name, self.changed)


@lru_cache(maxsize=16)
def _header(path: str, changed: int) -> dict[str, Any]:
    header = read_header(path)
    rows = header.get("haloes", [])
    return {**header, "rows": {row["name"]: {**row, "number": k} for k, row in enumerate(rows)}}


@lru_cache(maxsize=4)
def _rows(path: str, changed: int) -> Rows:
    return Rows(path)


@lru_cache(maxsize=KEPT)
def _read(bank: HaloBank, name: str, changed: int) -> ScaledHalo:
    row = bank.rows[name]
    number = row["number"]
    read = _rows(bank.path, changed)
    rings, steps, macro = (read(name, number) for name in ("rings", "steps", "macro"))
    if _digest(rings.numpy()) != row["sha256"]:
        raise InputError(f"{bank.path}: the projection {name!r} is damaged; write the file again")
    return ScaledHalo(
        rings=rings.numpy(),
        steps=(float(steps[0]), float(steps[1])),
        macro=Macro(*macro.tolist()),
        **{key: row[key] for key in DESCRIBED},
    )


def projections_of(haloes: ScaledHaloes, which: str | None = None) -> tuple[str, ...]:
    """Returns the names of the projections of a set.

    All projections of a halo are in one set, which the hash of the halo's name decides.

    Arguments:
        haloes: The collection.
        which: ``train``, ``validation`` or ``test``; by default, all.

    Raises:
        InputError: If there is none.
    """
    halos = haloes.halos
    if which is not None:
        own = set(split(sorted(set(halos.values())))[which])
        halos = {name: halo for name, halo in halos.items() if halo in own}
    if not halos:
        number = len(set(haloes.halos.values()))
        raise InputError(
            f"haloes: must have projections{f' for the {which} set' if which else ''}, found none "
            f"of {len(haloes.halos)}, of {number} haloes; the set of a halo follows from its name "
            "alone: give a bank of more haloes, ten or more"
        )
    return tuple(halos)


def same_haloes(
    haloes: Iterable[ScaledHalo], pairs: Iterable[tuple[str, str]]
) -> list[ScaledHalo]:
    """Gives haloes that are the same one name: the first of their names, in sorted order.

    Arguments:
        haloes: Projections.
        pairs: Pairs of names of haloes that are the same; see :func:`~.splits.groups`.
    """
    haloes = list(haloes)
    first = groups({halo.halo for halo in haloes}, pairs)
    return [replace(halo, halo=first[halo.halo]) for halo in haloes]
