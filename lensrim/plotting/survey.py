"""A contact sheet of a survey: the thumbnails of many lenses, and what is thought of each."""

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure
from numpy import ndarray

from .contact import STYLE
from .product import QUALITY_COLORS
from .thumbnails import PANELS

HEADINGS = {"kappa": "κ"}


def survey_sheet(
    pictures: Sequence[ndarray],
    titles: Sequence[str],
    qualities: Sequence[str],
    *,
    columns: int = 2,
) -> Figure:
    """Draws thumbnails beneath each other, each with a title in the colour of its quality.

    Arguments:
        pictures: Thumbnails (:func:`lensrim.plotting.thumbnails.thumbnails`), all of one shape.
        titles: A line or two over each.
        qualities: Quality of each.
        columns: Number of columns.

    Raises:
        ValueError: If there are no pictures, or not as many titles or qualities.
    """
    if not pictures or not len(pictures) == len(titles) == len(qualities):
        raise ValueError(
            f"a sheet needs pictures, and as many titles and qualities, got {len(pictures)},"
            f" {len(titles)}, {len(qualities)}"
        )
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    lines = 1 + max(title.count("\n") for title in titles)
    width = 6.6
    height, gap, top = width / len(PANELS), 0.08 + 0.17 * lines, 0.28
    size = (columns * (width + 0.1) + 0.1, top + rows * (height + gap) + 0.08)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, dpi=110)
        for k, (picture, title, quality) in enumerate(
            zip(pictures, titles, qualities, strict=True)
        ):
            row, column = divmod(k, columns)
            x = (0.1 + column * (width + 0.1)) / size[0]
            y = 1 - (top + (row + 1) * (height + gap)) / size[1]
            axes = figure.add_axes((x, y, width / size[0], height / size[1]))
            axes.imshow(picture)
            color = QUALITY_COLORS.get(quality, "0.4")
            text = {"fontsize": 8.5, "pad": 2, "linespacing": 1.2, "parse_math": False}
            axes.set_title(title, loc="left", color=color, **text)
            axes.set_axis_off()
        for column in range(columns):
            for k, panel in enumerate(PANELS):
                x = 0.1 + column * (width + 0.1) + (k + 0.5) * height
                name = HEADINGS.get(panel, panel)
                y = 1 - 0.14 / size[1]
                figure.text(x / size[0], y, name, ha="center", va="center", fontsize=9)
        return figure
