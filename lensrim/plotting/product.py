"""The picture of a reconstruction, from which its quality is judged at a glance.

Brightness has an arcsinh stretch with the noise as its linear part, so that what just stands out
of the noise is seen beside what is a hundred times brighter; data and model of the arcs share one
scale. All maps are drawn in pixel axes [arcsec]. Nothing global is touched: no current figure.
"""

from math import floor, log10

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from numpy import ndarray

from ..io.product import Product
from .marks import (
    arcsinh_norm,
    draw_curves,
    draw_directions,
    draw_scale_bar,
    outline_regions,
)
from .panels import BRIGHTNESS, CONVERGENCE, DEVIATION, STYLE, Panel, draw_panel, kappa_limits

NEIGHBOUR = "#35b7e8"
QUALITY_COLORS = {"good": "#1b7f5c", "doubtful": "#b97a00", "failed": "#b3322c"}


def plot_product(product: Product) -> Figure:
    """Draws data, lens-light-subtracted data, model, residual, source and convergence.

    Ignored pixels are grey, in the data outlined; neighbours are outlined in blue. The headline
    holds the reduced chi-square of the frame with its expectation.

    Returns:
        A figure 1600 pixels wide, and 1000 high for a square image.
    """
    grid = product.image_grid
    used, neighbours = _masks(product)
    # inches: room for the headline, two rows of panels, titles and tick labels
    panel = float(np.clip(4.0 * grid.fov[1] / grid.fov[0], 2.4, 4.0))
    height = 1.35 + 2 * panel + 0.65 + 0.5
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(16, height))
        top, bottom = 1 - 1.35 / height, 0.5 / height
        spec = figure.add_gridspec(
            2, 3, left=0.04, right=0.94, bottom=bottom, top=top, wspace=0.28, hspace=0.65 / panel
        )
        axes = [figure.add_subplot(spec[k // 3, k % 3], anchor="W") for k in range(6)]
        for ax, map_ in zip(axes, _panels(product, used), strict=True):
            draw_panel(ax, map_)
        data, _, _, residual, source, convergence = axes
        regions = [
            (~used & ~neighbours, "white", "ignored"),
            (neighbours, NEIGHBOUR, "neighbours"),
        ]
        # no room beside the title of a narrow map
        above = grid.fov[0] > 0.75 * grid.fov[1]
        outline_regions(data, regions, grid, above=above)
        if product.wcs is not None and product.wcs.has_celestial:
            draw_directions(data, product.wcs, grid)
        draw_curves(source, product.caustics, "caustics", above=above)
        _zoom_on_source(source, product)
        draw_curves(convergence, product.critical_curves, "critical curves", above=above)
        for ax in axes:
            draw_scale_bar(ax, color="0.15" if ax is residual else "white")
        _write_headline(figure, product)
    return figure


def _masks(product: Product) -> tuple[ndarray, ndarray]:
    used = np.asarray(product.image_maps["MASK"]) != 0
    if product.neighbours is None:
        return used, np.zeros_like(used)
    return used, np.asarray(product.neighbours) != 0


def _panels(product: Product, used: ndarray) -> list[Panel]:
    maps, grid, unit = product.image_maps, product.image_grid, product.unit or "data units"
    noise = float(np.median(maps["SIGMA"][used]))
    sky = float(np.median(maps["SKY"][used]))
    arcs = np.where(used, maps["DATA"] - maps["LENS_LIGHT"] - maps["SKY"], np.nan)
    data_norm = arcsinh_norm(maps["DATA"][used], 2 * noise, zero=sky, low=sky - 2 * noise)
    arcs_norm = arcsinh_norm(
        np.concatenate([arcs[used], maps["MODEL"][used]]), 2 * noise, low=-2 * noise
    )
    source, kappa = product.source_maps["SOURCE"], maps["KAPPA"]
    peak = max(float(np.nanmax(source)), np.finfo(float).tiny)
    # linear below the errors of what is bright: structure that may be noise is not to stand out
    std = product.source_maps.get("SOURCE_STD")
    bright = source >= 0.1 * peak  # nowhere, if it is negative everywhere
    unsure = 2 * float(np.nanmedian(std[bright])) if std is not None and bright.any() else 0.0
    linear = float(np.clip(unsure / peak, 0.1, 1.0)) * peak
    source_norm = arcsinh_norm(source, linear, low=-0.03 * peak, high=peak)
    bottom, top = kappa_limits(kappa)
    residual = np.where(used, maps["RESIDUAL"], np.nan)
    outside = float(np.mean(np.abs(residual[used]) > 4))
    return [
        Panel("Data", maps["DATA"], grid, data_norm, BRIGHTNESS, unit),
        Panel("Data − lens light − sky", arcs, grid, arcs_norm, BRIGHTNESS, unit),
        Panel("Model of the arcs", maps["MODEL"], grid, arcs_norm, BRIGHTNESS, unit),
        Panel(
            "Residual",
            residual,
            grid,
            Normalize(-4, 4),
            DEVIATION,
            "(data − everything modelled) / σ",
            f"{100 * outside:.2f} % beyond ±4 σ",
        ),
        Panel(
            "Source",
            source,
            product.source_grid,
            source_norm,
            BRIGHTNESS,
            f"{unit}, per image pixel area",
        ),
        Panel(
            "Convergence",
            np.clip(kappa, bottom, None),
            grid,
            LogNorm(bottom, top),
            CONVERGENCE,
            "convergence κ",
        ),
    ]


def _zoom_on_source(ax: Axes, product: Product) -> None:
    """Shows the caustics and what is bright; beyond the source grid there is no light."""
    grid, source = product.source_grid, product.source_maps["SOURCE"]
    row, column = np.nonzero(source >= 0.1 * np.nanmax(source))
    points = [np.stack(grid.from_index(column, row), axis=-1), *product.caustics]
    x_min, x_max, y_min, y_max = grid.extent
    inside = np.clip(np.concatenate(points), [x_min, y_min], [x_max, y_max])
    low, high = inside.min(axis=0), inside.max(axis=0)
    # the window has the shape of the image, so that all panels have one size
    shape = np.array(product.image_grid.fov) / product.image_grid.fov[1]
    half = (0.58 * float(((high - low) / shape).max()) + 2 * grid.spacing) * shape
    (x_low, y_low), (x_high, y_high) = (low + high) / 2 - half, (low + high) / 2 + half
    ax.set(xlim=(x_low, x_high), ylim=(y_low, y_high))
    ax.set_facecolor(tuple(ax.images[0].to_rgba(np.zeros(1))[0]))


def _write_headline(figure: Figure, product: Product) -> None:
    def number(key: str, form: str) -> str | None:
        value = product.value(key)
        return None if value is None or not np.isfinite(value) else format(value, form)

    def up(inches: float) -> float:
        return 1 - inches / figure.get_figheight()

    frame, arc = number("CHI2NU", ".2f"), number("CHI2ARC", ".2f")
    error = product.value("THETAEER")
    digits, spread = 3, ""
    if error is not None and 0 < error < np.inf:
        digits = int(np.clip(1 - floor(log10(error)), 3, 6))
        spread = f" ± {error:.{digits}f}"
    theta = number("THETAE", f".{digits}f")
    parts = [rf"$\theta_\mathrm{{E}}$ = {theta}{spread}″"] if theta else []
    if frame:
        left = number("CHI2EXP", ".2f")
        expected = f" (expected {left})" if left else ""
        parts.append(rf"$\chi^2_\nu$ = {frame} in the frame{expected}")
    if arc:
        parts.append(rf"$\chi^2_\nu$ = {arc} on the arc ({product.value('NARC')} pixels)")
    gamma = [product.value(key) for key in ("MACROG1", "MACROG2")]
    if None not in gamma:
        parts.append(f"shear {np.hypot(*gamma):.3f}")
    if magnification := number("MAGTOT", ".1f"):
        parts.append(f"magnification {magnification}")
    figure.text(0.04, up(0.55), product.name, fontsize=21, fontweight="bold", parse_math=False)
    figure.text(0.04, up(0.9), "     ".join(parts), fontsize=13, color="0.2")
    quality = product.value("QUALITY")
    if quality is not None:
        codes = str(product.value("QREASONS") or "none")
        reasons = "" if codes == "none" else f" ({codes})"
        figure.text(
            0.975,
            up(0.53),
            f"quality: {quality}{reasons}",
            ha="right",
            fontsize=14,
            fontweight="bold",
            color="white",
            parse_math=False,
            bbox={
                "boxstyle": "round,pad=0.4",
                "facecolor": QUALITY_COLORS.get(str(quality).lower(), "0.4"),
                "edgecolor": "none",
            },
        )
    model, stage = product.value("MODEL"), product.value("STAGE")
    named = "macro-model" if model == "macro" else model and f"machine {model}"
    words = [named, stage and stage != model and f"stage {stage}"]
    figure.text(
        0.98,
        up(0.17),
        ", ".join(word for word in words if word),
        ha="right",
        color="0.4",
        fontsize=10,
        parse_math=False,
    )
