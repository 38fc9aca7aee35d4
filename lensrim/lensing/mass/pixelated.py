r"""A map of the lensing potential as a mass model, which sums and simulators treat like any other.

Between the pixels the potential is the cubic spline through them,

.. math:: \psi(x, y) = \sum_{ij} c_{ij} \, B(v - i) \, B(u - j) \, , \qquad
          u = \frac{x - x_0}{h} \, , \quad v = \frac{y - y_0}{h} \, ,

with the cubic B-spline :math:`B`: two times continuously differentiable, so that the deflection is
smooth and the convergence continuous. The coefficients :math:`c` follow from the pixels by one
matrix per axis, with no knot at the last pixel but one of each side, which makes the spline exact
for cubic polynomials up to the edge. For a smooth potential the errors fall as :math:`h^4` in
:math:`\psi`, :math:`h^3` in :math:`\alpha` and :math:`h^2` in :math:`\kappa` and :math:`\gamma`.

Beyond the field of view :math:`\psi` is continued linearly along each axis: the deflection is
continuous at the edge and means little beyond it. Not guaranteed: that :math:`\kappa` is positive,
accuracy within some pixels of a singular centre, nor more digits of :math:`\kappa` than the second
differences of the map have, which in single precision, be it of the map or of the positions, may
be few: for a lens of 1 arcsec and pixels of 0.05 the error of :math:`\kappa` is some 1e-4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from ...grid import PixelGrid
from ..interpolation import read_four_rows, weighted_sum
from .base import Parameter, _maps

SMALLEST = 4
"""Pixels along a side that a cubic needs."""


@dataclass(frozen=True)
class PixelatedPotential:
    r"""Creates a mass model from its potential at the centres of pixels.

    Linear in the map, and differentiable in it. A potential is known up to a constant and a
    gradient, of which the constant deflects nothing.

    Arguments:
        pixels: Potential :math:`\psi` [arcsec²], with shape :math:`(*, n_y, n_x)`.
        grid: Grid of the pixels, at least four along each side.
        center_x, center_y: Offset of the grid [arcsec].

    Raises:
        ValueError: If the pixels are not those of the grid, or a side has fewer than four.
    """

    pixels: Tensor
    grid: PixelGrid
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0

    def __post_init__(self) -> None:
        if tuple(self.pixels.shape[-2:]) != tuple(self.grid.shape):
            raise ValueError(
                f"pixels must have the grid's shape {tuple(self.grid.shape)} in their last two "
                f"dimensions, got {tuple(self.pixels.shape)}"
            )
        if min(self.grid.shape) < SMALLEST:
            raise ValueError(
                f"a side must have at least {SMALLEST} pixels for a cubic spline, got the shape "
                f"{tuple(self.grid.shape)}"
            )

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` [arcsec²]."""
        return self._derivatives(x, y, [(0, 0)])[0] + self._level().to(x)

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        ax, ay = self._derivatives(x, y, [(1, 0), (0, 1)])
        return ax, ay

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa = (\psi_{xx} + \psi_{yy})/2`, dimensionless."""
        xx, yy = self._derivatives(x, y, [(2, 0), (0, 2)])
        return (xx + yy) / 2

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\gamma_1 = (\psi_{xx} - \psi_{yy})/2`, :math:`\gamma_2 = \psi_{xy}`."""
        xx, yy, xy = self._derivatives(x, y, [(2, 0), (0, 2), (1, 1)])
        return (xx - yy) / 2, xy

    def _derivatives(
        self, x: Tensor, y: Tensor, orders: Sequence[tuple[int, int]]
    ) -> tuple[Tensor, ...]:
        """Computes derivatives of these orders along x and y, each with the shape of a map.

        The potential itself, of orders zero, comes without its level.
        """
        cx, cy = _maps(x, self.center_x, self.center_y)
        u, v = torch.broadcast_tensors(*self.grid.to_index(x - cx, y - cy))
        (rows, columns), h = self.grid.shape, self.grid.spacing
        first_x, along_x = _weights(u, columns)
        first_y, along_y = _weights(v, rows)
        coefficients = self._coefficients(u)
        lead = torch.broadcast_shapes(u.shape[:-2], coefficients.shape[:-2])
        first = (first_y * (columns + 2) + first_x).flatten(-2).expand(*lead, -1)
        taps = read_four_rows(coefficients.flatten(-2).expand(*lead, -1), first, columns + 2)
        partial = {i: [weighted_sum(row, along_x[i]) for row in taps] for i, _ in orders}
        return tuple(
            (weighted_sum(partial[i], along_y[j]) / h ** (i + j)).unflatten(-1, u.shape[-2:])
            for i, j in orders
        )

    def _level(self) -> Tensor:
        """Returns the mean of the map, which deflects nothing, with shape (*, 1, 1)."""
        return self.pixels.double().mean((-2, -1), keepdim=True)

    def _coefficients(self, like: Tensor) -> Tensor:
        """Solves for the spline's coefficients, with shape (*, n_y + 2, n_x + 2)."""
        # They are rounded to the type of the positions, and the error is divided by the squared
        # spacing later: the smaller they are the better, and no other error should be added.
        # The compiler looks into no cache.
        matrix = _spline_matrix if torch.compiler.is_compiling() else _kept_spline_matrix
        over_y, over_x = (torch.from_numpy(matrix(n)).to(like.device) for n in self.grid.shape)
        return (over_y @ (self.pixels - self._level()).to(over_y) @ over_x.mT).to(like)


def _weights(position: Tensor, n: int) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Computes the weights of the four B-splines around positions along an axis.

    Arguments:
        position: Where, in pixels from the centre of the first, with shape (*, H, W).
        n: Number of pixels.

    Returns:
        The index of the first coefficient, with shape (*, H, W); the four weights, and their first
        two derivatives, each with shape (*, H W).
    """
    inside = position.clamp(-0.5, n - 0.5)
    cell = inside.detach().nan_to_num().floor().clamp(0, n - 2)
    beyond, t = (position - inside).flatten(-2), (inside - cell).flatten(-2)
    s, within = 1 - t, beyond == 0
    value = (s**3 / 6, (t / 2 - 1) * t**2 + 2 / 3, (s / 2 - 1) * s**2 + 2 / 3, t**3 / 6)
    slope = (-(s**2) / 2, (1.5 * t - 2) * t, (2 - 1.5 * s) * s, t**2 / 2)
    curvature = tuple(c * within for c in (s, 3 * t - 2, 3 * s - 2, t))
    value = tuple(v + beyond * d for v, d in zip(value, slope, strict=True))
    return cell.long(), [value, slope, curvature]


def _spline_matrix(n: int) -> ndarray:
    """Returns the matrix from n values to the n + 2 coefficients of the spline through them."""
    system = np.zeros((n + 2, n + 2))
    for i in range(n):
        system[i, i : i + 3] = 1 / 6, 2 / 3, 1 / 6
    # The third derivative does not jump at the second value, nor at the last but one.
    system[n, :5] = system[n + 1, -5:] = 1, -4, 6, -4, 1
    return np.linalg.inv(system)[:, :n].copy()


_kept_spline_matrix = cache(_spline_matrix)
