"""Percentiles of errors, of which some are infinite."""

import math

import numpy as np


def percentile(found: np.ndarray, share: float) -> float:
    """Returns the value below which ``share`` per cent lie; NaN of nothing, or where one is NaN.

    The inverse of the cumulative distribution: where it is an interval, as the median of an even
    number is, its middle, or its lower end where it has no upper one. Nothing else is
    interpolated, so that infinities do not spread.

    Arguments:
        found: The values, with shape (N).
        share: Per cent, above 0 and below 100.
    """
    if not found.size or np.isnan(found).any():
        return float("nan")
    ordered, place = np.sort(found), round(share / 100 * found.size, 9)
    low, high = (float(ordered[i]) for i in (math.ceil(place) - 1, math.floor(place)))
    return (low + high) / 2 if math.isfinite(high) else low
