"""Noise: its level, and fields of it: white, correlated as by resampling, or cut from real sky."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from .fits_files import fits_files

Map = NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Creates a noise level.

    Arguments:
        snr: Signal over noise of the arcs' brightest pixel.
        poisson_share: Share of the variance at that pixel that is due to photons of the arcs and
            lens.
        peak: Brightness of the arcs' brightest pixel [data unit].
        without_light: Whether signal over noise and share are those that the pixel would have
            without the lens' light, whose photons then add noise: as an instrument has it.
        correlation: Standard deviation of the Gaussian that correlates neighbours [pixels].
    """

    snr: float
    poisson_share: float = 0.0
    peak: float = 1.0
    without_light: bool = False
    correlation: float = 0.0


def unit_noise(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    length: float = 0.0,
    fields: Sequence[Map] | None = None,
) -> Map:
    """Draws a field of noise of mean 0 and variance 1.

    Arguments:
        rng: Source of random numbers.
        shape: Shape of the field (H, W).
        length: Standard deviation of the Gaussian that correlates neighbours [pixels].
        fields: Real noise, from :func:`read_noise_fields`, to cut from in its place.

    Raises:
        InputError: If no field is as large as the shape.
    """
    if fields is not None:
        return _cut(rng, shape, fields)
    if length == 0:
        return rng.standard_normal(shape)
    reach = int(np.ceil(4 * length))
    axis = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (axis / length) ** 2)
    kernel /= np.sqrt(np.sum(kernel**2))
    field = rng.standard_normal((shape[0] + 2 * reach, shape[1] + 2 * reach))
    for dimension in (0, 1):
        windows = np.lib.stride_tricks.sliding_window_view(field, len(axis), dimension)
        field = windows @ kernel
    return field


def _cut(rng: np.random.Generator, shape: tuple[int, int], fields: Sequence[Map]) -> Map:
    """Cuts a frame out of one of the fields, turned and mirrored."""
    large = [f for f in fields if min(f.shape) >= max(shape)]
    if not large:
        raise InputError(
            f"noise: must have images of {max(shape)} pixels or more on a side, found "
            f"{sorted({f.shape for f in fields})}; give larger ones"
        )
    field = large[int(rng.integers(len(large)))]
    field = np.rot90(field, int(rng.integers(4)))
    field = field.T if rng.uniform() < 0.5 else field
    row, column = (int(rng.integers(n - s + 1)) for n, s in zip(field.shape, shape, strict=True))
    return np.ascontiguousarray(field[row : row + shape[0], column : column + shape[1]])


def read_noise_fields(folder: str | Path) -> list[Map]:
    """Reads images of blank sky: their median becomes 0 and their (robust) variance 1.

    Arguments:
        folder: Folder of FITS files, each with a two-dimensional image. Objects in it are part of
            the noise from then on: give blank ones.

    Raises:
        InputError: If there is no image, or one that is constant or not finite.
    """
    from astropy.io import fits

    fields = []
    for path in fits_files(folder):
        try:
            with fits.open(path, memmap=False) as hdus:
                images = [getattr(hdu, "data", None) for hdu in hdus]
        except (OSError, TypeError, ValueError) as error:  # one that is cut off, too
            raise InputError(f"{path}: an image of noise must be a FITS file: {error}") from error
        planes = [np.asarray(i, dtype=np.float64) for i in images if i is not None and i.ndim == 2]
        if not planes:
            raise InputError(f"{path}: an image of noise must be two-dimensional, found none")
        if bad := int((~np.isfinite(planes[0])).sum()):
            raise InputError(
                f"{path}: an image of noise must be finite, found {bad} pixels that are not; leave"
                " this file out of the folder, or cut them off"
            )
        field = planes[0] - np.median(planes[0])
        scatter = 1.4826 * np.median(np.abs(field))
        if not (np.isfinite(scatter) and scatter > 0):
            raise InputError(
                f"{path}: an image of noise must be finite and vary, found a scatter of {scatter};"
                " leave this file out of the folder"
            )
        fields.append(field / scatter)
    if not fields:
        raise InputError(f"{folder}: expected FITS images of blank sky, found none")
    return fields
