"""``lensrim cite``: what to cite, as BibTeX."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Annotated

import tyro

from .. import citation
from .._command_line import parsed
from ..errors import InputError


@dataclass(frozen=True)
class Cite:
    """Print BibTeX entries: of lensrim itself, and of the methods and libraries it stands on.

    Each entry's note says which part of the program uses it; cite those that you used.

    All of them, into a file:
    $ lensrim cite > lensrim.bib

    Those of lensrim and of the source's inversion:
    $ lensrim cite lensrim warren2003 suyu2006
    """

    keys: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Keys of entries; all by default."""


def parse(args: Sequence[str]) -> Cite:
    """Parses the words after ``lensrim cite``."""
    return parsed(Cite, prog="lensrim cite", args=args)


def entries() -> dict[str, str]:
    """Returns the entries by their keys, lensrim's own first."""
    text = resources.files("lensrim").joinpath("references.bib").read_text(encoding="utf-8")
    found = [citation(), *re.split(r"\n(?=@)", text)]
    return {entry[entry.index("{") + 1 : entry.index(",")]: entry.strip() for entry in found}


def run(options: Cite) -> None:
    """Prints the entries.

    Raises:
        InputError: If there is none of a key.
    """
    known = entries()
    for key in options.keys:
        if key not in known:
            raise InputError(f"cite: must be one of {', '.join(known)}, found {key!r}; choose one")
    print("\n\n".join(known[key] for key in options.keys or known))
