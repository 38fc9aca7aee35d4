"""The maps of an answer that are compared with the truth."""

from dataclasses import dataclass, replace

import numpy as np

from ..grid import PixelGrid
from ..io.product import Product


@dataclass(frozen=True)
class Maps:
    """Creates the maps that are compared with the truth.

    Arguments:
        model: Noise-free arcs, with shape (H, W).
        kappa: Convergence, with shape (H, W).
        alpha: Deflection [arcsec], two maps with shape (H, W).
        source, source_grid: The source and its pixels.
    """

    model: np.ndarray
    kappa: np.ndarray
    alpha: tuple[np.ndarray, np.ndarray]
    source: np.ndarray
    source_grid: PixelGrid


def maps_of(product: Product) -> Maps:
    """Takes the maps out of a product."""
    maps = product.image_maps
    return Maps(
        maps["MODEL"],
        maps["KAPPA"],
        (maps["ALPHA_X"], maps["ALPHA_Y"]),
        product.source_maps["SOURCE"],
        product.source_grid,
    )


def with_margin(maps: Maps, side: float) -> Maps:
    """Puts dark pixels around a source map until its side is this [arcsec], if it is smaller.

    As many on each side: it may be up to two pixels more.
    """
    grid, n = maps.source_grid, maps.source.shape[-1]
    margin = max(0, int(np.ceil(round((side / grid.spacing - n) / 2, 6))))
    shape = (maps.source.shape[-2] + 2 * margin, n + 2 * margin)
    return replace(
        maps,
        source=np.pad(maps.source, margin),
        source_grid=PixelGrid(shape, grid.spacing, grid.center),
    )
