"""The truth of a simulated observation, read from a file as ``lensrim simulate`` writes it.

Another simulator's is as good. On the pixels of the observation's file: ``ARCS`` (noise-free,
PSF-convolved, without lens light, in the unit of the data), ``KAPPA`` (mean of each pixel, without
the external shear), ``ALPHA_X`` and ``ALPHA_Y`` (at the pixels' centres, with the shear [arcsec]);
and ``SOURCE``, surface brightness in the unit of the data per pixel *of the image*, about the
middle of the image, on pixels of its keyword ``PIXSCALE`` [arcsec]. Directions are those of the
pixel axes. Numbers of the primary header, of which any may lack:

- ``THETAE`` [arcsec]: circle of mean convergence 1, else that of ``KAPPA``;
- ``MACROTE`` [arcsec], ``Q``, ``PHI`` [deg from +x, counter-clockwise], ``SLOPE`` (3-D, 2 is
  isothermal), ``GAMMA1``, ``GAMMA2``: of a power law, the Einstein radius on its intermediate
  axis, and of the external shear;
- ``MAGTOT``: flux of ``ARCS`` over that of the galaxy, else over that of ``SOURCE``.

What is not guaranteed: a source is interpolated from the means of its pixels, so that structure as
fine as these is smoothed (of clumpy galaxies on pixels of a tenth of the image's, 1 to 3 % of the
rms brightness: a floor of the source's error).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import InputError
from ..io.fits import Files, FitsFile
from .stated import number_of

Map = NDArray[np.float64]

BRIGHT = ("SOURCE", "ARCS", "KAPPA")
"""HDUs whose pixels have a positive sum."""

MAPS = ("ARCS", "KAPPA", "ALPHA_X", "ALPHA_Y")
"""Names of the HDUs of the image plane."""

NUMBERS = {
    "THETAE": "theta_E",
    "MACROTE": "macro_theta_E",
    "SLOPE": "slope",
    "Q": "q",
    "PHI": "phi",
    "GAMMA1": "macro_gamma1",
    "GAMMA2": "macro_gamma2",
    "MAGTOT": "magnification",
}
"""Keywords of the primary header, and their names among :data:`~.stated.SCALARS`."""

POSITIVE = ("THETAE", "MACROTE", "SLOPE", "Q", "MAGTOT")
"""Those that must be positive."""


@dataclass(frozen=True)
class TruthFile:
    """Holds what a file tells.

    Arguments:
        path: The file.
        maps: Maps of the image plane by name, each with shape (H, W).
        source: The source, with shape (n, m) [data unit of an image pixel].
        source_scale: Side of its pixels [arcsec].
        numbers: Numbers by the names of :data:`~.stated.SCALARS`.
    """

    path: Path
    maps: Mapping[str, Map]
    source: Map
    source_scale: float
    numbers: Mapping[str, float]


def read_truth(path: str | os.PathLike[str]) -> TruthFile:
    """Reads a truth.

    Raises:
        InputError: If the file cannot be read, or lacks a map, or its maps do not fit together.
    """
    path = Path(path)
    with Files() as files:
        file = files.open(path)
        maps = {name: _plane(file, name) for name in MAPS}
        source, header = _plane(file, "SOURCE"), file.hdus[file.entry("SOURCE").index].header
        primary = file.hdus[0].header
        scale = number_of(header.get("PIXSCALE"))
        numbers = _numbers(path, primary)
    shapes = {name: values.shape for name, values in maps.items()}
    if len(set(shapes.values())) > 1:
        raise InputError(
            f"{path}: the maps of a truth must have one shape, found {shapes}; write them on the "
            "pixels of the observation"
        )
    if scale is None or scale <= 0:
        raise InputError(
            f"{path}[SOURCE]: a true source needs the side of its pixels [arcsec] as PIXSCALE, "
            f"found {header.get('PIXSCALE')}; add it to the header"
        )
    for name, values in {"SOURCE": source, **maps}.items():
        if name in BRIGHT and not values.sum() > 0:
            raise InputError(
                f"{path}[{name}]: the sum of a true {name} must be positive, found "
                f"{values.sum():.3g}; write it again"
            )
    return TruthFile(path, maps, source, scale, numbers)


def _plane(file: FitsFile, name: str) -> Map:
    """Reads a map of finite numbers."""
    entry = file.find(name)
    if entry is None:
        raise InputError(
            f"{file.path}: a truth must hold HDU {name}, found {file.contents}; give a "
            "*_truth.fits of lensrim simulate, or one that is like it"
        )
    values = file.plane(entry).array
    if not np.isfinite(values).all():
        raise InputError(
            f"{file.path}[{name}]: a truth must be finite, {int((~np.isfinite(values)).sum())} "
            "pixels are not; write it again"
        )
    return values


def _numbers(path: Path, header: Mapping[str, object]) -> dict[str, float]:
    """Reads the numbers of a primary header that are there."""
    found = {}
    for key, name in NUMBERS.items():
        if key not in header:
            continue
        value = number_of(header[key])
        if value is None or (key in POSITIVE and value <= 0):
            rule = "a positive number" if key in POSITIVE else "a number"
            raise InputError(
                f"{path}[0]: {key} of a truth must be {rule}, found {header[key]!r}; correct it "
                "or leave it out"
            )
        found[name] = value
    return found
