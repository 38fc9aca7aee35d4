r"""Critical curves and caustics of a deflection map.

The lens maps the image plane to the source plane with the Jacobian
:math:`A = \partial \beta / \partial \theta = 1 - \partial \alpha / \partial \theta`. Critical
curves are the lines

.. math:: \det A(\theta) = 1 / \mu(\theta) = (1 - \kappa)^2 - |\gamma|^2 = 0 \, ,

and caustics their images :math:`\beta = \theta - \alpha(\theta)`. They are traced as contours of
the map of :math:`\det A` between pixel centres, to about :math:`h^2 / (4 \theta_E)` for pixels of
side :math:`h`. What a grid cannot resolve (the radial curve of a singular centre) is not traced,
and a curve that leaves the map ends at the centres of its outermost pixels.
"""

import numpy as np
from numpy import ndarray

from ..grid import PixelGrid

MIN_LENGTH = 16.0
"""Shortest curve that counts as resolved [pixels].

A circle that just encloses the difference stencil, five pixels across: a singular centre makes
a curve up to this size, whatever its true radial curve.
"""


def jacobian_determinant(alpha_x: ndarray, alpha_y: ndarray, grid: PixelGrid) -> ndarray:
    r"""Computes :math:`\det A = 1/\mu` from a deflection map.

    Derivatives are central differences of fourth order, and of second order, one-sided at the very
    edge, within two pixels of it.

    Arguments:
        alpha_x, alpha_y: Deflection :math:`\alpha` at the pixel centres [arcsec], with shape
            :math:`(H, W)`, at least five pixels on each side.
        grid: Grid of the map.

    Returns:
        The signed inverse magnification, with shape :math:`(H, W)`.

    Raises:
        ValueError: If the maps do not have the grid's shape, or are smaller than five pixels.
    """
    maps = [_checked(a, grid, name) for a, name in [(alpha_x, "alpha_x"), (alpha_y, "alpha_y")]]
    if min(grid.shape) < 5:
        raise ValueError(f"the grid must have at least 5 pixels on each side, got {grid.shape}")
    xx, yy = _derivative(maps[0], grid, 1), _derivative(maps[1], grid, 0)
    xy, yx = _derivative(maps[0], grid, 0), _derivative(maps[1], grid, 1)
    return (1 - xx) * (1 - yy) - xy * yx


def critical_curves(
    determinant: ndarray, grid: PixelGrid, *, min_length: float = MIN_LENGTH
) -> tuple[ndarray, ...]:
    r"""Traces the critical curves, :math:`\det A = 0`.

    Arguments:
        determinant: Signed inverse magnification :math:`\det A` at the pixel centres, with shape
            :math:`(H, W)`. Pixels that are not finite are left out.
        grid: Grid of the map.
        min_length: Shortest curve that is kept [pixels]; shorter ones are specks of the numerics.

    Returns:
        The curves, each :math:`(n, 2)` coordinates ``x, y`` [arcsec], the longest first. The last
        point of a closed curve repeats the first.

    Raises:
        ValueError: If the map does not have the grid's shape.
    """
    # part of matplotlib, and not worth its import time with the package
    from contourpy import contour_generator

    masked = np.ma.masked_invalid(_checked(determinant, grid, "determinant"))
    curves = []
    for line in map(np.asarray, contour_generator(z=masked).lines(0.0)):
        length = np.hypot(*np.diff(line, axis=0).T).sum()
        if length >= min_length:
            curves.append((length, np.stack(grid.from_index(line[:, 0], line[:, 1]), axis=-1)))
    return tuple(curve for _, curve in sorted(curves, key=lambda item: -item[0]))


def trace_to_source(
    curves: tuple[ndarray, ...], alpha_x: ndarray, alpha_y: ndarray, grid: PixelGrid
) -> tuple[ndarray, ...]:
    r"""Maps curves to the source plane: critical curves become caustics.

    The lens equation is :math:`\beta = \theta - \alpha(\theta)`; the deflection is interpolated
    with cubic splines.

    Arguments:
        curves: Curves in the image plane, each :math:`(n, 2)` coordinates ``x, y`` [arcsec].
        alpha_x, alpha_y: Deflection at the pixel centres [arcsec], with shape :math:`(H, W)`.
        grid: Grid of the map.

    Returns:
        The curves in the source plane, in the same order and form.

    Raises:
        ValueError: If the maps do not have the grid's shape.
    """
    from scipy.ndimage import map_coordinates, spline_filter

    maps = [_checked(a, grid, name) for a, name in [(alpha_x, "alpha_x"), (alpha_y, "alpha_y")]]
    splines = [spline_filter(a, order=3, mode="nearest") for a in maps]
    traced = []
    for curve in curves:
        column, row = grid.to_index(curve[:, 0], curve[:, 1])
        alpha = [
            map_coordinates(s, [row, column], order=3, mode="nearest", prefilter=False)
            for s in splines
        ]
        traced.append(curve - np.stack(alpha, axis=-1))
    return tuple(traced)


def _checked(values: ndarray, grid: PixelGrid, name: str) -> ndarray:
    values = np.asarray(values, dtype=np.float64)
    if values.shape != tuple(grid.shape):
        raise ValueError(f"{name} must have the grid's shape {grid.shape}, got {values.shape}")
    return values


def _derivative(values: ndarray, grid: PixelGrid, axis: int) -> ndarray:
    """Differentiates along an axis: :math:`(f_{-2} - 8 f_{-1} + 8 f_1 - f_2) / 12 h` inside."""
    f = np.moveaxis(values, axis, 0)
    out = np.gradient(f, grid.spacing, axis=0, edge_order=2)
    out[2:-2] = (f[:-4] - 8 * f[1:-3] + 8 * f[3:-1] - f[4:]) / (12 * grid.spacing)
    return np.moveaxis(out, 0, axis)
