"""A truth brought to the pixels of a product, which may be a cut-out of it, or coarser."""

import math

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..datasets.galaxies.stamps import Galaxy
from ..datasets.psfs.kinds import block_mean
from ..datasets.systems import Placement
from ..errors import InputError
from ..grid import PixelGrid
from ..io.product import Product
from ..lensing.einstein import kappa_center
from .known import Known
from .mass import shear_of
from .rendering import TrueSource
from .stated import number_of
from .truth_file import TruthFile

Map = NDArray[np.float64]

PRODUCT = (
    *("DATA", "SIGMA", "MASK", "LENS_LIGHT", "SKY", "MODEL"),
    *("KAPPA", "ALPHA_X", "ALPHA_Y", "SOURCE"),
)
"""Maps that a product must have."""


def known_to(truth: TruthFile, product: Product) -> tuple[Known, dict[str, float]]:
    """Brings a truth to the pixels of a product: a cut-out of it, or blocks of its pixels.

    Beyond the truth's frame the product's convergence stands, and nothing is compared.

    Returns:
        The maps, and the numbers by the names of :data:`~.stated.SCALARS`.

    Raises:
        InputError: If they do not belong together, or the product is not as it should be.
    """
    grid, bin_ = product.image_grid, _bin_of(product)
    corner, (h, w) = corner_of(product, bin_), truth.maps["ARCS"].shape
    rows, columns = (n * bin_ for n in grid.shape)
    whole = PixelGrid((h, w), grid.spacing / bin_)
    middle = whole.from_index(corner[0] + (columns - 1) / 2, corner[1] + (rows - 1) / 2)
    maps = {
        name: block_mean(_framed(values, corner, (rows, columns)), bin_)
        for name, values in {**truth.maps, "inside": np.ones((h, w))}.items()
    }
    inside = maps["inside"] == 1
    theta_E = metrics.effective_theta_E(truth.maps["KAPPA"], whole)
    if "theta_E" not in truth.numbers and not math.isfinite(theta_E):
        raise InputError(
            f"{truth.path}: a truth must have a circle of mean convergence 1 in its frame, found "
            "none; check KAPPA, or give THETAE in the primary header"
        )
    numbers = {"theta_E": theta_E, **truth.numbers}
    radius = numbers.get("macro_theta_E", numbers["theta_E"])
    sigma, arcs = np.asarray(product.image_maps["SIGMA"], dtype=np.float64), maps["ARCS"]
    kappa = np.where(inside, maps["KAPPA"], product.image_maps["KAPPA"])
    region = metrics.annulus(grid, theta_E=radius, center=kappa_center(kappa, grid)) & inside
    mask = inside & (arcs > sigma)
    if not (mask.any() and region.any()):
        raise InputError(
            f"{truth.path}[ARCS]: true arcs must exceed the product's noise somewhere in its "
            f"frame, and the Einstein radius be of its size, found {arcs.max():.3g} at most and "
            f"{radius:.3g} arcsec; is it the truth of {product.name}, in its data unit?"
        )
    known = Known(
        grid=grid,
        sigma=sigma,
        arcs=arcs,
        arc_mask=mask,
        kappa=kappa,
        # the source is about the middle of the image, the product's rays about that of its frame
        alpha=(maps["ALPHA_X"] - middle[0], maps["ALPHA_Y"] - middle[1]),
        region=region,
        theta_E=radius,
        source=source_of(truth),
    )
    gamma1, gamma2 = shear_of(known.kappa, known.alpha, known.weights, grid)
    numbers |= {"gamma1": gamma1, "gamma2": gamma2}
    lensed, flux = float(truth.maps["ARCS"].sum()), known.flux * bin_**2
    if "magnification" not in numbers:
        numbers["magnification"] = lensed / flux
    # what of the galaxy is beyond the map of the source is not in its sum
    numbers["flux"] = lensed / numbers["magnification"]
    return known, numbers


def _framed(values: Map, corner: tuple[int, int], shape: tuple[int, int]) -> Map:
    """Cuts a frame out whose first pixel is in this column and row; 0 beyond the map."""
    (column, row), (rows, columns), (h, w) = corner, shape, values.shape
    framed = np.zeros(shape)
    top, left = max(row, 0), max(column, 0)
    part = values[top : max(min(row + rows, h), top), left : max(min(column + columns, w), left)]
    framed[top - row :, left - column :][: part.shape[0], : part.shape[1]] = part
    return framed


def _bin_of(product: Product) -> int:
    """Native pixels along one of a product's, whose maps are looked at.

    Raises:
        InputError: If a map is missing or not finite, or it is not a whole number.
    """
    held = {**product.image_maps, **product.source_maps}
    for name in PRODUCT:
        if name not in held or not np.isfinite(held[name]).all():
            found = "none" if name not in held else "pixels that are no numbers"
            raise InputError(
                f"{product.name}: a product must have a finite map {name} to be compared, found "
                f"{found}; reconstruct it again"
            )
    value = number_of(product.value("BIN"))
    if value is None or value < 1 or value != round(value):
        raise InputError(
            f"{product.name}: BIN of a product must be a whole number from 1, found "
            f"{product.value('BIN')!r}; reconstruct it again"
        )
    return int(value)


def corner_of(product: Product, bin_: int) -> tuple[int, int]:
    """Finds the column and the row of the file's image at which the frame of a product begins.

    Raises:
        InputError: If the product does not say where it is.
    """
    keys = ("MACROX", "MACROY", "LENSX", "LENSY")
    x, y, column, row = (number_of(product.value(key)) for key in keys)
    if x is None or y is None or column is None or row is None:
        raise InputError(
            f"{product.name}: a product must say where its frame is ({', '.join(keys)}); it does "
            "not: reconstruct it again"
        )
    own = product.image_grid.to_index(x, y)
    first, second = (
        round(place - (bin_ * (index + 0.5) - 0.5))
        for place, index in zip((column, row), own, strict=True)
    )
    return first, second


WRONG, UNLIKE = 4.0, 1.5
"""χ² of the true arcs, and light of the source seen through the deflection over that of the arcs
or the other way round, from which a truth is doubted."""


def doubts_of(truth: TruthFile, known: Known, product: Product) -> list[str]:
    """Tells what speaks against a truth: that it is another observation's, or of other units."""
    maps, on = product.image_maps, known.arc_mask & (product.image_maps["MASK"] != 0)
    seen = maps["DATA"] - maps["LENS_LIGHT"] - maps["SKY"]
    chi2, doubts = metrics.chi2_nu(seen, known.arcs, known.sigma, on), []
    if chi2 > WRONG:
        doubts.append(
            f"the data are far from the true arcs (chi2 {chi2:.3g} on them, about 1 is expected): "
            f"is it the truth of {product.name}, in its data unit?"
        )
    seen_again = known.source.brightness(*known.rays(known.alpha))
    light = float(seen_again.sum() / known.arcs.sum())
    if not 1 / UNLIKE < light < UNLIKE:
        doubts.append(
            f"its source seen through its deflection has {light:.3g} times the light of its arcs: "
            "ALPHA_X, ALPHA_Y and PIXSCALE must be in arcsec, SOURCE per pixel of the image and "
            "about its middle"
        )
    return doubts


def source_of(truth: TruthFile) -> TrueSource:
    """Makes a galaxy of the map of a source, about the origin of the source plane."""
    # where it is placed it has its own half-light radius: it is not scaled
    galaxy = Galaxy(truth.path.name, truth.source, truth.source_scale, half_light_radius=1.0)
    return TrueSource(galaxy, Placement(0.0, 0.0, 0.0, flip=False, half_light_radius=1.0))
