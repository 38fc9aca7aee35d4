r"""Iterations that users have without a machine: each yields its estimate after each call.

A call is one application of the forward operator and one of its adjoint: what a score takes, and
what the product with the matrix of a quadratic does. What a method needs beside it (norms, exact
step lengths, the first residual) is not counted, in favour of the rivals.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ...rim.preconditioning import Adam


def gradient_ascent(
    score: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    rate: Tensor | float,
    momentum: float = 0.0,
) -> Iterator[Tensor]:
    r"""Climbs a log-probability,
    :math:`v \leftarrow \mu v + \nabla \log p(x)`, :math:`x \leftarrow x + \eta v`.

    Arguments:
        score: The score :math:`\nabla \log p`.
        start: The start, with shape (B, ...).
        rate: Step length :math:`\eta`, one number or one for each sample, of a shape that
            broadcasts.
        momentum: The memory :math:`\mu` of the direction (Polyak's heavy ball).
    """
    x, v = start, torch.zeros_like(start)
    while True:
        v = momentum * v + score(x)
        x = x + rate * v
        yield x


def adam(
    score: Callable[[Tensor], Tensor], start: Tensor, *, rate: float, beta2: float = 0.999
) -> Iterator[Tensor]:
    """Climbs a log-probability by Adam, with one learning rate; see :class:`Adam`."""
    encoding = Adam(beta2=beta2)
    x, memory = start, encoding.init(start)
    while True:
        memory, direction = encoding.update(memory, score(x))
        x = x + rate * direction
        yield x


def conjugate_gradients(product: Callable[[Tensor], Tensor], right: Tensor) -> Iterator[Tensor]:
    r"""Solves :math:`H x = b` from zero, :math:`H` symmetric and positive.

    After :math:`t` products :math:`x_t` has the least energy of all that the powers
    :math:`H^0, \dots, H^{t - 1}` make of :math:`b`. A singular matrix will do if :math:`b` is in
    its range; a sample whose residual has fallen by :math:`10^{10}` stays as it is.

    Arguments:
        product: The product with :math:`H`, of vectors with shape (B, N).
        right: The right hand side :math:`b`, with shape (B, N).

    References:
        Hestenes & Stiefel 1952, J. Res. NBS 49, 409.
    """
    x, r = torch.zeros_like(right), right
    p, size = r, _square(r)
    # Where little but rounding is left of the residual, a singular matrix would amplify it.
    least = 1e-20 * size
    while True:
        image = product(p)
        going = size > least
        step = torch.where(going, size / (p * image).sum(1, keepdim=True), 0.0)
        x, r = x + step * p, r - step * image
        before, size = size, _square(r)
        p = torch.where(going, r + size / before * p, p)
        yield x


def _square(x: Tensor) -> Tensor:
    return x.square().sum(1, keepdim=True)


def richardson_lucy(y: Tensor, a: Tensor, start: Tensor) -> Iterator[Tensor]:
    r"""Raises the likelihood of Poisson counts,
    :math:`x \leftarrow x \, A^T (y / A x) / A^T 1`; data below zero count as zero.

    Arguments:
        y: Data, with shape (B, 1, M).
        a: Matrices :math:`A` without negative elements, with shape (B, M, N).
        start: The start, positive, with shape (B, 1, N).

    References:
        Richardson 1972, JOSA 62, 55; Lucy 1974, AJ 79, 745.
    """
    x, y, response = start, y.clamp(min=0), a.sum(1, keepdim=True)
    while True:
        x = x * ((y / (x @ a.mT).clamp(min=torch.finfo(y.dtype).tiny)) @ a) / response
        yield x
