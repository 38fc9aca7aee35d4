r"""Cells of the image plane in which a point source may have an image.

In a cell of side :math:`h` around :math:`c` the lens map is linear but for a remainder, estimated
as twice its largest value at eight points of the cell's edge,

.. math:: |\beta(\theta) - \beta(c) - A \, (\theta - c)| \leq \rho \, .

A cell is dropped if the source is farther than :math:`\rho` from the parallelogram that the
linear map makes of the cell. It is done if :math:`A` changes so little over it that the map is
one-to-one. Else it is cut in sixteen. Cells that stay in doubt lie at critical curves and singular
centres, and only where the source's images are; they are done when they are too small to matter.

Not guaranteed: images of mass that none of the nine points of the first cells feels.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..grid import PixelGrid
from .jacobian import Deflector, linearise

SMALLEST = 1e-8
"""Cells are not cut below this side [arcsec]; a hundredth of the softening of singular centres."""
MAX_CELLS = 1 << 12
"""More cells in doubt than these are a curve of images, an Einstein ring."""
CHUNK = 1 << 14
"""Cells whose deflections are held in memory at once."""
PAIRS = 1 << 20
"""Pairs of a source and a cell that are compared at once."""
ONE_TO_ONE = 0.25
"""Largest relative change of the Jacobian over a cell from which Newton's method starts."""


class Cells(NamedTuple):
    """Pairs of a source and a square cell where it may have an image.

    Attributes:
        source: Which source.
        x, y, side: Middle and side [arcsec].
        slack: How far outside the cell an image may be and count as the cell's [arcsec].
    """

    source: Tensor
    x: Tensor
    y: Tensor
    side: Tensor
    slack: Tensor

    def at(self, index: Tensor) -> "Cells":
        return Cells(*(v[index] for v in self))


class Linear(NamedTuple):
    """The lens map at the middle of a cell, what it lacks, and whether it is one-to-one there."""

    beta_x: Tensor
    beta_y: Tensor
    xx: Tensor
    xy: Tensor
    yx: Tensor
    yy: Tensor
    rho_x: Tensor
    rho_y: Tensor
    one_to_one: Tensor

    def at(self, index: Tensor) -> "Linear":
        return Linear(*(v[index] for v in self))


