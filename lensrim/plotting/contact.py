"""A contact sheet: many images at a glance."""

from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy import ndarray

from .marks import arcsinh_norm

STYLE: dict[Any, Any] = {"font.family": "DejaVu Sans", "image.interpolation": "nearest"}


def contact_sheet(
    images: Sequence[ndarray],
    titles: Sequence[str],
    *,
    noises: Sequence[float] | None = None,
    heading: str = "",
) -> Figure:
    """Draws images in rows, each with a stretch of its own, linear within two of its noises.

    Arguments:
        images: Images, each with shape :math:`(H, W)`; pixels that are not finite are grey.
        titles: A line or two over each.
        noises: Standard deviation of the noise of each; that of its fainter half by default.
        heading: Over all.

    Returns:
        A figure with as many columns as rows, or one more.

    Raises:
        ValueError: If there are no images, or not as many titles.
    """
    if not images or len(images) != len(titles):
        raise ValueError(
            f"a contact sheet needs images and as many titles, got {len(images)}, {len(titles)}"
        )
    columns = ceil(sqrt(len(images)))
    rows = ceil(len(images) / columns)
    lines = 1 + max(title.count("\n") for title in titles)
    size, gap, top = 1.9, 0.06 + 0.15 * lines, 0.45 if heading else 0.1
    height = top + rows * (size + gap) + 0.06
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(columns * (size + 0.06) + 0.06, height), dpi=100)
        for k, (image, title) in enumerate(zip(images, titles, strict=True)):
            row, column = divmod(k, columns)
            x = (0.06 + column * (size + 0.06)) / figure.get_figwidth()
            y = 1 - (top + (row + 1) * (size + gap)) / height
            ax = figure.add_axes((x, y, size / figure.get_figwidth(), size / height))
            noise = _noise(image) if noises is None else noises[k]
            norm = arcsinh_norm(image, 2 * noise, low=-2 * noise)
            palette = matplotlib.colormaps["magma"].with_extremes(bad="0.6")
            ax.imshow(np.ma.masked_invalid(image), origin="lower", norm=norm, cmap=palette)
            ax.set_title(title, fontsize=7, pad=2, linespacing=1.1, parse_math=False)
            ax.set_axis_off()
        if heading:
            figure.text(
                0.5,
                1 - 0.22 / height,
                heading,
                ha="center",
                va="center",
                fontsize=11,
                parse_math=False,
            )
    return figure


def _noise(image: ndarray) -> float:
    """Scatter of the fainter half of an image, as if it were half of a normal distribution."""
    values = image[np.isfinite(image)]
    middle = np.median(values)
    return float(np.sqrt(np.mean((values[values <= middle] - middle) ** 2))) or 1.0
