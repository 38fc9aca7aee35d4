"""Reads an observation from FITS.

Every part is found (:mod:`lensrim.io.layout`), checked against the image, and brought to the one
form of :class:`~lensrim.io.observation.Observation`. What was decided on the way is in its notes.
"""

from math import ceil
from pathlib import Path

import numpy as np
from astropy.utils.exceptions import AstropyWarning
from astropy.wcs import WCS
from jaxtyping import Bool, Float64

from lensrim.errors import InputError
from lensrim.io import noise as noises
from lensrim.io.fits import LARGEST, Files, quiet
from lensrim.io.layout import Layout, locate, stem
from lensrim.io.noise_maps import noise_of, rescaled_as_asked, same_shape
from lensrim.io.observation import Observation
from lensrim.io.options import ReadOptions
from lensrim.io.photometry import zeropoint_of
from lensrim.io.planes import Plane
from lensrim.io.psf import normalized, rebinned
from lensrim.io.region_mask import marked
from lensrim.io.wcs import Scale, celestial, choose_scale, shifted, stated
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
            _, flagged = flags_of(layout, data, options)
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
            wcs=shifted(wcs, *data.corner) if any(data.corner) else wcs,
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
    factor, notes = int(options.psf_oversampling), []
    if factor > min(plane.array.shape):
        raise InputError(
            f"--psf-oversampling: must not exceed the stamp's side, found {factor} for"
            f" {plane.array.shape[0]} x {plane.array.shape[1]} in {plane.label}: give the number"
            " of its pixels along a pixel of the image"
        )
    psf = normalized(plane.array, where=plane.label, oversampling=factor)
    if psf.shape != plane.array.shape:
        sizes = [f"{n} x {m}" for n, m in (plane.array.shape, psf.shape)]
        notes.append(f"PSF: {plane.short} cut from {sizes[0]} to {sizes[1]}: its star is central")
    total = float(plane.array.sum())
    if abs(total - 1) > 0.01:
        notes.append(f"PSF: {plane.short} has the sum {total:.4g}, divided by it")
    if factor > 1:
        psf = rebinned(psf, factor, kind=options.psf_kind)
        notes.append(
            f"PSF: {plane.short} put on the image's pixels, {factor} times larger; effective"
        )
    if any(p > n for p, n in zip(psf.shape, data.frame, strict=True)):
        sizes = [f"{a[0]} x {a[1]}" for a in (psf.shape, data.frame)]
        raise InputError(
            f"{plane.label}: the PSF must not be larger than the image, found {sizes[0]} against"
            f" {sizes[1]} in {data.label}: cut its wings, or check that the right planes are named"
        )
    return plane, psf, notes


def mask_of(
    layout: Layout, data: Plane, options: ReadOptions
) -> tuple[Plane | None, Bool[np.ndarray, "h w"] | None, list[str]]:
    """Returns the mask's plane, without pixels, the mask, True where used, and notes."""
    if options.mask is not None and options.mask.lower().endswith(".reg"):
        raise InputError(
            f"--mask {options.mask}: must be an image of 0 and 1, found the name of a region file:"
            " give it by --ignore"
        )
    plane = same_shape(layout.part("mask", options.mask), data)
    if plane is None:
        return None, None, []
    if not np.isin(plane.array, (0, 1)).all():
        odd = plane.array[~np.isin(plane.array, (0, 1))]
        raise InputError(
            f"{plane.label}: a mask must hold 0 and 1 only, found {odd[0]:g} ({odd.size}"
            " pixels): give flags as --dq (0 is good)"
        )
    used = (plane.array == 1) == (options.mask_sense != "ignored")
    if options.mask_sense is None and 2 * used.sum() < used.size:
        raise InputError(
            f"{plane.label}: the mask must say what 1 means where 1 is in fewer than half of the"
            f" pixels, found {used.sum()} of {used.size}: give --mask-sense used or ignored"
        )
    if not used.any():
        raise InputError(
            f"{plane.label}: the mask ignores every pixel with --mask-sense"
            f" {options.mask_sense}: turn it round"
        )
    if options.mask_sense is not None:
        return plane.bare, used, []
    note = f"mask: {plane.short} read, 1 = used (--mask-sense ignored for the opposite)"
    return plane.bare, used, [note]


