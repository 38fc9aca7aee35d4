r"""Critical curves and caustics of a mass model, exact to rounding at every point.

Where :mod:`lensrim.lensing.critical` has no more than a map, here the contours of :math:`\det A`
on a grid are only the start: each point is moved onto the curve by Newton's method along the
gradient,

.. math::
    \theta \leftarrow \theta - \frac{\det A}{|\nabla \det A|^2} \nabla \det A \, ,

with derivatives in forward mode. Caustics are the images :math:`\beta = \theta - \alpha(\theta)`
of these points. Between the points a curve is not known: their distance is about that of the grid.
Curves that no two neighbouring pixels feel are not found, such as those of small subhalos on a
coarse grid, or the radial curve of a singular centre; for the latter there is :func:`cut`.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..grid import PixelGrid
from .critical import critical_curves
from .jacobian import Deflector, inverse_magnification

STEPS = 8
"""Steps of Newton's method, which doubles the digits with each."""


class Curve(NamedTuple):
    r"""A critical curve and its caustic, point by point.

    Attributes:
        critical: Points :math:`\theta` in the image plane [arcsec], with shape :math:`(n, 2)`.
        caustic: Their images :math:`\beta` in the source plane [arcsec], with shape
            :math:`(n, 2)`.
    """

    critical: Tensor
    caustic: Tensor


def trace_caustics(
    mass: Deflector, grid: PixelGrid, *, min_length: float = 4.0, device: str | None = None
) -> tuple[Curve, ...]:
    r"""Traces the critical curves and caustics within a field.

    Arguments:
        mass: Mass model with unbatched parameters, or a
            :class:`~lensrim.lensing.multi_plane.MultiPlane` of such.
        grid: Field and the distance of the points; its pixels must resolve the curves.
        min_length: Shortest curve that is kept [pixels].
        device: Device of the mass.

    Returns:
        The curves in double precision, the longest critical curve first. The last point of a
        closed curve repeats the first. They are not differentiated.

    Raises:
        InputError: If the mass has batched parameters.

    References:
        Schneider, Ehlers & Falco 1992, Gravitational Lenses, chapter 5.
    """

    def det(x: Tensor, y: Tensor) -> Tensor:
        return inverse_magnification(mass, x, y)

    with torch.no_grad():
        x, y = grid.coordinates(dtype=torch.float64, device=device)
        start = det(x, y)
        if start.shape != x.shape:
            raise InputError(
                "mass must have unbatched parameters, "
                f"found parameters of shape {tuple(start.shape[:-2])}"
            )
        lines = critical_curves(start.cpu().numpy(), grid, min_length=min_length)
        return tuple(_curve(mass, _polished(det, line, x, grid.spacing)) for line in lines)


def cut(
    mass: Deflector,
    center_x: float,
    center_y: float,
    *,
    radius: float = 1e-3,
    points: int = 256,
    device: str | None = None,
) -> Tensor:
    r"""Traces the cut of an isothermal centre, outside of which a source loses an image.

    It is the image of an infinitesimal circle around the centre and takes the place of the radial
    caustic there. A lens steeper than isothermal has neither.

    Arguments:
        mass: Mass model with unbatched parameters.
        center_x, center_y: Its singular centre [arcsec].
        radius: Radius of the circle [arcsec]; the cut is known to about as much.
        points: Number of points :math:`n`.
        device: Device of the mass.

    Returns:
        The points :math:`\beta` in double precision [arcsec], with shape :math:`(n, 2)`.

    References:
        Kormann, Schneider & Bartelmann 1994, A&A 284, 285.
    """
    angle = torch.linspace(0, 2 * math.pi, points, dtype=torch.float64, device=device)
    # Without the linear part of the lens map, which would add the circle itself.
    x, y = radius * angle.cos(), radius * angle.sin()
    with torch.no_grad():
        ax, ay = (a[0] for a in mass.deflection(x[None] + center_x, y[None] + center_y))
    return torch.stack((center_x - ax, center_y - ay), -1)


def _polished(det, line: np.ndarray, like: Tensor, spacing: float) -> Tensor:
    """Moves points onto the curve; those that would leave it by more than a pixel stay put."""
    first = torch.as_tensor(line).to(like)
    x, y = first.T[:, None].unbind(0)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    for _ in range(STEPS):
        along_x: Any = torch.func.jvp(det, (x, y), (one, zero))
        along_y: Any = torch.func.jvp(det, (x, y), (zero, one))
        (value, slope_x), (_, slope_y) = along_x, along_y
        scale = value / (slope_x**2 + slope_y**2)
        x, y = x - scale * slope_x, y - scale * slope_y
    points = torch.stack((x[0], y[0]), -1)
    moved = (points - first).norm(dim=-1, keepdim=True)
    return torch.where(moved <= spacing, points, first)


def _curve(mass: Deflector, critical: Tensor) -> Curve:
    alpha = torch.stack(mass.deflection(critical[None, :, 0], critical[None, :, 1]), -1)[0]
    return Curve(critical, critical - alpha)
