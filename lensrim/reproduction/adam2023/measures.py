r"""What is measured of states, against the truth: of the image, the source and the convergence.

Nothing is corrected for the mass sheet: maps are compared as they are, as the paper does. The
slope is that of the convergence about its own centre,

.. math:: \gamma = 1 - \frac{d \ln \kappa}{d \ln r} , \qquad 0.5 < r / \theta_E < 1.5 ,

by least squares over the pixels: 2 is isothermal.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ... import metrics
from ...grid import PixelGrid
from ...lensing.einstein import kappa_center
from ...rim import State
from ..misfit import mean, noise_free
from .designs import Design
from .systems import Draws, kappa_of

Map = NDArray[np.float64]

SHARES = (0.5, 0.9, 0.99)
"""Shares of the source's light whose radii are measured."""

WAVES = (1.0, 0.5, 0.25, 0.125, 0.0625)
"""Ends of the ranges of the wavelength in which maps are compared [side of the map]."""

RANGES = len(WAVES) - 1

FEWEST = 12
"""Pixels from which a slope is measured, at least."""


def slope_of(kappa: Map, grid: PixelGrid, theta_E: float) -> float:
    r"""Measures the slope :math:`\gamma` of a map; NaN without an Einstein radius, or if small.

    Arguments:
        kappa: Mean convergence of each pixel, with shape (H, W).
        grid: The pixels.
        theta_E: The map's own Einstein radius, in the unit of the grid.
    """
    if not theta_E > 0:
        return float("nan")
    center = kappa_center(kappa, grid)
    x, y = (c.numpy() for c in grid.coordinates(dtype=torch.float64))
    radius = np.hypot(x - center[0], y - center[1])
    ring = (radius > 0.5 * theta_E) & (radius < 1.5 * theta_E) & (kappa > 0)
    if ring.sum() < FEWEST:
        return float("nan")
    return float(1 - np.polyfit(np.log(radius[ring]), np.log(kappa[ring]), 1)[0])


def measured(
    design: Design, state: State, draws: Draws, pixel_scale: float, frame: float
) -> dict[str, Tensor]:
    r"""Measures the states of a batch.

    Arguments:
        design: Whose states they are.
        state: The states.
        draws: The lenses.
        pixel_scale: Side of a pixel [arcsec].
        frame: Side of the source's frame over which its error is a mean, for all designs, each
            wrong nowhere beyond its own [pixel].

    Returns:
        By name, with shape (B): ``chi2`` of the frame and ``chi2 arc`` of where the arcs exceed
        the noise, per pixel; ``D``, the misfit there without the noise; ``relative L2`` and
        ``RMSE`` (of the peak) of the source; ``kappa dex``, the root mean square error of
        :math:`\log_{10} \kappa` between 0.3 and 2 Einstein radii; and of the state and
        (``true ...``) of the truth ``theta_E`` [arcsec], ``slope``, and ``R50``, ``R90`` and
        ``R99``, the radii of circles that hold so much of the source's light [arcsec]. With shape
        (B, ranges) ``coherence of kappa`` and ``of source``, and ``moduli of ...``, the same by
        the formula that is no coherence.
    """
    truth = design.truth(draws)
    found = image_errors(design.image(state, draws), draws)
    off = (state["source"] - truth["source"]).flatten(1)
    found["relative L2"] = off.norm(dim=1) / truth["source"].flatten(1).norm(dim=1)
    share = design.source_side(draws) / frame
    found["RMSE"] = off.square().mean(1).sqrt() * share / truth["source"].amax((1, 2, 3))
    region = draws["kappa_weight"] > 0.5
    square = (state["log_kappa"] - truth["log_kappa"]).square() * region
    found["kappa dex"] = (square.sum((1, 2, 3)) / region.sum((1, 2, 3))).sqrt()
    sides = design.source_side(draws) * pixel_scale
    for label, each in (("", state), ("true ", truth)):
        found |= {f"{label}{k}": v for k, v in shapes(each, sides, pixel_scale).items()}
    return found | coherences(state, truth, sides, pixel_scale)


def image_errors(model: Tensor, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Measures images of states: ``chi2``, ``chi2 arc`` and ``D``, each with shape (B)."""
    arcs, precision = (
        (draws["clean"] > draws["sigma"]).float(),
        draws["sigma"].square().reciprocal(),
    )
    square = ((draws["image"] - model) / draws["sigma"]).square()
    return {
        "chi2": mean(square, torch.ones_like(arcs)),
        "chi2 arc": mean(square, arcs),
        "D": noise_free((model - draws["clean"]) * precision, precision, arcs),
    }


def shapes(state: State, sides: Tensor, pixel_scale: float) -> dict[str, Tensor]:
    """Measures Einstein radii, slopes and the extents of sources, each with shape (B)."""
    rows = []
    for kappa, source, side in zip(kappa_of(state), state["source"], sides, strict=True):
        (h, w), n = kappa.shape[-2:], source.shape[-1]
        grid = PixelGrid((h, w), pixel_scale)
        mass = kappa[0].double().numpy()
        theta_E = metrics.effective_theta_E(mass, grid, subsample=5)
        radii = metrics.light_radii(
            source[0].numpy(), PixelGrid((n, n), float(side) / n), SHARES, subsample=3
        )
        rows.append([theta_E, slope_of(mass, grid, theta_E), *radii])
    names = ("theta_E", "slope", *(f"R{round(100 * share)}" for share in SHARES))
    return dict(zip(names, torch.tensor(rows).unbind(1), strict=True))


def coherences(state: State, truth: State, sides: Tensor, pixel_scale: float) -> dict[str, Tensor]:
    """Compares maps by ranges of the wavelength, by both formulae, each with shape (B, ranges)."""
    n = state["source"].shape[-1]
    frame = PixelGrid((n, n), pixel_scale)
    found: dict[str, list[Map]] = {}
    for i, side in enumerate(sides):
        for name, key, grid in (
            ("kappa", "log_kappa", frame),
            ("source", "source", PixelGrid((n, n), float(side) / n)),
        ):
            pair = state[key][i, 0].double().numpy(), truth[key][i, 0].double().numpy()
            edges = in_lengths(WAVES, grid)
            for label, formula in FORMULAE.items():
                found.setdefault(f"{label} of {name}", []).append(formula(*pair, grid, edges))
    return {name: torch.from_numpy(np.stack(values)) for name, values in found.items()}


def in_lengths(waves: Sequence[float], grid: PixelGrid) -> list[float]:
    """Turns shares of a side into wavelengths, a little longer, so that the first wave is in."""
    return [1.001 * wave * grid.fov[0] for wave in waves]


FORMULAE = {"coherence": metrics.coherence, "moduli": metrics.coherence_of_moduli}
"""How two maps are compared; the second is that of the paper."""
