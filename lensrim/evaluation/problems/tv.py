r"""Total variation: the prior of piecewise constant images, and how its maximum is found.

.. math:: \mathrm{TV}(x) = \sum_{ij} |(\nabla x)_{ij}| , \qquad
          E(x) = \frac{1}{2 \sigma^2} \| y - P * x \|^2 + w \, \mathrm{TV}(x) \, ,

with forward differences on a periodic frame.

References:
    Rudin, Osher & Fatemi 1992, Physica D 60, 259; Chambolle & Pock 2011, JMIV 40, 120.
"""

from collections.abc import Iterator

import torch
from torch import Tensor


def gradient(x: Tensor) -> Tensor:
    """Computes forward differences (B, 2, N, M) of periodic images (B, 1, N, M)."""
    return torch.cat([x.roll(-1, 3) - x, x.roll(-1, 2) - x], 1)


def adjoint(p: Tensor) -> Tensor:
    """Computes the adjoint of :func:`gradient`, minus the divergence."""
    px, py = p[:, :1], p[:, 1:]
    return px.roll(1, 3) - px + py.roll(1, 2) - py


def total_variation(x: Tensor, smooth: float = 0.0) -> Tensor:
    r"""Computes :math:`\sum \sqrt{|\nabla x|^2 + \epsilon^2}`, with shape (B)."""
    square = gradient(x).square().sum(1)
    return (square + smooth**2).sqrt().flatten(1).sum(1)


def tv_score(x: Tensor, smooth: float) -> Tensor:
    r"""Computes :math:`-\nabla \mathrm{TV}(x)`, smoothed by :math:`\epsilon > 0`."""
    d = gradient(x)
    return -adjoint(d / (d.square().sum(1, keepdim=True) + smooth**2).sqrt())


def chambolle_pock(
    y: Tensor, transform: Tensor, *, weight: Tensor, step: float
) -> Iterator[Tensor]:
    r"""Minimises :math:`E` by the first-order primal-dual iteration, from :math:`y`.

    The step in the data term is exact, a Wiener filter in Fourier space: one call each.

    Arguments:
        y: Data, with shape (B, 1, N, N).
        transform: Fourier transforms of the PSFs, with shape (B, 1, N, N // 2 + 1).
        weight: The weights in units of the noise, :math:`\sigma^2 w`, with shape (B).
        step: Step :math:`\tau` of the image; that of the dual is :math:`1 / 8 \tau`, the largest
            with which it converges.
    """
    weight = weight[:, None, None, None]
    seen = transform.conj() * torch.fft.rfft2(y)
    inverse = 1 / (1 + step * transform.abs().square())
    x, ahead, p = y, y, torch.zeros_like(y).repeat(1, 2, 1, 1)
    while True:
        p = p + gradient(ahead) / (8 * step)
        p = p / (p.norm(dim=1, keepdim=True) / weight).clamp(min=1)
        to = torch.fft.rfft2(x - step * adjoint(p)) + step * seen
        new = torch.fft.irfft2(inverse * to, s=y.shape[-2:])
        ahead, x = 2 * new - x, new
        yield x
