"""Which pixels of a stamp belong to the galaxy at its middle.

An object is a connected region above an isophote. Two galaxies that touch above it are one region;
they are told apart by the saddle between them: what rises to several times the brightness of the
saddle that joins it to the rest is a galaxy of its own, what does not (a spiral arm, a shell) is
part of the galaxy. It is looked for in the light smoothed by a twentieth of the region's size, so
that the knots of star formation of a galaxy that is well resolved are none. The watershed between
them is the border. Overlapping light is not shared out: a pixel belongs to one of them. Mergers
are cut in two where their nuclei stand out that far.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]
Mask = NDArray[np.bool_]

SMOOTHING = 0.05
"""Width of the Gaussian in which neighbours are looked for, over the root of the region's area."""


def centrality(shape: tuple[int, ...]) -> Map:
    """Weight of the pixels of a stamp by their distance from its middle: a Gaussian of a sixth of
    its height."""
    h, w = shape
    distance = np.hypot(*np.mgrid[-(h - 1) / 2 : h / 2, -(w - 1) / 2 : w / 2])
    return np.exp(-((6 * distance / h) ** 2))


def central(labels: NDArray[Any], smooth: Map) -> int:
    """Returns the label of the galaxy.

    It is what is bright near the middle; a fainter speck nearer to it is not.

    Arguments:
        labels: Objects, numbered from 1, zero between them, with shape (H, W).
        smooth: Brightness, with shape (H, W).
    """
    return int(labels.flat[np.argmax(np.where(labels > 0, smooth, 0) * centrality(smooth.shape))])


def deblend(
    region: Mask, light: Map, *, floor: float, contrast: float, levels: int = 40
) -> tuple[Mask, int]:
    """Keeps of a connected region the galaxy nearest to the middle.

    Arguments:
        region: Pixels of the region, with shape (H, W).
        light: Brightness, with shape (H, W).
        floor: Brightness of the isophote that bounds the region.
        contrast: Peaks this many times brighter than the saddle that joins them to the galaxy's
            are others.
        levels: Isophotes between the floor and the peak at which regions are looked at; saddles
            are known to a step of these.

    Returns:
        The pixels of the galaxy, and how many others were cut off.
    """
    from scipy import ndimage

    width = max(1.5, SMOOTHING * float(np.sqrt(np.count_nonzero(region))))
    smooth = np.where(region, ndimage.gaussian_filter(np.where(region, light, 0.0), width), 0.0)
    weights = smooth * centrality(smooth.shape)
    row, column = np.unravel_index(np.argmax(weights), weights.shape)
    found: Any = ndimage.find_objects(region.astype(np.int8))
    rows, columns = found[0]
    inside = smooth[rows, columns]
    seed = (int(row) - rows.start, int(column) - columns.start)
    isophotes = np.geomspace(floor, max(inside.max() / contrast, floor), levels)
    seeds = _seeds(inside, seed, isophotes, contrast)
    if len(seeds) < 2:
        return region, 0
    owner = _watershed(inside, seeds, isophotes[0], levels)
    # A bright knot far out may have come first: the galaxy is what has the light near the middle.
    near = (np.where(region, light, 0.0) * centrality(light.shape))[rows, columns]
    best = int(np.argmax(ndimage.sum(near, owner, np.arange(1, len(seeds) + 1))))
    labelled: Any = ndimage.label(owner == 1 + best)
    labels = labelled[0]
    kept = np.zeros_like(region)
    kept[rows, columns] = labels == labels[seeds[best]]
    return kept, len(seeds) - 1


def _seeds(
    inside: Map, first: tuple[int, int], isophotes: NDArray[np.float64], contrast: float
) -> list[tuple[int, int]]:
    """Peaks of the objects of a region: the first, and those that stand out of their saddles."""
    from scipy import ndimage

    seeds = [first]
    for level in isophotes:
        labelled: Any = ndimage.label(inside > level)
        labels, count = labelled
        peaks = np.zeros(count + 1)
        np.maximum.at(peaks, labels.ravel(), inside.ravel())
        taken = {0, *(int(labels[seed]) for seed in seeds)}
        for k in {*np.flatnonzero(peaks > contrast * level).tolist()} - taken:
            row, column = np.unravel_index(np.argmax(inside * (labels == k)), inside.shape)
            seeds.append((int(row), int(column)))
    return seeds


def _watershed(
    inside: Map, seeds: list[tuple[int, int]], floor: float, levels: int
) -> NDArray[np.int64]:
    """Numbers the pixels by the seed they belong to, from 1; 0 where there are none.

    From the peaks downwards, what comes up at an isophote goes to the nearest that has grown in
    the same island of it.
    """
    from scipy import ndimage

    owner = np.zeros(inside.shape, dtype=np.int64)
    for k, seed in enumerate(seeds):
        owner[seed] = k + 1
    # Smoothing leaves the pixels at the rim below the floor: they come last.
    for level in (*np.geomspace(inside.max(), floor, levels + 1)[1:], np.finfo(float).tiny):
        labelled: Any = ndimage.label(inside >= level)
        islands = labelled[0]
        nearest: Any = ndimage.distance_transform_edt(
            owner == 0, return_distances=False, return_indices=True
        )
        rows, columns = nearest
        new = (owner == 0) & (islands > 0) & (islands[rows, columns] == islands)
        owner = np.where(new, owner[rows, columns], owner)
    return owner
