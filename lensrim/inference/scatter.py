"""How far fits of the macro-model are off, beyond what Gauss-Newton steps tell."""

from collections.abc import Mapping

import torch
from torch import Tensor

from ..datasets.arcs import signal_to_noise

PUSHED = 0.1
"""Share of the samples that are pushed off, as fits with a heavy tail are."""

PUSH = (0.02, 0.03, 0.03, 0.3, 0.3, 0.02, 0.02, 0.1)
"""Standard deviations of the push, in the parameters of the macro-model."""

SLOPE_MEAN, SLOPE_SNR = 2.08, 1.65
SLOPES = (-0.52, 0.3), (0.11, -0.045)
"""Error of a fit's slope: share of its distance from ``SLOPE_MEAN``, and scatter, each at a
log10 S/N of ``SLOPE_SNR`` and per unit of it; measured on 44 fits of mocks (2026-11-25)."""


class Draws:
    """Creates a stream of random numbers that is the same wherever they are used.

    Arguments:
        like: A tensor of the device where they are used.
        seed: Seed.
    """

    def __init__(self, like: Tensor, seed: int):
        self.device, self.generator = like.device, torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        """Draws standard normal numbers."""
        numbers = torch.randn(shape, generator=self.generator, dtype=torch.float64)
        return numbers.to(self.device)

    def uniform(self, *shape: int) -> Tensor:
        """Draws numbers between 0 and 1."""
        return torch.rand(shape, generator=self.generator).to(self.device)


def slope_error(p: Tensor, batch: Mapping[str, Tensor], draws: Draws) -> Tensor:
    """Draws how far the slopes of fits are off: ``SLOPES``, with shape (B).

    Arguments:
        p: True parameters of the macro-model, with shape (B, 8).
        batch: ``amplitude`` and ``sigma`` of :mod:`lensrim.datasets.pairs.pairs`.
        draws: Where random numbers come from.
    """
    reach = (signal_to_noise(batch).double().log10() - SLOPE_SNR).clamp(-0.5, 0.8)
    (share, by_snr), (spread, spread_by_snr) = SLOPES
    error = (share + by_snr * reach) * (p[:, 7] - SLOPE_MEAN)
    return error + (spread + spread_by_snr * reach) * draws.normal(len(p))


def push_of(p: Tensor, draws: Draws) -> Tensor:
    """Draws how far ``PUSHED`` of the fits with parameters (B, 8) are pushed off: (B, 8)."""
    push, pushed = draws.normal(*p.shape), draws.uniform(len(p)) < PUSHED
    return push * push.new_tensor(PUSH) * pushed[:, None]
