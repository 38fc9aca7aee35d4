r"""PSF stamps: checked, normalised, and rebinned to larger pixels.

A stamp is odd-sized, its centre pixel is the origin, its sum is 1. Put on pixels :math:`b` times
larger, it becomes, with :math:`\Pi_b` the box of the larger pixel,

.. math:: P_b[m] = \sum_j (\Pi_b)_j \, P[b m + j] \, ,

sampled about the same centre. Where the small pixels' offsets :math:`j` from that centre do not
fall on pixels of the stamp (even :math:`b` of odd sides, odd :math:`b` of even sides whose star is
between pixels), values there are interpolated by the 6-point quintic rule, which, unlike the
linear one, adds nothing to the second moment. In an *effective* stamp the response of its own
pixel is included, so a sum over pixels completes the larger box. An *optical* one holds none and
is averaged over its own pixel first (:math:`[1, 22, 1]/24`, exact to third order); the result is
effective.

Measured on stamps that come in both forms: the native empirical PSF of HST/ACS is the box average
of the one four times finer, to four digits; STARRED's native PSF of NIRCam is 1.5 per cent wider
than the box average of the one three times finer, and 4 per cent wider than its samples. What is
not covered: a fine stamp that holds the response of the *image's* pixel (an ePSF tabulated between
pixels) would receive it twice; every :math:`k`-th of its pixels is the native stamp.
"""

import numpy as np
from jaxtyping import Float64

from lensrim.errors import InputError
from lensrim.io.planes import Plane

CENTERING = 0.5  # largest distance of the core from the middle of the stamp [pixel]
OFF = 0.1  # distance from which it is worth a note

LARGEST = 4_000_000
"""Pixels that a stamp may have: it is not cut, and rebinning takes ten times its memory."""

BETWEEN = 0.25
"""How far the core may be off the pixel that is made the middle of a stamp of even sides [pixel of
the image, if that is larger than one of the stamp]. What is left of it misplaces the source."""


def normalized(
    stamp: np.ndarray, *, where: str, oversampling: int = 1
) -> Float64[np.ndarray, "n m"]:
    """Checks a stamp and divides it by its sum.

    Arguments:
        stamp: The PSF, with shape :math:`(n, m)`. Of an even side the row or column is left out
            beside which the other ones have the star in their middle; with an oversampling, which
            allows a star between pixels, only if the star is nearer to a pixel.
        where: File and HDU, or the argument's name, for messages.
        oversampling: Number of the stamp's pixels along a pixel of the image.

    Raises:
        InputError: If the stamp is not 2-D, has more than :data:`LARGEST` pixels, is of an even
            side on which the star lies between pixels, not finite, without a positive sum, or if
            its core lies more than half an image pixel off the middle.
    """
    stamp = np.asarray(stamp, dtype=np.float64)
    if stamp.ndim != 2:
        raise InputError(
            f"{where}: the PSF must be one 2-D stamp, found shape {stamp.shape}: cut it out"
        )
    if stamp.size > LARGEST:
        raise InputError(
            f"{where}: the PSF must have {LARGEST / 1e6:g} million pixels or less, found"
            f" {stamp.shape[0]} x {stamp.shape[1]}: cut its wings"
        )
    if not np.isfinite(stamp).all():
        raise InputError(
            f"{where}: the PSF must be finite, found {(~np.isfinite(stamp)).sum()} NaN or"
            " infinite pixels: replace them"
        )
    peak = np.abs(stamp).max()
    if peak > 0 and not 1e-100 < peak < 1e100:
        # by a power of two: the sums and squares below would be beyond doubles
        stamp = np.ldexp(stamp, -int(np.frexp(peak)[1]))
    stamp = _odd(stamp, where, oversampling)
    total = float(stamp.sum())
    if not total > 1e-10 * np.abs(stamp).sum():
        raise InputError(
            f"{where}: the PSF must have a positive sum, found {total:g}: give another --psf"
        )
    dx, dy = center_offset(stamp)
    dx, dy = (round(d / oversampling, 4) + 0.0 for d in (dx, dy))
    if np.hypot(dx, dy) > CENTERING:
        raise InputError(
            f"{where}: the PSF must be centred on its middle pixel to {CENTERING} pixel, found"
            f" its core off by {dx:+.2f} in x and {dy:+.2f} in y: shift or recut it"
        )
    return stamp / total


