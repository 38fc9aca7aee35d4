"""``lensrim reproduce``: papers done again, at two scales."""

from collections.abc import Sequence

from .._command_line import parsed
from ..reproduction.suite import ReproduceOptions
from ..reproduction.suite import run as reproduce

__all__ = ["parse", "run"]


def parse(args: Sequence[str]) -> ReproduceOptions:
    """Parses the words after ``lensrim reproduce``."""
    return parsed(
        ReproduceOptions,
        prog="lensrim reproduce",
        description="Do a paper again: train its machine and ours, judge both on the same draws "
        "beside those who do without, and say what differs from the paper.\n\n"
        "The papers, and what they cost:\n"
        "$ lensrim reproduce\n\n"
        "In minutes on two cores; called again, it goes on:\n"
        "$ lensrim reproduce putzky2017 --scale small",
        args=args,
    )


def run(options: ReproduceOptions) -> None:
    """Does it again, or lists what there is."""
    reproduce(options)
