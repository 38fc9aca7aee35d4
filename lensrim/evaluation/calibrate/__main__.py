"""``python -m lensrim.evaluation.calibrate``: measures, fits, and says what it is worth."""

import hashlib
import sys
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from ... import __version__
from ...errors import InputError, status_of
from ...inference.calibration import Calibration, write_calibration
from ...inference.mass_sheet import RESPONSE, SLOPE, SLOPE_WIDTH, TAILS, WIDTH
from ...inference.reconstruct import reconstruct
from ...plotting.coverage import plot_coverage
from . import __doc__ as ABOUT
from .fitting import fit
from .judging import curves, format_lines, halved, judge
from .options import CalibrateOptions
from .rows import measured, row_of
from .sheets import sheet_width


def card_of(about: str, n: int = 0) -> dict[str, Any]:
    """Says on what a calibration was measured, and the priors of the mass that it is for."""
    file = resources.files("lensrim.inference") / "perturbations.json"
    return {
        "about": about,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "command": f"python -m lensrim.evaluation.calibrate --n {n}",
        "version": __version__,
        "perturbations": hashlib.sha256(file.read_bytes()).hexdigest()[:16],
        "mass_sheet": [WIDTH, TAILS, SLOPE, SLOPE_WIDTH, RESPONSE],
    }


def run(options: CalibrateOptions) -> Calibration:
    """Measures, fits and writes a calibration, and prints what it is worth.

    Raises:
        InputError: If an option is impossible, or there are too few mocks to fit.
    """
    folder = Path(options.output)
    rows = measured(options, lambda _, mock, how: row_of(mock, reconstruct(mock.observation, how)))
    if len(rows) < 10:
        raise InputError(
            f"--n: a calibration needs 10 mocks or more, found {len(rows)}; give more"
        )
    about = f"errors of macro-models' answers to {len(rows)} standard validation mocks"
    found = fit(rows, card_of(about, options.n))
    (folder / "calibration.json").write_text(write_calibration(found), encoding="utf-8")
    halves = halved(rows)
    plot_coverage(curves(halves)).savefig(folder / "coverage.png", dpi=120)
    print(write_calibration(found), format_lines(judge(halves)), sep="\n")
    print(f"mass sheet: its scale is {sheet_width(rows):.3f}, {WIDTH} is used")
    return found


if __name__ == "__main__":
    import tyro

    sys.exit(status_of(lambda: run(tyro.cli(CalibrateOptions, description=ABOUT))))
