r"""Frames of what is written: celestial and linear world coordinates, directions, regions.

A map on a :class:`~lensrim.grid.PixelGrid` always has a linear frame in arcsec,

.. math:: x = \mathrm{CRVAL} + (p - \mathrm{CRPIX}) \, \mathrm{CDELT} \, , \qquad
          \mathrm{CRPIX} = (N + 1) / 2 \, ,

about the middle of the map, with FITS pixels :math:`p` counted from 1. An image of the sky has it
beside its celestial frame.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from astropy import units
from astropy.io.fits import Header
from astropy.wcs import WCS
from numpy import ndarray

from ..grid import PixelGrid


def linear_header(grid: PixelGrid, *, key: str = "") -> Header:
    """Returns the keywords of a grid's linear frame in arcsec.

    Arguments:
        grid: Grid of the map.
        key: Letter of an alternate frame, or nothing for the primary one.
    """
    header = Header()
    header[f"WCSAXES{key}"] = 2
    header[f"WCSNAME{key}"] = "OFFSET"
    for axis, (n, center) in enumerate(zip(grid.shape[::-1], grid.center, strict=True), start=1):
        header[f"CTYPE{axis}{key}"] = "LINEAR", "arcsec in pixel axes, no sky orientation"
        header[f"CUNIT{axis}{key}"] = "arcsec"
        header[f"CRPIX{axis}{key}"] = (n + 1) / 2, "middle of the map"
        header[f"CRVAL{axis}{key}"] = float(center)
        header[f"CDELT{axis}{key}"] = float(grid.spacing)
    return header


def celestial_header(wcs: WCS) -> Header:
    """Returns the keywords of a celestial frame, its matrix as ``CDi_j`` [deg]."""
    celestial = wcs.celestial
    header = celestial.to_header(relax=True)
    matrix = celestial.pixel_scale_matrix
    for i in (1, 2):
        header.remove(f"CDELT{i}", ignore_missing=True)
        for j in (1, 2):
            header.remove(f"PC{i}_{j}", ignore_missing=True)
            header.set(f"CD{i}_{j}", float(matrix[i - 1, j - 1]), before="CUNIT1")
    return header


def image_header(grid: PixelGrid, wcs: WCS | None) -> Header:
    """Returns the frames of an image: celestial with the linear one as ``L``, or linear alone."""
    if wcs is None or not wcs.has_celestial:
        return linear_header(grid)
    header = celestial_header(wcs)
    header.update(linear_header(grid, key="L"))
    return header


def with_samples(header: Header) -> Header:
    """Returns the frames of a map as those of a cube of its samples, counted from 1."""
    header = header.copy()
    for key in ("", "L"):
        if f"WCSAXES{key}" in header:
            step = "CD3_3" if "CD1_1" in header and not key else f"CDELT3{key}"
            header[f"WCSAXES{key}"] = 3
            header[f"CTYPE3{key}"] = "SAMPLE", "number of the sample"
            header[f"CRPIX3{key}"] = header[f"CRVAL3{key}"] = header[step] = 1.0
    return header


def read_grid(header: Mapping[str, Any]) -> PixelGrid:
    """Returns the grid that :func:`linear_header` describes.

    Raises:
        KeyError: If the header has no linear frame.
    """
    key = "L" if "CDELT1L" in header else ""
    return PixelGrid(
        shape=(header["NAXIS2"], header["NAXIS1"]),
        spacing=header[f"CDELT1{key}"],
        center=(header[f"CRVAL1{key}"], header[f"CRVAL2{key}"]),
    )


def sky_axes(wcs: WCS, grid: PixelGrid) -> tuple[ndarray, ndarray]:
    """Returns the unit vectors ``(x, y)`` toward North and East at the middle of an image.

    Right for every rotation, flip and projection, the poles themselves excepted: a step North and
    a step East on the sphere are followed into the pixel axes.

    Arguments:
        wcs: Celestial frame of the image.
        grid: Grid of the image.
    """
    height, width = grid.shape
    celestial: Any = wcs.celestial
    center = celestial.pixel_to_world((width - 1) / 2, (height - 1) / 2).icrs
    vectors = []
    for angle in (0.0, 90.0):
        step = center.directional_offset_by(angle * units.deg, grid.spacing * units.arcsec)
        column, row = celestial.world_to_pixel(step)
        vector = np.array([column - (width - 1) / 2, row - (height - 1) / 2])
        vectors.append(vector / np.hypot(*vector))
    return vectors[0], vectors[1]


def position_angle(phi: float, sky: tuple[ndarray, ndarray]) -> float:
    r"""Converts an angle of the pixel axes to a position angle East of North [deg].

    Arguments:
        phi: Angle of an axis, counter-clockwise from :math:`+x` [rad].
        sky: Directions of North and East, as of :func:`sky_axes`.

    Returns:
        The position angle, in [0, 180).
    """
    north, east = sky
    axis = np.array([np.cos(phi), np.sin(phi)])
    return float(np.degrees(np.arctan2(axis @ east, axis @ north)) % 180)


def regions(curves: tuple[ndarray, ...], grid: PixelGrid, wcs: WCS | None) -> str:
    """Returns curves as regions for DS9.

    Closed curves are polygons, open ones chains of lines; in ICRS degrees where the image has a
    celestial frame, else in image pixels (counted from 1).

    Arguments:
        curves: Curves in the image plane, each with shape ``(n, 2)``, ``x, y`` [arcsec].
        grid: Grid of the image.
        wcs: Celestial frame of the image.
    """
    celestial: Any = wcs.celestial if wcs is not None and wcs.has_celestial else None
    lines = [
        "# Region file format: DS9 version 4.1",
        "global color=cyan width=2",
        "image" if celestial is None else "icrs",
    ]
    for number, curve in enumerate(curves, start=1):
        column, row = grid.to_index(curve[:, 0], curve[:, 1])
        if celestial is None:
            points = [f"{x + 1:.3f},{y + 1:.3f}" for x, y in zip(column, row, strict=True)]
        else:
            sky = celestial.pixel_to_world(column, row).icrs
            pairs = zip(sky.ra.deg, sky.dec.deg, strict=True)
            points = [f"{ra:.8f},{dec:.8f}" for ra, dec in pairs]
        text = f" # text={{critical curve {number}}}"
        if points[0] == points[-1]:
            lines.append(f"polygon({','.join(points[:-1])}){text}")
        else:
            lines += [f"line({a},{b})" for a, b in pairwise(points)]
    return "\n".join(lines) + "\n"
