r"""Removal of the noise of the sky from images of galaxies.

The starlet transform (isotropic, undecimated) writes an image as a sum of maps of the structure on
scales of about :math:`2^j` pixels and a smooth rest,

.. math:: y = \sum_{j=1}^{J} w_j + c_J , \quad c_{j} = h_{j} * c_{j-1} , \quad
          w_j = c_{j-1} - c_j ,

with the B3 spline (1, 4, 6, 4, 1) / 16 as the filter, its taps :math:`2^{j-1}` pixels apart. What
stands out of the noise on its scale is kept, all else is noise; the image is the one without
negative light whose kept coefficients are those of the data. Noise is that of the sky: the photon
noise of the bright parts of a galaxy, of which a stamp does not tell, is left in.

References:
    Starck & Murtagh 2006, Astronomical Image and Data Analysis, chapters 2 and 3; Starck, Fadili &
    Murtagh 2007, IEEE Trans. Image Process. 16, 297 (the starlet).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]

WHITE = (0.8907, 0.2007, 0.0856, 0.0413, 0.0205)
"""Standard deviation of the coefficients of white noise of standard deviation 1, by scale."""

FINE = 2
"""Scales on which a coefficient must stand out by one standard deviation more."""

SPLINE = np.array([1.0, 4.0, 6.0, 4.0, 1.0]) / 16


def starlet(image: Map, scales: int) -> list[Map]:
    """Computes the starlet transform of an image, mirrored at its borders.

    Arguments:
        image: Image, with shape (H, W).
        scales: Number of scales J.

    Returns:
        The coefficients from the finest scale on, and the rest: J + 1 maps whose sum is the image.
    """
    from scipy import ndimage

    parts, rest = [], image
    for j in range(scales):
        taps = np.zeros(2 ** (j + 2) + 1)
        taps[:: 2**j] = SPLINE
        smooth = ndimage.convolve1d(rest, taps, axis=0, mode="mirror")
        smooth = ndimage.convolve1d(smooth, taps, axis=1, mode="mirror")
        parts.append(rest - smooth)
        rest = smooth
    return [*parts, rest]


def denoise(
    image: Map,
    *,
    noise: float,
    threshold: float = 3.0,
    sky: NDArray[np.bool_] | None = None,
    passes: int = 5,
) -> Map:
    """Removes from an image what does not stand out of the noise on any scale.

    The two finest scales need one standard deviation more, because most false alarms are there.
    Noise that is correlated between pixels, as that of drizzled images, is measured scale by
    scale on the blank sky.

    Arguments:
        image: Image without background, with shape (H, W).
        noise: Standard deviation of the noise of the sky in a pixel; nothing is done at 0.
        threshold: Standard deviations by which a coefficient must stand out.
        sky: Where there is nothing but sky, with shape (H, W); white noise is assumed where it is
            less than a twentieth of the image, or not given.
        passes: Repetitions that bring the kept coefficients back to those of the data, after
            negative light was removed.

    Returns:
        The image, nowhere negative.
    """
    if not noise > 0:
        return image
    scales = min(len(WHITE), max(1, int(np.log2(min(image.shape) / 4))))
    parts = starlet(image, scales)
    levels = _levels(parts[:-1], noise, sky)
    kept = [
        np.abs(part) > (threshold + (j < FINE)) * level
        for j, (part, level) in enumerate(zip(parts, levels, strict=False))
    ]
    clean = np.zeros_like(image)
    for _ in range(1 + passes):
        *details, rest = starlet(image - clean, scales)
        missing = sum((w * k for w, k in zip(details, kept, strict=True)), rest)
        clean = np.clip(clean + missing, 0, None)
    return clean


def _levels(details: list[Map], noise: float, sky: NDArray[np.bool_] | None) -> list[float]:
    """Noise of the coefficients by scale, measured on the sky where there is enough of it."""
    if sky is None or np.mean(sky) < 0.05:
        return [noise * level for level in WHITE[: len(details)]]
    measured: list[Any] = [1.4826 * np.median(np.abs(part[sky])) for part in details]
    # A coarse scale has few independent values on the sky: they may all be small by chance.
    return [max(m, 0.5 * noise * w) for m, w in zip(measured, WHITE, strict=False)]
