"""What a reconstruction without options would do with an observation, before it is done.

It knows sizes and widths alone, needs no torch, and looks for no lens: where the frame is large,
the cut-out depends on the arcs, which only the reconstruction finds.
"""

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


def plan_of(observation: Observation) -> list[str]:
    """Says what would be done without options, and which would help: a line each."""
    (h, w), scale = observation.shape, observation.pixel_scale
    width = fwhm_of(observation.psf)
    if min(h, w) < SMALLEST:
        return [f"cannot: the frame must have {SMALLEST} pixels or more along each side"]
    if max(h, w) <= LARGEST:
        lines = [
            f"fits the frame as it is, {w} x {h} pixels of {w * scale:.2f} x {h * scale:.2f}″"
        ]
    else:
        whole = LARGEST + 20 if width >= 2 * NARROWEST else HUGE
        lines = [
            "finds the lens near the middle of the frame and cuts it out as far as its arcs reach"
            " (--center, --size)",
            f"bins the pixels if the cut-out has more than {whole} along a side (--bin)",
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
