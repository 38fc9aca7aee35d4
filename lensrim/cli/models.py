"""``lensrim models``: the trained machines that come with the package."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from .._command_line import parsed
from ..errors import InputError
from ..zoo import cards
from ..zoo.description import describe, table


@dataclass(frozen=True)
class Models:
    """List the trained machines that come with lensrim: validity, accuracy, size, checksum.

    A machine is used by lensrim reconstruct --stage rim or final, with --model NAME, and only
    within its ranges. Without a name all are listed, and then each is described.

    All of them:
    $ lensrim models

    One of them:
    $ lensrim models fourth
    """

    name: Annotated[str | None, tyro.conf.Positional] = None
    """Name of a machine; all by default."""


def parse(args: Sequence[str]) -> Models:
    """Parses the words after ``lensrim models``."""
    return parsed(Models, prog="lensrim models", args=args)


def run(options: Models) -> None:
    """Prints the cards.

    Raises:
        InputError: If there is no machine of the name.
    """
    known = cards()
    if options.name is not None and options.name not in known:
        raise InputError(
            f"models: must be one of {', '.join(known) or 'none'}, found {options.name!r}; choose"
            " one, or look at a file of weights with lensrim info"
        )
    if options.name is None:
        print(*table(known), sep="\n")
    for name, card in known.items():
        if options.name is None:
            print()
        if options.name in (None, name):
            print(*describe(card), sep="\n")
