"""``lensrim compare``: a product beside the truth of a simulated observation."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._command_line import parsed
from ..errors import InputError


@dataclass(frozen=True)
class Compare:
    """Say how far a product is from the truth of a simulated observation.

    The truth is the *_truth.fits of lensrim simulate, or a file of another simulator with the same
    HDUs on the observation's pixels: ARCS (noise-free, without lens light), KAPPA, ALPHA_X and
    ALPHA_Y [arcsec, with the external shear], and SOURCE on pixels of its keyword PIXSCALE
    [arcsec], about the middle of the image. Numbers may be in its primary header.

    A mock, its reconstruction, and how good that is:
    $ lensrim simulate euclid --output lens.fits
    $ lensrim reconstruct lens.fits --output results
    $ lensrim compare results/lens_lensrim.fits lens_truth.fits --figure compared.png

    All numbers as JSON:
    $ lensrim compare results/lens_lensrim.fits lens_truth.fits --output compared.json
    """

    product: Annotated[Path, tyro.conf.Positional]
    """What lensrim reconstruct wrote, *_lensrim.fits."""

    truth: Annotated[Path, tyro.conf.Positional]
    """The truth, *.fits."""

    output: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """File of all numbers, *.json."""

    figure: Path | None = None
    """File of a picture (*.png, *.pdf or *.svg): true arcs, source and convergence beside the
    answer's."""

    overwrite: bool = False
    """Replace existing files."""


def parse(args: Sequence[str]) -> Compare:
    """Parses the words after ``lensrim compare``."""
    return parsed(Compare, prog="lensrim compare", args=args)


def run(options: Compare) -> None:
    """Compares, prints, and writes what is asked for.

    Raises:
        InputError: If a file cannot be used, or one that is to be written exists.
    """
    from ..evaluation.compared import compared, lines_of, picture
    from ..evaluation.truth_file import read_truth
    from ..io.product_reading import read_product
    from ..io.staging import write_together

    for name, path, endings in (
        ("--output", options.output, (".json",)),
        ("--figure", options.figure, (".png", ".pdf", ".svg")),
    ):
        if path is not None and path.suffix not in endings:
            raise InputError(
                f"{name}: must end in {' or '.join(endings)}, found {path}; rename it"
            )
        if path is not None and path.exists() and not options.overwrite:
            raise InputError(
                f"{path}: is not replaced unasked, found an existing file; choose another name or "
                "give --overwrite"
            )
    found = compared(read_product(options.product), read_truth(options.truth))
    print("\n".join(lines_of(found)))
    written = []
    if options.output is not None:
        text = json.dumps(found.told, indent=1) + "\n"
        write_together({options.output: lambda file: file.write_text(text, encoding="utf-8")})
        written.append(options.output)
    if options.figure is not None:
        drawn, kind = picture(found), options.figure.suffix[1:]
        write_together({options.figure: lambda file: drawn.savefig(file, format=kind)})
        written.append(options.figure)
    if written:
        print("Written:", *written, sep="\n  ")
