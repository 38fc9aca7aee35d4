"""Reads an observation from FITS.

Every part is found (:mod:`lensrim.io.layout`), checked against the image, and brought to the one
form of :class:`~lensrim.io.observation.Observation`. What was decided on the way is in its notes.
"""

from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from jaxtyping import Float64

from lensrim.errors import InputError
from lensrim.io.fits import LARGEST, Files, quiet
from lensrim.io.layout import Layout, locate
from lensrim.io.masks import drawn_of, flags_of, mask_of, used_pixels
from lensrim.io.noise_maps import noise_of, rescaled_as_asked
from lensrim.io.observation import Observation
from lensrim.io.options import ReadOptions
from lensrim.io.photometry import zeropoint_of
from lensrim.io.planes import Plane
from lensrim.io.psf import on_image_pixels
from lensrim.io.stream import stem
from lensrim.io.wcs import (
    GENERAL,
    KEYWORDS,
    Scale,
    celestial,
    choose_scale,
    of_cutout,
    stated,
)
from lensrim.io.window import Window
from lensrim.option_types import check_options, check_path


def read_observation(
    path: Path | str, options: ReadOptions = ReadOptions(), window: Window | None = None
) -> Observation:
    """Reads an observation.

    Arguments:
        path: A FITS file, ``file[HDU]``, or a folder with data, noise_map and psf (.fits or
            .fits.gz).
        options: What to read, and what the file does not say.
        window: What is read of an image that is too large to be read as a whole.

    Raises:
        InputError: If anything is missing, contradictory, ambiguous or unfit; in one line.
    """
    check_options(options, ReadOptions)
    options.check()
    check_path(path)
    with quiet(AstropyWarning):
        with Files() as files:
            layout = locate(files, path, options.data, window)
            data = layout.data
            if not np.isfinite(data.array).any():
                raise InputError(
                    f"{data.label}: the image must hold data, found only NaN: name another --data"
                )
            noise, sigma, noise_kind, notes = noise_of(layout, data, options)
            psf_plane, psf, psf_notes = psf_of(layout, data, options)
            mask_plane, mask, mask_notes = mask_of(layout, data, options)
            if mask_plane is None and options.mask_sense is not None:
                seen = f" (such as {layout.masks[0]})" if layout.masks else ""
                raise InputError(f"--mask-sense: no mask is read: give it by --mask{seen}")
            region_file, drawn, drawn_notes = drawn_of(layout, data, options)
            dq_plane, flagged, flag_notes = flags_of(layout, data, options)
            read = (data, *(p for p in (noise, psf_plane, mask_plane, dq_plane) if p is not None))
            flag_notes = [*flag_notes, *layout.unread_flags(read)]
            wcs, scale, scale_notes = scale_of(data, noise, psf_plane, mask_plane, options)
        # the files are closed first: what they hold in memory is free for what follows
        used, sigma, bad_notes = used_pixels(data, sigma, mask, flagged, drawn)
        sigma, factor, growth, sky_notes = rescaled_as_asked(data, sigma, used, psf, options)
        zeropoint, zeropoint_note = zeropoint_of(data, options.zeropoint, scale)
        if mask_plane is None:
            notes += [
                f"{name}: seen, used only with --mask and --mask-sense" for name in layout.masks
            ]
        notes += sky_notes
        if wcs is not None and windowed(data):
            wcs = of_cutout(wcs, data.corner, data.array.shape)
        kind = options.psf_kind if options.psf_oversampling == 1 else "effective"
        return Observation(
            image=data.array,
            sigma=sigma,
            psf=psf,
            mask=used,
            pixel_scale=scale,
            psf_kind=kind,
            noise_kind=noise_kind,
            noise_factor=factor,
            noise_growth=growth,
            wcs=wcs,
            corner=data.corner,
            unit=data.unit,
            zeropoint=zeropoint,
            name=stem(data.path.resolve().parent if stem(data.path) == "data" else data.path),
            files=(*files.paths, *([region_file] if region_file else [])),
            options=(f"observation = {path}", *options.given()),
            notes=(
                *layout.notes,
                *windowed(data),
                *notes,
                *psf_notes,
                *mask_notes,
                *flag_notes,
                *drawn_notes,
                *scale_notes,
                *([zeropoint_note] if zeropoint_note else []),
                *bad_notes,
            ),
        )


