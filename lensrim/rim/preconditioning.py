r"""Encodings of the score: what the network is shown in the place of a bare gradient.

Scores span many powers of ten, over the pixels of a map and over the signal-to-noise ratios of
observations. Each encoding is a pair of pure functions, ``init(x) -> memory`` and
``update(memory, score) -> (memory, direction)``, with the score :math:`g = \nabla \log p` to be
*ascended*; directions have the shape of the score. Several can be shown at once: raw scores are
better for the misfit, normalised ones for what is badly constrained.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

Memory = tuple[Tensor, ...]


@runtime_checkable
class Preconditioner(Protocol):
    """An encoding of the score."""

    def init(self, x: Tensor) -> Memory:
        """Returns the memory before the first score of a variable :math:`x`."""
        ...

    def update(self, memory: Memory, score: Tensor) -> tuple[Memory, Tensor]:
        """Takes in a score; returns the memory and the direction, with the shape of the score."""
        ...


@dataclass(frozen=True)
class Raw:
    r"""Creates the encoding :math:`c \, g`.

    Arguments:
        scale: The factor :math:`c`.
    """

    scale: float = 1.0

    def init(self, x: Tensor) -> Memory:
        return ()

    def update(self, memory: Memory, score: Tensor) -> tuple[Memory, Tensor]:
        return memory, self.scale * score


@dataclass(frozen=True)
class Arcsinh:
    r"""Creates the encoding :math:`\mathrm{arcsinh}(c \, g)`: linear for small scores, and
    logarithmic for large ones.

    Arguments:
        scale: The factor :math:`c`.
    """

    scale: float = 1.0

    def init(self, x: Tensor) -> Memory:
        return ()

    def update(self, memory: Memory, score: Tensor) -> tuple[Memory, Tensor]:
        return memory, torch.asinh(self.scale * score)


@dataclass(frozen=True)
class Normalized:
    r"""Creates the encoding :math:`g / \mathrm{rms}(g)`, the mean over all of a sample's elements.

    Arguments:
        eps: Added to the root mean square.
    """

    eps: float = 1e-12

    def init(self, x: Tensor) -> Memory:
        return ()

    def update(self, memory: Memory, score: Tensor) -> tuple[Memory, Tensor]:
        shape = (len(score), *[1] * (score.ndim - 1))
        # In units of the largest, so that no square leaves the range of single precision.
        largest = score.abs().flatten(1).amax(1).reshape(shape)
        unit = score / torch.where(largest > 0, largest, 1.0)
        rms = largest * _root(unit.square().flatten(1).mean(1)).reshape(shape)
        return memory, score / (rms + self.eps)


@dataclass(frozen=True)
class RMSProp:
    r"""Creates the direction of RMSProp, :math:`g / (\sqrt{v} + \epsilon)`,
    :math:`v \leftarrow \alpha v + (1 - \alpha) g^2`.

    Arguments:
        alpha: Decay of the memory.
        eps: Added to the root.
    """

    alpha: float = 0.99
    eps: float = 1e-8

    def init(self, x: Tensor) -> Memory:
        return (torch.zeros_like(x),)

    def update(self, memory: Memory, score: Tensor) -> tuple[Memory, Tensor]:
        (v,) = memory
        v = self.alpha * v + (1 - self.alpha) * score.square()
        return (v,), score / (_root(v) + self.eps)


@dataclass(frozen=True)
class Adam:
    r"""Creates the direction of Adam, :math:`\hat m / (\sqrt{\hat v} + \epsilon)`, with means
    :math:`m` of :math:`g` and :math:`v` of :math:`g^2` corrected for their start at zero.

    Arguments:
        beta1, beta2: Decays of both memories.
        eps: Added to the root.

    References:
        Kingma & Ba 2015, arXiv:1412.6980.
    """

    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8

    def init(self, x: Tensor) -> Memory:
        # In single precision, 1 - beta2 would be wrong by 1e-5.
        count = torch.zeros((), dtype=torch.float64)
        return torch.zeros_like(x), torch.zeros_like(x), count

    def update(self, memory: Memory, score: Tensor) -> tuple[Memory, Tensor]:
        m, v, count = memory
        count = count + 1
        m = self.beta1 * m + (1 - self.beta1) * score
        v = self.beta2 * v + (1 - self.beta2) * score.square()
        mean = m / (1 - self.beta1**count)
        root = _root(v / (1 - self.beta2**count))
        return (m, v, count), mean / (root + self.eps)


def _root(v: Tensor) -> Tensor:
    """The square root, with derivative zero, not infinity, at zero."""
    positive = v > 0
    return torch.where(positive, torch.where(positive, v, 1.0).sqrt(), 0.0)
