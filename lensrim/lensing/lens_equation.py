r"""All images of a point source: the solutions :math:`\theta` of the lens equation.

.. math:: \beta = \theta - \alpha(\theta)

The field is searched by cells that are cut ever smaller where an image may hide
(:mod:`lensrim.lensing.cells`): merging pairs of sources 1e-12 arcsec from a caustic are told
apart, and images near singular centres are found. In each cell that may hold an image Newton's
method with the exact Jacobian :math:`A` does the rest,

.. math:: \theta \leftarrow \theta + A^{-1} (\beta - \theta + \alpha(\theta)) \, .

Not guaranteed: images of mass much smaller than a cell of the grid one starts from. Choose a
spacing that resolves the subhalos that matter.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from ..grid import PixelGrid
from .cells import Cells, search
from .jacobian import Deflector, determinant, linearise, magnification
from .mass import Mass
from .time_delay import fermat_potential

RESIDUAL = 1e-9
"""Largest distance at which an image may map from its source [arcsec]."""
NEWTON_STEPS = 6
"""Steps of Newton's method, which doubles the digits with each."""


class Images(NamedTuple):
    r"""Images of S sources, at most n of one.

    Attributes:
        x, y: Positions :math:`\theta` [arcsec], with shape :math:`(S, n)`; NaN where a source has
            fewer.
        magnification: Signed magnification :math:`\mu`, positive at minima and maxima of the
            arrival time, negative at saddle points, 0 where there is no image, with shape
            :math:`(S, n)`.
        count: Number of images, with shape :math:`(S)`.
        ring: Whether a source has a curve of images (an Einstein ring); none of its images is
            listed. With shape :math:`(S)`.
    """

    x: Tensor
    y: Tensor
    magnification: Tensor
    count: Tensor
    ring: Tensor


def image_positions(
    mass: Deflector,
    beta_x: Tensor,
    beta_y: Tensor,
    grid: PixelGrid,
    *,
    min_magnification: float = 1e-5,
    by_arrival: bool = False,
) -> Images:
    r"""Finds all images of point sources within a field.

    The search is done in double precision, whatever the type of the sources, and is not
    differentiated; the positions are then differentiable once in the sources and in the parameters
    of the mass, by the theorem of implicit functions,
    :math:`d\theta = A^{-1} (d\beta + d\alpha)`, and with them the magnifications.

    A source exactly behind a round lens has a ring of images: ``ring`` is true for it, and none is
    listed. The same may be said of sources within about 1e-5 arcsec of such a point. A source on a
    caustic, to within 1e-14 arcsec, has its merging images listed as one.

    Arguments:
        mass: Mass model with unbatched parameters, or a
            :class:`~lensrim.lensing.multi_plane.MultiPlane` of such.
        beta_x, beta_y: Positions :math:`\beta` of the sources [arcsec], each with shape
            :math:`(S)`.
        grid: Field in which images are looked for; its pixels are the cells from which the search
            starts. About 0.1 arcsec is right for a galaxy.
        min_magnification: Fainter images, in absolute magnification, are left out. The softening
            of a singular centre, 1e-6 arcsec, causes one there that nature has not; 0 keeps it.
        by_arrival: Whether images are ordered by arrival time, the first to come first; otherwise
            by magnification, the brightest first.

    Returns:
        The images, in the type of the sources.

    Raises:
        InputError: If the sources are not two finite vectors of the same length, the mass is
            batched, ``min_magnification`` is negative, or ``by_arrival`` is asked of a mass that
            has no potential.

    References:
        Keeton 2001, arXiv:astro-ph/0102340, for the tiling of the image plane; Burke 1981,
        ApJ 244, L1, for the odd number of images of a lens without singularities.
    """
    _check(mass, beta_x, beta_y, min_magnification, by_arrival)
    bx, by = beta_x.double(), beta_y.double()
    with torch.no_grad():
        beta = torch.stack((bx, by)).detach()
        found, ring = search(mass, beta, grid)
        found = _merge(_newton(mass, found, beta, grid), len(bx))
    source = found.source
    # One more step of Newton's method, in the graph: it moves nothing and carries the gradient.
    x, y = _step(mass, found.x, found.y, bx[source], by[source])
    mu = magnification(mass, x[None], y[None])[0]
    bright = mu.detach().abs() >= min_magnification
    source, x, y, mu = source[bright], x[bright], y[bright], mu[bright]
    rank = -mu.detach().abs()
    if by_arrival and isinstance(mass, Mass):
        with torch.no_grad():
            rank = fermat_potential(mass, x[None], y[None], bx[source], by[source])[0]
    return _padded(source, rank, (x, y, mu), ring, beta_x)


