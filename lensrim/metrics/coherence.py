r"""How alike two maps are, scale by scale.

.. math:: C(k) = \frac{\mathrm{Re} \sum_k X^* Y}{\sqrt{\sum_k |X|^2 \sum_k |Y|^2}}

over the waves :math:`k` of an octave or so, of the Fourier transforms :math:`X` and :math:`Y`. It
is 1 for maps that are the same but for a factor, 0 for unrelated ones, and -1 for negatives. With
:math:`|X^* Y|` in its place two unrelated maps score 0.785 wave by wave: a number that cannot say
no.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..grid import PixelGrid

Array = NDArray[np.float64]


def coherence(
    first: ArrayLike, second: ArrayLike, grid: PixelGrid, edges: Sequence[float]
) -> Array:
    """Computes the signed coherence of two maps in ranges of the wavelength.

    Both are less their means and seen through a Hann window, whose edges are zero: maps of a frame
    are not periodic.

    Arguments:
        first, second: The maps, with shape (H, W).
        grid: Their pixels.
        edges: Ends of the ranges of the wavelength [arcsec], in descending order, with length
            n + 1.

    Returns:
        The coherence, with shape (n); NaN where a range has no wave, or a map nothing in it.

    Raises:
        ValueError: If the edges do not descend.
    """
    return _in_ranges(first, second, grid, edges, lambda product: product.real)


def coherence_of_moduli(
    first: ArrayLike, second: ArrayLike, grid: PixelGrid, edges: Sequence[float]
) -> Array:
    r"""Computes :math:`\sum_k |X^* Y| / \sqrt{\sum_k |X|^2 \sum_k |Y|^2}`, which is no coherence.

    Published numbers are of this kind, and are to be compared with it alone: unrelated maps score
    :math:`\pi / 4 = 0.785` where their spectra are flat over the range, and about as much
    otherwise. For arguments and errors see :func:`coherence`.
    """
    return _in_ranges(first, second, grid, edges, np.abs)


def _in_ranges(
    first: ArrayLike,
    second: ArrayLike,
    grid: PixelGrid,
    edges: Sequence[float],
    part: Callable[[NDArray[np.complex128]], Array],
) -> Array:
    """Sums a part of the products of waves in ranges, relative to the power of both maps."""
    if not all(a > b > 0 for a, b in pairwise(edges)):
        raise ValueError(f"edges must be positive and descend, got {list(edges)}")
    h, w = grid.shape
    x, y = _waves(first, grid), _waves(second, grid)
    k = np.hypot(np.fft.fftfreq(w, grid.spacing), np.fft.fftfreq(h, grid.spacing)[:, None])
    found = np.full(len(edges) - 1, np.nan)
    for i, (longest, shortest) in enumerate(pairwise(edges)):
        inside = (k >= 1 / longest) & (k < 1 / shortest)
        power = (np.abs(x[inside]) ** 2).sum() * (np.abs(y[inside]) ** 2).sum()
        if power > 0:
            found[i] = part(x[inside].conj() * y[inside]).sum() / np.sqrt(power)
    return found


def _waves(values: ArrayLike, grid: PixelGrid) -> NDArray[np.complex128]:
    """Transforms a map, less its mean, through a Hann window."""
    (h, w), values = grid.shape, np.asarray(values, dtype=np.float64)
    window = np.hanning(h + 2)[1:-1, None] * np.hanning(w + 2)[1:-1]
    mean = (window * values).sum() / window.sum()
    return np.fft.fft2(window * (values - mean))
