"""``lensrim evaluate``: the errors of the chain on simulated lenses."""

from collections.abc import Sequence

from .._command_line import parsed
from ..evaluation import suite
from ..evaluation.options import EvaluateOptions

__all__ = ["parse", "run"]


def parse(args: Sequence[str]) -> EvaluateOptions:
    """Parses the words after ``lensrim evaluate``."""
    return parsed(
        EvaluateOptions,
        prog="lensrim evaluate",
        description="Reconstruct simulated lenses with known truth, and report the errors.\n\n"
        "Twenty lenses with synthetic sources:\n"
        "$ lensrim evaluate --n 20 --output evaluation\n\n"
        "The standard test: sixty of its mocks for daily work, and all in two processes:\n"
        "$ lensrim evaluate --suite standard --quick --output quick\n"
        "$ lensrim evaluate --suite standard --output standard --shard 1/2\n"
        "$ lensrim evaluate --suite standard --output standard --shard 2/2\n\n"
        "The same with real galaxies of your own:\n"
        "$ lensrim evaluate --suite standard --galaxies stamps --output real\n\n"
        "A machine of your own, on the test set of its recipe:\n"
        "$ lensrim evaluate --recipe recipe.toml --model mine.safetensors --stage final --n 100",
        args=args,
    )


def run(options: EvaluateOptions) -> None:
    """Runs the suite. Mocks on which the chain fails are counted, no failure of the command."""
    suite.run(options)