def read_about(
    path: Path | str,
    options: ReadOptions = ReadOptions(),
    *,
    center: tuple[float, float] | None = None,
    size: float | None = None,
) -> Observation:
    """Reads an observation, or of a large one what a cut-out about a pixel needs.

    Arguments:
        path: As for :func:`read_observation`.
        options: Likewise.
        center: Indices (x, y) of the pixel in the middle of the cut-out, counted from 0.
        size: Side of the cut-out [arcsec], if it is known.

    Raises:
        InputError: As :func:`read_observation`, and if the pixel is not in a large image.
    """
    if center is None:
        return read_observation(path, options)
    window = Window(center)
    found = read_observation(path, options, window)
    # how many pixels that is, is known when the scale is
    side = 0 if size is None or not 0 < size < float("inf") else ceil(size / found.pixel_scale) + 1
    if side > window.side >= max(found.shape):
        if side**2 > LARGEST:
            raise InputError(
                f"--size: must be at most {LARGEST**0.5 * found.pixel_scale:.0f} arcsec in an "
                f"image of this scale, found {size:g}; give less"
            )
        return read_observation(path, options, Window(center, side))
    return found


def windowed(data: Plane) -> list[str]:
    """Says what was read of an image, if that is not all."""
    (rows, columns), (h, w) = data.array.shape, data.frame
    if (rows, columns) == (h, w):
        return []
    x, y = data.corner
    return [f"{data.short}: {columns} x {rows} of {w} x {h} pixels read, from pixel ({x}, {y})"]


def psf_of(
    layout: Layout, data: Plane, options: ReadOptions
) -> tuple[Plane, Float64[np.ndarray, "n m"], list[str]]:
    """Returns the PSF as it is in the file and as it is used, and notes."""
    plane = layout.part("psf", options.psf)
    if plane is None:
        raise InputError(
            f"{data.path}: no PSF, the file holds {layout.main.contents}: give --psf (HDU, file"
            f" or file[HDU]){layout.beside('psf')}"
        )
    factor = int(options.psf_oversampling)
    if factor > min(plane.array.shape):
        raise InputError(
            f"--psf-oversampling: must not exceed the stamp's side, found {factor} for"
            f" {plane.array.shape[0]} x {plane.array.shape[1]} in {plane.label}: give the number"
            " of its pixels along a pixel of the image"
        )
    psf, notes = on_image_pixels(plane, factor, kind=options.psf_kind)
    if any(p > n for p, n in zip(psf.shape, data.frame, strict=True)):
        sizes = [f"{a[0]} x {a[1]}" for a in (psf.shape, data.frame)]
        raise InputError(
            f"{plane.label}: the PSF must not be larger than the image, found {sizes[0]} against"
            f" {sizes[1]} in {data.label}: cut its wings, or check that the right planes are named"
        )
    return plane, psf, notes


def scale_of(
    data: Plane, noise: Plane | None, psf: Plane | None, mask: Plane | None, options: ReadOptions
) -> tuple[WCS | None, float, list[str]]:
    """Returns the WCS (None if its scale is overridden), the pixel scale [arcsec], and notes."""
    if psf is not None and psf.path == data.path:  # what its file says is of the image's pixels
        psf = replace(psf, primary=psf.header)
    factor, trust = int(options.psf_oversampling), options.trust_scale
    wcs, from_wcs, notes = celestial(data, trust=trust)
    unread = [note.removeprefix(f"{data.short}: ") for note in notes if from_wcs is None]

    def statement(
        plane: Plane | None, factor: int = 1, keywords: Sequence[str] = KEYWORDS
    ) -> list[Scale]:
        if plane is None:
            return []
        found, note = stated(plane, factor=factor, trust=trust, keywords=keywords)
        notes.extend([note] if note else [])
        return [found] if found else []

    giving = [*([from_wcs] if from_wcs else []), *statement(data), *statement(noise)]
    if not giving and options.pixel_scale is None:
        giving = statement(data, keywords=GENERAL)
    checking = [*statement(psf, factor), *statement(mask)]
    scale, chosen = choose_scale(
        options.pixel_scale, giving, checking, trust=trust, label=data.label, why=unread
    )
    notes += chosen
    if from_wcs is not None and abs(from_wcs.value / scale - 1) > 0.01:
        notes.append(f"{data.short}: WCS left out, its scale is overridden")
        wcs = None
    return wcs, scale, notes
