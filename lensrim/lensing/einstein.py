"""The Einstein radius of a map of the convergence, whatever its shape."""

import numpy as np
from numpy.typing import ArrayLike

from ..grid import PixelGrid


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
    x, y = grid.from_index((np.arange(w * k) + 0.5) / k - 0.5, (np.arange(h * k) + 0.5) / k - 0.5)
    radius = np.hypot(x - cx, y[:, None] - cy).ravel()
    order = np.argsort(radius)
    radius = radius[order]
    values = np.repeat(np.repeat(kappa, k, axis=0), k, axis=1).ravel()[order]
    reach = min(cx - left, right - cx, cy - bottom, top - cy)
    # The area is that of the circle, not the count of sub-pixels: its noise would move the
    # crossing.
    radius, mass = (
        radius[radius < reach],
        np.cumsum(values[radius < reach]) * (grid.spacing / k) ** 2,
    )
    mean = mass / (np.pi * np.maximum(radius, grid.spacing / k) ** 2)
    above = np.nonzero(mean >= 1)[0]
    if not above.size or above[-1] == radius.size - 1:
        return float("nan")
    last = above[-1]
    return float(np.interp(1.0, mean[[last + 1, last]], radius[[last + 1, last]]))


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
