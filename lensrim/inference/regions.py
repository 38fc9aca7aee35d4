"""Connected regions of an image that are brighter than its noise."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from .frame import Array, Frame


def positive_regions(
    residual: Array,
    noise: Array,
    frame: Frame,
    *,
    threshold: float = 2.0,
    blank: NDArray[np.bool_] | bool = False,
) -> NDArray[np.bool_]:
    """Finds connected regions that are significantly positive: arcs and neighbours.

    The residual is smoothed by the PSF and compared with its own noise; regions smaller than two
    PSF areas are dropped, the others grown by one FWHM.

    Arguments:
        residual: Image less lens light and sky, with shape (H, W).
        noise: Its standard deviation, with shape (H, W).
        frame: The image it belongs to.
        threshold: Significance.
        blank: Sky, as in :func:`significance`.
    """
    above = (significance(residual, noise, frame, blank) > threshold) & frame.mask
    labels, _ = connected(above)
    width = frame.fwhm / frame.grid.spacing
    sizes = np.bincount(labels.ravel())
    keep = sizes >= 2 * np.pi / 4 * width**2
    keep[0] = False
    if not keep.any():
        return np.zeros_like(above)
    return np.asarray(ndimage.distance_transform_edt(~keep[labels])) <= width


def connected(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], int]:
    """Labels connected regions from 1, corners included; returns the labels and their number."""
    labels = np.zeros(mask.shape, dtype=np.intp)
    count = ndimage.label(mask, structure=np.ones((3, 3)), output=labels)
    return labels, int(count)  # pyright: ignore[reportArgumentType]


def significance(
    residual: Array, noise: Array, frame: Frame, blank: NDArray[np.bool_] | bool = False
) -> Array:
    """Returns the residual smoothed by the PSF over its own standard deviation, shape (H, W).

    Noise that is correlated, as in drizzled images, is smoothed less than white noise: where the
    negative pixels of the sky, which hold no arcs, show more than expected, all are scaled down.

    Arguments:
        residual: Image less lens light and sky, with shape (H, W).
        noise: Its standard deviation before smoothing, with shape (H, W).
        frame: The image it belongs to.
        blank: Sky, where the lens light is faint, with shape (H, W); nowhere by default.
    """
    kernel = frame.psf / frame.psf.sum()
    weight = frame.mask.astype(float)
    variance = _convolve((noise * weight) ** 2, kernel**2)
    smooth = _convolve(residual * weight, kernel) / np.sqrt(np.clip(variance, 1e-300, None))
    negative = smooth[frame.mask & (smooth < 0) & blank]
    if negative.size > 50:
        smooth = smooth / max(1.0, 1.48 * float(np.median(-negative)))
    return smooth


def _convolve(image: Array, kernel: Array) -> Array:
    from scipy.signal import fftconvolve

    return fftconvolve(image, kernel, mode="same")
