r"""The noise of an image, measured anew where it shows nothing but sky.

Noise maps are often too large (floors, safety factors) or too small (drizzled noise). Blank sky
tells the truth: the pixels that are left when everything bright is taken out, smoothed by the
PSF's width, with a margin. From them, less what varies slowly, follow

- the *factor*: their robust standard deviation in units of the stated noise;
- the *growth*: :math:`g_b`, the standard deviation of means over :math:`b \times b` pixels over
  that which white noise of the same pixels would have. It is 1 for white noise, above 1 for
  drizzled noise, and what an image that is binned :math:`b`-fold must multiply its noise by.

Most maps are multiplied by the factor. In a *floored* map, where most pixels share the smallest
value, only the floor says nothing of the image: there

.. math:: \sigma^2 = \min\left(\sigma_{floor}^2, \; \sigma_{sky}^2 + g \max(d, 0)\right)

takes its place, with the gain :math:`g` of the pixels above the floor, and these are kept.

What is not guaranteed: faint wings of a galaxy that fill a small frame are taken for sky that
varies slowly; and sky tells nothing of errors that are made where the image is bright.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64
from scipy import ndimage

from lensrim.errors import InputError

FEWEST = 200
"""Pixels of blank sky that are needed."""

BLOCKS = 40
"""Blocks of blank sky that the growth of one size is measured on, at least."""

LARGEST = 6
"""Largest side of the blocks [pixel]."""

BRIGHT = 3.5
"""Significance, after smoothing, above which a pixel is not blank. At 2.5 noise itself is taken
out, with what is about it: what is left scatters by 2 to 3 % too little, and by 9 to 11 % where
noise is smoothed by a Gaussian of 0.7 pixels."""

FLOORED = 0.6
"""Share of the pixels at the smallest value of the map from which it is called floored."""

WINGS = 5.0
"""Second width of the smoothing, for faint wings, relative to the first."""

ROUNDS = 6
"""Rounds in which bright pixels are found."""

Map = Float64[np.ndarray, "h w"]


@dataclass(frozen=True)
class SkyNoise:
    """Holds what blank sky tells of the noise.

    Arguments:
        factor: Its standard deviation over the stated one.
        growth: Growth of means over 1 x 1, 2 x 2, ... pixels.
        pixels: Number of blank pixels.
        floored: Whether the map has a floor, which alone is replaced.
    """

    factor: float
    growth: tuple[float, ...]
    pixels: int
    floored: bool

    def notes(self) -> list[str]:
        """Says what was found, a line each."""
        what = "the floor of the noise map" if self.floored else "noise"
        lines = [
            f"{what} multiplied by {self.factor:.3f}, as measured on {self.pixels} pixels of blank"
            " sky"
        ]
        if len(self.growth) > 1 and self.growth[1] > 1.05:
            said = ", ".join(f"{g:.2f} ({b} x {b})" for b, g in enumerate(self.growth, 1) if b > 1)
            lines.append(
                f"noise of the sky is correlated: growth of means over those of white noise {said}"
            )
        return lines


def rescaled(
    image: Map, sigma: Map, mask: Bool[np.ndarray, "h w"], *, width: float, label: str
) -> tuple[Map, SkyNoise]:
    """Brings a noise map to what blank sky tells.

    Arguments:
        image: Data, with shape (H, W).
        sigma: Stated standard deviation of the noise, with shape (H, W).
        mask: True where a pixel is used, with shape (H, W).
        width: Standard deviation of the smoothing, about that of the PSF [pixel].
        label: What it is of, for messages.

    Returns:
        The map, and what was found.

    Raises:
        InputError: If there is too little blank sky.
    """
    unit = np.where(mask, sigma, 1.0)
    filled = mask & flat(image)
    blank = blank_sky(image, unit, mask & ~filled, width)
    count, same = int(blank.sum()), int(filled.sum())
    if count < FEWEST and 2 * same < mask.sum():
        raise InputError(
            f"{label}: --rescale-noise sky needs {FEWEST} pixels of blank sky, found {count} of"
            f" {int(mask.sum())} used ones: give a larger frame, or a factor as in"
            " --rescale-noise 0.8"
        )
    rest = flattened(image, blank, 4 * 2.355 * width) / unit
    factor = _spread(rest[blank]) if count >= FEWEST else 0.0
    if not factor > 0:
        raise InputError(
            f"{label}: --rescale-noise sky needs sky that scatters, found patches of one value"
            f" ({same} of {int(mask.sum())} used pixels) or the same in most of {count} blank"
            " pixels: give a factor as in --rescale-noise 0.8"
        )
    low = float(sigma[mask].min())
    floor = mask & (sigma <= low * (1 + 1e-5))
    floored = bool(FLOORED * mask.sum() < floor.sum() < mask.sum())
    found = SkyNoise(factor, growth_of(rest, blank), count, floored)
    if not floored:
        return sigma * factor, found
    level = float(np.median(image[blank]))
    return np.where(
        floor, _above_sky(image - level, sigma, mask & ~floor, low * factor), sigma
    ), found


def flat(image: Map) -> Bool[np.ndarray, "h w"]:
    """Finds the pixels of patches of 3 x 3 or more of one value: what was filled in, not seen."""
    middle = ndimage.maximum_filter(image, 3) == ndimage.minimum_filter(image, 3)
    return np.asarray(ndimage.binary_dilation(middle, np.ones((3, 3))))


def blank_sky(
    image: Map, sigma: Map, mask: Bool[np.ndarray, "h w"], width: float
) -> Bool[np.ndarray, "h w"]:
    """Finds the pixels that show nothing but sky, as in :func:`rescaled`."""
    blank = mask.copy()
    values = np.where(mask, image / sigma, 0.0)
    weights = [ndimage.gaussian_filter(mask.astype(float), w) for w in (width, WINGS * width)]
    for _ in range(ROUNDS):
        if blank.sum() < FEWEST:
            return blank
        level, noise = _sky_of(values[blank])
        bright = np.abs(values - level) > 5 * noise
        for size, weight in zip((width, WINGS * width), weights, strict=True):
            smooth = ndimage.gaussian_filter(np.where(mask, values - level, 0.0), size)
            smooth /= np.maximum(weight, 1e-3)
            # of each smoothed map its own: the level of the pixels is off by more than its noise
            middle, spread = _sky_of(smooth[blank])
            bright |= np.abs(smooth - middle) > BRIGHT * spread
        bright &= mask
        before, blank = blank, mask & ~_grown(bright, 2 * width)
        if (before == blank).all():
            break
    return blank


def _grown(found: Bool[np.ndarray, "h w"], by: float) -> Bool[np.ndarray, "h w"]:
    """Grows a mask by a length [pixel]."""
    if not found.any():
        return found
    return np.asarray(ndimage.distance_transform_edt(~found)) <= by


def _sky_of(values: np.ndarray) -> tuple[float, float]:
    """Mode, and robust standard deviation of what is below it, where no light is."""
    mode = _mode(values)
    below = values[values < mode]
    return mode, 1.4826 * float(np.median(mode - below)) if below.size else 0.0


def _mode(values: np.ndarray) -> float:
    """Half-sample mode: light adds to one side of it only."""
    values = np.sort(values)
    while len(values) > 10:
        half = len(values) // 2
        narrowest = int(np.argmin(values[half:] - values[: len(values) - half]))
        values = values[narrowest : narrowest + half + 1]
    return float(np.median(values))


def flattened(image: Map, blank: Bool[np.ndarray, "h w"], width: float) -> Map:
    """Takes from an image what of its blank sky varies slower than a width [pixel]."""
    weight = ndimage.gaussian_filter(blank.astype(float), width)
    slow = ndimage.gaussian_filter(np.where(blank, image, 0.0), width) / np.maximum(weight, 1e-6)
    return np.where(blank, image - slow, 0.0)


def growth_of(rest: Map, blank: Bool[np.ndarray, "h w"]) -> tuple[float, ...]:
    """Measures the growth of the noise of means, from blocks of 1 x 1 as far as there are enough.

    Arguments:
        rest: Sky in units of its noise, with shape (H, W).
        blank: Where it is, with shape (H, W).
    """
    growth, one = [1.0], _spread(rest[blank])
    for b in range(2, LARGEST + 1):
        rows, columns = (n // b for n in rest.shape)
        cut = (slice(0, rows * b), slice(0, columns * b))
        means, whole = (
            a[cut].reshape(rows, b, columns, b).mean((1, 3)) for a in (rest, blank.astype(float))
        )
        if (whole == 1).sum() < BLOCKS:
            break
        growth.append(max(b * _spread(means[whole == 1]) / one, 1.0))
    return tuple(growth)


def _spread(values: np.ndarray) -> float:
    """Robust standard deviation."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


def _above_sky(light: Map, sigma: Map, known: Bool[np.ndarray, "h w"], sky: float) -> Map:
    """Adds the photons of an image to the noise of the sky, with the gain of known pixels."""
    known = known & (light > 0)
    gain = 0.0
    if known.any():
        gain = max(float(np.median((sigma[known] ** 2 - sky**2) / light[known])), 0.0)
    return np.minimum(np.sqrt(sky**2 + gain * np.maximum(light, 0.0)), sigma)
