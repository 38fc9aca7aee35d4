r"""What is seen of images: linear operators :math:`A`, each with its transpose.

.. math:: y = A x + \sigma n , \qquad \nabla \log p(y | x) = A^T (y - A x) / \sigma^2 .

One operator belongs to all images of a batch, but for holes. Random projections are scaled so that
:math:`\langle A^T A \rangle = 1`, which the paper does not say of its own.
"""

import math
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F


@runtime_checkable
class Operator(Protocol):
    """A linear operator on images (B, 1, N, N)."""

    def __call__(self, x: Tensor) -> Tensor:
        """Returns what is seen of images, with shape (B, ...)."""
        ...

    def adjoint(self, y: Tensor) -> Tensor:
        """Applies the transpose; returns images."""
        ...

    @property
    def bound(self) -> float:
        """A number that the largest eigenvalue of the normal operator does not exceed."""
        ...

    @property
    def share(self) -> float:
        """Numbers that are seen, by pixel."""
        ...

    def to(self, device: torch.device) -> "Operator":
        """Moves it to a device."""
        ...


@dataclass(frozen=True)
class Projection:
    """Creates a projection by a matrix.

    Arguments:
        matrix: The matrix, with shape (M, N²).
    """

    matrix: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.matrix.T

    def adjoint(self, y: Tensor) -> Tensor:
        side = math.isqrt(self.matrix.shape[1])
        return (y @ self.matrix).reshape(len(y), 1, side, side)

    @property
    def bound(self) -> float:
        return float(torch.linalg.matrix_norm(self.matrix, 2)) ** 2

    @property
    def share(self) -> float:
        return self.matrix.shape[0] / self.matrix.shape[1]

    def to(self, device: torch.device) -> "Projection":
        return Projection(self.matrix.to(device))


def hartley(x: Tensor) -> Tensor:
    """Computes the Hartley transform, the real form of Fourier's: orthonormal, and its own
    inverse."""
    waves = torch.fft.fft2(x, norm="ortho")
    return waves.real - waves.imag


@dataclass(frozen=True)
class Waves:
    """Creates a choice of waves: rows of the Hartley matrix.

    Arguments:
        chosen: 1 where a wave is seen, with shape (N, N).
    """

    chosen: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return hartley(x) * self._weight

    def adjoint(self, y: Tensor) -> Tensor:
        return hartley(y * self._weight)

    @property
    def _weight(self) -> Tensor:
        return self.chosen / self.share**0.5

    @property
    def bound(self) -> float:
        return 1 / self.share

    @property
    def share(self) -> float:
        return float(self.chosen.mean())

    def to(self, device: torch.device) -> "Waves":
        return Waves(self.chosen.to(device))


@dataclass(frozen=True)
class Holes:
    """Creates images with holes.

    Arguments:
        mask: 1 where a pixel is seen, with shape (B, 1, N, N), of the images or one for all.
    """

    mask: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x * self.mask

    def adjoint(self, y: Tensor) -> Tensor:
        return y * self.mask

    @property
    def bound(self) -> float:
        return 1.0

    @property
    def share(self) -> float:
        return float(self.mask.mean())

    def to(self, device: torch.device) -> "Holes":
        return replace(self, mask=self.mask.to(device))


@dataclass(frozen=True)
class Coarse:
    """Creates coarser images: means of squares of ``factor`` pixels a side; of one, no change."""

    factor: int = 1

    def __call__(self, x: Tensor) -> Tensor:
        return x if self.factor == 1 else F.avg_pool2d(x, self.factor)

    def adjoint(self, y: Tensor) -> Tensor:
        if self.factor == 1:
            return y
        k = self.factor
        return y.repeat_interleave(k, 2).repeat_interleave(k, 3) / k**2

    @property
    def bound(self) -> float:
        return 1 / self.factor**2

    @property
    def share(self) -> float:
        return 1 / self.factor**2

    def to(self, device: torch.device) -> "Coarse":
        return self


def gaussian(share: float, size: int, rng: torch.Generator) -> Projection:
    """Draws a projection with normal elements, to a share of the pixels."""
    m = round(share * size**2)
    return Projection(torch.randn(m, size**2, generator=rng) / m**0.5)


def binary(share: float, size: int, rng: torch.Generator) -> Projection:
    """Draws one with elements that are plus or minus one, but for their scale."""
    m = round(share * size**2)
    signs = torch.randint(2, (m, size**2), generator=rng).float() * 2 - 1
    return Projection(signs / m**0.5)


def fourier(share: float, size: int, rng: torch.Generator) -> Waves:
    """Draws waves, among them always that of no wave number."""
    m = round(share * size**2)
    order = torch.randperm(size**2 - 1, generator=rng)[: m - 1] + 1
    chosen = torch.zeros(size**2)
    chosen[0], chosen[order] = 1, 1
    return Waves(chosen.reshape(size, size))


def holes(share: float, size: int, rng: torch.Generator) -> Holes:
    """Draws which pixels are seen, each for itself."""
    return Holes((torch.rand(1, 1, size, size, generator=rng) < share).float())
