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

_GZIP = {"COMPRESSED_DATA": True, "GZIP_COMPRESSED_DATA": False}
"""Columns that may hold gzip-compressed tiles, and whether only if the header says so."""

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
        ValueError: If a tile is larger.
    """
    if not isinstance(hdu, CompImageHDU):
        return
    limit = 8 * number  # bytes of the widest pixels
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
