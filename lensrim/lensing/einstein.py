"""The Einstein radius of a map of the convergence, whatever its shape."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..grid import PixelGrid

Array = NDArray[np.float64]


def effective_theta_E(kappa: ArrayLike, grid: PixelGrid, *, subsample: int = 10) -> float:
    r"""Radius of the circle within which the mean convergence is 1.

    The circle is about the :math:`\kappa`-weighted centre of the map. A pixel on its edge counts
    by the share of its ``subsample``² sub-pixels that lie inside, so the radius is not quantised.

    Arguments:
        kappa: Mean convergence of each pixel, with shape (H, W).
        grid: The pixels.
        subsample: Sub-pixels along each side of a pixel.

    Returns:
        The radius [arcsec]; NaN if no circle inside the frame has a mean of 1.
    """
    kappa = np.asarray(kappa, dtype=np.float64)
    (h, w), k = kappa.shape, subsample
    if not np.clip(kappa, 0, None).sum() > 0:
        return float("nan")
    cx, cy = kappa_center(kappa, grid)
    left, right, bottom, top = grid.extent
    reach = min(cx - left, right - cx, cy - bottom, top - cy)
    middle = grid.from_index(np.arange(w), np.arange(h)[:, None])
    x, y = (c + np.zeros((h, w)) for c in middle)
    distance, corner = np.hypot(x - cx, y - cy), grid.spacing / math.sqrt(2)
    # Only the pixels about the edge of the circle are taken to pieces.
    least, most = _bracket(distance, corner, kappa * grid.spacing**2, reach)
    within = distance + corner < least - grid.spacing
    cut = ~within & (distance - corner < min(most + grid.spacing, reach))
    part = ((np.arange(k) + 0.5) / k - 0.5) * grid.spacing
    dx, dy = (c[cut][:, None] - at + part for c, at in ((x, cx), (y, cy)))
    radius = np.hypot(dx[:, :, None], dy[:, None]).ravel()
    values = np.repeat(kappa[cut], k * k)
    radius, values = radius[radius < reach], values[radius < reach]
    order = np.argsort(radius)
    # The area is that of the circle, not the count of sub-pixels: its noise would move the
    # crossing.
    radius = radius[order]
    mass = np.cumsum(values[order]) * (grid.spacing / k) ** 2
    mass += kappa[within].sum() * grid.spacing**2
    mean = mass / (np.pi * np.maximum(radius, grid.spacing / k) ** 2)
    above = np.nonzero(mean >= 1)[0]
    if not above.size or above[-1] == radius.size - 1:
        return float("nan")
    last = above[-1]
    return float(np.interp(1.0, mean[[last + 1, last]], radius[[last + 1, last]]))


def _bracket(distance: Array, corner: float, mass: Array, reach: float) -> tuple[float, float]:
    """Bounds of the largest radius of mean convergence 1, by pixels that are inside or not.

    Arguments:
        distance: From the centre of the circles, of each pixel's centre.
        corner: Distance of a pixel's corners from its centre.
        mass: Mass of each pixel, in units of which a circle of mean 1 has its area.
        reach: Largest radius that is looked at; mass in the corners may be beyond it.
    """
    bounds = []
    for side in (1, -1):
        # The least mass inside: all that is negative comes in first; the most: last.
        enters = np.clip(distance + side * np.where(mass > 0, corner, -corner), 0, None).ravel()
        order = np.argsort(enters)
        enters, inside = enters[order], np.cumsum(mass.ravel()[order])
        bounds.append((enters, inside, inside >= np.pi * enters**2))
    (enters, _, at_least), (_, inside, at_most) = bounds
    least = enters[at_least & (enters < reach)].max(initial=0.0)
    return least, np.sqrt(inside[at_most].clip(min=0).max(initial=0.0) / np.pi)


def kappa_center(kappa: ArrayLike, grid: PixelGrid) -> tuple[float, float]:
    r"""Centre of a map, weighted by its positive :math:`\kappa`, about which circles are drawn.

    Arguments:
        kappa: Mean convergence of each pixel, with shape (H, W), somewhere positive.
        grid: The pixels.

    Returns:
        Its coordinates x and y [arcsec].
    """
    weight = np.clip(np.asarray(kappa, dtype=np.float64), 0, None)
    h, w = weight.shape
    x, y = grid.from_index(np.arange(w), np.arange(h)[:, None])
    cx, cy = (weight * x).sum() / weight.sum(), (weight * y).sum() / weight.sum()
    # The frame's own middle draws the centre of all of it: that of the circles inside the frame is
    # taken in its place, again and again.
    left, right, bottom, top = grid.extent
    for _ in range(10):
        reach = min(cx - left, right - cx, cy - bottom, top - cy)
        inside = np.where(np.hypot(x - cx, y - cy) < 0.5 * reach, weight, 0.0)
        if not inside.sum() > 0:
            break
        cx, cy = (inside * x).sum() / inside.sum(), (inside * y).sum() / inside.sum()
    return float(cx), float(cy)
