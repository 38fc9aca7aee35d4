"""What images of galaxies look like, in a few numbers each: to compare a generator with its data.

References:
    Lotz, Primack & Madau 2004, AJ 128, 163 (Gini); Conselice 2003, ApJS 147, 1 (concentration).
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float64]

FAINT = 0.02
"""Brightness relative to the peak below which pixels do not count."""

FINE = 0.125
"""Frequency above which power is called fine [1 / pixel]: waves of less than 8 pixels."""


def _light(image: Map) -> Map:
    light = np.clip(image, 0, None)
    return np.where(light > FAINT * light.max(), light, 0.0)


def _moments(image: Map) -> tuple[Map, Map, Map, float, float]:
    """Returns light, x and y from its centroid, and the centroid, from the middle [pixel]."""
    light = _light(image)
    h, w = light.shape
    y, x = np.mgrid[-(h - 1) / 2 : h / 2, -(w - 1) / 2 : w / 2]
    total = max(float(light.sum()), 1e-12)
    cx, cy = float((light * x).sum()) / total, float((light * y).sum()) / total
    return light, x - cx, y - cy, cx, cy


def light_radius(image: Map, share: float = 0.5) -> float:
    """Radius about the centroid that holds a share of the light [pixel]."""
    light, x, y, _, _ = _moments(image)
    radius = np.hypot(x, y).ravel()
    order = np.argsort(radius)
    held = np.cumsum(light.ravel()[order])
    return float(np.interp(share * held[-1], held, radius[order]))


def concentration(image: Map) -> float:
    """Five times log10 of the ratio of the radii that hold 80 and 20 % of the light."""
    return 5 * float(np.log10(light_radius(image, 0.8) / max(light_radius(image, 0.2), 1e-3)))


def gini(image: Map) -> float:
    """Gini coefficient of the pixels that count: 0 if all are equal, 1 if one has all."""
    light = _light(image)
    values = np.sort(light[light > 0])
    n = len(values)
    if n < 2:
        return 1.0
    weights = 2 * np.arange(1, n + 1) - n - 1
    return float((weights * values).sum() / (values.mean() * n * (n - 1)))


def ellipticity(image: Map) -> float:
    """One minus the axis ratio of the second moments."""
    light, x, y, _, _ = _moments(image)
    xx, yy, xy = (float((light * a).sum()) for a in (x * x, y * y, x * y))
    trace, split = xx + yy, float(np.hypot(xx - yy, 2 * xy))
    return 1 - float(np.sqrt(max(trace - split, 0.0) / max(trace + split, 1e-12)))


def peaks(image: Map) -> float:
    """Number of local maxima, of a tenth of the peak or more, after smoothing by a pixel."""
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(np.clip(image, 0, None), 1.0)
    top = smooth == ndimage.maximum_filter(smooth, 5)
    return float((top & (smooth > 0.1 * smooth.max())).sum())


def fine_power(image: Map) -> float:
    """log10 of the share of the power, but that of the mean, at high frequencies."""
    power = np.abs(np.fft.fft2(image)) ** 2
    fy, fx = np.fft.fftfreq(image.shape[0])[:, None], np.fft.fftfreq(image.shape[1])
    frequency = np.hypot(fy, fx)
    whole = power[frequency > 0].sum()
    return float(np.log10(max(power[frequency > FINE].sum(), 1e-30) / max(whole, 1e-30)))


STATISTICS: Mapping[str, Callable[[Map], float]] = {
    "half-light radius [pixel]": light_radius,
    "concentration": concentration,
    "Gini": gini,
    "ellipticity": ellipticity,
    "peaks": peaks,
    "fine power [dex]": fine_power,
}
"""The numbers by name."""


def distance(a: Map, b: Map) -> float:
    """Largest difference of the cumulative distributions of two samples (Kolmogorov-Smirnov)."""
    values = np.sort(np.concatenate([a, b]))
    below = [np.searchsorted(np.sort(s), values, side="right") / len(s) for s in (a, b)]
    return float(np.abs(below[0] - below[1]).max())
