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
        description="Reconstruct simulated lenses with known truth, and report the errors.\n\n"
        "Twenty lenses with synthetic sources:\n"
        "$ lensrim evaluate --n 20 --output evaluation\n\n"
        "A machine of your own, on the test set of its recipe:\n"
        "$ lensrim evaluate --recipe recipe.toml --model mine.safetensors --stage final --n 100",
        args=args,
        config=(tyro.conf.FlagCreatePairsOff,),
    )