def drawn_of(
    layout: Layout, data: Plane, options: ReadOptions
) -> tuple[Path | None, Bool[np.ndarray, "h w"] | None, list[str]]:
    """Returns the region file, the mask, True in its regions, and notes."""
    if options.ignore is None:
        return None, None, []
    path = layout.file("ignore", options.ignore)
    inside, count = marked(path, data)
    many = f"{count} region{'s' * (count > 1)}"
    return path, inside, [f"ignore: {inside.sum()} pixels in {many} of {path.name}"]


def flags_of(
    layout: Layout, data: Plane, options: ReadOptions
) -> tuple[Plane | None, Bool[np.ndarray, "h w"] | None]:
    """Returns the plane of the data quality, without pixels, and where it is not 0."""
    plane = same_shape(layout.part("dq", options.dq), data)
    return (None, None) if plane is None else (plane.bare, plane.array != 0)


def scale_of(
    data: Plane, noise: Plane | None, psf: Plane, mask: Plane | None, options: ReadOptions
) -> tuple[WCS | None, float, list[str]]:
    """Returns the WCS (None if its scale is overridden), the pixel scale [arcsec], and notes."""
    wcs, from_wcs, notes = celestial(data)
    factor, trust = int(options.psf_oversampling), options.trust_scale

    def statement(plane: Plane | None, factor: int = 1) -> list[Scale]:
        if plane is None:
            return []
        found, note = stated(plane, factor=factor, trust=trust)
        notes.extend([note] if note else [])
        return [found] if found else []

    giving = [*([from_wcs] if from_wcs else []), *statement(data), *statement(noise)]
    checking = [*statement(psf, factor), *statement(mask)]
    scale, chosen = choose_scale(
        options.pixel_scale, giving, checking, trust=trust, label=data.label
    )
    notes += chosen
    if from_wcs is not None and abs(from_wcs.value / scale - 1) > 0.01:
        notes.append(f"{data.short}: WCS left out, its scale is overridden")
        wcs = None
    return wcs, scale, notes


def used_pixels(
    data: Plane,
    sigma: Float64[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"] | None,
    flagged: Bool[np.ndarray, "h w"] | None,
    drawn: Bool[np.ndarray, "h w"] | None = None,
) -> tuple[Bool[np.ndarray, "h w"], Float64[np.ndarray, "h w"], list[str]]:
    """Returns the used pixels, sigma, and a note that counts the others by their first reason."""
    none = np.zeros(data.array.shape, dtype=bool)
    reasons = {
        "NaN or infinite": ~np.isfinite(data.array),
        "noise zero, negative or not finite": ~np.isfinite(sigma),
        "noise a million times the median": noises.huge(sigma),
        "data quality flag": none if flagged is None else flagged,
        "mask": none if mask is None else ~mask,
        "regions": none if drawn is None else drawn,
    }
    used, counts = ~none, []
    for reason, bad in reasons.items():
        if count := int((used & bad).sum()):
            counts.append(f"{reason} {count}")
        used &= ~bad
    if used.any() and np.ptp(data.array[used]) == 0:
        value = data.array[used][0]
        raise InputError(
            f"{data.label}: the image must vary, found {value:g} in every used pixel: give another"
        )
    if not counts:
        return used, sigma, []
    note = f"{(~used).sum()} of {used.size} pixels ignored: {', '.join(counts)}"
    if not used.any():
        raise InputError(
            f"{data.label}: no pixel is left to use, {note}: check the mask, regions, flags and"
            " noise"
        )
    return used, sigma, [note]
