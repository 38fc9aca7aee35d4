r"""Interpolation of maps on a grid: the weights with which a position reads the pixels around it.

.. math:: S(u, v) = \sum_{ij} s_{ij} \, w(u - j) \, w(v - i) \, ,

with positions :math:`u, v` in pixels, and zero for :math:`s` outside the grid. An interpolation is
an object with two methods, transposes of each other, for positions that put the outer edges of the
grid at -1 and 1:

=================== =========================================== ==================================
:class:`Bilinear`   continuous; reads 2 × 2 pixels              zero one pixel beyond the outermost
                                                                pixel centres
:class:`Bicubic`    continuous, and so is its gradient;         zero two pixels beyond them
                    reads 4 × 4, and overshoots at edges
=================== =========================================== ==================================
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from .operation import Operation, only_plain


@runtime_checkable
class Interpolation(Protocol):
    """What every interpolation can do."""

    def sample(self, source: Tensor, positions: Tensor) -> Tensor:
        """Reads maps with shape (B, 1, n_y, n_x) at (B, H, W, 2) positions: (B, 1, H, W)."""
        ...

    def spread(self, values: Tensor, positions: Tensor, shape: tuple[int, int]) -> Tensor:
        """Applies the transpose: adds (B, 1, H, W) values up in pixels: (B, 1, n_y, n_x)."""
        ...


@dataclass(frozen=True)
class Bilinear:
    r"""Creates the bilinear interpolation, :math:`w(t) = \max(0, 1 - |t|)`.

    It is exact for what is linear in position. Its gradient in the position jumps where one
    crosses a pixel's centre line.
    """

    def sample(self, source: Tensor, positions: Tensor) -> Tensor:
        """Reads maps at positions."""
        if only_plain():
            return _sample(source, positions)
        return _Bilinear.apply(source, positions)

    def spread(self, values: Tensor, positions: Tensor, shape: tuple[int, int]) -> Tensor:
        """Applies the transpose."""
        like = values.new_zeros(()).expand(values.shape[0], 1, *shape)
        return _backward(values, like, positions, (True, False))[0]


@dataclass(frozen=True)
class Bicubic:
    r"""Creates the cubic convolution, with :math:`a = -1/2`,

    .. math:: w(t) = \begin{cases} (a + 2) |t|^3 - (a + 3) |t|^2 + 1 & |t| \leq 1 \\
              a |t|^3 - 5 a |t|^2 + 8 a |t| - 4 a & 1 < |t| < 2 \\ 0 & \text{else} \, , \end{cases}

    the only one that is exact for what is quadratic in position. On a CPU it takes nearly 20 times
    as long as :class:`Bilinear` (46 ms v. 3 for 256 × 256 rays with gradients, one core), and many
    times the memory. Differentiable to any order almost everywhere.

    References:
        Keys 1981, IEEE Trans. ASSP 29, 1153.
    """

    def sample(self, source: Tensor, positions: Tensor) -> Tensor:
        """Reads maps at positions."""
        index, weight = self._taps(positions, source.shape[-2:])
        flat = source.flatten(1)[:, None, None].expand(-1, 4, 4, -1)
        taps = flat.gather(-1, index.flatten(-2))
        return (taps.unflatten(-1, index.shape[-2:]) * weight).sum((1, 2)).unsqueeze(1)

    def spread(self, values: Tensor, positions: Tensor, shape: tuple[int, int]) -> Tensor:
        """Applies the transpose."""
        index, weight = self._taps(positions, shape)
        pixels = values.new_zeros(values.shape[0], shape[0] * shape[1])
        # Values with shape (B, 1, H, W) against weights with shape (B, 4, 4, H, W).
        terms = (values.unsqueeze(1) * weight).flatten(1)
        return pixels.scatter_add(-1, index.flatten(1), terms).view(-1, 1, *shape)

    def _taps(self, positions: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
        """Flat indices of the pixels read and their weights, (B, 4, 4, H, W): rows, columns."""
        columns, rows = (
            _axis(p, n) for p, n in zip(positions.unbind(-1), shape[::-1], strict=True)
        )
        index = rows[0].unsqueeze(2) * shape[-1] + columns[0].unsqueeze(1)
        return index, rows[1].unsqueeze(2) * columns[1].unsqueeze(1)


def _axis(position: Tensor, n: int) -> tuple[Tensor, Tensor]:
    """Indices and weights of the four pixels around positions along an axis, (B, 4, H, W)."""
    u = ((position + 1) * n - 1) / 2
    # What is far outside reads nothing; a large number would be no index.
    u = u.clamp(-3.0, n + 2.0)
    first = u.detach().nan_to_num().floor() - 1
    steps = torch.arange(4, dtype=u.dtype, device=u.device)[:, None, None]
    pixel = first.unsqueeze(-3) + steps
    weight = _keys(u.unsqueeze(-3) - pixel)
    inside = (pixel >= 0) & (pixel <= n - 1)
    return pixel.clamp(0, n - 1).long(), torch.where(inside, weight, 0.0)


def _keys(t: Tensor) -> Tensor:
    t = t.abs()
    near = (1.5 * t - 2.5) * t**2 + 1
    far = ((-0.5 * t + 2.5) * t - 4) * t + 2
    return torch.where(t <= 1, near, torch.where(t < 2, far, 0.0))


class _Bilinear(Operation):
    # torch's own operation, to which this adds forward-mode differentiation.
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