def _check(mass: Deflector, bx: Tensor, by: Tensor, minimum: float, by_arrival: bool) -> None:
    if bx.ndim != 1 or bx.shape != by.shape:
        raise InputError(
            "beta_x and beta_y must be vectors of the same length, "
            f"found shapes {tuple(bx.shape)} and {tuple(by.shape)}"
        )
    if not bool((bx.isfinite() & by.isfinite()).all()):
        raise InputError("beta_x and beta_y must be finite, found NaN or infinity")
    if not minimum >= 0:
        raise InputError(f"min_magnification must not be negative, found {minimum:g}")
    if by_arrival and not isinstance(mass, Mass):
        raise InputError(
            f"by_arrival needs a mass with a potential, found {type(mass).__name__}; "
            "sort by MultiPlane.arrival_time instead"
        )
    point = torch.zeros(1, 1, dtype=torch.float64, device=bx.device)
    shape = torch.broadcast_shapes(*(a.shape for a in mass.deflection(point, point)))
    if shape != (1, 1):
        raise InputError(
            f"mass must have unbatched parameters, found parameters of shape {tuple(shape[:-2])}"
        )


def _step(mass: Deflector, x: Tensor, y: Tensor, bx: Tensor, by: Tensor) -> tuple[Tensor, Tensor]:
    """Makes one step of Newton's method, not differentiated through the Jacobian."""
    ax, ay, d = linearise(mass, x[None], y[None])
    det = determinant(d)[0].detach()
    xx, xy, yx, yy = (v[0].detach() for v in (1 - d.xx, -d.xy, -d.yx, 1 - d.yy))
    rx, ry = bx - x + ax[0], by - y + ay[0]
    return x + (yy * rx - xy * ry) / det, y + (xx * ry - yx * rx) / det


def _newton(mass: Deflector, cells: Cells, beta: Tensor, grid: PixelGrid) -> Cells:
    """Solves the lens equation from the middles of cells, and keeps what stays in its cell."""
    x, y, (bx, by) = cells.x, cells.y, beta[:, cells.source]
    if not len(x):
        return cells
    for _ in range(NEWTON_STEPS):
        x, y = _step(mass, x, y, bx, by)
    ax, ay = (a[0] for a in mass.deflection(x[None], y[None]))
    left, right, bottom, top = grid.extent
    reach = cells.side / 2 + cells.slack
    keep = (
        (torch.hypot(x - ax - bx, y - ay - by) <= RESIDUAL)
        & ((x - cells.x).abs() <= reach)
        & ((y - cells.y).abs() <= reach)
        & ((x >= left) & (x <= right) & (y >= bottom) & (y <= top))
    )
    return cells._replace(x=x, y=y).at(keep)


def _merge(cells: Cells, n: int) -> Cells:
    """Drops images that neighbouring cells have found twice."""
    cells = cells.at(cells.source.argsort(stable=True))
    column, width = _columns(cells.source, n)
    table = torch.full((3, n, width), torch.nan).to(cells.x)
    table[:, cells.source, column] = torch.stack((cells.x, cells.y, 2 * cells.slack))
    x, y, near = table
    apart = torch.hypot(x[:, :, None] - x[:, None], y[:, :, None] - y[:, None])
    same = apart <= torch.maximum(near[:, :, None], near[:, None])
    again = same.tril(-1).any(-1)
    return cells.at(~again[cells.source, column])


def _columns(source: Tensor, n: int) -> tuple[Tensor, int]:
    """Numbers the members of each source, which come one source after another."""
    count = torch.bincount(source, minlength=n)
    first = count.cumsum(0) - count
    column = torch.arange(len(source), device=source.device) - first[source]
    return column, int(count.max()) if n else 0


def _padded(source: Tensor, rank: Tensor, values: tuple, ring: Tensor, like: Tensor) -> Images:
    """Puts the images in rows, one per source, in the order of ``rank``."""
    n = len(ring)
    order = rank.argsort()
    order = order[source[order].argsort(stable=True)]
    source = source[order]
    column, width = _columns(source, n)
    # a flux that is NaN times another would make the gradient of that NaN
    x, y, mu = (
        torch.full((n, width), absent)
        .to(like)
        .index_put((source, column), v[order].to(like.dtype))
        for v, absent in zip(values, (torch.nan, torch.nan, 0.0), strict=True)
    )
    return Images(x, y, mu, torch.bincount(source, minlength=n), ring)
