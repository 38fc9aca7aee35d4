r"""A smooth mass in elliptical layers whose shape changes with radius, on pixels.

A round convergence :math:`k(R)` is put on layers by giving each point the radius

.. math::
    R = r \, \sqrt{\frac{1 + |e|^2 - 2 \, \mathrm{Re} (\bar e \, u^2)}{1 - |e|^2}} \;
    \Big( 1 - \sum_m a_m \cos m (\varphi - \varphi_m) \Big) , \qquad u = e^{i \varphi} ,

with the ellipticity :math:`e = (1 - q) / (1 + q) \, e^{2 i \phi}` of its own distance :math:`r`
from the centre. Where :math:`e` is constant and there are no multipoles the layers are ellipses
of axis ratio :math:`q` and product-average radius :math:`R`, which keep the mass. Where
:math:`e` changes its length the layers become rounder or flatter, where it changes its direction
they twist; a multipole makes :math:`a_m` the relative departure of a layer from the ellipse.

Averages over pixels are sums over points: one in a pixel beyond 40 pixels from the centre, where
that errs by less than 3e-5, 2 × 2 of Gauss and Legendre nearer to it, and more and more towards
it, up to 48 × 48 in the pixels about it, so that a cusp keeps its mass.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...grid import PixelGrid

Array = NDArray[np.float64]

GAUSS = 0.5 / np.sqrt(3)
"""Distance of the points of 2 x 2 from the middle of a pixel [pixel]."""
REFINED = ((40, 2), (12, 4), (5, 8), (1.01, 48))
"""Within how many pixels of the centre how many points stand along a pixel's side."""


@dataclass(frozen=True)
class Wave:
    r"""Creates a multipole of the layers.

    Arguments:
        m: Order.
        amplitude: Largest departure from the ellipse, relative to the radius.
        phi: Position angle of a maximum [rad].
    """

    m: int
    amplitude: float
    phi: float


@dataclass(frozen=True, eq=False)
class Layers:
    r"""Creates a smooth mass centred on (0, 0).

    Arguments:
        radius: Radii :math:`R` [arcsec], rising, with shape (N).
        density: The convergence :math:`k(R)`, positive, with shape (N). Between the radii it is a
            power law; beyond them the outermost power laws go on.
        knots: Distances [arcsec], rising, with shape (K), at which the shape is given.
        e1, e2: Ellipticity at the knots, with shape (K): linear in :math:`\ln r` in between,
            constant beyond.
        waves: Multipoles.
    """

    radius: Array
    density: Array
    knots: Array
    e1: Array
    e2: Array
    waves: tuple[Wave, ...] = ()

    def shape_at(self, r: Array) -> tuple[Array, Array]:
        """Returns the ellipticity at distances from the centre [arcsec]."""
        log_r, log_knots = np.log(r), np.log(self.knots)
        return np.interp(log_r, log_knots, self.e1), np.interp(log_r, log_knots, self.e2)

    def convergence(self, x: Array, y: Array) -> Array:
        """Computes the convergence at positions [arcsec]."""
        r2 = np.maximum(x**2 + y**2, 1e-20)
        log_r = np.log(r2) / 2
        cos, sin = (x**2 - y**2) / r2, 2 * x * y / r2  # of twice the angle
        e1, e2 = (self._interpolated(log_r, e) for e in (self.e1, self.e2))
        e_squared = e1**2 + e2**2
        log_R = log_r + np.log((1 + e_squared - 2 * (e1 * cos + e2 * sin)) / (1 - e_squared)) / 2
        if self.waves:
            angle, bulge = np.arctan2(y, x), np.zeros_like(x)
            for w in self.waves:
                bulge += w.amplitude * np.cos(w.m * (angle - w.phi))
            log_R = log_R + np.log1p(-bulge)
        return np.exp(self._log_density(log_R))

    def _interpolated(self, log_r: Array, values: Array) -> Array:
        if len(values) == 1:
            return np.full_like(log_r, values[0])
        return np.interp(log_r, np.log(self.knots), values)

    def _log_density(self, log_R: Array) -> Array:
        log_radius, log_density = np.log(self.radius), np.log(self.density)
        inside = np.clip(log_R, log_radius[0], log_radius[-1])
        slopes = (np.diff(log_density) / np.diff(log_radius))[[0, -1]]
        beyond = np.where(log_R < log_radius[0], slopes[0], slopes[1]) * (log_R - inside)
        return np.interp(inside, log_radius, log_density) + beyond

    def kappa(self, grid: PixelGrid) -> Array:
        """Averages the convergence over pixels; the result has shape (H, W)."""
        h, w = grid.shape
        x, y = grid.from_index(np.arange(w), np.arange(h)[:, None])
        x, y = (np.broadcast_to(np.asarray(a, dtype=np.float64), grid.shape) for a in (x, y))
        distance = np.maximum(abs(x), abs(y)) / grid.spacing
        kappa = np.zeros(grid.shape)
        limits = [np.inf, *(reach for reach, _ in REFINED)]
        points = [1, *(n for _, n in REFINED)]
        for near, far, n in zip([*limits[1:], -1.0], limits, points, strict=True):
            here = (distance > near) & (distance <= far)
            if here.any():
                kappa[here] = self._averaged(x[here], y[here], grid.spacing, n)
        return kappa

    def _averaged(self, x: Array, y: Array, side: float, n: int) -> Array:
        """Averages over n x n points of each of the pixels around (x, y), with shape (P)."""
        offsets = (np.arange(n) + 0.5) / n - 0.5 if n != 2 else np.array([-GAUSS, GAUSS])
        total = np.zeros_like(x)
        dx, dy = (d.ravel() * side for d in np.meshgrid(offsets, offsets))
        per = max(1, (1 << 17) // len(x))
        for i in range(0, len(dx), per):
            at = x + dx[i : i + per, None], y + dy[i : i + per, None]
            total += self.convergence(*at).sum(0)
        return total / len(dx)
