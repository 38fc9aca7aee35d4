r"""The blank sky: its level where there is no lens galaxy to fit it with, and its noise.

A ring of arcs may fill most of a frame, so neither a mean nor a median of all pixels will do. The
level starts from the mode of the values (the half-sample mode: half of the values closest
together, half of those, and so on) and becomes, round after round, the median of the pixels that
are left when arcs and what deviates by more than three standard deviations are taken out; the
noise is that of the pixels below the level, which hold no arcs. On mocks of :math:`64^2` pixels
its error is a thirtieth of the noise of a pixel. What is not guaranteed: where arcs cover nearly
every pixel, as in a frame cut inside the ring, their faint light is taken for sky.
"""

import numpy as np
from jaxtyping import Float64

from .frame import Array, Frame
from .lens_light import LensLight
from .regions import positive_regions

ROUNDS = 8
"""Rounds of the level, at most."""

FEWEST = 50
"""Pixels from which the sky is measured, at least."""


def sky_level(frame: Frame) -> float:
    """Measures the level of the sky in an image without a lens galaxy, in the data's units."""
    level = _mode(frame.image[frame.mask])
    for _ in range(ROUNDS):
        residual = np.where(frame.mask, frame.image - level, 0.0)
        below = frame.mask & (residual < 0)
        if not below.any():
            break
        scale = 1.48 * float(np.median(-(residual / frame.sigma)[below]))
        noise = frame.sigma * np.clip(scale, 0.2, 5.0)
        blank = frame.mask & (np.abs(residual) < 3 * noise)
        blank &= ~positive_regions(residual, noise, frame, threshold=2.5, blank=frame.mask)
        if blank.sum() < FEWEST:
            break
        change = float(np.median(residual[blank]))
        level += change
        if abs(change) < 1e-3 * np.median(noise):
            break
    return level


def _mode(values: Float64[np.ndarray, "n"]) -> float:
    """Returns the half-sample mode of values."""
    values = np.sort(values)
    while len(values) > 10:
        half = len(values) // 2
        narrowest = int(np.argmin(values[half:] - values[: len(values) - half]))
        values = values[narrowest : narrowest + half + 1]
    return float(np.median(values))


def no_light(frame: Frame) -> LensLight:
    """Returns the absence of a lens galaxy: the sky alone."""
    return LensLight(
        center=(0.0, 0.0),
        ellipticity=np.zeros((2, 2)),
        templates=np.ones((1, *frame.grid.shape)),
        amplitudes=np.array([sky_level(frame)]),
        precision=np.zeros((0, 0)),
    )


def noise_scale(residual: Array, light: Array, frame: Frame) -> float:
    """Measures the noise of blank sky over the stated one, from the middle of its distribution.

    Pixels with lens light, arcs or neighbours are left out; the scale is measured twice, the
    second time without what is significant by the first.

    Arguments:
        residual: Image less lens light and sky, with shape (H, W).
        light: Lens light, with shape (H, W).
        frame: The image they belong to.
    """
    scale = 1.0
    for _ in range(2):
        noise = frame.sigma * scale
        blank = frame.mask & (light < noise) & ~positive_regions(residual, noise, frame)
        if blank.sum() <= FEWEST:
            return scale
        spread = 1.48 * float(np.median(np.abs(residual / frame.sigma)[blank]))
        scale = float(np.clip(spread, 0.2, 5.0))
    return scale
