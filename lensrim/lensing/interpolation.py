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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.torch_version import TorchVersion

from .operation import Operation, forward_mode, no_derivative, only_plain


@runtime_checkable
class Interpolation(Protocol):
    """What every interpolation can do."""

    def sample(self, source: Tensor, positions: Tensor) -> Tensor:
        """Reads maps with shape (B, C, n_y, n_x) at (B, H, W, 2) positions: (B, C, H, W)."""
        ...

    def spread(self, values: Tensor, positions: Tensor, shape: tuple[int, int]) -> Tensor:
        """Applies the transpose: adds (B, C, H, W) values up in pixels: (B, C, n_y, n_x)."""
        ...


@dataclass(frozen=True)
class Bilinear:
    r"""Creates the bilinear interpolation, :math:`w(t) = \max(0, 1 - |t|)`.

    It is exact for what is linear in position. Its gradient in the position jumps where one
    crosses a pixel's centre line. With torch before 2.13 there are first derivatives, and second
    ones of all but the gradient in the position, nor does :meth:`spread` have a derivative by its
    positions in forward mode: torch raises that a derivative is not implemented.
    """

    def sample(self, source: Tensor, positions: Tensor) -> Tensor:
        """Reads maps at positions."""
        if only_plain() or not (forward_mode() or _ONCE):
            return _sample(source, positions)
        return _Bilinear.apply(source, positions)

    def spread(self, values: Tensor, positions: Tensor, shape: tuple[int, int]) -> Tensor:
        """Applies the transpose."""
        if only_plain() or no_derivative():
            return _spread(values, positions, shape)
        return _Spread.apply(values, positions, *shape)


@dataclass(frozen=True)
class Bicubic:
    r"""Creates the cubic convolution, with :math:`a = -1/2`,

    .. math:: w(t) = \begin{cases} (a + 2) |t|^3 - (a + 3) |t|^2 + 1 & |t| \leq 1 \\
              a |t|^3 - 5 a |t|^2 + 8 a |t| - 4 a & 1 < |t| < 2 \\ 0 & \text{else} \, , \end{cases}

    the only one that is exact for what is quadratic in position. On a CPU it takes some 10 times
    as long as :class:`Bilinear` (10 ms v. 1 for 256 × 256 rays with gradients, one core), and many
    times the memory. Differentiable to any order almost everywhere.

    References:
        Keys 1981, IEEE Trans. ASSP 29, 1153.
    """

    def sample(self, source: Tensor, positions: Tensor) -> Tensor:
        """Reads maps at positions."""
        taps = _Taps(positions, source.shape[-2:])
        flat = F.pad(source, (_BEFORE, _AFTER) * 2).flatten(2)
        rows = read_four_rows(flat, taps.of_channels(source.shape[1]), taps.padded[1])
        lines = [weighted_sum(row, taps.along_x) for row in rows]
        return weighted_sum(lines, taps.along_y).unflatten(-1, positions.shape[1:3])

    def spread(self, values: Tensor, positions: Tensor, shape: tuple[int, int]) -> Tensor:
        """Applies the transpose."""
        taps, flat = _Taps(positions, shape), values.flatten(2)
        h, w = taps.padded
        last = 3 * w + 3
        first = taps.of_channels(values.shape[1])
        empty = values.new_zeros(*values.shape[:2], h * w - last)
        parts = []
        for row, over_y in enumerate(taps.along_y):
            line = flat * over_y
            for column, over_x in enumerate(taps.along_x):
                part = empty.scatter_add(-1, first, line * over_x)
                after = row * w + column
                parts.append(F.pad(part, (after, last - after)))
        inner = slice(_BEFORE, -_AFTER)
        return sum(parts[1:], parts[0]).unflatten(-1, (h, w))[..., inner, inner]


def read_four_rows(flat: Tensor, first: Tensor, width: int) -> list[list[Tensor]]:
    """Reads the 4 × 4 values around positions.

    They are the same number of values after the first of them everywhere, so that one index serves
    shifted views of the map.

    Arguments:
        flat: Maps with their rows one after the other, with shape (*, N).
        first: Index of the first value, with shape (*, P).
        width: Values in a row of the map.

    Returns:
        The four values of each of the four rows, each with shape (*, P).
    """
    length = flat.shape[-1] - 3 * width - 3
    return [
        [flat.narrow(-1, row * width + i, length).gather(-1, first) for i in range(4)]
        for row in range(4)
    ]


