"""A contact sheet of stamps of galaxies, each beside what was made of it."""

from collections.abc import Sequence
from math import ceil

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy import ndarray

from .contact import STYLE
from .marks import arcsinh_norm

COLOURS = {"good": "0.1", "fair": "tab:orange", "bad": "tab:red"}
"""Of the title, by the verdict."""


def galaxy_sheet(
    pairs: Sequence[tuple[ndarray, ndarray]],
    titles: Sequence[str],
    *,
    verdicts: Sequence[str],
    noises: Sequence[float],
    columns: int = 6,
) -> Figure:
    """Draws stamps and the galaxies made of them side by side, with one stretch for both.

    Arguments:
        pairs: Stamp and galaxy in the same frame, each with shape :math:`(H, W)`; pixels that are
            not finite are grey.
        titles: A line or two over each pair.
        verdicts: ``good``, ``fair`` or ``bad``: the colour of the title.
        noises: The stretch is linear within two of these.
        columns: Pairs in a row.

    Returns:
        A figure.

    Raises:
        ValueError: If there are no pairs, or not as many titles, verdicts and noises.
    """
    if not pairs or not len(pairs) == len(titles) == len(verdicts) == len(noises):
        raise ValueError(
            "a galaxy sheet needs pairs and as many titles, verdicts and noises, got "
            f"{len(pairs)}, {len(titles)}, {len(verdicts)}, {len(noises)}"
        )
    columns = min(columns, len(pairs))
    rows = ceil(len(pairs) / columns)
    size, gap = 1.25, 0.42
    width, height = columns * (2 * size + 0.12) + 0.06, rows * (size + gap) + 0.1
    palette = matplotlib.colormaps["magma"].with_extremes(bad="0.6")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), dpi=100)
        for k, pair in enumerate(pairs):
            row, column = divmod(k, columns)
            left, top = 0.06 + column * (2 * size + 0.12), 0.05 + row * (size + gap) + gap
            norm = arcsinh_norm(pair[1], 2 * noises[k], low=-2 * noises[k])
            for side, image in enumerate(pair):
                x = left + side * (size + 0.02)
                box = (x / width, 1 - (top + size) / height, size / width, size / height)
                ax = figure.add_axes(box)
                ax.imshow(np.ma.masked_invalid(image), origin="lower", norm=norm, cmap=palette)
                ax.set_axis_off()
            figure.text(
                (left + size) / width,
                1 - (top - 0.04) / height,
                titles[k],
                ha="center",
                va="bottom",
                fontsize=6,
                linespacing=1.1,
                parse_math=False,
                color=COLOURS.get(verdicts[k], "0.1"),
            )
    return figure
