"""Averages of a convergence over pixels."""

from typing import Any

import torch
from torch import Tensor

from ...grid import PixelGrid
from .base import Deflector, Mass


def pixel_average(mass: Mass, grid: PixelGrid, *, nodes: int = 4, dtype=torch.float64) -> Tensor:
    r"""Averages the convergence over the pixels of a grid.

    By the theorem of Gauss the mean over a pixel of side :math:`h` is the flux of the deflection
    through its edges,

    .. math:: \langle \kappa \rangle = \frac{1}{2 h^2} \oint \alpha \cdot n \, dl \, ,

    which stays smooth where :math:`\kappa \sim 1/r` is singular. The edges of the 5 × 5 pixels
    around the maximum of the map get 128 points each: the singularity may be close to one.

    Arguments:
        mass: Mass model whose parameters are unbatched.
        grid: Pixels to average over.
        nodes: Gauss-Legendre points along an edge.
        dtype: Type of the result.

    Returns:
        The map of :math:`\kappa`, with shape :math:`(H, W)`.
    """
    h, w = grid.shape
    kappa = flux_average(mass, grid, nodes, dtype)
    peak = int(kappa.argmax())
    row, column = min(max(peak // w, 2), h - 3), min(max(peak % w, 2), w - 3)
    if row < 2 or column < 2:  # a map smaller than the patch: refine all of it
        return flux_average(mass, grid, 128, dtype)
    patch = PixelGrid((5, 5), grid.spacing, grid.from_index(column, row))
    kappa[row - 2 : row + 3, column - 2 : column + 3] = flux_average(mass, patch, 128, dtype)
    return kappa


def flux_average(
    mass: Deflector,
    grid: PixelGrid,
    nodes: int,
    dtype=torch.float64,
    *,
    offset: Tensor | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    r"""Averages the convergence over pixels as :func:`pixel_average` does, all edges alike.

    Arguments:
        mass: What deflects, its parameters unbatched or of shape (B).
        grid: Pixels to average over.
        nodes: Gauss-Legendre points along an edge.
        dtype: Type of the result.
        offset: By how much the grid is moved for each sample, with shape (B, 2).
        device: Its device, and that of the model.

    Returns:
        The map of :math:`\kappa`, with shape (H, W) or (B, H, W).
    """
    (h, w), (left, right, bottom, top), n = grid.shape, grid.extent, nodes
    like: Any = {"dtype": dtype, "device": device}
    points, weights = (torch.as_tensor(a, **like) for a in _gauss_legendre(n))
    along_x, along_y = (
        ((torch.arange(k, **like)[:, None] + points) * grid.spacing).reshape(-1) + start
        for k, start in ((w, left), (h, bottom))
    )
    edge_x = torch.linspace(left, right, w + 1, **like)
    edge_y = torch.linspace(bottom, top, h + 1, **like)
    across = edge_x[None, :].expand(h * n, -1), along_y[:, None].expand(-1, w + 1)
    upward = along_x[None, :].expand(h + 1, -1), edge_y[:, None].expand(-1, w * n)
    if offset is not None:
        across, upward = (
            tuple(c + o[:, None, None] for c, o in zip(places, offset.unbind(1), strict=True))
            for places in (across, upward)
        )
    across, upward = mass.deflection(*across)[0], mass.deflection(*upward)[1]
    flux_x = torch.einsum("...hne,n->...he", across.unflatten(-2, (h, n)), weights)
    flux_y = torch.einsum("...ewn,n->...ew", upward.unflatten(-1, (w, n)), weights)
    return (flux_x.diff(dim=-1) + flux_y.diff(dim=-2)) / (2 * grid.spacing)


def _gauss_legendre(n: int):
    """Returns points in (0, 1) and weights of sum 1."""
    from numpy.polynomial.legendre import leggauss

    points, weights = leggauss(n)
    return (points + 1) / 2, weights / 2
