"""Galaxies beside the lens: told from the arcs, masked, and said.

Of the regions that are found to be bright, the one that is brightest for its distance from the
lens is an arc; those whose light lies farther out than ``REACH`` times its radius are taken for
neighbours where they rise above ``CLEAR`` of the noise, and for noise where they do not: blank sky
has regions above two. What is not guaranteed: a bright neighbour close to faint arcs may be taken
for the arc, and the other way round; the note names the places, and ``--mask`` overrules.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..io.observation import Observation
from .frame import Array, Frame
from .regions import connected

REACH = 1.9
"""Radius beyond which regions are neighbours, relative to that of the brightest region."""

CLEAR = 4.0
"""Significance, after smoothing by the PSF, that a neighbour's brightest pixel must have."""

NAMED = 5
"""Places that a note names, at most."""


def part_neighbours(
    found: NDArray[np.bool_], residual: Array, radius: Array, frame: Frame, smooth: Array
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Parts bright regions into arcs and neighbours by their distance from the lens.

    Arguments:
        found: Mask of the regions, with shape (H, W).
        residual: Image less lens light and sky, with shape (H, W).
        radius: Distance from the lens [arcsec], with shape (H, W).
        frame: The image they belong to.
        smooth: The residual smoothed by the PSF over its own noise, with shape (H, W).

    Returns:
        The masks of both, each with shape (H, W); what is noise is in neither.
    """
    labels, count = connected(found)
    if count == 0:
        return found, np.zeros_like(found)
    index = np.arange(1, count + 1)
    flux = np.maximum(ndimage.sum_labels(residual * frame.mask, labels, index), 0)
    distance = ndimage.sum_labels(residual.clip(0) * radius, labels, index)
    distance = distance / np.maximum(ndimage.sum_labels(residual.clip(0), labels, index), 1e-300)
    # Bright counts most, then near: the core's own structure is near, neighbours are far.
    main = int(np.argmax(flux / np.sqrt(np.maximum(distance, 4 * frame.fwhm))))
    far = distance > REACH * max(distance[main], 2 * frame.fwhm)
    clear = ndimage.maximum(np.where(frame.mask, smooth, 0.0), labels, index) >= CLEAR
    return found & ~np.isin(labels, index[far]), np.isin(labels, index[far & clear])


def describe_neighbours(neighbours: NDArray[np.bool_], observation: Observation) -> list[str]:
    """Says in a line what is masked, and where in the image of the file, the largest first.

    Arguments:
        neighbours: Mask of the neighbours, with shape (H, W).
        observation: What is fitted, of the same shape, with its place in the file.

    Returns:
        The line, or none if nothing is masked.
    """
    masked = neighbours & observation.mask
    labels, count = connected(masked)
    if count == 0:
        return []
    largest = np.argsort(-np.bincount(labels.ravel())[1:], kind="stable") + 1
    middles = ndimage.center_of_mass(masked, labels, largest)
    places = ["({:.0f}, {:.0f})".format(*observation.to_file(x, y)) for y, x in middles]
    shown = ", ".join(places[:NAMED]) + (", ..." if count > NAMED else "")
    number = int(masked.sum())
    many = [f"{n} {w}{'s' * (n > 1)}" for n, w in ((number, "pixel"), (count, "region"))]
    return [
        f"{many[0]} in {many[1]} masked as neighbours, about pixel {shown}, x y from 0 in the"
        " file; --mask to decide yourself"
    ]
