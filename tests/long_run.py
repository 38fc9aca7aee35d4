"""A long survey by itself, and what it holds after each lens: memory, and open files.

``python tests/long_run.py FOLDER COUNT`` writes COUNT observations of 32 x 32 pixels into FOLDER
and does all of them with ``--stage rim``, in this process, which is what each process of ``lensrim
catalogue`` does. ``FOLDER/held.csv`` has a line for each lens: its number, resident memory [kB],
open files, stage of its answer.

It is the whole chain, from the file to FITS, JSON, PNG, regions and row, in which two things are
other than a user's, so that a lens takes seconds:

- the search for the macro-model has fewer candidates and steps;
- the machine is the packaged one that is *said* to be valid for such small and such faint lenses,
  which it is not: the packaged one would be left out, and its memory with it.

The lens galaxy's light is fitted in one lens of eight; it would take most of the time.
"""

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from ways import short

from lensrim import zoo
from lensrim._weights import read_weights, write_weights
from lensrim.evaluation.mock_files import write_mock
from lensrim.evaluation.mocks import make_mock
from lensrim.inference import fit, search
from lensrim.inference.options import ReconstructOptions
from lensrim.survey.catalogue import run_survey
from lensrim.survey.columns import DONE
from lensrim.survey.lenses import find_lenses
from lensrim.survey.rows import Row, read_row
from lensrim.survey.work import Outcome

SIDE = 32
DIFFERENT = 16
"""Lenses that are simulated; the others are copies of them under other names."""
ANY = (0.0, 1e9)


def unlimited(path: Path) -> Path:
    """Writes the packaged machine as one that is said to be valid everywhere."""
    tensors, header = read_weights(zoo.card().path)
    write_weights(
        path, tensors, header | {"valid": dict.fromkeys(header["valid"], ANY)}, half=True
    )
    return path


def shorten(patch: Callable[[Any, str, Any], None]) -> None:
    """Lets the search be of two stages, with a few candidates and steps."""
    first, fine = search.STAGES[0], search.STAGES[3]
    stages = (replace(first, steps=2, keep=2), replace(fine, steps=2, keep=1))
    patch(search, "CORES", (0.05,))
    patch(fit, "WAYS", short(stages))
    for name in ("AGAIN", "SURPRISE"):  # nothing is searched for twice
        patch(fit, name, float("inf"))


def write_lenses(folder: Path, count: int) -> Path:
    """Writes lenses, and the table of them."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["path,lens_light"]
    for k in range(count):
        path = folder / f"lens{k:04d}.fits"
        if k < DIFFERENT:
            mock = make_mock(k, shape=(SIDE, SIDE), oversample=3)
            write_mock(mock, path, seed=k, zero_point=25.5, overwrite=True)
        else:
            path.write_bytes((folder / f"lens{k % DIFFERENT:04d}.fits").read_bytes())
        lines.append(f"{path.name},{'none' if k % 8 else 'auto'}")
    table = folder / "lenses.csv"
    table.write_text("\n".join(lines) + "\n")
    return table


def held() -> tuple[int, int]:
    """Returns resident memory [kB] and open files of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 1024, len(os.listdir("/proc/self/fd"))


def growth(lines: Sequence[tuple[int, int]]) -> tuple[float, int]:
    """Returns how memory and the number of open files grow from the second fifth to the last.

    Arguments:
        lines: Memory [kB] and open files after each lens.

    Returns:
        Ratio of the medians of the memory, less one; difference of those of the files.
    """
    fifth = len(lines) // 5
    early, late = lines[fifth : 2 * fifth], lines[-fifth:]
    memory, files = ([median(line[k] for line in part) for part in (early, late)] for k in (0, 1))
    return memory[1] / memory[0] - 1, round(files[1] - files[0])


def run(folder: Path, count: int) -> list[Row]:
    """Does the survey, and returns the rows of what failed."""
    table = write_lenses(folder / "obs", count)
    model = unlimited(folder / "unlimited.safetensors")
    fit = ReconstructOptions(stage="rim", model=str(model))
    lenses = {lens.name: lens for lens in find_lenses([str(table)], fit=fit).lenses}
    out = folder / "out"
    with (folder / "held.csv").open("w", buffering=1) as file:

        def note(outcome: Outcome) -> None:
            row = read_row(out, lenses[outcome.name])
            stage = row.values.get("stage", row.values["status"]) if row else "lost"
            file.write(",".join(map(str, (outcome.name, *held(), stage))) + "\n")

        failures = run_survey(out, tuple(lenses.values()), report=note).failures
    return [row for row in failures if row.values["status"] != DONE]


def read(folder: Path) -> tuple[list[tuple[int, int]], list[str]]:
    """Reads what was held after each lens of a run, and the stages of the answers."""
    lines = [line.split(",") for line in (folder / "held.csv").read_text().splitlines()]
    return [(int(line[1]), int(line[2])) for line in lines], [line[3] for line in lines]


if __name__ == "__main__":
    torch.set_num_threads(1)
    shorten(setattr)
    failed = run(Path(sys.argv[1]), int(sys.argv[2]))
    print(*(row.values["reason"] for row in failed), sep="\n")
    more, files = growth(read(Path(sys.argv[1]))[0])
    print(f"memory grew by {100 * more:.2f} %, open files by {files}")
