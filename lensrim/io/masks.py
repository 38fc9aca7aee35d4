"""Which pixels of an observation are used: its mask, regions, flags, and what its pixels say.

A mask holds 0 and 1. Flags are whole numbers, 0 where a pixel is good, as the DQ of Hubble and
Webb. In the MASK of LSST and Hyper Suprime-Cam, whose header names its bits (``MP_BAD = 0``, ...),
most of them say what a pixel shows (``DETECTED``), and those of :data:`BAD` that it is not to be
used.
"""

from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64

from lensrim.errors import InputError
from lensrim.io import noise as noises
from lensrim.io.layout import Layout
from lensrim.io.noise_maps import same_shape
from lensrim.io.options import ReadOptions
from lensrim.io.planes import Plane
from lensrim.io.region_mask import marked

BAD = ("BAD", "CR", "EDGE", "NO_DATA", "SAT", "UNMASKEDNAN")
"""Bits of a mask with named ones that make a pixel bad."""


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
    if plane is None or (options.mask is None and _is_dq(plane, layout, options)):
        return None, None, []
    if _bits(plane):
        if options.mask is not None or options.mask_sense is not None:
            raise InputError(
                f"{plane.label}: a mask must hold 0 and 1 only, found flags, whose bits its header"
                " names (MP_*): leave --mask and --mask-sense out, they are read as --dq"
            )
        bad, notes = _flagged(plane)
        return plane.bare, ~bad, notes
    if not np.isin(plane.array, (0, 1)).all():
        odd = plane.array[~np.isin(plane.array, (0, 1))]
        raise InputError(
            f"{plane.label}: a mask must hold 0 and 1 only, found {odd[0]:g} ({odd.size}"
            " pixels): give flags as --dq"
            f" {plane.name if options.mask is None else options.mask} (0 is good)"
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
) -> tuple[Plane | None, Bool[np.ndarray, "h w"] | None, list[str]]:
    """Returns the plane of flags, without pixels, where they make a pixel bad, and notes."""
    plane = same_shape(layout.part("dq", options.dq), data)
    return (None, None, []) if plane is None else (plane.bare, *_flagged(plane))


def _flagged(plane: Plane) -> tuple[Bool[np.ndarray, "h w"], list[str]]:
    """Returns where flags make a pixel bad, and a note on those that do not."""
    bits = _bits(plane)
    if not bits:
        return plane.array != 0, []
    found = [name for name in sorted(bits) if name in BAD]
    others = [name for name in sorted(bits) if name not in BAD]
    # what is no number has no flag, and as a pixel is judged by the image
    flags = np.nan_to_num(plane.array, nan=0.0, posinf=0.0, neginf=0.0).astype(np.int64)
    bad = (flags & sum({1 << bits[name] for name in found})) != 0
    return bad, [
        f"flags: of {plane.short} {', '.join(found) or 'none'} taken as bad"
        + (f", not {', '.join(others)}" if others else "")
    ]


def _is_dq(plane: Plane, layout: Layout, options: ReadOptions) -> bool:
    """Whether what was found as a mask is what ``--dq`` names."""
    named = layout.main.find(options.dq) if options.dq is not None else None
    return named is not None and plane.label == f"{layout.main.path}[{named}]"


def _bits(plane: Plane) -> dict[str, int]:
    """Returns the numbers of the bits that the header of a mask names."""
    return {
        key[3:]: value
        for key, value in plane.header.items()
        if key.startswith("MP_") and isinstance(value, int) and 0 <= value < 63
    }


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
