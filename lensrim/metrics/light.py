r"""How extended a galaxy is: the radii of circles that hold shares of its light.

.. math:: \sum_{|\beta - \bar\beta| < R_f} s(\beta) = f \sum_\beta s(\beta) \, ,

about the centre of its light :math:`\bar\beta`. The sums are signed: what a map has below zero
counts, as what noise adds above it does. :math:`R_{90}` tells whether a reconstruction spreads
noise about a galaxy, which :math:`R_{50}` hardly does.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..grid import PixelGrid


def light_radii(
    source: ArrayLike, grid: PixelGrid, shares: Sequence[float] = (0.5, 0.9), *, subsample: int = 5
) -> tuple[float, ...]:
    """Computes the radii of the smallest circles that hold shares of the light of a map.

    The circles are about the centre of the light, that of the positive pixels. A pixel on an edge
    counts by the share of its ``subsample``² sub-pixels inside. A truth has to be on the same
    pixels, so that what is beyond them is missing in both.

    Arguments:
        source: Surface brightness, with shape (H, W).
        grid: Its pixels.
        shares: The shares, between 0 and 1.
        subsample: Sub-pixels along each side of a pixel.

    Returns:
        The radii [arcsec]; NaN where the map has no light in all.
    """
    source, k = np.asarray(source, dtype=np.float64), subsample
    (h, w), bright = source.shape, np.clip(source, 0, None)
    if not source.sum() > 0:
        return tuple(float("nan") for _ in shares)
    x, y = grid.from_index(np.arange(w), np.arange(h)[:, None])
    cx, cy = (bright * x).sum() / bright.sum(), (bright * y).sum() / bright.sum()
    x, y = grid.from_index((np.arange(w * k) + 0.5) / k - 0.5, (np.arange(h * k) + 0.5) / k - 0.5)
    radius = np.hypot(x - cx, y[:, None] - cy).ravel()
    order = np.argsort(radius)
    held = np.cumsum(np.repeat(np.repeat(source, k, 0), k, 1).ravel()[order])
    # The first crossing: beyond it a noisy sum may fall below the share again.
    return tuple(float(radius[order][np.argmax(held >= f * held[-1])]) for f in shares)
