"""The network that reads a lens off its image, with neither start nor search."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...rim.networks.layers import halvings

MEANS = (2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
SPREADS = (0.3, 0.12, 0.12, 0.6, 0.6, 0.04, 0.04)
"""Typical values and spreads of the seven numbers, lengths in pixels."""

FLAT = 0.45
"""Largest ellipticity that it may answer."""


class Reader(nn.Module):
    """Creates the network: strided convolutions, and two matrices.

    Arguments:
        size: Pixels of a side of the images.
        maps: Maps that it is shown.
        widths: Channels of the convolutions, each at half the size of the one before.
        hidden: Numbers between the matrices.
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        size: int,
        *,
        maps: int = 3,
        widths: Sequence[int] = (24, 48, 64, 96),
        hidden: int = 128,
    ):
        super().__init__()
        layers = [layer for halving in halvings(maps, widths) for layer in halving]
        for _ in widths:
            size = -(-size // 2)
        self.layers = nn.Sequential(*layers, nn.Flatten())
        self.head = nn.Sequential(
            nn.Linear(size**2 * widths[-1], hidden), nn.SiLU(), nn.Linear(hidden, len(MEANS))
        )
        self.register_buffer("mean", torch.tensor(MEANS))
        self.register_buffer("spread", torch.tensor(SPREADS))

    def forward(self, maps: Tensor) -> Tensor:
        """Reads maps (B, M, n, n); returns the seven numbers, with shape (B, 7)."""
        lens = self.mean + self.spread * self.head(self.layers(maps))
        flat = lens[:, 1:3].norm(dim=1, keepdim=True)
        shape = lens[:, 1:3] * (FLAT / flat.clamp(min=1e-6)).clamp(max=1.0)
        return torch.cat([lens[:, :1], shape, lens[:, 3:]], 1)


def reading_loss(found: Tensor, lens: Tensor) -> Tensor:
    """Computes the Huber loss of the numbers, with shape (B, 7), in units of their spreads."""
    spread = lens.new_tensor(SPREADS)
    return F.huber_loss(found / spread, lens / spread, delta=0.5)
