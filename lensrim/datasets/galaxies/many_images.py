"""Files of hundreds of images, of which one is wanted.

astropy walks through all headers before the one that is asked for, 4 s in a file of a thousand.
Here a file is walked through once, looking at nothing but the sizes; an image is then read by its
place, and the file closed.
"""

import re
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError

BLOCK = 2880
"""Bytes of a FITS record."""

SIZE = re.compile(rb"(BITPIX|NAXIS\d*|PCOUNT|GCOUNT) *= +(-?\d+)")


@lru_cache(maxsize=512)
def _places(path: Path, changed: int) -> tuple[int, ...]:
    """Where the HDUs of a file begin, and where the last ends [bytes].

    Raises:
        ValueError: If it is not FITS.
    """
    places = [0]
    with open(path, "rb") as file:
        end = file.seek(0, 2)
        while places[-1] < end:
            file.seek(places[-1])
            places.append(file.tell() + _length(file))
    return tuple(places)


def _length(file: BinaryIO) -> int:
    """Bytes of the HDU that begins here, its header included."""
    header: list[bytes] = []
    while True:
        block = file.read(BLOCK)
        if len(block) < BLOCK or not (header or block.startswith((b"SIMPLE  =", b"XTENSION="))):
            raise ValueError("a header does not begin or end as one of FITS must")
        cards = [block[k : k + 80] for k in range(0, BLOCK, 80)]
        header.extend(cards)
        if any(card.startswith(b"END     ") for card in cards):
            break
    found = {m[1]: int(m[2]) for m in map(SIZE.match, header) if m}
    axes = [found[b"NAXIS%d" % k] for k in range(1, found[b"NAXIS"] + 1)]
    values = (int(np.prod(axes)) if axes else 0) + found.get(b"PCOUNT", 0)
    data = abs(found[b"BITPIX"]) // 8 * found.get(b"GCOUNT", 1) * values
    return 80 * len(header) + -(-data // BLOCK) * BLOCK


def read_image(path: Path, number: int) -> NDArray[np.float64]:
    """Reads the image of one HDU.

    Arguments:
        path: A FITS file, not compressed.
        number: The HDU, from 0.

    Returns:
        The image, with shape (H, W).

    Raises:
        InputError: If the file is missing or damaged, or has no such image.
    """
    from astropy.io import fits

    kind = fits.ImageHDU if number else fits.PrimaryHDU
    try:
        places = _places(path, path.stat().st_mtime_ns)
        count = len(places) - 1
        if not 0 <= number < count:
            raise ValueError(f"the file has {count} HDUs")
        with open(path, "rb") as file:
            file.seek(places[number])
            data = kind.fromstring(file.read(places[number + 1] - places[number])).data
        if data is None or data.ndim != 2:
            raise ValueError("it has no such image")
        return np.asarray(data, dtype=np.float64)
    except (OSError, KeyError, TypeError, ValueError, fits.VerifyError) as error:
        raise InputError(
            f"{path}: HDU {number} must be a two-dimensional image: {error}; fetch the file again"
        ) from error
