r"""Power series with real coefficients at complex numbers, as pairs (real, imaginary) of maps.

.. math:: p(z) = \sum_n c_n z^n \, , \qquad z = x + i y \, , \quad |z| < 1 \, .

With real coefficients a step of Horner's scheme needs two products of reals, not four:
:math:`b_n = c_n + 2 x b_{n+1} - |z|^2 b_{n+2}` gives :math:`p = c_0 + z b_1 - |z|^2 b_2`. And as
:math:`p` is analytic, its derivative is another such series, where a graph of all steps would take
several times as long.

References:
    Knuth 1981, The Art of Computer Programming 2, section 4.6.4.
"""

from typing import Any

import torch
from torch import Tensor

from ..operation import Operation, only_plain

Complex = tuple[Tensor, Tensor]
"""Real and imaginary part."""


def power_series(z: Complex, coefficients: Tensor) -> Complex:
    """Computes the sum of a power series.

    Arguments:
        z: Real and imaginary part of the argument, with shape (*, H, W).
        coefficients: The :math:`c_n` in the first dimension, with shape (N, *, 1, 1), N >= 1.

    Returns:
        Real and imaginary part, with shape (*, H, W). Differentiable, to any order and in forward
        mode, in the argument and the coefficients.
    """
    if only_plain():
        return _sum(*z, coefficients)
    return _PowerSeries.apply(*z, coefficients)  # type: ignore[return-value]


def _sum(x: Tensor, y: Tensor, coefficients: Tensor) -> Complex:
    double, size2 = 2 * x, x**2 + y**2
    b = after = torch.zeros_like(x * coefficients[0])
    for c in coefficients[1:].flip(0).unbind(0):
        b, after = _step(c, double, b, size2, after), b
    return coefficients[0] + x * b - size2 * after, y * b


def _step(c: Tensor, double: Tensor, b: Tensor, size2: Tensor, after: Tensor) -> Tensor:
    # The compiler joins these by itself, and crashes at addcmul in forward mode (torch 2.13).
    if torch.compiler.is_compiling():
        return c + double * b - size2 * after
    return torch.addcmul(torch.addcmul(c, size2, after, value=-1), double, b)


def _derivative(coefficients: Tensor) -> Tensor:
    """Returns the coefficients of the derivative, at least one."""
    n = torch.arange(1, len(coefficients), dtype=coefficients.dtype, device=coefficients.device)
    steeper = coefficients[1:] * n.reshape(-1, *[1] * (coefficients.ndim - 1))
    return steeper if len(n) else torch.zeros_like(coefficients)


class _PowerSeries(Operation):
    @staticmethod
    def forward(x: Tensor, y: Tensor, coefficients: Tensor) -> Complex:
        return _sum(x, y, coefficients)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Complex) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, y, coefficients = ctx.saved_tensors
        gx, gy = grads
        to_x = to_y = to_coefficients = None
        if any(ctx.needs_input_grad[:2]):
            px, py = power_series((x, y), _derivative(coefficients))
            to_x = (gx * px + gy * py).sum_to_size(x.shape)
            to_y = (gy * px - gx * py).sum_to_size(y.shape)
        if ctx.needs_input_grad[2]:
            # Re (conj(g) z^n), one power after the other
            parts = []
            for _ in coefficients:
                parts.append(gx.sum_to_size(coefficients.shape[1:]))
                gx, gy = gx * x + gy * y, gy * x - gx * y
            to_coefficients = torch.stack(parts)
        return to_x, to_y, to_coefficients

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dy: Tensor | None, dc: Tensor | None) -> Complex:
        x, y, coefficients = ctx.saved_tensors
        px, py = power_series((x, y), _derivative(coefficients))
        dx, dy = (torch.zeros_like(t) if d is None else d for t, d in ((x, dx), (y, dy)))
        tx, ty = px * dx - py * dy, py * dx + px * dy
        if dc is not None:
            sx, sy = power_series((x, y), dc)
            tx, ty = tx + sx, ty + sy
        return tx, ty
