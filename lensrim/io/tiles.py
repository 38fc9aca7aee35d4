"""Tile-compressed images, whose tiles say how large they are only when they are unpacked.

A tile that was compressed by gzip may unpack to a thousand times its size, whatever the header
says of the image. The tiles are therefore unpacked once here, and no further than they may go.
"""

import io
import zlib
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.io.fits import CompImageHDU

from lensrim.io.stream import UNPACKED

_GZIP = {"COMPRESSED_DATA": True, "GZIP_COMPRESSED_DATA": False}
"""Columns that may hold gzip-compressed tiles, and whether only if the header says so."""

_SLACK = 2**22
"""Bytes that the tiles of an image may take beyond its pixels: what describes each, and gaps."""

_AUTO = 32
"""Added to zlib's number of bits: the header, zlib's or gzip's, is recognised."""


def check_tiles(hdu: Any, handle: io.BufferedIOBase, index: int, number: int) -> None:
    """Makes sure that no tile of a tile-compressed image unpacks to more than its image.

    Arguments:
        hdu: The HDU; of other images nothing is checked.
        handle: The stream of its file.
        index: Number of the HDU in it.
        number: Pixels of the image.

    Raises:
        ValueError: If a tile is larger, or if all of them are larger as they are packed.
    """
    if not isinstance(hdu, CompImageHDU):
        return
    limit = 8 * number  # bytes of the widest pixels
    _check_packed(hdu, limit + _SLACK)
    _check_unpacked(handle, index, limit)


def _check_unpacked(handle: io.BufferedIOBase, index: int, limit: int) -> None:
    """Makes sure that no tile unpacks to more than so many bytes."""
    handle.seek(0)
    table: Any = fits.open(handle, memmap=False, disable_image_compression=True)[index]
    packed = str(table.header.get("ZCMPTYPE", "")).startswith("GZIP")
    for name, stated in _GZIP.items():
        if name not in table.columns.names or (stated and not packed):
            continue
        for row in table.data[name]:
            tile = np.asarray(row).tobytes()
            unpacking = zlib.decompressobj(zlib.MAX_WBITS | _AUTO)
            if len(unpacking.decompress(tile, limit + 1)) > limit:
                raise ValueError(f"a tile of it unpacks to more than the {limit} bytes of all")


def check_section(
    hdu: Any, handle: io.BufferedIOBase, index: int, part: tuple[slice, slice], most: int
) -> None:
    """Makes sure that the tiles under a part of a tile-compressed image can be held.

    All tiles are read, packed as they are, and those unpacked that hold a pixel of the part.

    Arguments:
        hdu: The HDU; of other images nothing is checked.
        handle: The stream of its file.
        index: Number of the HDU in it.
        part: Rows and columns of the image.
        most: Pixels that its tiles may hold together.

    Raises:
        ValueError: If they hold more, if the packed tiles take more than :data:`UNPACKED` bytes,
            or if one unpacks to more than it may.
    """
    if not isinstance(hdu, CompImageHDU):
        return
    _check_packed(hdu, UNPACKED)
    handle.seek(0)
    table: Any = fits.open(handle, memmap=False, disable_image_compression=True)[index]
    covered = 1
    for n, piece in zip((2, 1), part, strict=True):
        side = int(table.header.get(f"ZTILE{n}", table.header[f"ZNAXIS{n}"] if n == 1 else 1))
        covered *= (-(-piece.stop // side) - piece.start // side) * side
    if covered > most:
        raise ValueError(
            f"the tiles of a part must have {most} pixels or less, found {covered}: unpack the"
            " file (funpack)"
        )
    _check_unpacked(handle, index, 8 * covered)


def _check_packed(hdu: Any, limit: int) -> None:
    """Makes sure that the tiles, which are all read, take no more than so many bytes."""
    info: Any = hdu.fileinfo()
    if (size := info["datSpan"]) > limit:
        raise ValueError(
            f"packed tiles must take {limit >> 20} MB or less, found {size >> 20}: unpack the"
            " file (funpack)"
        )