def _odd(
    stamp: Float64[np.ndarray, "n m"], where: str, oversampling: int
) -> Float64[np.ndarray, "p q"]:
    """Leaves out the first or last row and column of even sides, so that the star is central.

    Raises:
        InputError: If the star lies between pixels.
    """
    if all(side % 2 for side in stamp.shape) or not (stamp > 0).any():
        return stamp
    found = "{} x {}".format(*stamp.shape)
    for axis, off in enumerate(reversed(center_offset(stamp))):
        if stamp.shape[axis] % 2 == 0:
            if oversampling > 1 and abs(off) < 0.25:
                continue
            # without the last one the middle is half a pixel below, without the first one above
            if abs(abs(off) - 0.5) > BETWEEN * oversampling:
                raise InputError(
                    f"{where}: the PSF must have odd sides, or its star on a pixel beside the"
                    f" middle of even ones, found {found} with the star off by {off:+.2f} in"
                    f" {'yx'[axis]}: {'resample' if abs(off) < 0.5 else 'recut'} it on an odd grid"
                )
            keep = slice(1, None) if off > 0 else slice(None, -1)
            stamp = stamp[keep] if axis == 0 else stamp[:, keep]
    return stamp


def center_offset(stamp: Float64[np.ndarray, "n m"]) -> tuple[float, float]:
    r"""Returns the centroid ``(x, y)`` of :math:`\max(P, 0)^2` relative to the middle pixel.

    The square gives the weight to the core: neither the wings and their noise, which move the
    plain centroid, nor a flat top, whose brightest pixel may be any, count.
    """
    weight = np.maximum(stamp, 0) ** 2
    y, x = (np.arange(n) - (n - 1) / 2 for n in stamp.shape)
    return float(weight.sum(0) @ x / weight.sum()), float(weight.sum(1) @ y / weight.sum())


def on_image_pixels(
    plane: Plane, factor: int, *, kind: str
) -> tuple[Float64[np.ndarray, "n m"], list[str]]:
    """Takes a stamp from a file: :func:`normalized`, and :func:`rebinned` where it is finer.

    Arguments:
        plane: The stamp.
        factor: Number of its pixels along a pixel of the image.
        kind: Whether the response of the stamp's own pixel is in it (``"effective"``) or not
            (``"optical"``). Of a finer one the result is effective.

    Returns:
        The PSF on the image's pixels, and notes of what was done, and of a core off the middle.

    Raises:
        InputError: As :func:`normalized`.
    """
    psf, notes = normalized(plane.array, where=plane.label, oversampling=factor), []
    if psf.shape != plane.array.shape:
        sizes = [f"{n} x {m}" for n, m in (plane.array.shape, psf.shape)]
        notes.append(f"PSF: {plane.short} cut from {sizes[0]} to {sizes[1]}: its star is central")
    total = float(plane.array.sum())
    if abs(total - 1) > 0.01:
        notes.append(f"PSF: {plane.short} has the sum {total:.4g}, divided by it")
    if factor > 1:
        psf = rebinned(psf, factor, kind=kind)
        notes.append(
            f"PSF: {plane.short} put on the image's pixels, {factor} times larger; effective"
        )
    dx, dy = (round(d, 2) + 0.0 for d in center_offset(psf))
    if np.hypot(dx, dy) > OFF:
        notes.append(
            f"PSF: the core of {plane.short} is off its middle by {dx:+.2f} in x and {dy:+.2f} in"
            " y [pixel]: all positions are off by as much the other way"
        )
    return psf, notes


def rebinned(
    stamp: Float64[np.ndarray, "n m"], factor: int, *, kind: str = "effective"
) -> Float64[np.ndarray, "p q"]:
    """Puts a stamp on pixels ``factor`` times larger, with the box of the larger pixel in it.

    Arguments:
        stamp: The PSF, about the middle of its sides, which may be even.
        factor: Ratio of the pixels.
        kind: Whether the response of the stamp's own pixel is in it (``"effective"``) or not
            (``"optical"``). The result is effective.
    """
    for _ in range(2):
        stamp = _rebin_rows(stamp, factor, kind).T
    return np.ascontiguousarray(stamp / stamp.sum())


def _rebin_rows(
    stamp: Float64[np.ndarray, "n m"], factor: int, kind: str
) -> Float64[np.ndarray, "p m"]:
    """Applies the box along columns at every ``factor``-th row, counted from the middle."""
    side = stamp.shape[0]
    box = np.full(factor, 1 / factor)
    if (factor + side) % 2:
        box = np.convolve(box, np.array([3, -25, 150, 150, -25, 3]) / 256)
    if kind == "optical":
        box = np.convolve(box, np.array([1, 22, 1]) / 24)
    steps = (side - 1 + factor) // (2 * factor)
    # the first row under the box of the first step; of like parity, so that it is a whole one
    first = (side - len(box)) // 2 - steps * factor
    pad = max(-first, 0)
    padded = np.pad(stamp, ((pad, pad), (0, 0)))
    rows = first + pad + factor * np.arange(2 * steps + 1)
    return np.tensordot(box, padded[rows + np.arange(len(box))[:, None]], axes=1)