def search(mass: Deflector, beta: Tensor, grid: PixelGrid) -> tuple[Cells, Tensor]:
    r"""Finds cells with at most one image each.

    Arguments:
        mass: Mass model with unbatched parameters.
        beta: Positions of the sources [arcsec], with shape :math:`(2, S)`.
        grid: Cells to start from.

    Returns:
        The cells, and whether so many stay in doubt that the source has a ring, of shape
        :math:`(S)`; no cells are returned for these.
    """
    n = beta.shape[1]
    ring = torch.zeros(n, dtype=torch.bool, device=beta.device)
    x, y = (c.flatten() for c in grid.coordinates(dtype=beta.dtype, device=beta.device))
    side = torch.full_like(x, grid.spacing)
    # The cells of the grid are shared by all sources; those that follow belong to one each.
    linear = _examine(mass, x, y, side)
    pairs, per = [], max(1, PAIRS // len(side))
    for first in range(0, max(n, 1), per):
        some = beta[:, first : first + per, None]
        held = _may_hold(linear, side, some[0], some[1]).nonzero()
        pairs.append(held + held.new_tensor([first, 0]))
    source, index = torch.cat(pairs).unbind(1)
    cells, linear = Cells(source, x[index], y[index], side[index], side[index]), linear.at(index)
    found = []
    while True:
        done = linear.one_to_one | (cells.side < SMALLEST)
        slack = torch.where(linear.one_to_one, 0.05, 20.0) * cells.side
        found.append(cells._replace(slack=slack).at(done))
        cells = cells.at(~done)
        ring |= torch.bincount(cells.source, minlength=n) > MAX_CELLS
        cells = _cut(cells.at(~ring[cells.source]))
        if not len(cells.source):
            break
        linear = _examine(mass, cells.x, cells.y, cells.side)
        keep = _may_hold(linear, cells.side, *beta[:, cells.source])
        cells, linear = cells.at(keep), linear.at(keep)
    all_found = Cells(*(torch.cat(v) for v in zip(*found, strict=True)))
    return all_found.at(~ring[all_found.source]), ring


def _cut(cells: Cells) -> Cells:
    """Cuts each cell in sixteen."""
    offset = torch.tensor([-0.375, -0.125, 0.125, 0.375]).to(cells.x)
    dy, dx = (o.flatten() for o in torch.meshgrid(offset, offset, indexing="ij"))
    x, y = (
        (c[:, None] + d * cells.side[:, None]).flatten() for c, d in ((cells.x, dx), (cells.y, dy))
    )
    source, side = (v.repeat_interleave(16) for v in (cells.source, cells.side / 4))
    return Cells(source, x, y, side, side)


def _examine(mass: Deflector, x: Tensor, y: Tensor, side: Tensor) -> Linear:
    """Linearises the lens map around the middles of cells, with shape (P)."""
    parts = [
        _examine_chunk(mass, *chunk)
        for chunk in zip(*(v.split(CHUNK) for v in (x, y, side)), strict=True)
    ]
    return Linear(*(torch.cat(v) for v in zip(*parts, strict=True)))


def _examine_chunk(mass: Deflector, x: Tensor, y: Tensor, side: Tensor) -> Linear:
    offset = torch.tensor([0.0, -0.5, 0.5]).to(x)
    oy, ox = (o.reshape(9, 1) * side for o in torch.meshgrid(offset, offset, indexing="ij"))
    ax, ay, d = linearise(mass, x + ox, y + oy)
    bx, by = x + ox - ax, y + oy - ay
    axx, axy, ayx, ayy = 1 - d.xx, -d.xy, -d.yx, 1 - d.yy
    # rounding, so that nothing is lost in cells that are smaller than it
    noise = 1e-15 * (x.abs() + y.abs() + ax[0].abs() + ay[0].abs() + side)
    rho_x = 2 * (bx - bx[0] - axx[0] * ox - axy[0] * oy).abs().amax(0) + noise
    rho_y = 2 * (by - by[0] - ayx[0] * ox - ayy[0] * oy).abs().amax(0) + noise
    det = axx[0] * ayy[0] - axy[0] * ayx[0]
    (uxx, uxy, uyx, uyy) = (v - v[0] for v in (axx, axy, ayx, ayy))
    change = (
        (ayy[0] * uxx - axy[0] * uyx) ** 2
        + (ayy[0] * uxy - axy[0] * uyy) ** 2
        + (axx[0] * uyx - ayx[0] * uxx) ** 2
        + (axx[0] * uyy - ayx[0] * uxy) ** 2
    ).amax(0)
    one_to_one = change < (ONE_TO_ONE * det) ** 2
    return Linear(bx[0], by[0], axx[0], axy[0], ayx[0], ayy[0], rho_x, rho_y, one_to_one)


def _may_hold(linear: Linear, side: Tensor, beta_x: Tensor, beta_y: Tensor) -> Tensor:
    """Whether a source is in the image of a cell, a parallelogram widened by a rectangle."""
    dx, dy, half = beta_x - linear.beta_x, beta_y - linear.beta_y, side / 2
    xx, xy, yx, yy = linear.xx, linear.xy, linear.yx, linear.yy
    span = (xx * yy - xy * yx).abs() * half
    # Two convex figures are apart if they are along the normal of an edge of one of them. What is
    # not a number, at an unsoftened centre, proves nothing.
    return ~(
        (dx.abs() > (xx.abs() + xy.abs()) * half + linear.rho_x)
        | (dy.abs() > (yx.abs() + yy.abs()) * half + linear.rho_y)
        | ((yy * dx - xy * dy).abs() > span + yy.abs() * linear.rho_x + xy.abs() * linear.rho_y)
        | ((xx * dy - yx * dx).abs() > span + xx.abs() * linear.rho_y + yx.abs() * linear.rho_x)
    )
