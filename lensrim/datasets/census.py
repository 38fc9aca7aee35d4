"""What a data set holds, in a few lines: for a look before a training."""

import numpy as np
from numpy.typing import NDArray

from .shards import Shards

QUANTILES = (0.0, 0.16, 0.5, 0.84, 1.0)


def quantities(shards: Shards) -> dict[str, NDArray[np.float64]]:
    """Returns the numbers of all samples by name, each with shape (N)."""
    macro, scale = shards.column("macro"), shards.column("pixel_scale")
    flat = np.hypot(macro[:, 1], macro[:, 2])
    return {
        "theta_E [arcsec]": np.exp(macro[:, 0]) * scale,
        "theta_E [pixel]": np.exp(macro[:, 0]),
        "slope": macro[:, 7],
        "axis ratio": (1 - flat) / (1 + flat),
        "shear": np.hypot(macro[:, 5], macro[:, 6]),
        "peak S/N": shards.column("snr"),
        "PSF FWHM [pixel]": shards.column("fwhm"),
        "pixel [arcsec]": scale,
    }


def census(shards: Shards) -> str:
    """Describes a data set of training pairs: numbers, size, and how they are distributed."""
    size = sum((shards.folder / h.name).stat().st_size for h in shards.headers)
    galaxies, psfs = shards.column("galaxy"), shards.column("psf_name")
    real = galaxies[galaxies != "synthetic"]
    lines = [
        f"{len(shards)} samples in {len(shards.headers)} shards, {size / 1e6:.1f} MB "
        f"({size / 1e3 / len(shards):.0f} kB each); {shards.column('lit').mean():.0%} with lens "
        f"light, {len(real) / len(shards):.0%} of {len(set(real))} real galaxies, "
        f"{len(set(psfs))} kinds of PSF",
        "",
        " " * 18 + "".join(f"{name:>9}" for name in ("least", "16 %", "median", "84 %", "most")),
    ]
    for name, values in quantities(shards).items():
        marks = np.quantile(values, QUANTILES)
        lines.append(f"{name:<18}" + "".join(f"{mark:>9.3g}" for mark in marks))
    return "\n".join(lines)
