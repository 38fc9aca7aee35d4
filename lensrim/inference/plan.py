"""What a reconstruction without options would do with an observation, before it is done.

It knows sizes and widths alone, needs no torch, and looks for no lens: where the frame is large,
the cut-out depends on the arcs, which only the reconstruction finds.
"""

import numpy as np

from ..io.observation import Observation
from ..lensing.fwhm import fwhm_of

LARGEST = 100
"""Side [pixels] up to which a frame is fitted as it is."""

HUGE = 160
"""Side [pixels] above which a frame is binned even if its PSF is then undersampled."""

SMALLEST = 12
"""Side [pixels] that a fitted frame must have."""

NARROWEST = 1.2
"""FWHM [pixels] below which binning may not bring a PSF of its own accord."""

NARROW = 1.6
"""FWHM [pixels] below which a PSF is between its samples what no spline tells to 2 per cent:
bright arcs are then fitted less well than they could be on finer pixels."""

RANGE = (1e-30, 1e30)
"""Median noise that can be fitted with: sums of squares are taken in single precision."""


def bin_of(side: int, width: float) -> int:
    """Returns the number of pixels that are averaged along each side.

    Arguments:
        side: Longer side of the frame [pixels].
        width: FWHM of the PSF [pixels].
    """
    bin = 1
    while side / bin > LARGEST + 20 and width / (bin + 1) >= NARROWEST:
        bin += 1
    while side / bin > HUGE:
        bin += 1
    return bin


def is_cut(observation: Observation, center: tuple[float, float] | None = None) -> bool:
    """Whether a part of a frame would be cut out: about ``center``, or since it is large."""
    return center is not None or max(observation.shape) > LARGEST


def refusal_of(observation: Observation, center: tuple[float, float] | None = None) -> str:
    """Says why nothing can be done with an observation; empty if something can.

    Arguments:
        observation: As it was read.
        center: What ``--center`` says [pixel indices x, y in the file's image, from 0].
    """
    h, w = observation.shape
    if min(h, w) < SMALLEST:
        return (
            f"the frame must have {SMALLEST} pixels or more along each side, found {w} x {h}: "
            "give a larger part of the image"
        )
    used = observation.sigma[observation.mask]
    noise = float(np.median(used)) if used.size else 1.0  # too few pixels are told by the fit
    if not RANGE[0] <= noise <= RANGE[1]:
        return (
            f"noise: must be between {RANGE[0]:g} and {RANGE[1]:g} of the data's unit, which "
            f"single precision holds with room to spare, found {noise:.3g}: multiply image and "
            "noise by a power of ten"
        )
    if center is None:
        return ""
    column, row = observation.from_file(*center)
    if 0 <= column < w and 0 <= row < h:
        return ""
    (x, y), place = observation.corner, f"{center[0]:g} {center[1]:g}"
    begin = f" from ({x}, {y})" if (x, y) != (0, 0) else ""
    return (
        f"--center: must lie in the frame of {w} x {h} pixels{begin}, found {place}: give the "
        "pixel indices x y, counted from 0"
    )


def plan_of(observation: Observation, center: tuple[float, float] | None = None) -> list[str]:
    """Says what would be done, and which options would help: a line each.

    Arguments:
        observation: As it was read.
        center: What ``--center`` says [pixel indices x, y in the file's image, from 0].
    """
    (h, w), scale = observation.shape, observation.pixel_scale
    width = fwhm_of(observation.psf)
    if refusal := refusal_of(observation, center):
        return [f"cannot: {refusal}"]
    whole = LARGEST + 20 if width >= 2 * NARROWEST else HUGE
    bins = f"bins the pixels if the cut-out has more than {whole} along a side (--bin)"
    if center is not None:
        lines = [
            f"cuts the frame out about pixel ({center[0]:g}, {center[1]:g}), as far as the arcs"
            " reach (--size)",
            bins,
        ]
    elif not is_cut(observation):
        lines = [
            f"fits the frame as it is, {w} x {h} pixels of {w * scale:.2f} x {h * scale:.2f}″"
        ]
    else:
        lines = [
            "finds the lens near the middle of the frame and cuts it out as far as its arcs reach"
            " (--center, --size)",
            bins,
        ]
    lines.append("fits and subtracts the lens galaxy's light (--lens-light none if there is none)")
    if width < 2:
        lines.append(
            f"the PSF of {width:.2f} pixels (FWHM) is undersampled: a finer one helps"
            " (--psf-oversampling)"
        )
    lines.append("with --z-lens and --z-source: masses and kpc, which no header tells")
    if observation.zeropoint is None:
        lines.append("with --zeropoint: magnitudes")
    return lines
