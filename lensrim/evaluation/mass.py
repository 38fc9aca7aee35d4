"""The mass of a mock: where it is compared, and what of it."""

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .. import metrics
from ..grid import PixelGrid
from ..lensing import beyond
from ..lensing.convergence import KappaToAlpha
from .deflection import average_convergence
from .mocks import Mock

Map = NDArray[Any]


def region_of(mock: Mock) -> NDArray[np.bool_]:
    """Where the convergence is compared: from 0.3 to 2 Einstein radii about the true centre."""
    host = mock.truth.system.lens.ellipsoid
    center = (host.center_x, host.center_y)
    return metrics.annulus(mock.observation.grid, theta_E=host.theta_E, center=center)


def ellipsoid_kappa(mock: Mock) -> NDArray[np.float64]:
    """Mean convergence of each pixel of the ellipsoid of a mock's lens alone."""
    plain = replace(mock.truth.system.lens, multipoles=(), subhalos=())
    return average_convergence(plain, mock.observation.grid, order=3)


def structure(mock: Mock) -> float:
    """How far the true convergence is from its ellipsoid's: rms of log10 in 0.3 to 2 radii."""
    return metrics.log_kappa_rmse(ellipsoid_kappa(mock), mock.truth.kappa, region_of(mock))


def slope_of_map(mock: Mock, kappa: Map) -> float:
    """The slope of a map of the convergence, where maps are compared, along the radius of the true
    ellipsoid (:func:`lensrim.metrics.profile_slope`)."""
    host, grid = mock.truth.system.lens.ellipsoid, mock.observation.grid
    x, y = grid.from_index(np.arange(grid.shape[1]), np.arange(grid.shape[0])[:, None])
    turned = np.exp(-1j * host.phi) * (x - host.center_x + 1j * (y - host.center_y))
    radius = np.hypot(np.sqrt(host.q) * turned.real, turned.imag / np.sqrt(host.q))
    return metrics.profile_slope(kappa, radius, region_of(mock))


def shear_of_map(mock: Mock, kappa: Map, alpha: tuple[Map, Map]) -> tuple[float, float]:
    """The shear that belongs to a map of the convergence (:func:`shear_of`)."""
    truth = mock.truth
    return shear_of(kappa, alpha, truth.arcs * truth.arc_mask, mock.observation.grid)


def shear_of(
    kappa: Map, alpha: tuple[Map, Map], weights: Map, grid: PixelGrid
) -> tuple[float, float]:
    """The shear that belongs to a map of the convergence: that of all mass beyond it, too.

    It is found as that of an answer is: from what the deflection of the true arcs has besides the
    map's.

    Arguments:
        kappa, alpha: Convergence and deflection [arcsec], each with shape (H, W).
        weights: Brightness of the true arcs, with shape (H, W).
        grid: The pixels.
    """
    both, single, arcs = (
        torch.from_numpy(np.asarray(each, dtype=np.float64))[None]
        for each in (np.stack(alpha), kappa, weights / weights.sum())
    )
    gamma, _ = beyond.shear_of_map(both, single[None], arcs[None], _operator(grid))
    return float(gamma[0, 0]), float(gamma[0, 1])


def true_shear(mock: Mock) -> tuple[float, float]:
    """The shear that belongs to the true map."""
    truth = mock.truth
    return shear_of_map(mock, truth.kappa, (truth.alpha_x, truth.alpha_y))


@lru_cache(maxsize=4)
def _operator(grid: PixelGrid) -> KappaToAlpha:
    return KappaToAlpha(grid, dtype=torch.float64)
