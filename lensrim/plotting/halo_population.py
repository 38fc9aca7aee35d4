"""A population of the halo model beside what is published of real lenses."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import NullFormatter, ScalarFormatter
from numpy.typing import NDArray

from ..datasets.halo_model.model import Halo
from ..datasets.hydro.projection import KappaMap
from .panels import STYLE

Array = NDArray[np.float64]

MODEL, PUBLISHED = "#35618f", "#c2571a"


@dataclass(frozen=True)
class Published:
    """Creates what a paper says of a quantity.

    Arguments:
        mean: Mean.
        scatter: Scatter of the lenses about it; None for a limit on the mean alone.
        source: Whose.
    """

    mean: float
    scatter: float | None
    source: str


PAPERS: dict[str, Published | None] = {
    "Einstein radius [arcsec]": None,
    "Einstein radius [kpc]": Published(4.2, 1.6, "Koopmans+ 2006"),
    "slope, lensing and dynamics": Published(2.078, 0.16, "Auger+ 2010"),
    "slope, mean within θ$_E$": Published(2.078, 0.16, "Auger+ 2010"),
    "slope, lensing alone": Published(2.08, 0.13, "Shajib+ 2021"),
    "axis ratio of the mass": Published(0.78, 0.12, "Koopmans+ 2006"),
    "axis ratio, mass / stars": Published(0.99, 0.11, "Koopmans+ 2006"),
    "angle, mass − stars [deg]": Published(0.0, 10.0, "Koopmans+ 2006"),
    "dark fraction within θ$_E$": Published(0.25, 0.22, "Koopmans+ 2006"),
    "dispersion [km/s]": Published(263.0, 44.0, "Koopmans+ 2006"),
    "external shear": Published(0.035, None, "Koopmans+ 2006"),
}
"""What is drawn, and what it is compared with."""


def measured(halos: Sequence[Halo]) -> dict[str, Array]:
    """Measures each quantity of :data:`PAPERS` on each lens."""
    return dict(zip(PAPERS, np.array([_numbers(h) for h in halos]).T, strict=True))


def _numbers(halo: Halo) -> list[float]:
    host, slopes = halo.host, halo.slopes
    mass, stars = host.ellipticity(), host.star_ellipticity()
    q, q_stars = ((1 - abs(e)) / (1 + abs(e)) for e in (mass, stars))
    turn = np.degrees(np.angle(mass * np.conj(stars)) / 2)
    return [
        halo.theta_E,
        host.radius,
        slopes.measured,
        slopes.weighted,
        slopes.lensing,
        q,
        q / q_stars,
        float(turn),
        host.dark_fraction,
        slopes.sigma,
        float(np.hypot(halo.gamma1, halo.gamma2)),
    ]


def halo_population(halos: Sequence[Halo], *, title: str = "") -> Figure:
    """Draws how the lenses of a population are distributed, and what is published of real ones.

    Arguments:
        halos: The lenses.
        title: What is written above.

    Returns:
        A figure of eleven histograms; a published mean is a line, a published scatter a band.

    Raises:
        ValueError: If there are no lenses.
    """
    if not halos:
        raise ValueError("a population needs lenses, got none")
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(15, 5.4), layout="constrained")
        axes = figure.subplots(2, 6)
        axes.flat[-1].set_axis_off()
        for ax, (name, values) in zip(axes.flat, measured(halos).items(), strict=False):
            _histogram(ax, name, values, PAPERS[name])
        figure.suptitle(title or f"{len(halos)} lenses of the halo model", fontsize=12)
    return figure


def _histogram(ax: Axes, name: str, values: Array, paper: Published | None) -> None:
    # of few lenses all are shown
    low = float(np.quantile(values, 0.01, method="lower"))
    high = float(np.quantile(values, 0.99, method="higher"))
    bins = max(8, min(30, int(np.sqrt(len(values)) * 1.5)))
    ax.hist(values, bins=bins, range=(low, high), color=MODEL, alpha=0.75, density=True)
    text = f"{values.mean():.3g} ± {values.std():.2g}"
    ax.set_title(name, fontsize=10)
    ax.text(0.98, 0.97, text, transform=ax.transAxes, ha="right", va="top", color=MODEL)
    if paper is not None:
        ax.axvline(paper.mean, color=PUBLISHED, lw=1.5)
        said = f"{paper.mean:g}"
        if paper.scatter is not None:
            ax.axvspan(
                paper.mean - paper.scatter, paper.mean + paper.scatter, color=PUBLISHED, alpha=0.15
            )
            said += f" ± {paper.scatter:g}"
        else:
            said = f"mean below {said}"
        ax.text(
            0.98,
            0.88,
            f"{said}\n{paper.source}",
            transform=ax.transAxes,
            ha="right",
            va="top",
            color=PUBLISHED,
            fontsize=8,
        )
    ax.set_yticks([])
    ax.set_ylim(top=ax.get_ylim()[1] * 1.35)


def kappa_sheet(maps: Sequence[KappaMap], *, heading: str = "") -> Figure:
    r"""Draws convergence maps beside one another, with the circle of the Einstein radius.

    All have one stretch, logarithmic from 0.03 to 10, and contours at :math:`\kappa` of 0.1, 0.2,
    0.5, 1 and 2.

    Arguments:
        maps: The maps.
        heading: Over all.

    Raises:
        ValueError: If there are no maps.
    """
    if not maps:
        raise ValueError("a sheet needs maps, got none")
    columns = int(np.ceil(np.sqrt(len(maps) * 1.5)))
    rows = -(-len(maps) // columns)
    norm: Any = LogNorm(0.03, 10, clip=True)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(1.9 * columns + 0.7, 2.1 * rows + 0.5), layout="constrained")
        axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
        for ax in axes:
            ax.set_axis_off()
        for ax, one in zip(axes, maps, strict=False):
            image = ax.imshow(
                one.kappa, origin="lower", extent=one.grid.extent, norm=norm, cmap="magma"
            )
            lines = {"colors": "white", "linewidths": 0.5, "alpha": 0.7}
            ax.contour(one.kappa, [0.1, 0.2, 0.5, 1, 2], extent=one.grid.extent, **lines)
            if one.theta_E is not None:
                circle = Circle((0, 0), one.theta_E, fill=False, color="#7fd0ff", lw=0.8)
                ax.add_patch(circle)
            radius = "none" if one.theta_E is None else f"{one.theta_E:.2f}″"
            name = one.halo.replace("$", r"\$")
            ax.set_title(f"{name}  θ$_E$ {radius}", fontsize=7, pad=2)
        bar = figure.colorbar(image, ax=axes, shrink=0.6, label="κ")
        bar.ax.yaxis.set_major_formatter(ScalarFormatter())
        bar.ax.yaxis.set_minor_formatter(NullFormatter())
        figure.suptitle(heading, fontsize=11)
    return figure
