"""For what lenses a machine may be used: those like the ones that it is trained on."""

from ..datasets.shards.census import quantities
from ..datasets.shards.reading import Shards
from .data_config import DataConfig
from .machine import SIDE, VALID
from .plan import HUGE

BRIGHTER = (0.9, 1.5)
"""Brightest pixel of the arcs over the typical noise, relative to that over its own noise, at
least and at most: that of ``VALID`` against the 10 to 200 of the population."""

MACRO = ("macro", "pixel_scale", "snr", "fwhm")
"""Columns of shards that tell."""


def valid_of(data: DataConfig) -> dict[str, list[float]]:
    """Returns the ranges within which a machine of that training may be used, by quantity.

    Radii follow the frame, as the population's do. Frames above ``HUGE`` are binned unless the
    user objects: a machine is not promised for them that was not trained on them. Of shards the
    lenses themselves tell radii, PSFs and brightness.

    Raises:
        InputError: If the shards cannot be read.
    """
    valid = {key: list(pair) for key, pair in VALID.items()}
    for key in ("side", "theta_E"):
        low, high = valid[key]
        valid[key] = [low * min(data.sides) / SIDE, high * max(data.sides) / SIDE]
    valid["side"][1] = min(valid["side"][1], float(max(HUGE, *data.sides)))
    if data.shards is not None:
        found = quantities(Shards.open(data.shards).columns(*MACRO))
        for key, name in (("theta_E", "theta_E [pixel]"), ("fwhm", "PSF FWHM [pixel]")):
            valid[key] = [float(found[name].min()), float(found[name].max())]
        snr = found["peak S/N"]
        valid["snr"] = [BRIGHTER[0] * float(snr.min()), BRIGHTER[1] * float(snr.max())]
    return valid


def said_of(data: DataConfig) -> str:
    """Says what galaxies and PSFs a machine is trained on.

    Raises:
        InputError: If the shards cannot be read.
    """
    real, stamps = data.galaxies is not None, data.psfs is not None
    if data.shards is not None:
        shards = Shards.open(data.shards)
        real = bool((shards.column("galaxy") != "synthetic").any())
        stamps = shards.recipe["population"]["psfs"] is not None
    kinds = (
        ("real galaxies" if real else "synthetic galaxies"),
        ("real PSFs" if stamps else "analytic PSFs"),
    )
    return ", ".join(kinds)
