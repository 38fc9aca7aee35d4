"""``python -m lensrim.evaluation.calibrate``: measures, fits, and says what it is worth."""

import hashlib
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from ..._command_line import parsed
from ...errors import InputError, status_of
from ...inference.calibration import Calibration, packaged_calibration, write_calibration
from ...inference.mass_sheet import RESPONSE, SLOPE, SLOPE_WIDTH, TAILS, WIDTH
from ...inference.reconstruct import reconstruct
from ...plotting.coverage import plot_coverage
from . import __doc__ as ABOUT
from .fitting import fit
from .judging import curves, format_lines, halved, judge, of_kinds
from .options import CalibrateOptions
from .rows import Row, answers_of, measured, run_of
from .sheets import sheet_width
from .tested import format_tested

PROG = "python -m lensrim.evaluation.calibrate"

KINDS_OF_MOCKS = {
    "standard": ("standard validation mocks", ""),
    "recipe": ("validation mocks of a recipe's galaxies and PSFs", " --recipe RECIPE"),
}
"""What each kind of mocks is called, and the option of the command that makes it."""


def card_of(rows: Sequence[Row], run: Mapping[str, str]) -> dict[str, Any]:
    """Says on what a calibration was measured, and for what priors and what score it is.

    Arguments:
        rows: The answers.
        run: What they have in common.
    """
    counts = Counter(kind for kind, _ in {(row["kind"], row["index"]) for row in rows})
    told = {kind: KINDS_OF_MOCKS[kind] for kind in KINDS_OF_MOCKS if kind in counts}
    first = {kind: min(row["index"] for row in rows if row["kind"] == kind) for kind in told}
    begun = {kind: f" --first {number}" if number else "" for kind, number in first.items()}
    stage = "" if run["last stage"] == "final" else f" --stage {run['last stage']}"
    base = f"{PROG} --n"
    return {
        "about": "errors of answers to "
        + " and ".join(f"{counts[kind]} {name}" for kind, (name, _) in told.items()),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": "; ".join(
            f"{base} {counts[kind]}{begun[kind]}{how}{stage}" for kind, (_, how) in told.items()
        ),
        "stages": sorted({row["stage"] for row in rows}),
        "machine": run["machine"],
        "version": run["version"],
        "mass_sheet": [WIDTH, TAILS, SLOPE, SLOPE_WIDTH, RESPONSE],
        **{name: _hash_of(name) for name in ("perturbations", "score")},
    }


def _hash_of(name: str) -> str:
    """Returns a hash of one of the package's files of numbers."""
    file = resources.files("lensrim.inference") / f"{name}.json"
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def run(options: CalibrateOptions) -> Calibration:
    """Measures what is left, fits and writes a calibration, and prints what it is worth; on test
    mocks it judges that of the package.

    Raises:
        InputError: If an option is impossible, or there are too few mocks to fit.
    """
    folder = Path(options.output)
    rows = measured(
        options, lambda _, mock, how: answers_of(mock, reconstruct(mock.observation, how))
    )
    if options.split == "test":
        print(format_tested(packaged_calibration(), rows))
        return packaged_calibration()
    if (count := len({(row["kind"], row["index"]) for row in rows})) < 10:
        raise InputError(f"--n: a calibration needs 10 mocks or more, found {count}; give more")
    found = fit(rows, card_of(rows, run_of(options)))
    (folder / "calibration.json").write_text(write_calibration(found), encoding="utf-8")
    halves = halved(rows)
    plot_coverage(curves(halves)).savefig(folder / "coverage.png", dpi=120)
    print(write_calibration(found), "all answers", format_lines(judge(halves)), sep="\n")
    for kind, own in of_kinds(halves).items():
        print(f"\nlast stage's answers to {kind} mocks", format_lines(judge(own)), sep="\n")
    print(f"mass sheet: its scale is {sheet_width(rows):.3f}, {WIDTH} is used")
    return found


if __name__ == "__main__":
    sys.exit(status_of(lambda: run(parsed(CalibrateOptions, prog=PROG, description=ABOUT))))
