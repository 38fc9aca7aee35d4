r"""Pixelated source: surface brightness on a grid, read between its pixels.

.. math:: S(\beta) = \sum_{ij} s_{ij} \, w\!\left(\frac{\beta_x - x_j}{h_s}\right)
          w\!\left(\frac{\beta_y - y_i}{h_s}\right)

is linear in the source and continuous in the position :math:`\beta`. The weight :math:`w` is that
of an :class:`~lensrim.lensing.interpolation.Interpolation`, bilinear if none is named: then
:math:`S` falls to zero over the pixel beyond the outermost pixel centres, half of which lies
outside the outer edge.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..grid import PixelGrid
from .interpolation import Bilinear, Interpolation


@dataclass(frozen=True)
class PixelatedSource:
    r"""Creates the operator from source pixels to surface brightness at positions.

    Arguments:
        grid: Grid of the source plane. Its centre can be moved per sample by ``center``.
        interpolation: How the source is read between its pixels.
    """

    grid: PixelGrid
    interpolation: Interpolation = Bilinear()

    def __call__(self, source: Tensor, beta: Tensor, *, center: Tensor | None = None) -> Tensor:
        r"""Computes the surface brightness at positions in the source plane.

        Arguments:
            source: Surface brightness :math:`s`, with shape :math:`(B, 1, n_y, n_x)`.
            beta: Positions :math:`\beta_x, \beta_y` [arcsec], with shape :math:`(B, 2, H, W)`.
            center: Offset of the grid [arcsec], with shape :math:`(B, 2)`.

        Returns:
            :math:`S(\beta)`, with shape :math:`(B, 1, H, W)`.
        """
        return self.interpolation.sample(*_paired(source, self._normalized(beta, center)))

    def adjoint(self, values: Tensor, beta: Tensor, *, center: Tensor | None = None) -> Tensor:
        r"""Applies the transpose: adds values at positions up in the pixels of the source.

        Arguments:
            values: Values at the positions, with shape :math:`(B, 1, H, W)`.
            beta: Positions :math:`\beta_x, \beta_y` [arcsec], with shape :math:`(B, 2, H, W)`.
            center: Offset of the grid [arcsec], with shape :math:`(B, 2)`.

        Returns:
            The sums, with shape :math:`(B, 1, n_y, n_x)`.
        """
        values, positions = _paired(values, self._normalized(beta, center))
        return self.interpolation.spread(values, positions, self.grid.shape)

    def _normalized(self, beta: Tensor, center: Tensor | None) -> Tensor:
        """Positions in units that put the outer edges of the grid at -1 and 1: (B, H, W, 2)."""
        origin, (scale_x, scale_y) = self.grid.center, (2 / side for side in self.grid.fov)
        if any(origin):
            beta = beta - _components(origin, beta)
        if center is not None:
            beta = beta - center[..., None, None]
        # A number where it will do: a tensor of two would have to be sent to a GPU first.
        scale = scale_x if scale_x == scale_y else _components((scale_x, scale_y), beta)
        return (beta * scale).permute(0, 2, 3, 1)


def _components(pair: tuple[float, float], like: Tensor) -> Tensor:
    """Makes a tensor of numbers along x and y, to broadcast over maps."""
    return torch.tensor(pair, dtype=like.dtype, device=like.device)[:, None, None]


def _paired(maps: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Gives maps and positions the same batch; what already has it is left alone."""
    batch = max(maps.shape[0], positions.shape[0])
    maps, positions = (
        t if t.shape[0] == batch else t.expand(batch, -1, -1, -1) for t in (maps, positions)
    )
    return maps, positions
