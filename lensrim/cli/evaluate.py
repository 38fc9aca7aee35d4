"""``lensrim evaluate``: the errors of the chain on simulated lenses."""

from collections.abc import Sequence

import tyro

from ..evaluation.suite import EvaluateOptions, run

__all__ = ["parse", "run"]


def parse(args: Sequence[str]) -> EvaluateOptions:
    """Parses the words after ``lensrim evaluate``."""
    return tyro.cli(
        EvaluateOptions,
        prog="lensrim evaluate",
        description="Reconstruct simulated lenses with known truth, and report the errors.",
        args=args,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
