"""Pixels that are ignored because somebody drew about them: region files of DS9.

A region marks the pixels whose centres lie in it, in the order of the file; one that begins with a
minus takes those in it out again. Places are pixels of the image as it is in its file, or on the
sky, with all the distortion that the header tells of.
"""

import math
import re
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units
from astropy.utils.exceptions import AstropyUserWarning
from astropy.wcs import WCS
from jaxtyping import Bool

from lensrim.errors import InputError
from lensrim.io.fits import quiet
from lensrim.io.planes import Plane
from lensrim.io.stream import one_line, open_stream
from lensrim.io.wcs import on_the_sky

LONGEST = 2**16
"""Bytes that a region file may have: about a thousand regions, of which each takes ten ms."""

STRIP = 2**20
"""Pixels that are looked at together."""

SIDES, MOST = 4, 10**9
"""Sides that a region counts for at least, and its pixels times its sides, of all regions, at
most: some ten seconds."""

FORMS = "circles, ellipses, boxes with an angle, or polygons, in image, fk5 or icrs coordinates"


def marked(path: Path, data: Plane) -> tuple[Bool[np.ndarray, "h w"], int]:
    """Marks the pixels in the regions of a file.

    Arguments:
        path: The file, in DS9's format.
        data: The image, or what is read of it.

    Returns:
        The mask, and the number of regions; points, lines and texts are none.

    Raises:
        InputError: If the file cannot be read or understood, marks nothing anywhere, or lies on a
            sky that the image has not.
    """
    from regions import SkyRegion

    mask, count, adding, work = np.zeros(data.array.shape, dtype=bool), 0, 0, 0
    regions = _regions_of(path)
    wcs = on_the_sky(data) if any(isinstance(each, SkyRegion) for each in regions) else None
    for region in regions:
        found = _on_pixels(region, wcs, data, path)
        if found is None:
            continue
        adds = bool(region.meta.get("include", True))
        count, adding = count + 1, adding + adds
        reached = _reach(found, data)
        rows, columns = (part.stop - part.start for part in reached)
        work += rows * columns * max(len(getattr(found, "vertices", ())), SIDES)
        if work > MOST:
            raise InputError(
                f"{path}: its regions must reach {MOST / SIDES / 1e6:g} million pixels of"
                f" {data.label} or less together, polygons of {SIDES} sides, found more: draw"
                " smaller or plainer ones, or cut the lens out of the image (--center)"
            )
        for where, inside in _inside(found, data, *reached):
            mask[where] = mask[where] | inside if adds else mask[where] & ~inside
    if adding == 0:
        raise InputError(
            f"{path}: must have regions with an area that are not excluded (without a minus),"
            f" found none among {len(regions)}: draw some"
        )
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
                f"{path}: a region file must have {LONGEST >> 10} kB or less, found {size} bytes:"
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
            f"{path}: not a region file that can be used ({one_line(error)}): save {FORMS}"
        ) from None


def _on_pixels(region: Any, wcs: WCS | None, data: Plane, path: Path) -> Any:
    """Puts a region on the pixels of the whole image; ``None`` if it has no area."""
    from regions import RegionMeta, SkyRegion

    on_sky = isinstance(region, SkyRegion)
    if on_sky and wcs is None:
        raise InputError(
            f"{path}: its regions are on the sky, where {data.label} has no celestial WCS: save"
            " them in image coordinates"
        )
    try:
        with quiet():
            found = _turned(region.to_pixel(wcs), region, wcs) if on_sky else region
            area = float(found.area)
            if area == 0 and not hasattr(found, "vertices"):
                return None
            # a minus turns a region inside out for some versions of the library
            found = found.copy(meta=RegionMeta())
            box = found.bounding_box
        edges = (float(n) for n in (area, box.ixmin, box.iymin, box.ixmax, box.iymax))
        if not all(map(math.isfinite, edges)):
            raise ValueError("its place is no number")
    except Exception as error:  # beyond the projection, or of absurd size
        raise InputError(
            f"{path}: {' '.join(repr(region).split())} cannot be put on {data.label}"
            f" ({one_line(error)}): check its coordinates"
        ) from None
    return found


def _turned(found: Any, drawn: Any, wcs: Any) -> Any:
    """Turns a shape with an angle as the sky has it where that is mirrored (East to the right).

    Before its version 0.12 the library turns it the other way round, by a + n - 90 degrees and not
    n + 90 - a, with the angle a on the sky and n the direction of North.
    """
    if not hasattr(found, "angle") or _version() >= (0, 12):
        return found
    if np.linalg.det(wcs.celestial.pixel_scale_matrix) < 0:
        return found
    return found.copy(angle=found.angle + 180 * units.deg - 2 * drawn.angle)


def _version() -> tuple[int, ...]:
    """Version of the library of regions, major and minor."""
    return tuple(map(int, re.findall(r"\d+", version("regions"))[:2]))


def _reach(region: Any, data: Plane) -> tuple[slice, slice]:
    """Returns the rows and columns of what is read of an image that a region may reach."""
    (h, w), (left, low), box = data.array.shape, data.corner, region.bounding_box
    rows = (min(max(edge - low, 0), h) for edge in (box.iymin, box.iymax))
    columns = (min(max(edge - left, 0), w) for edge in (box.ixmin, box.ixmax))
    return slice(*rows), slice(*columns)


def _inside(region: Any, data: Plane, rows: slice, columns: slice) -> Iterator[tuple[Any, Any]]:
    """Yields strips of these rows and columns, and which of their pixels are in a region."""
    from regions import PixCoord

    left, low = data.corner
    step = max(1, STRIP // max(columns.stop - columns.start, 1))
    for begin in range(rows.start, rows.stop, step):
        where = slice(begin, min(begin + step, rows.stop)), columns
        y, x = np.mgrid[where]
        yield where, np.asarray(region.contains(PixCoord(x + left, y + low)))
