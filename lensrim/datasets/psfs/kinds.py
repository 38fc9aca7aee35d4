"""Point spread functions: their description, where they come from, and their stamps.

A :class:`Psf` is optical, without the pixel's response; :func:`native_psf` integrates it over the
pixels, which gives what a measurement on stars would (``psf_kind = "effective"``).
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import InputError
from ...lensing.psf import measure_fwhm
from ..fits_files import fits_files, without_ending
from .changes import PsfChange, change_psfs
from .pupils import Pupil, pupil_stamps

Map = NDArray[np.float64]


@dataclass(frozen=True)
class Psf:
    """Creates an optical point spread function (without the pixel's response).

    Arguments:
        kind: ``"gaussian"``, ``"moffat"``, or the name of a stamp; ``"pupil[3]"`` is the fourth
            of :func:`lensrim.datasets.psfs.pupils.pupil_stamps`.
        fwhm: Full width at half maximum, geometric mean of both axes [pixels], before the change.
        beta: Moffat's exponent; not used by others.
        q: Axis ratio; not used by stamps.
        phi: Position angle of the major axis, or angle by which a stamp is turned [rad].
        stamp: Oversampled stamp, square and odd; none for analytic kinds.
        stamp_fwhm: Its full width at half maximum [stamp pixels].
        reach: Radius within which it is not cut off [fwhm].
        change: What jitter and warps do to it.
    """

    kind: str
    fwhm: float
    beta: float = 3.5
    q: float = 1.0
    phi: float = 0.0
    stamp: Map | None = None
    stamp_fwhm: float = 0.0
    reach: float = 4.5
    change: PsfChange | None = None


def read_psf_stamps(folder: str | Path, *, min_fwhm: float = 3.0) -> dict[str, tuple[Map, float]]:
    """Reads the well-sampled PSF stamps of a folder, of single images or cubes.

    Arguments:
        folder: Folder of FITS files.
        min_fwhm: Stamps narrower than this [pixels] cannot be interpolated and are left out.

    Returns:
        Stamps (odd, centred on their peak to a pixel, sum 1) and their widths [pixels], by name.

    Raises:
        InputError: If the folder has no such stamp, or a file is damaged.
    """
    from astropy.io import fits

    stamps = {}
    for path in fits_files(folder):
        try:
            data = np.asarray(fits.getdata(path), dtype=np.float64)
        except (OSError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"{path}: a PSF must be an image in a FITS file: {error}; leave it out of the "
                "folder, or fetch it again"
            ) from error
        if data.ndim < 2:
            raise InputError(
                f"{path}: a PSF must be an image, found {data.ndim} dimensions; leave it out of "
                "the folder"
            )
        for i, stamp in enumerate(data.reshape(-1, *data.shape[-2:])):
            stamp = np.nan_to_num(stamp)
            width = measure_fwhm(stamp)
            border = np.concatenate([stamp[0], stamp[-1], stamp[:, 0], stamp[:, -1]])
            # A stamp on a pedestal is a failed measurement.
            if width < min_fwhm or np.abs(border).mean() > 0.01 * stamp.max():
                continue
            half = int(min(12 * width, (min(stamp.shape) - 1) // 2))
            row, column = np.unravel_index(np.argmax(stamp), stamp.shape)
            padded = np.pad(np.clip(stamp, 0, None), half)
            cut = padded[row : row + 2 * half + 1, column : column + 2 * half + 1]
            stamps[f"{without_ending(path.name)}[{i}]"] = (cut / cut.sum(), width)
    if not stamps:
        raise InputError(
            f"{folder}: expected FITS stamps of PSFs with a FWHM of {min_fwhm} pixels or more,"
            " found none; give stamps on finer pixels than the image's, because they are brought "
            "to the width that the population draws"
        )
    return stamps


def draw_psf(
    rng: np.random.Generator,
    *,
    fwhm: tuple[float, float],
    stamps: dict[str, tuple[Map, float]] | None = None,
    kinds: Sequence[str] = ("gaussian", "moffat"),
    pupil: Pupil | None = None,
    pixel_scale: float = 1.0,
    stamp_scale: float = 0.0,
) -> Psf:
    """Draws a PSF: one of the kinds, or (half of the time where there are any) a stamp.

    Arguments:
        rng: Source of random numbers.
        fwhm: Range of its width [pixels] (uniform).
        stamps: From :func:`read_psf_stamps`.
        kinds: Of ``"gaussian"``, ``"moffat"``, ``"pupil"``.
        pupil: The telescope's pupil, for the last: the state whose width is next to the drawn one
            is taken, as wide as it is, turned at random.
        pixel_scale: Side of a pixel [arcsec], for a pupil and for stamps of a known scale.
        stamp_scale: Side of a pixel of the stamps [arcsec], which then keep their own width; 0
            where they are brought to the drawn one.
    """
    width = float(rng.uniform(*fwhm))
    if stamps and rng.uniform() < 0.5:
        # Files first, so that one cube of many positions does not crowd out all other instruments.
        files = sorted({name.split("[")[0] for name in stamps})
        file = files[int(rng.integers(len(files)))]
        names = [name for name in stamps if name.split("[")[0] == file]
        name = names[int(rng.integers(len(names)))]
        stamp, own = stamps[name]
        width = own * stamp_scale / pixel_scale if stamp_scale else width
        return Psf(kind=name, fwhm=width, stamp=stamp, stamp_fwhm=own)
    analytic = Psf(
        kind=kinds[int(rng.uniform() * len(kinds))],
        fwhm=width,
        beta=float(rng.uniform(2.5, 5.0)),
        q=float(rng.uniform(0.9, 1.0)),
        phi=float(rng.uniform(0, np.pi)),
    )
    if pupil is None or analytic.kind != "pupil":
        return analytic
    states = pupil_stamps(pupil, (fwhm[0] * pixel_scale, fwhm[1] * pixel_scale))
    step = pupil.scale / pixel_scale
    k = int(np.argmin([abs(own * step - width) for _, own in states]))
    stamp, own = states[k]
    return Psf(
        kind=f"pupil[{k}]",
        fwhm=own * step,
        phi=2 * analytic.phi,
        stamp=stamp,
        stamp_fwhm=own,
        reach=PUPIL_REACH,
    )


PUPIL_REACH = 12.0
"""Radius of the stamps of pupils, whose spikes are long [fwhm]."""


def block_mean(image: Map, k: int) -> Map:
    """Averages blocks of k x k pixels."""
    h, w = image.shape
    return image.reshape(h // k, k, w // k, k).mean((1, 3))


def fine_psf(psf: Psf, *, oversample: int, max_radius: int = 15) -> Map:
    """Computes an optical PSF on pixels ``oversample`` times finer than the image's.

    Arguments:
        psf: The description.
        oversample: Fine pixels along a native pixel (odd).
        max_radius: Largest radius of the stamp [native pixels].

    Returns:
        The PSF, with sum 1, a side of ``oversample`` times an odd number, and its centroid in the
        middle.
    """
    radius = min(int(np.ceil(psf.reach * psf.fwhm)), max_radius)
    half = (oversample * (2 * radius + 1) - 1) // 2
    y, x = np.mgrid[-half : half + 1, -half : half + 1] / oversample
    if psf.stamp is not None:
        kernel = _stamp_psf(psf.stamp, psf.stamp_fwhm / psf.fwhm, psf.phi, x, y)
    else:
        major = x * np.cos(psf.phi) + y * np.sin(psf.phi)
        minor = y * np.cos(psf.phi) - x * np.sin(psf.phi)
        r2 = (psf.q * major**2 + minor**2 / psf.q) / psf.fwhm**2
        if psf.kind == "gaussian":
            kernel = np.exp(-4 * np.log(2) * r2)
        else:
            kernel = (1 + 4 * (2 ** (1 / psf.beta) - 1) * r2) ** -psf.beta
    kernel = kernel / kernel.sum()
    if psf.change is None:
        return kernel
    numbers = torch.tensor([astuple(psf.change)], dtype=torch.float64)
    return change_psfs(torch.from_numpy(kernel)[None], numbers, oversample=oversample)[0].numpy()


def _stamp_psf(stamp: Map, scale: float, turn: float, x: Map, y: Map) -> Map:
    """Interpolates a PSF stamp of ``scale`` pixels to a native one, turned, about its centroid."""
    from scipy import ndimage

    half = (stamp.shape[0] - 1) / 2
    shift_x = shift_y = 0.0
    # The centroid depends on what the frame cuts off: three passes leave less than 1e-3 pixels.
    for _ in range(4):
        u, v = (x + shift_x) * scale, (y + shift_y) * scale
        if turn:
            c, d = np.cos(turn), np.sin(turn)
            u, v = c * u + d * v, c * v - d * u
        index = [v + half, u + half]
        kernel = np.clip(ndimage.map_coordinates(stamp, index, order=3, cval=0.0), 0, None)
        kernel = kernel / kernel.sum()
        shift_x, shift_y = shift_x + (kernel * x).sum(), shift_y + (kernel * y).sum()
    return kernel


def native_psf(fine: Map, oversample: int) -> Map:
    """Integrates a fine optical PSF over native pixels: the effective PSF, with sum 1."""
    return block_mean(fine, oversample) * oversample**2
