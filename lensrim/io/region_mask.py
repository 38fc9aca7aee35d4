"""Masks that are drawn: region files of DS9.

A region marks pixels whose centres lie in it, in the order of the file; one that begins with a
minus takes those in it out again. Places are pixels of the image as it is in its file, or on the
sky.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from jaxtyping import Bool

from lensrim.errors import InputError
from lensrim.io.planes import Plane
from lensrim.io.stream import one_line, open_stream

SUFFIX = ".reg"
"""How the name of a region file ends."""

LONGEST = 2**20
"""Bytes that a region file may have."""


def is_region_file(reference: str | None) -> bool:
    """Whether what an option names is a region file."""
    return reference is not None and reference.lower().endswith(SUFFIX)


def marked(path: Path, data: Plane, wcs: WCS | None) -> tuple[Bool[np.ndarray, "h w"], int]:
    """Marks the pixels in the regions of a file.

    Arguments:
        path: The file, in DS9's format.
        data: The image, or what is read of it.
        wcs: World coordinates of the whole image, where it has any.

    Returns:
        The mask, and the number of regions.

    Raises:
        InputError: If the file cannot be read or understood, has no regions, or lies on a sky
            that the image has not.
    """
    from regions import SkyRegion

    mask, count = np.zeros(data.array.shape, dtype=bool), 0
    for region in _regions_of(path):
        if isinstance(region, SkyRegion):
            if wcs is None:
                raise InputError(
                    f"{path}: its regions are on the sky, where {data.label} has no celestial WCS:"
                    " save them in image coordinates"
                )
            region = region.to_pixel(wcs)
        if not region.area > 0:  # a point, a line, a text
            continue
        where, inside = _inside(region, data, path)
        adds = bool(region.meta.get("include", True))
        mask[where] = mask[where] | inside if adds else mask[where] & ~inside
        count += 1
    if count == 0:
        raise InputError(f"{path}: a mask must have regions with an area, found none: draw some")
    if not mask.any() and data.array.shape == data.frame:
        raise InputError(
            f"{path}: its regions hold no pixel of {data.label}: check their coordinates"
        )
    return mask, count


def _regions_of(path: Path) -> list[Any]:
    """Reads the regions of a file; what would be left out is an error."""
    from regions import Regions

    handle, size = open_stream(path)
    with handle:
        if size > LONGEST:
            raise InputError(
                f"{path}: a region file must have {LONGEST >> 20} MB or less, found {size} bytes:"
                " keep the regions of this lens"
            )
        content = handle.read()
    try:
        text = content.decode("utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyUserWarning)
            return list(Regions.parse(text, format="ds9"))
    except Exception as error:  # what people write makes it fail in a dozen ways
        raise InputError(
            f"{path}: not a region file that can be used ({one_line(error)}): save circles,"
            " ellipses, boxes or polygons from DS9, in image, fk5 or icrs coordinates"
        ) from None


def _inside(
    region: Any, data: Plane, path: Path
) -> tuple[tuple[slice, slice], Bool[np.ndarray, "n m"]]:
    """Returns the part of the image that a region may reach, and which of its pixels are in it."""
    from regions import PixCoord, RegionMeta

    (h, w), (left, low) = data.array.shape, data.corner
    try:
        # a minus turns a region inside out for some versions of the library
        region = region.copy(meta=RegionMeta())
        box = region.bounding_box
        rows = slice(*np.clip((box.iymin - low, box.iymax - low), 0, h))
        columns = slice(*np.clip((box.ixmin - left, box.ixmax - left), 0, w))
        y, x = np.mgrid[rows, columns]
        inside = np.asarray(region.contains(PixCoord(x + left, y + low)))
    except Exception as error:  # beyond the projection, a place is not a number
        raise InputError(
            f"{path}: {one_line(region)} cannot be put on {data.label} ({one_line(error)}): check"
            " its coordinates"
        ) from None
    return (rows, columns), inside