def weighted_sum(values: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """Adds up the products of values and weights."""
    total = values[0] * weights[0]
    for value, weight in zip(values[1:], weights[1:], strict=True):
        total += value * weight  # in place: fresh memory costs more than the sum
    return total


_BEFORE, _AFTER = 3, 4
"""Zeros around the pixels, so that whatever is not too far outside reads them by its index."""


class _Taps:
    """Holds where positions, with shape (B, H, W, 2), read a padded map, and the weights.

    Attributes:
        padded: Shape of the padded map.
        first: Flat index of the first pixel read, with shape (B, 1, H W).
        along_x, along_y: Weights of the four columns and rows, each with shape (B, 1, H W).
    """

    def __init__(self, positions: Tensor, shape: tuple[int, ...]) -> None:
        self.padded = shape[0] + _BEFORE + _AFTER, shape[1] + _BEFORE + _AFTER
        (column, self.along_x), (row, self.along_y) = (
            _axis(p.flatten(1).unsqueeze(1), n)
            for p, n in zip(positions.unbind(-1), shape[::-1], strict=True)
        )
        self.first = row * self.padded[1] + column

    def of_channels(self, number: int) -> Tensor:
        """Index of the first pixel read of each channel, with shape (B, C, H W)."""
        return self.first.expand(-1, number, -1)


def _axis(position: Tensor, n: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Index of the first pixel of a padded axis that positions read, and the weights of four."""
    u = ((position + 1) * n - 1) / 2
    # What is far outside reads nothing; a large number would be no index. None at all is none
    # either, but stays in the weights, so that a broken ray is seen.
    u = u.clamp(-2.0, n + 1.0)
    cell = u.detach().nan_to_num().floor()
    t = u - cell
    s = 1 - t
    # The kernel at 1 + t, t, 1 - t and 2 - t.
    weights = (
        -0.5 * t * s**2,
        (1.5 * t - 2.5) * t**2 + 1,
        (1.5 * s - 2.5) * s**2 + 1,
        -0.5 * s * t**2,
    )
    return cell.long() + (_BEFORE - 1), weights


_ONCE = TorchVersion(torch.__version__) < "2.13"
"""Whether torch's own operation may have no derivative of its derivatives."""


class _Bilinear(Operation):
    # torch's own operation, to which this adds forward-mode differentiation, and where torch has
    # none the second derivatives that follow from the transpose.
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
        if not (forward_mode() or (_ONCE and torch.is_grad_enabled())):
            return _backward(grad, source, positions, ctx.needs_input_grad)
        to_source = to_positions = None
        if ctx.needs_input_grad[0]:
            to_source = Bilinear().spread(grad, positions, source.shape[-2:])
        if ctx.needs_input_grad[1]:
            to_positions = _slope_of(grad, source, positions)
        return to_source, to_positions

    @staticmethod
    def jvp(ctx: Any, d_source: Tensor | None, d_positions: Tensor | None) -> Tensor:
        source, positions = ctx.saved_tensors
        result = source.new_zeros(())
        if d_source is not None:
            result = result + _sample(d_source, positions)
        if d_positions is not None:
            # Each value depends on its own position only, so one backward pass holds all slopes
            # of a channel.
            ones = torch.ones_like(positions[..., 0]).unsqueeze(1)
            slopes = [_slope(ones, channel, positions) for channel in source.split(1, 1)]
            result = result + torch.stack([(s * d_positions).sum(-1) for s in slopes], 1)
        return result


class _Spread(Operation):
    # The values and the positions read what it is multiplied by, so that its derivatives are those
    # of reading, which torch knows in every version.
    @staticmethod
    def forward(values: Tensor, positions: Tensor, height: int, width: int) -> Tensor:
        return _spread(values, positions, (height, width))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])
        ctx.set_materialize_grads(False)  # what does not vary is not there
        ctx.shape = inputs[2:]

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None) -> tuple:
        values, positions = ctx.saved_tensors
        to_values = to_positions = None
        if grad is None:
            return None, None, None, None
        if ctx.needs_input_grad[0]:
            to_values = Bilinear().sample(grad, positions)
        if ctx.needs_input_grad[1]:
            to_positions = _slope_of(values, grad, positions)
        return to_values, to_positions, None, None

    @staticmethod
    def jvp(ctx: Any, d_values: Tensor | None, d_positions: Tensor | None, *_: None) -> Tensor:
        values, positions = ctx.saved_tensors
        parts = []
        if d_values is not None:
            parts.append(_Spread.apply(d_values, positions, *ctx.shape))
        if d_positions is not None:
            # The transpose, in the map that it is multiplied by, of that map's slope.
            like = values.new_zeros(*values.shape[:2], *ctx.shape)
            transpose = torch.func.vjp(lambda m: _slope(values, m, positions), like)[1]
            parts.append(transpose(d_positions)[0])
        return sum(parts[1:], parts[0])


def _slope_of(values: Tensor, source: Tensor, positions: Tensor) -> Tensor:
    return (_Slope.apply if forward_mode() else _slope)(values, source, positions)


class _Slope(Operation):
    # torch's own has no derivative in forward mode.
    @staticmethod
    def forward(values: Tensor, source: Tensor, positions: Tensor) -> Tensor:
        return _slope(values, source, positions)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        return torch.func.vjp(_slope, *ctx.saved_tensors)[1](grad)

    @staticmethod
    def jvp(
        ctx: Any, d_values: Tensor | None, d_source: Tensor | None, d_at: Tensor | None
    ) -> Any:
        values, source, positions = ctx.saved_tensors
        parts = []
        if d_values is not None:
            parts.append(_Slope.apply(d_values, source, positions))
        if d_source is not None:
            parts.append(_Slope.apply(values, d_source, positions))
        if d_at is not None:
            # The second derivatives of a position are symmetric, and know of no other position.
            parts.append(
                torch.func.vjp(lambda p: _slope(values, source, p), positions)[1](d_at)[0]
            )
        return sum(parts[1:], parts[0])


def _slope(values: Tensor, source: Tensor, positions: Tensor) -> Tensor:
    """Slopes of maps in the positions, times values."""
    # Under vmap torch 2.4 fails where the gradient in the source is undefined.
    both = torch._C._are_functorch_transforms_active()
    return _backward(values, source, positions, (both, True))[1]


def _spread(values: Tensor, positions: Tensor, shape: tuple[int, int]) -> Tensor:
    like = values.new_zeros(()).expand(*values.shape[:2], *shape)
    return _backward(values, like, positions, (True, False))[0]


def _sample(source: Tensor, positions: Tensor) -> Tensor:
    return F.grid_sample(source, positions, padding_mode="zeros", align_corners=False)


def _backward(grad: Tensor, source: Tensor, positions: Tensor, needed: tuple[bool, ...]) -> tuple:
    """Gradients in source and positions; that which is not needed is undefined."""
    # Bilinear and zero padding are both coded as 0.
    return torch.ops.aten.grid_sampler_2d_backward(
        grad, source, positions, 0, 0, False, list(needed)
    )
