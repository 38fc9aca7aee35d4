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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ...grid import PixelGrid
from ...lensing.mass.base import Deflector
from ...lensing.mass.pixels import gauss_legendre

MARGIN = 3
"""Pixels around the frame at which masses are evaluated, too."""

NODES = 4
"""Gauss-Legendre points along an edge of a patch's pixel."""


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


@dataclass(frozen=True)
class Patch:
    """Creates a square of pixels about a centre.

    Arguments:
        half: Pixels on each side of the middle one.
        rays: Rays along each side of a pixel.
        inner: The same of the square whose edges get more points.
        nodes: Gauss-Legendre points along those.
    """

    half: int
    rays: int
    inner: int = 2
    nodes: int = 24

    def middle(self, center: Tensor, grid: PixelGrid) -> Tensor:
        """Returns the centres of the pixels nearest to centres of mass (N, 2).

        The patch of one far outside of the frame is just beyond the edge, where it adds nothing.
        """
        reach, (h, w) = self.half + 1, grid.shape
        column, row = (
            place.round().clamp(-reach, n - 1 + reach)
            for place, n in zip(grid.to_index(*center.unbind(1)), (w, h), strict=True)
        )
        return torch.stack(grid.from_index(column, row), 1)

    def add(
        self,
        deflection: Tensor,
        middle: Tensor,
        owner: Tensor,
        grid: PixelGrid,
        kappa: Tensor,
        traced: Tensor,
    ) -> None:
        """Adds to maps what exact values differ by from the interpolated ones.

        Arguments:
            deflection: At the patches' places, with shape (N, 2, P).
            middle: Centres of their middle pixels, with shape (N, 2).
            owner: To which map each belongs, with shape (N).
            grid: The frame.
            kappa, traced: Mean convergence (B, 1, H, W), and deflection at the rays
                (B, 2, k H, k W), contiguous and changed in place.
        """
        alpha, average = self.differences(deflection)
        column, row = (
            place.round().long() - self.half for place in grid.to_index(*middle.unbind(1))
        )
        add_patches(traced, alpha, owner, self.rays * row, self.rays * column)
        add_patches(kappa, average, owner, row, column)

    def places(self, middle: Tensor) -> tuple[Tensor, Tensor]:
        """Returns where N patches need the deflection, along x and y, with shape (N, P) each.

        Arguments:
            middle: Centres of their middle pixels, with shape (N, 2).
        """
        x, y, _ = _points(self, middle.device)
        return x + middle[:, :1], y + middle[:, 1:]

    def differences(self, deflection: Tensor) -> tuple[Tensor, Tensor]:
        """Computes what the exact values of patches differ by from the interpolated ones.

        Arguments:
            deflection: At the places, with shape (N, 2, P).

        Returns:
            The deflection at the rays, with shape (N, 2, k p, k p), and the mean convergence, with
            shape (N, 1, p, p); p is ``2 half + 1``.
        """
        values = deflection.split(_points(self, deflection.device)[2], -1)
        p, q = 2 * self.half + 1, 2 * self.inner + 1
        own = values[0].unflatten(-1, (p + 2 * MARGIN, -1))
        alpha = values[1].unflatten(-1, (self.rays * p, -1)) - at_rays(own, self.rays)
        kappa, core = _through_edges(values[2], p, NODES), _through_edges(values[3], q, self.nodes)
        off = self.half - self.inner
        kappa[:, off : off + q, off : off + q] = core
        return alpha, (kappa - from_flux(own))[:, None]


@lru_cache(maxsize=8)
def _points(patch: Patch, device: torch.device) -> tuple[Tensor, Tensor, list[int]]:
    """Returns where a patch is evaluated, about its middle, (1, P) each, and how many are what.

    The pixels with their margin, the rays, and the points on the edges, of all and of the inner
    pixels: first those that stand upright.
    """
    side = 2 * patch.half + 1
    grid = PixelGrid((side, side), 1.0)
    parts: list[Sequence[Tensor]] = [wider(grid).coordinates(), grid.coordinates(patch.rays)]
    for half, nodes in ((patch.half, NODES), (patch.inner, patch.nodes)):
        n, (points, _) = 2 * half + 1, gauss_legendre(nodes)
        along = (torch.arange(n)[:, None] + torch.from_numpy(points)).flatten() - half - 0.5
        edges = torch.arange(n + 1, dtype=along.dtype) - half - 0.5
        across, upright = torch.meshgrid(edges, along, indexing="ij")
        both = (across, upright), (upright, across)
        parts.append([torch.cat([a.flatten(), b.flatten()]).float() for a, b in both])
    x, y = (torch.cat([part[i].flatten() for part in parts])[None].to(device) for i in (0, 1))
    return x, y, [part[0].numel() for part in parts]


@lru_cache(maxsize=8)
def _weights(nodes: int, device: torch.device) -> Tensor:
    return torch.from_numpy(gauss_legendre(nodes)[1]).float().to(device)


def _through_edges(values: Tensor, n: int, nodes: int) -> Tensor:
    """Computes the mean convergence of n x n pixels from the deflection on edges (N, 2, P)."""
    weights = _weights(nodes, values.device)
    half = (n + 1) * n * nodes
    through = torch.stack([values[:, 0, :half], values[:, 1, half:]], 1)
    # For each edge line the pixels along it.
    flux = (through.unflatten(-1, (n + 1, n, nodes)) @ weights).diff(dim=-2) / 2
    return flux[:, 0].mT + flux[:, 1]


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
