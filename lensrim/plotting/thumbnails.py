"""Thumbnails: the maps of a product beside each other in one small image."""

import matplotlib
import numpy as np
from matplotlib.colors import LogNorm, Normalize, to_rgb
from numpy import ndarray

from ..io.product import Product
from .marks import arcsinh_norm
from .panels import BRIGHTNESS, CONVERGENCE, DEVIATION, IGNORED, kappa_limits

SIDE = 72
PANELS = ("data", "arcs", "model", "residual", "source", "kappa")
"""What is shown; ``arcs`` are the data less lens light and sky, ``model`` is the arcs'."""


def thumbnails(product: Product, *, side: int = SIDE) -> ndarray:
    """Draws the ``PANELS``, with the stretches of the picture.

    Arcs and model share one stretch; the data hold the lens galaxy. Pixels that are ignored are
    grey.

    Arguments:
        product: The product.
        side: Side of each panel [pixels of the screen].

    Returns:
        Red, green and blue from 0 to 255, with shape :math:`(n, 6 n, 3)`, row 0 at the top.
    """
    maps = product.image_maps
    used = np.asarray(maps["MASK"]) != 0
    noise, sky = (float(np.median(maps[key][used])) for key in ("SIGMA", "SKY"))
    brightness = arcsinh_norm(maps["DATA"][used], 2 * noise, zero=sky, low=sky - 2 * noise)
    arcs = np.where(used, maps["DATA"] - maps["LENS_LIGHT"] - maps["SKY"], np.nan)
    # what is left of the lens galaxy's core may be brighter than all arcs
    high = max(float(np.nanmax(maps["MODEL"])), 5 * noise)
    of_arcs = arcsinh_norm(maps["MODEL"], 2 * noise, low=-2 * noise, high=high)
    source, kappa = product.source_maps["SOURCE"], maps["KAPPA"]
    peak = max(float(np.nanmax(source)), np.finfo(float).tiny)
    bottom, top = kappa_limits(kappa)
    data = np.where(used, maps["DATA"], np.nan)
    residual = np.where(used, maps["RESIDUAL"], np.nan)
    panels: list[tuple[ndarray, Normalize, str]] = [
        (data, brightness, BRIGHTNESS),
        (arcs, of_arcs, BRIGHTNESS),
        (maps["MODEL"], of_arcs, BRIGHTNESS),
        (residual, Normalize(-4, 4), DEVIATION),
        (source, arcsinh_norm(source, 0.1 * peak, low=-0.03 * peak, high=peak), BRIGHTNESS),
        (np.clip(kappa, bottom, None), LogNorm(bottom, top), CONVERGENCE),
    ]
    return np.concatenate([_coloured(*panel, side) for panel in panels], axis=1)


def _coloured(values: ndarray, norm: Normalize, cmap: str, side: int) -> ndarray:
    """Colours a map and brings its longer side to ``side``, the rest in the grey of no data."""
    palette = matplotlib.colormaps[cmap].with_extremes(bad=IGNORED)
    colours = palette(norm(np.ma.masked_invalid(values)), bytes=True)[::-1, :, :3]
    h, w = values.shape
    middle = (np.arange(side) + 0.5) * max(h, w) / side
    row, column = (np.floor(middle - (max(h, w) - n) / 2).astype(int) for n in (h, w))
    grey = np.array(to_rgb(IGNORED)) * 255
    inside = ((row >= 0) & (row < h))[:, None] & ((column >= 0) & (column < w))
    picked = colours[row.clip(0, h - 1)[:, None], column.clip(0, w - 1)]
    return np.where(inside[..., None], picked, grey.astype(np.uint8)).astype(np.uint8)
