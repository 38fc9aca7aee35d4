r"""Pixelated source: surface brightness on a grid, read between its pixels.

.. math:: S(\beta) = \sum_{ij} s_{ij} \, \Lambda\!\left(\frac{\beta_x - x_j}{h_s}\right)
          \Lambda\!\left(\frac{\beta_y - y_i}{h_s}\right) , \qquad \Lambda(t) = \max(0, 1 - |t|)

is linear in the source, continuous in the position :math:`\beta`, and falls to zero over the pixel
beyond the outermost pixel centres, half of which lies outside the outer edge. Its gradient in
:math:`\beta` jumps where :math:`\beta` crosses a pixel's centre line, as that of every bilinear
interpolation.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..grid import PixelGrid


@dataclass(frozen=True)
class PixelatedSource:
    r"""Creates the operator from source pixels to surface brightness at positions.

    Arguments:
        grid: Grid of the source plane. Its centre can be moved per sample by ``center``.
    """

    grid: PixelGrid

    def __call__(self, source: Tensor, beta: Tensor, *, center: Tensor | None = None) -> Tensor:
        r"""Computes the surface brightness at positions in the source plane.

        Arguments:
            source: Surface brightness :math:`s`, with shape :math:`(B, 1, n_y, n_x)`.
            beta: Positions :math:`\beta_x, \beta_y` [arcsec], with shape :math:`(B, 2, H, W)`.
            center: Offset of the grid [arcsec], with shape :math:`(B, 2)`.

        Returns:
            :math:`S(\beta)`, with shape :math:`(B, 1, H, W)`.
        """
        positions = self._normalized(beta, center)
        batch = max(source.shape[0], positions.shape[0])
        return _Bilinear.apply(
            source.expand(batch, -1, -1, -1), positions.expand(batch, -1, -1, -1)
        )

    def adjoint(self, values: Tensor, beta: Tensor, *, center: Tensor | None = None) -> Tensor:
        r"""Applies the transpose: adds values at positions up in the pixels of the source.

        Arguments:
            values: Values at the positions, with shape :math:`(B, 1, H, W)`.
            beta: Positions :math:`\beta_x, \beta_y` [arcsec], with shape :math:`(B, 2, H, W)`.
            center: Offset of the grid [arcsec], with shape :math:`(B, 2)`.

        Returns:
            The sums, with shape :math:`(B, 1, n_y, n_x)`.
        """
        positions = self._normalized(beta, center)
        batch = max(values.shape[0], positions.shape[0])
        values, positions = (t.expand(batch, -1, -1, -1) for t in (values, positions))
        like = values.new_zeros(()).expand(batch, 1, *self.grid.shape)
        return _backward(values, like, positions, (True, False))[0]

    def _normalized(self, beta: Tensor, center: Tensor | None) -> Tensor:
        """Positions in units that put the outer edges of the grid at -1 and 1: (B, H, W, 2)."""
        scale, origin = (
            torch.tensor(pair, dtype=beta.dtype, device=beta.device)
            for pair in (tuple(2 / side for side in self.grid.fov), self.grid.center)
        )
        if center is not None:
            origin = origin + center
        shift = -(origin * scale)[..., None, None]
        return torch.addcmul(shift, beta, scale[:, None, None]).permute(0, 2, 3, 1)


class _Bilinear(torch.autograd.Function):
    # torch's own operation, to which this adds forward-mode differentiation.
    generate_vmap_rule = True

    @staticmethod
    def forward(source: Tensor, positions: Tensor) -> Tensor:
        return _sample(source, positions)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        source, positions = ctx.saved_tensors
        return _backward(grad, source, positions, ctx.needs_input_grad)

    @staticmethod
    def jvp(ctx: Any, d_source: Tensor | None, d_positions: Tensor | None) -> Tensor:
        source, positions = ctx.saved_tensors
        result = source.new_zeros(())
        if d_source is not None:
            result = result + _sample(d_source, positions)
        if d_positions is not None:
            # Each value depends on its own position only, so one backward pass holds all slopes.
            ones = torch.ones_like(positions[..., 0]).unsqueeze(1)
            slope = _backward(ones, source, positions, (False, True))[1]
            result = result + (slope * d_positions).sum(-1).unsqueeze(1)
        return result


def _sample(source: Tensor, positions: Tensor) -> Tensor:
    return F.grid_sample(source, positions, padding_mode="zeros", align_corners=False)


def _backward(grad: Tensor, source: Tensor, positions: Tensor, needed: tuple[bool, ...]) -> tuple:
    """Gradients in source and positions; that which is not needed is undefined."""
    # Bilinear and zero padding are both coded as 0.
    return torch.ops.aten.grid_sampler_2d_backward(
        grad, source, positions, 0, 0, False, list(needed)
    )
