"""``python -m lensrim.evaluation.doubt``: cases, the score that is fitted to them, its curves."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro

from ..._command_line import parsed
from ...errors import InputError, status_of
from ...progress import progress
from .cases import cases_of, left, read_cases, write_case
from .report import figure_of, report_of, score_of

PACKAGED = Path(__file__).parents[2] / "inference" / "score.json"


@dataclass(frozen=True)
class Cases:
    """Make answers that are right and wrong; what is there is not made again."""

    n: int = 24
    """Observations of every kind; of the standard ones twice as many."""
    output: Path = Path("doubt")
    """Folder of cases.jsonl."""


@dataclass(frozen=True)
class Fit:
    """Fit the score to the cases, and write its table and its curves."""

    output: Path = Path("doubt")
    """Folder of cases.jsonl."""
    package: bool = False
    """Make the score the one of the package."""


def run(options: Cases | Fit) -> None:
    """Does what is asked for.

    Raises:
        InputError: If there are no cases to fit to.
    """
    path = options.output / "cases.jsonl"
    if isinstance(options, Cases):
        todo = left(read_cases(path), options.n)
        with progress("cases", total=len(todo)) as bar:
            for kind, number in todo:
                # all of an observation at once: what has one case counts as done
                for case in list(cases_of(kind, number)):
                    write_case(path, case)
                bar.update()
        return
    cases = read_cases(path)
    if not any(case.wrong for case in cases) or all(case.wrong for case in cases):
        raise InputError(f"{path}: must hold right and wrong answers; make them by: doubt cases")
    score = score_of(cases)
    print(report_of(cases, score))
    figure_of(cases, score).savefig(options.output / "roc.png", dpi=110)
    for target in (options.output / "score.json", *([PACKAGED] if options.package else [])):
        target.write_text(json.dumps(asdict(score), indent=1) + "\n")


def main(args: Sequence[str] | None = None) -> int:
    """Runs the command and returns the exit status."""
    commands = (
        Annotated[Cases, tyro.conf.subcommand("cases")]
        | Annotated[Fit, tyro.conf.subcommand("fit")]
    )
    prog = "python -m lensrim.evaluation.doubt"
    return status_of(lambda: run(parsed(commands, prog=prog, args=args)))


if __name__ == "__main__":
    sys.exit(main())
