"""``lensrim info``: what is understood of a file, and what it lacks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._command_line import parsed
from ..errors import InputError, printable
from ..inference.plan import is_cut, plan_of, refusal_of
from ..io.inspection import Inspection, inspect, product_numbers
from ..io.options import ReadOptions
from ..io.window import Window
from ..zoo.description import describe_file, is_weights, suits


@dataclass(frozen=True)
class Info:
    """Say what is understood of files, and what they lack; nothing is fitted or written.

    Of an observation: the HDUs and what each is taken for, the pixel scale, noise and PSF, and
    where they are from, what lensrim reconstruct would do without options, and which would help.
    Of a product: its numbers. Of weights: their card. The options are those of reconstruct. The
    exit status is 1 where an observation lacks something that a reconstruction needs.

    An observation, as it is:
    $ lensrim info data/ring.fits

    Whether these options suffice:
    $ lensrim info image.fits --noise rms.fits --psf psf.fits --pixel-scale 0.05

    One lens of a mosaic, as reconstruct reads it with the same --center:
    $ lensrim info mosaic.fits --center 10412 7730 --noise rms.fits --psf psf.fits

    Many files, products and weights among them:
    $ lensrim info lenses/*.fits results/ring_lensrim.fits mine.safetensors
    """

    files: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """FITS files, folders that hold data.fits, noise_map.fits and psf.fits, or weights."""
    read: tyro.conf.OmitArgPrefixes[ReadOptions] = ReadOptions()
    center: tuple[float, float] | None = None
    """Pixel indices x y of a lens, counted from 0: of an image that is too large to be read as a
    whole, what lies about it is looked at."""


def parse(args: Sequence[str]) -> Info:
    """Parses the words after ``lensrim info``."""
    return parsed(Info, prog="lensrim info", args=args)


def run(options: Info) -> int:
    """Prints what is understood of each file.

    Returns:
        The exit status: 1 where an observation lacks what a reconstruction needs, or cannot be
        cut out at the centre, else 0.

    Raises:
        InputError: If there is a file of which nothing is; those after it are shown, too.
    """
    if not options.files:
        raise InputError("info: needs a file or more, found none: name them")
    refused: list[str] = []
    lacking = False
    for number, path in enumerate(options.files):
        try:
            lines, lacks = told(path, options.read, options.center)
            lacking = lacking or lacks
        except InputError as error:
            refused.append(str(error))
            lines = [f"{path}: nothing is understood of it"]
        if len(options.files) > len(refused) or number:
            print(*([""] if number else []), *(printable(line) for line in lines), sep="\n")
    if refused:
        more = f" ({len(refused)} of {len(options.files)} files)" if len(refused) > 1 else ""
        raise InputError(f"{refused[0]}{more}")
    return int(lacking)


POSITION = ("LENSRA", "LENSDEC")
"""Numbers [deg] of which six digits would be a second of arc and more."""


def told(
    path: Path, options: ReadOptions, center: tuple[float, float] | None = None
) -> tuple[list[str], bool]:
    """Says what is understood of a file, and whether it lacks what a reconstruction needs."""
    if is_weights(path):
        return list(describe_file(path)), False
    numbers = product_numbers(path) if path.is_file() else None
    if numbers is None:
        found = inspect(path, options, None if center is None else Window(center))
        lacking = found.observation is None or bool(refusal_of(found.observation, center))
        return list(_of_observation(found, center)), lacking
    lines = [f"{path}: a product of lensrim"]
    for keyword, value, meaning in numbers:
        digits = 10 if keyword in POSITION else 6
        shown = f"{value:.{digits}g}" if isinstance(value, float) else str(value)
        lines.append(f"  {keyword:<9} {shown:<22} {meaning}".rstrip())
    return lines, False


def _of_observation(found: Inspection, center: tuple[float, float] | None) -> Iterator[str]:
    yield f"{found.path}: an observation" + (", of which something is missing" * bool(found.lacks))
    several = len({part.file for part in found.parts}) > 1
    for part in found.parts:
        name = part.name or "(no name)"
        where = f"{part.file.name}[{part.index}]" if several else f"HDU {part.index}"
        yield f"  {where:<9} {name:<12} {part.content:<24} {part.role}".rstrip()
    for name, what in found.known:
        yield f"  {name + ':':<17}{what}"
    for lack in found.lacks:
        yield f"  lacks: {lack}"
    if found.observation is None:
        yield "  lensrim reconstruct: not before what it lacks is given"
        return
    yield f"  lensrim reconstruct {'without options' if center is None else 'with this --center'}:"
    cut = is_cut(found.observation, center)
    for line in (*plan_of(found.observation, center), *suits(found.observation, cut=cut)):
        yield f"    - {line}"
