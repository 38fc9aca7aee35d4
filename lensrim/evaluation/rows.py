"""Results as lines of JSON: one per mock and method."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..inference.refinement import REFINED

CHAIN = "lensrim"
"""What results call the chain, beside the outside methods."""


def _finite(row: Mapping[str, Any]) -> dict[str, Any]:
    """Replaces NaN and infinity, which JSON does not know, by null."""

    def known(value: Any) -> Any:
        if isinstance(value, Mapping):
            return _finite(value)
        if isinstance(value, list):
            return [known(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: known(value) for key, value in row.items()}


def read_rows(folder: Path, method: str = CHAIN) -> list[dict[str, Any]]:
    """Reads the rows of an output folder, by seed. Lines that were cut off are left out.

    Arguments:
        folder: The folder.
        method: Whose rows; those of the chain by default.
    """
    rows = {}
    for path in sorted(folder.glob("results*.jsonl")):
        for row in read_lines(path):
            if row.get("method", CHAIN) == method:
                rows[row["seed"]] = row
    return [rows[seed] for seed in sorted(rows)]


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Reads the lines of a file, each JSON; those that were cut off are left out."""
    for line in path.read_text(encoding="utf-8").splitlines():
        with suppress(json.JSONDecodeError):
            yield json.loads(line)


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Appends a row on a line of its own: see :func:`append_line`."""
    append_line(path, json.dumps(_finite(row)))


def append_line(path: Path, line: str) -> None:
    """Appends a line, even after one that was cut off."""
    cut = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    with path.open("a") as file:
        file.write(("\n" if cut else "") + line + "\n")


def with_references(
    rows: Sequence[dict[str, Any]], others: Sequence[Sequence[Mapping[str, Any]]]
) -> list[dict[str, Any]]:
    """Puts the errors of outside methods among the stages of the chain, mock by mock.

    A mock on which a method failed has no number of it, which counts as infinitely wrong. The
    names of the methods are the row's ``references``: they are no stages of the chain.
    """
    found = {(row["seed"], row["method"]): row for each in others for row in each}
    joined = []
    for row in rows:
        own = {name: found[row["seed"], name] for s, name in found if s == row["seed"]}
        stages = {
            name: dict(r.get("errors", {})) | {"seconds": r["seconds"]} for name, r in own.items()
        }
        stages = {**(row.get("stages") or {}), **stages}
        joined.append({**row, "stages": stages, "references": sorted(own)})
    return joined


SPENT = {
    "macro": ("quick", "lens_light", "macro", "inversion"),
    "rim": ("machine", "rim"),
    "rim_inversion": ("rim_inversion",),
    "final": ("final",),
    "descent": ("descent",),
    "weights": ("weights",),
}
"""What takes time before each stage has its answer, beside what the stage before it needs."""


def with_seconds(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Puts the time until each stage has its answer, and until the product, among the stages.

    Of rows that do not tell the machine's stages apart only the first and the last are known.
    """
    timed = []
    for row in rows:
        stages, spent = dict(row.get("stages") or {}), row.get("stage_seconds") or {}
        until, begun = {"answer": row["seconds"]}, 0.0
        for stage, names in SPENT.items():
            begun += sum(spent.get(name, 0.0) for name in names)
            if stage == "macro" or (stage in spent and (stage in REFINED or "rim" in spent)):
                until[stage] = begun
        stages |= {n: {**stages[n], "seconds": t} for n, t in until.items() if n in stages}
        timed.append({**row, "stages": stages} if "stages" in row else row)
    return timed
