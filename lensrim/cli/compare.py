"""``lensrim compare``: a product beside the truth of a simulated observation."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._command_line import parsed
from ..errors import InputError

FIGURES = {".png": ("Software",), ".pdf": ("CreationDate",), ".svg": ("Date",)}
"""Endings of pictures, and what is left out of each so that equal calls give equal files."""


@dataclass(frozen=True)
class Compare:
    """Say how far a product is from the truth of a simulated observation.

    The truth is the *_truth.fits of lensrim simulate, or a file of another simulator with the same
    HDUs. On the observation's pixels: ARCS (noise-free, with the PSF, without lens light, in the
    unit of the data), KAPPA (mean of each pixel, without the external shear), ALPHA_X and ALPHA_Y
    (at the pixels' centres, with the shear [arcsec]). SOURCE, in the unit of the data per pixel of
    the image, about the middle of the image, on pixels of its keyword PIXSCALE [arcsec]; structure
    as fine as these is smoothed.

    Numbers of its primary header, each of which may lack: THETAE [arcsec] (circle of mean
    convergence 1), MAGTOT (flux of the arcs over the galaxy's), and of a power law with shear
    MACROTE [arcsec] (Einstein radius on the intermediate axis), Q, PHI [deg from +x,
    counter-clockwise], SLOPE (3-D: 2 is isothermal), GAMMA1, GAMMA2.

    A mock, its reconstruction, and how good that is:
    $ lensrim simulate euclid --output lens.fits
    $ lensrim reconstruct lens.fits --output results
    $ lensrim compare results/lens_lensrim.fits lens_truth.fits --figure compared.png

    All numbers as JSON:
    $ lensrim compare results/lens_lensrim.fits lens_truth.fits --output compared.json
    """

    product: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PRODUCT")]
    """What lensrim reconstruct wrote, *_lensrim.fits."""

    truth: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="TRUTH")]
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
    import matplotlib

    from ..evaluation.compared import compared, lines_of, picture
    from ..evaluation.truth_file import read_truth
    from ..io.product_reading import read_product
    from ..io.staging import SUFFIXES, write_together

    product = options.product
    beside = [product.with_suffix(suffix) for suffix in SUFFIXES] if product.name else []
    read = (options.truth, product, *beside)
    for name, path, endings in (
        ("--output", options.output, (".json",)),
        ("--figure", options.figure, tuple(FIGURES)),
    ):
        if path is not None:
            _check(name, path, endings, read, overwrite=options.overwrite)
    found = compared(read_product(product), read_truth(options.truth))
    writers: dict[Path, Callable[[Path], object]] = {}
    if options.output is not None:
        text = json.dumps(found.told, indent=1) + "\n"
        writers[options.output] = lambda file: file.write_text(text, encoding="utf-8")
    if options.figure is not None:
        drawn = picture(found)
        bare = dict.fromkeys(FIGURES[options.figure.suffix])

        def draw(file: Path) -> None:
            with matplotlib.rc_context({"svg.hashsalt": "lensrim"}):  # else names are random
                drawn.savefig(file, metadata=bare)

        writers[options.figure] = draw
    print("\n".join(lines_of(found)))
    for path, write in writers.items():  # they may be in two folders
        write_together({path: write})
    if writers:
        print("Written:", *writers, sep="\n  ")


def _check(
    name: str, path: Path, endings: Sequence[str], read: Sequence[Path], *, overwrite: bool
) -> None:
    """Makes sure that a file may be written.

    Raises:
        InputError: If its name ends otherwise, it exists, is a folder, or belongs to what is read.
    """
    if path.suffix not in endings:
        ending = " or ".join(endings)
        raise InputError(f"{name}: must end in {ending}, found {path}; rename it")
    if any(path.exists() and other.exists() and path.samefile(other) for other in read):
        raise InputError(
            f"{name}: must not be a file of the product or the truth, found {path}; choose another"
        )
    if os.path.lexists(path) and not (overwrite and path.is_file()):
        advice = "choose another name" + (" or give --overwrite" if path.is_file() else "")
        raise InputError(f"{name}: does not replace what exists unasked, found {path}; {advice}")
