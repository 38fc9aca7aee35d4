r"""Deflection and convergence of analytic masses on a frame, from few evaluations.

Away from its centre a mass deflects smoothly: evaluated once per pixel, on a frame that is wider
by :data:`MARGIN`, the deflection follows between the pixels' centres from Lagrange's polynomial of
degree five through the nearest six, and the mean convergence of a pixel from the flux of that
polynomial through its edges,

.. math:: \langle \kappa \rangle = \frac{1}{2} \oint \alpha \cdot n \, dl \, ,

so that the sum over the frame is the flux through its border. About a centre, in a square patch,
the difference from the exact values is added: of the deflection at the rays, and of the mean
convergence from the exact flux. Outside of the patch the error of a point mass of Einstein radius
:math:`b` is about :math:`3.5 \, b^2 / r^7` at a distance of :math:`r` pixels.

The grid's spacing is 1: all lengths are in pixels.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..grid import PixelGrid
from ..lensing.mass import flux_average
from ..lensing.mass.base import Deflector

MARGIN = 3
"""Pixels around the frame at which masses are evaluated, too."""

NODES, INNER, INNER_NODES = 4, 2, 24
"""Gauss-Legendre points along an edge of a patch, and those of the pixels within ``INNER`` of the
middle one."""


def smooth_deflection(mass: Deflector, grid: PixelGrid, device: torch.device) -> Tensor:
    """Evaluates the deflection at the pixels' centres of the wider frame: (B, 2, H', W')."""
    return torch.stack(mass.deflection(*wider(grid).coordinates(device=device)), 1)


def wider(grid: PixelGrid) -> PixelGrid:
    """Returns the frame with its margin."""
    h, w = grid.shape
    return PixelGrid((h + 2 * MARGIN, w + 2 * MARGIN), grid.spacing, grid.center)


def at_rays(alpha: Tensor, rays: int) -> Tensor:
    """Interpolates maps of the wider frame (*, H', W') at rays x rays points of each pixel."""
    (h, w), device = alpha.shape[-2:], alpha.device
    along_y, along_x = (_matrices(n - 2 * MARGIN, rays, device)[0] for n in (h, w))
    return along_y @ (alpha @ along_x.mT)


def from_flux(alpha: Tensor) -> Tensor:
    """Computes the mean convergence of pixels from maps of the wider frame: (*, H, W)."""
    (h, w), device = alpha.shape[-3:][1:], alpha.device
    _, edges_y, mean_y = _matrices(h - 2 * MARGIN, 1, device)
    _, edges_x, mean_x = _matrices(w - 2 * MARGIN, 1, device)
    ax, ay = alpha.unbind(-3)
    return (mean_y @ (ax @ edges_x.mT) + edges_y @ (ay @ mean_x.mT)) / 2


def near(mass: Deflector, middle: Tensor, half: int, rays: int) -> tuple[Tensor, Tensor]:
    """Computes what the exact values of a patch differ by from the interpolated ones.

    Arguments:
        mass: Mass model of N samples.
        middle: Centre of the patch's middle pixel, with shape (N, 2).
        half: Pixels of the patch on each side of it.
        rays: Rays along each side of a pixel.

    Returns:
        The deflection at the rays, with shape (N, 2, k p, k p), and the mean convergence, with
        shape (N, p, p); p is ``2 half + 1``.
    """
    p, device = 2 * half + 1, middle.device
    grid = PixelGrid((p, p), 1.0)
    x0, y0 = middle[..., None, None].unbind(1)

    def exact(places: tuple[Tensor, Tensor]) -> Tensor:
        return torch.stack(mass.deflection(places[0] + x0, places[1] + y0), 1)

    own = exact(wider(grid).coordinates(device=device))
    alpha = exact(grid.coordinates(rays, device=device)) - at_rays(own, rays)
    kappa = flux_average(mass, grid, NODES, torch.float32, offset=middle, device=device)
    inner = min(INNER, half)
    core = PixelGrid((2 * inner + 1, 2 * inner + 1), 1.0)
    place = slice(half - inner, half + inner + 1)
    kappa[:, place, place] = flux_average(
        mass, core, INNER_NODES, torch.float32, offset=middle, device=device
    )
    return alpha, kappa - from_flux(own)


def add_patches(maps: Tensor, patches: Tensor, owner: Tensor, row: Tensor, column: Tensor) -> None:
    """Adds patches to maps; what is beyond their edge is left out.

    Arguments:
        maps: Changed in place, contiguous, with shape (B, C, H, W).
        patches: The patches, with shape (N, C, p, q).
        owner, row, column: To which map a patch belongs, and where its first pixel is: (N).
    """
    (_, channels, h, w), (p, q) = maps.shape, patches.shape[-2:]
    i = row[:, None] + torch.arange(p, device=maps.device)
    j = column[:, None] + torch.arange(q, device=maps.device)
    inside = ((i >= 0) & (i < h))[:, :, None] & ((j >= 0) & (j < w))[:, None]
    flat = i.clamp(0, h - 1)[:, :, None] * w + j.clamp(0, w - 1)[:, None]
    channel = torch.arange(channels, device=maps.device)
    index = (owner[:, None] * channels + channel)[..., None, None] * (h * w) + flat[:, None]
    maps.view(-1).index_add_(0, index.flatten(), (patches * inside[:, None]).flatten())


@lru_cache(maxsize=32)
def _matrices(n: int, rays: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Returns what takes the values at an axis's pixels, margin included, to others.

    Returns:
        Values at the rays, (k n, n'); differences between a pixel's edges, (n, n'); and means over
        a pixel, (n, n').
    """
    offsets = (np.arange(rays) + 0.5) / rays - 0.5
    along = np.zeros((n, rays, n + 2 * MARGIN))
    edges, mean = np.zeros((2, n, n + 2 * MARGIN))
    nodes = np.arange(-2, 3)
    # Exact for polynomials of degree 5 in all cases.
    moments = [(0.5 ** (d + 1) - (-0.5) ** (d + 1)) / (d + 1) for d in range(5)]
    means = np.linalg.solve(np.vander(nodes, 5, increasing=True).T, moments)
    for i in range(n):
        for k, t in enumerate(offsets):
            _lagrange(along[i, k], i + MARGIN, t)
        _lagrange(edges[i], i + MARGIN, 0.5)
        _lagrange(edges[i], i + MARGIN - 1, 0.5, -1.0)
        mean[i, i + MARGIN + nodes] = means
    matrices = along.reshape(n * rays, -1), edges, mean
    first, second, third = (torch.from_numpy(m).float().to(device) for m in matrices)
    return first, second, third


def _lagrange(line: np.ndarray, i: int, t: float, sign: float = 1.0) -> None:
    """Adds the weights of the six pixels about the place t from pixel i, in [-1, 1]."""
    first = i - 2 if t >= 0 else i - 3
    nodes = np.arange(first, first + 6)
    for a in nodes:
        others = nodes[nodes != a]
        line[a] += sign * np.prod((i + t - others) / (a - others))
