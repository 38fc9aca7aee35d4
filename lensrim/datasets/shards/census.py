"""What a data set holds, in a few lines: for a look before a training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .reading import Shards

QUANTILES = (0.0, 0.16, 0.5, 0.84, 1.0)

COLUMNS = ("macro", "pixel_scale", "snr", "fwhm", "galaxy", "halo", "psf_name", "lit")
"""What the census looks at."""


def quantities(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Returns the numbers of all samples by name, each with shape (N), from columns of the shards.

    ``theta_E`` is that of the smooth model, on its intermediate axis; ``lensrim simulate`` prints
    the radius of the circle within which the mean convergence, subhalos and all, is 1.
    """
    macro, scale = columns["macro"], columns["pixel_scale"]
    flat = np.hypot(macro[:, 1], macro[:, 2])
    return {
        "theta_E [arcsec]": np.exp(macro[:, 0]) * scale,
        "theta_E [pixel]": np.exp(macro[:, 0]),
        "slope": macro[:, 7],
        "axis ratio": (1 - flat) / (1 + flat),
        "shear": np.hypot(macro[:, 5], macro[:, 6]),
        "peak S/N": columns["snr"],
        "PSF FWHM [pixel]": columns["fwhm"],
        "pixel [arcsec]": scale,
    }


def census(shards: Shards) -> str:
    """Describes a data set of training pairs: numbers, size, and how they are distributed."""
    size = sum((shards.folder / h.name).stat().st_size for h in shards.headers)
    columns = shards.columns(*COLUMNS)
    galaxies, psfs = columns["galaxy"], columns["psf_name"]
    count = len(galaxies)
    real = galaxies[galaxies != "synthetic"]
    haloes = columns["halo"][columns["halo"] != ""]
    lines = [
        f"{count} samples in {len(shards.headers)} shards, {size / 1e6:.1f} MB "
        f"({size / 1e3 / count:.0f} kB each); {columns['lit'].mean():.0%} with lens "
        f"light, {len(real) / count:.0%} of {len(set(real))} real galaxies, "
        f"{len(set(psfs))} kinds of PSF, {len(haloes) / count:.0%} of {len(set(haloes))} haloes",
        "",
        " " * 18 + "".join(f"{name:>9}" for name in ("least", "16 %", "median", "84 %", "most")),
    ]
    for name, values in quantities(columns).items():
        marks = np.quantile(values, QUANTILES)
        lines.append(f"{name:<18}" + "".join(f"{mark:>9.3g}" for mark in marks))
    lines += ["", "theta_E is that of the smooth model, on its intermediate axis."]
    return "\n".join(lines)
