"""Headers looked at before astropy believes them.

A number in a header may ask for as many steps as it says: an image of 10^18 axes, a table of as
many columns, a header without an end. Each is read here first, as far as it may go.
"""

import io
import re
from collections.abc import Mapping
from pathlib import Path

from astropy.io import fits

from lensrim.errors import InputError

BLOCK, CARD = 2880, 80

LONGEST = 1000
"""Blocks that a header may have: 36 000 cards."""

MOST_HDUS = 1000
"""HDUs that a file may have."""

MOST_CARDS = 300_000
"""Cards that the headers of an observation may have together: astropy keeps each in 600 bytes."""

COUNTS = {"NAXIS": 999, "TFIELDS": 999, "ZNAXIS": 999}
"""Keywords that count what follows, and the standard's limits."""

ORDERS = {
    **dict.fromkeys(("WCSAXES", "A_ORDER", "B_ORDER", "AP_ORDER", "BP_ORDER"), 9),
    "NAXIS": 9,
}
"""Keywords of world coordinates whose value is a number of axes or an order, and what is sane."""

_END = re.compile(rb"END(?![A-Z0-9_-])")


def check_header(handle: io.BufferedIOBase, start: int, path: Path) -> None:
    """Makes sure that the header that begins at a byte asks for no more than it may.

    One that cannot be read, or is cut off, is left to astropy.

    Arguments:
        handle: The stream.
        start: Byte at which the header begins.
        path: The file, for messages.

    Raises:
        InputError: If the header is longer than :data:`LONGEST` blocks, or a number is above that
            of :data:`COUNTS`.
    """
    handle.seek(start)
    text = b""
    for _ in range(LONGEST):
        block = handle.read(BLOCK)
        text += block
        if len(block) < BLOCK or any(_END.match(block, i) for i in range(0, len(block), CARD)):
            break
    else:
        raise InputError(
            f"{path}: a header must end within {LONGEST * BLOCK // CARD} cards, that at byte"
            f" {start} does not: fetch or write the file again"
        )
    try:
        header = fits.Header.fromstring(text)
        found = excessive(header, COUNTS)
    except Exception:  # astropy will say what is wrong
        return
    if found is not None:
        keyword, value = found
        raise InputError(
            f"{path}: {keyword} must be {COUNTS[keyword]} or less, found {value:g} in the header"
            f" at byte {start}: fetch or write the file again"
        )


def excessive(header: fits.Header, limits: Mapping[str, int]) -> tuple[str, float] | None:
    """Returns the first of these keywords whose number is above its limit, and the number."""
    for keyword, limit in limits.items():
        value = header.get(keyword)
        if isinstance(value, int | float) and value > limit:
            return keyword, float(value)
    return None
