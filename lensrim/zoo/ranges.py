"""The ranges of lenses that a machine is for."""

from collections.abc import Mapping

NAMES = {
    "side": "side of the frame [pixel]",
    "theta_E": "Einstein radius [pixel]",
    "fwhm": "FWHM of the PSF [pixel]",
    "snr": "signal over noise of the arcs' brightest pixel",
}
"""The quantities, and what they are called."""

SLACK = 0.05
"""Share by which a range is stretched: what is measured on an image has an error."""


def beyond(valid: Mapping[str, tuple[float, float]], measured: Mapping[str, float]) -> list[str]:
    """Says which measured quantities are outside their ranges: a phrase for each.

    Arguments:
        valid: Ranges, by quantity.
        measured: Those of the quantities that are known; what has no range is not judged.
    """
    found = []
    for key, value in measured.items():
        if key not in valid:
            continue
        low, high = valid[key]
        if not low * (1 - SLACK) <= value <= high * (1 + SLACK):
            found.append(f"{NAMES[key]} is {value:.3g}, beyond {low:g} to {high:g}")
    return found
