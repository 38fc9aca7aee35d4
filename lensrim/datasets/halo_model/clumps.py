r"""Thousands of small haloes on the pixels of a map: each a sum of Gaussians of exact averages.

A halo is the truncated NFW profile of :class:`~lensrim.lensing.mass.TNFW`, given by its mass, its
scale radius and :math:`\tau = r_t / r_s`. Its projection is taken as a sum of round Gaussians on
one ladder of widths,

.. math:: \Sigma(R) \approx m \sum_j \frac{w_j(\tau)}{2 \pi \sigma_j^2}
          \exp \left( - \frac{R^2}{2 \sigma_j^2} \right) , \qquad
          \sum_j w_j = 1 , \quad w_j \geq 0 ,

which :func:`~lensrim.datasets.hydro.smoothing.spread` puts on pixels with exact averages: a
thousand haloes on 256 × 256 pixels take about a tenth of a second. The Gaussians keep the mass,
that in any aperture to 0.3 % of the whole, and follow the profile within 6 % (1 % in the mean)
from a hundredth of the smaller of its radii to three times the larger; within 10 % at :math:`\tau
< 0.1`. No Gaussian is narrower than 0.29 pixel, so a cusp is blurred by the cloud of a pixel.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

from ...grid import PixelGrid
from ...lensing.mass import TNFW
from ..hydro.smoothing import NARROWEST, spread

Array = NDArray[np.float64]

LADDER = 0.002 * 2.0 ** np.arange(18)
"""Standard deviations of the Gaussians, in scale radii."""
LOG_TAU = np.linspace(np.log(0.05), np.log(60.0), 29)
"""Logarithms of the :math:`\\tau` at which the weights are fitted; others lie in between."""
LEAST = 1e-4
"""Share of a halo's mass below which a Gaussian is left out."""


@dataclass(frozen=True, eq=False)
class Clumps:
    r"""Creates a number of small haloes. All arguments have shape (N).

    Arguments:
        mass: Total masses, in units of the critical density [arcsec²]; may be of effective mass,
            see :mod:`~lensrim.datasets.halo_model.line_of_sight`.
        r_s: Scale radii [arcsec].
        r_t: Truncation radii [arcsec]; from 0.05 to 60 of the scale radii, else the nearest.
        center_x, center_y: Centres [arcsec].
    """

    mass: Array
    r_s: Array
    r_t: Array
    center_x: Array
    center_y: Array

    def __len__(self) -> int:
        return len(self.mass)

    def kappa(self, grid: PixelGrid) -> Array:
        """Averages the convergence over pixels; the result has shape (H, W)."""
        if not len(self):
            return np.zeros(grid.shape)
        weights = self.mass[:, None] * gaussian_weights(self.r_t / self.r_s)
        sigma = self.r_s[:, None] * LADDER / grid.spacing
        # what is too narrow for the pixels is one point
        narrow = sigma < NARROWEST
        point = np.where(narrow, weights, 0.0).sum(1)
        kept = ~narrow & (weights > LEAST * self.mass[:, None])
        column, row = grid.to_index(self.center_x, self.center_y)
        places = np.broadcast_to(np.arange(len(self))[:, None], kept.shape)[kept]
        cusps = np.flatnonzero(point > LEAST * self.mass)
        places = np.concatenate([places, cusps])
        sizes = np.concatenate([sigma[kept], np.full(len(cusps), NARROWEST)])
        shares = np.concatenate([weights[kept], point[cusps]])
        # the mass of what was left out goes to the rest
        total = np.bincount(places, shares, minlength=len(self))
        shares = shares * (self.mass / total)[places]
        mass = spread(column[places], row[places], shares, sizes, grid.shape, enabled=False)
        return mass / grid.spacing**2


def join(parts: list[Clumps]) -> Clumps:
    """Puts haloes together."""
    names = ("mass", "r_s", "r_t", "center_x", "center_y")
    return Clumps(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def truncated_mass(tau: Array) -> Array:
    r"""Computes the mass of a truncated NFW halo, in units of :math:`4 \pi \rho_s r_s^3`.

    .. math:: \frac{\tau^2}{(\tau^2 + 1)^2} \left( (\tau^2 - 1) \ln \tau + \pi \tau - \tau^2 - 1
              \right)

    References:
        Baltz, Marshall & Oguri 2009, JCAP 01, 015, equation A.4.
    """
    t2 = tau**2
    return np.asarray(t2 / (t2 + 1) ** 2 * ((t2 - 1) * np.log(tau) + np.pi * tau - t2 - 1))


def gaussian_weights(tau: Array) -> Array:
    r"""Returns the weights of the Gaussians of haloes, each of sum 1.

    Arguments:
        tau: Their :math:`r_t / r_s`, with shape (N).

    Returns:
        The weights, with shape (N, len(LADDER)).
    """
    table = _weights()
    place = np.interp(np.log(tau), LOG_TAU, np.arange(len(LOG_TAU)))
    low = np.minimum(place.astype(np.int64), len(LOG_TAU) - 2)
    share = (place - low)[:, None]
    return (1 - share) * table[low] + share * table[low + 1]


@lru_cache(maxsize=1)
def _weights() -> Array:
    """Fits the weights at each of the tabulated truncations by non-negative least squares."""
    from scipy.optimize import nnls

    rows = []
    for tau in np.exp(LOG_TAU):
        radius = np.geomspace(0.005 * min(tau, 1), 6 * max(tau, 1), 150)
        one = TNFW(1.0, 1.0, float(tau))
        at = torch.from_numpy(radius[None])
        kappa = (one.convergence(at, torch.zeros_like(at)) / float(one.total_mass()))[0].numpy()
        gauss = np.exp(-(radius[:, None] ** 2) / (2 * LADDER**2)) / (2 * np.pi * LADDER**2)
        # relative errors count, less where next to no mass is
        importance = np.sqrt(np.minimum(kappa * radius**2 / (kappa * radius**2).max() * 4, 1))
        matrix = gauss / kappa[:, None] * importance[:, None]
        matrix = np.vstack([matrix, np.full(len(LADDER), 100.0)])  # the sum of all is 1
        rows.append(nnls(matrix, np.append(importance, 100.0))[0])
    table = np.array(rows)
    return table / table.sum(1, keepdims=True)
