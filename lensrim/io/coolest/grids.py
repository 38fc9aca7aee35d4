"""Maps of a template: a FITS file beside the JSON, and the field of view that it covers.

The field of view is measured between outer edges, as everywhere in lensrim; rows of the file are
:math:`y`, upward, and columns are :math:`x`. Values are kept in double precision.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from astropy.io import fits
from astropy.wcs import WCS
from numpy import ndarray

from lensrim.grid import PixelGrid
from lensrim.io.cards import ascii_only
from lensrim.io.fits import Files
from lensrim.io.frames import image_header
from lensrim.io.planes import Plane

from .node import Node

SQUARE = 1e-6
"""Relative difference of a pixel's sides up to which it is a square."""


@dataclass(frozen=True)
class Pixels:
    """Creates a map for a template.

    Arguments:
        array: Values, with shape :math:`(H, W)`.
        grid: Their grid.
        wcs: Celestial frame, for the header.
        unit: Unit, for the header.
    """

    array: ndarray
    grid: PixelGrid
    wcs: WCS | None = None
    unit: str | None = None

    def moved(self, x: float, y: float) -> "Pixels":
        """Moves the map by so many arcsec."""
        cx, cy = self.grid.center
        return replace(self, grid=replace(self.grid, center=(cx + x, cy + y)))

    def write(self, file: Path) -> None:
        """Writes the FITS file."""
        header = image_header(self.grid, self.wcs)
        if self.unit:
            header["BUNIT"] = ascii_only(self.unit)[:68]
        fits.PrimaryHDU(self.array, header=header).writeto(file)


def grid_entry(grid: PixelGrid, file: str) -> dict[str, Any]:
    """Returns what the JSON says of a map."""
    left, right, bottom, top = map(float, grid.extent)
    return {
        "fits_file": {"path": file},
        "field_of_view_x": [left, right],
        "field_of_view_y": [bottom, top],
        "num_pix_x": int(grid.shape[1]),
        "num_pix_y": int(grid.shape[0]),
    }


def no_grid_entry() -> dict[str, Any]:
    """Returns what the JSON says where there is no map."""
    return {
        "fits_file": {"path": None},
        "field_of_view_x": [0.0, 0.0],
        "field_of_view_y": [0.0, 0.0],
        "num_pix_x": 0,
        "num_pix_y": 0,
    }


def has_file(node: Node) -> bool:
    """Whether a map has a FITS file."""
    return node["fits_file"].get("path") is not None


def read_pixels(node: Node, files: Files) -> tuple[Plane, PixelGrid]:
    """Reads a map and its grid.

    Raises:
        InputError: If the file is missing, lies elsewhere, or does not have the stated number of
            pixels; if the field of view is none, or its pixels are not square.
    """
    path = node["fits_file"]["path"]
    if Path(path.text()).is_absolute():
        path.refuse("must be relative to the folder of the template", "put the file there")
    file = files.open(node.file.parent / path.text())
    image = next((e for e in file.entries if e.shape), file.entries[0])
    plane = file.plane(image)
    rows, columns = plane.array.shape
    stated = [n.number() if (n := node.get(k)) else 0 for k in ("num_pix_x", "num_pix_y")]
    # The coolest package counts the rows as x.
    if any(stated) and stated not in ([columns, rows], [rows, columns]):
        node.refuse(
            f"num_pix_x and num_pix_y must be those of {plane.label}, {columns} and {rows}",
            "correct them, or name another file",
        )
    (left, right), (bottom, top) = (_interval(node[f"field_of_view_{a}"]) for a in "xy")
    spacing = (right - left) / columns
    if abs((top - bottom) / rows / spacing - 1) > SQUARE:
        node.refuse(
            f"the pixels must be square, {columns} and {rows} of them in the field of view",
            "correct it, or resample the map",
        )
    center = ((left + right) / 2, (bottom + top) / 2)
    return plane, PixelGrid((rows, columns), spacing, center)


def _interval(node: Node) -> tuple[float, float]:
    ends = node.numbers()
    if len(ends) != 2 or not ends[0] < ends[1]:
        node.refuse("a field of view must be two growing numbers [arcsec]", "correct it")
    return ends[0], ends[1]
