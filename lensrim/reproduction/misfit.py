r"""D, the misfit of a model without the noise, on the arcs: each paper here is judged by it.

Of data whose noise says :math:`N` of images (see :mod:`lensrim.reproduction.lensed.scene`) an
image :math:`F` in the place of the true one :math:`F^*` has

.. math:: D = \left\langle \frac{(N (F - F^*))^2}{\mathrm{diag} N} \right\rangle

over the lit pixels: one where the error is as large as the noise. For a camera :math:`N` is
:math:`1 / \sigma^2`, and it is the D of :func:`lensrim.metrics.misfit`.
"""

from torch import Tensor

LEAST = 1e-12
"""Where :math:`N` is zero, so is what it makes of an error."""


def mean(maps: Tensor, weight: Tensor) -> Tensor:
    """Averages maps (B, 1, n, n) with weights, with shape (B)."""
    return (maps * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1)


def noise_free(seen: Tensor, precision: Tensor, lit: Tensor) -> Tensor:
    r"""Computes D, with shape (B).

    Arguments:
        seen: The error as the data see it, :math:`N (F - F^*)`, with shape (B, 1, n, n).
        precision: The diagonal of :math:`N`, likewise.
        lit: 1 where the true arcs exceed the noise and are observed, likewise.
    """
    return mean(seen.square() / precision.clamp(min=LEAST), lit)
