r"""The network that guesses a macro-model, with its doubt.

It answers with a distribution, not a number: Student's :math:`t` of :math:`\nu` degrees of freedom
in the seven numbers :math:`x` of a :class:`~.look.Look`, each in units of its spread,

.. math:: -\log p(x) = \tfrac{\nu + 7}{2} \log\left(1 + \tfrac{1}{\nu} |P (x - \mu)|^2\right)
          - \sum_i \log P_{ii} + \mathrm{const} ,

with a mean :math:`\mu` and a lower triangular :math:`P`. So what an image leaves open, such as
shear against ellipticity, is drawn as open as it is, and a lens of a kind that the network guesses
badly does not rule its training.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ...rim.cells import conv, group_norm
from ...rim.networks.layers import halvings
from .look import SIDE

COUNT = 7
"""Numbers of a guess."""

MEANS = (-1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
SPREADS = (0.4, 0.15, 0.15, 0.03, 0.03, 0.07, 0.07)
"""Typical values and spreads of the numbers."""

FREEDOM = 4.0
"""Degrees of freedom of the distribution."""

STEEPEST = 8.0
"""Largest logarithm of a diagonal element of P."""


@dataclass(frozen=True)
class Guess:
    """Holds the distributions of B guesses.

    Arguments:
        mean: Means, with shape (B, 7).
        root: Lower triangular roots of the precisions, with shape (B, 7, 7).
    """

    mean: Tensor
    root: Tensor

    def surprise(self, numbers: Tensor) -> Tensor:
        """Computes minus the logarithm of the density of numbers (B, 7), but for a constant."""
        distance = self.distance(numbers).square()
        log_det = self.root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return (FREEDOM + COUNT) / 2 * torch.log1p(distance / FREEDOM) - log_det

    def distance(self, numbers: Tensor) -> Tensor:
        """Computes how many widths numbers (B, 7) are off the means, with shape (B)."""
        off = (numbers - self.mean) / self.mean.new_tensor(SPREADS)
        return (self.root @ off[..., None])[..., 0].norm(dim=-1)

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws from the distributions, with shape (B, count, 7)."""
        shape = (len(self.mean), count, COUNT)
        white = torch.randn(shape, generator=generator, dtype=self.mean.dtype)
        # a chi-squared number for each draw widens the tails
        some = torch.randn((*shape[:2], round(FREEDOM)), generator=generator)
        wide = (FREEDOM / some.square().sum(-1, keepdim=True)).sqrt().to(white)
        off = torch.linalg.solve_triangular(
            self.root, (white * wide).to(self.root).transpose(1, 2), upper=False
        )
        return self.mean[:, None] + off.transpose(1, 2) * self.mean.new_tensor(SPREADS)


class Guesser(nn.Module):
    """Creates the network: strided convolutions with residual blocks between, and two matrices.

    Arguments:
        widths: Channels of the strided convolutions, each at half the size of the one before.
        blocks: Residual blocks behind each.
        hidden: Numbers between the matrices.
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        *,
        widths: Sequence[int] = (32, 64, 96, 128),
        blocks: Sequence[int] = (0, 1, 1, 0),
        hidden: int = 256,
    ):
        super().__init__()
        layers: list[nn.Module] = []
        for halving, width, count in zip(halvings(3, widths), widths, blocks, strict=True):
            layers += [*halving, *(_Block(width) for _ in range(count))]
        side = SIDE // 2 ** len(widths)
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.hidden = nn.Sequential(nn.Linear(side**2 * widths[-1], hidden), nn.SiLU())
        self.head = nn.Linear(hidden, COUNT + COUNT * (COUNT + 1) // 2)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        self.register_buffer("mean", torch.tensor(MEANS))
        self.register_buffer("spread", torch.tensor(SPREADS))

    def forward(self, maps: Tensor) -> Guess:
        """Guesses from maps (B, 3, SIDE, SIDE)."""
        numbers = self.head(self.hidden(self.layers(maps)))
        mean, diagonal, rest = numbers.split([COUNT, COUNT, numbers.shape[1] - 2 * COUNT], 1)
        root = torch.diag_embed(diagonal.clamp(max=STEEPEST).exp())
        row, column = torch.tril_indices(COUNT, COUNT, -1, device=maps.device)
        root[:, row, column] = rest * math.sqrt(1 / COUNT)
        return Guess(self.mean + self.spread * mean, root)


class _Block(nn.Module):
    """Creates a residual block."""

    def __init__(self, channels: int):
        super().__init__()
        self.layers = nn.Sequential(
            conv(2, channels, channels),
            group_norm(channels),
            nn.SiLU(),
            conv(2, channels, channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        return maps + self.layers(maps)
