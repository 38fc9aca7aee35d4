"""``lensrim bench``: how fast the simulator is, beside its peers."""

from collections.abc import Sequence

from .._command_line import parsed
from ..evaluation.bench.suite import BenchOptions, run

__all__ = ["parse", "run"]


def parse(args: Sequence[str]) -> BenchOptions:
    """Parses the words after ``lensrim bench``."""
    return parsed(
        BenchOptions,
        prog="lensrim bench",
        description="Time the simulator in turns with the peers that are installed.\n\n"
        "All of it, into a folder:\n$ lensrim bench --output bench\n\n"
        "A look, in a minute:\n$ lensrim bench --quick",
        args=args,
    )
