"""The truth of a simulated observation, read from a file as ``lensrim simulate`` writes it.

Another simulator's is as good: a FITS file with ``ARCS`` (noise-free, PSF-convolved, without lens
light), ``KAPPA``, ``ALPHA_X`` and ``ALPHA_Y`` [arcsec] on the pixels of the observation's file,
and ``SOURCE``, about the middle of the image, on pixels of its keyword ``PIXSCALE`` [arcsec]. The
deflection holds the external shear, the convergence does not. Numbers of the primary header, of
which any may lack: ``THETAE``, ``MACROTE``, ``SLOPE``, ``Q``, ``PHI`` [deg], ``GAMMA1``,
``GAMMA2``, ``MAGTOT``.
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..datasets.galaxies.stamps import Galaxy
from ..datasets.psfs.kinds import block_mean
from ..datasets.systems import Placement
from ..errors import InputError
from ..grid import PixelGrid
from ..io.fits import Files, FitsFile
from ..io.product import Product
from .known import Known
from .mass import shear_of
from .rendering import TrueSource

Map = NDArray[np.float64]

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
        scale = _number(header.get("PIXSCALE"))
        numbers = {name: _number(primary.get(key)) for key, name in NUMBERS.items()}
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
    known = {name: value for name, value in numbers.items() if value is not None}
    return TruthFile(path, maps, source, scale, known)


def _plane(file: FitsFile, name: str) -> Map:
    """Reads a map of finite numbers."""
    entry = file.find(name)
    if entry is None:
        raise InputError(
            f"{file.path}: a truth must hold HDU {name}, found {file.contents}; give the *_truth"
            ".fits of lensrim simulate, or one that is like it"
        )
    values = file.plane(entry).array
    if not np.isfinite(values).all():
        raise InputError(
            f"{file.path}[{name}]: a truth must be finite, {int((~np.isfinite(values)).sum())} "
            "pixels are not; write it again"
        )
    return values


def _number(value: object) -> float | None:
    """A finite number of a header, None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def known_to(truth: TruthFile, product: Product) -> tuple[Known, dict[str, float]]:
    """Brings a truth to the pixels of a product: a cut-out of it, or blocks of its pixels.

    Returns:
        The maps, and the numbers by the names of :data:`~.stated.SCALARS`.

    Raises:
        InputError: If the product's frame is not within the truth's.
    """
    grid, bin_ = product.image_grid, int(product.value("BIN") or 1)
    native = grid.spacing / bin_
    (column, row), (h, w) = corner_of(product, bin_), truth.maps["ARCS"].shape
    rows, columns = (n * bin_ for n in grid.shape)
    if min(row, column) < 0 or row + rows > h or column + columns > w:
        raise InputError(
            f"{truth.path}: a truth must cover the product's frame, columns {column} to "
            f"{column + columns - 1} and rows {row} to {row + rows - 1} of the observation, found "
            f"{w} x {h} pixels; give that of {product.name}, or fit a smaller frame"
        )
    frame = np.s_[row : row + rows, column : column + columns]
    maps = {name: block_mean(values[frame], bin_) for name, values in truth.maps.items()}
    whole = PixelGrid((h, w), native)
    middle = whole.from_index(column + (columns - 1) / 2, row + (rows - 1) / 2)
    theta_E = metrics.effective_theta_E(truth.maps["KAPPA"], whole)
    if "theta_E" not in truth.numbers and not math.isfinite(theta_E):
        raise InputError(
            f"{truth.path}: a truth must have a circle of mean convergence 1, found none; check "
            "the unit of KAPPA"
        )
    numbers = {"theta_E": theta_E, **truth.numbers}
    radius = numbers.get("macro_theta_E", numbers["theta_E"])
    sigma, arcs = np.asarray(product.image_maps["SIGMA"], dtype=np.float64), maps["ARCS"]
    if not (arcs > sigma).any():
        raise InputError(
            f"{truth.path}[ARCS]: true arcs must exceed the product's noise somewhere, their "
            f"largest is {arcs.max():.3g}; is it the truth of {product.name}, in its data unit?"
        )
    # the source is about the middle of the whole image, the product's rays about that of its frame
    alpha = tuple(maps[name] - m for name, m in zip(("ALPHA_X", "ALPHA_Y"), middle, strict=True))
    known = Known(
        grid=grid,
        sigma=sigma,
        arcs=arcs,
        arc_mask=arcs > sigma,
        kappa=maps["KAPPA"],
        alpha=(alpha[0], alpha[1]),
        region=metrics.annulus(grid, theta_E=radius, center=_center(maps["KAPPA"], grid)),
        theta_E=radius,
        source=source_of(truth),
    )
    gamma1, gamma2 = shear_of(known.kappa, known.alpha, known.weights, grid)
    numbers |= {"gamma1": gamma1, "gamma2": gamma2}
    # what of the galaxy is beyond the map of the source is not in its sum
    lensed, flux = float(truth.maps["ARCS"].sum()), known.flux * bin_**2
    numbers["flux"] = lensed / numbers.setdefault("magnification", lensed / flux)
    return known, numbers


def corner_of(product: Product, bin_: int) -> tuple[int, int]:
    """Finds the column and the row of the file's image at which the frame of a product begins.

    Raises:
        InputError: If the product does not say where it is.
    """
    keys = ("MACROX", "MACROY", "LENSX", "LENSY")
    x, y, column, row = (_number(product.value(key)) for key in keys)
    if x is None or y is None or column is None or row is None:
        raise InputError(
            f"{product.name}: a product must say where its frame is ({', '.join(keys)}); it does "
            "not: reconstruct it again"
        )
    own = product.image_grid.to_index(x, y)
    corner = (
        round(place - (bin_ * (index + 0.5) - 0.5))
        for place, index in zip((column, row), own, strict=True)
    )
    first, second = corner
    return first, second


def _center(kappa: Map, grid: PixelGrid) -> tuple[float, float]:
    """Where a convergence is largest [arcsec]."""
    row, column = np.unravel_index(np.argmax(kappa), kappa.shape)
    x, y = grid.from_index(int(column), int(row))
    return float(x), float(y)


def source_of(truth: TruthFile) -> TrueSource:
    """Makes a galaxy of the map of a source, about the origin of the source plane."""
    # where it is placed it has its own half-light radius: it is not scaled
    galaxy = Galaxy(truth.path.name, truth.source, truth.source_scale, half_light_radius=1.0)
    return TrueSource(galaxy, Placement(0.0, 0.0, 0.0, flip=False, half_light_radius=1.0))
