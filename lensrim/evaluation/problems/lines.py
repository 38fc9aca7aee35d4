r"""Spectra of emission lines on a faint continuum.

The continuum is a straight line in the logarithm; up to ten lines stand on it, Gaussians whose
standard deviations (0.7 to 4 pixels) and peaks (0.3 to 10) are spread evenly in the logarithm,
with one in two of them there. All values are positive. For 128 pixels their mean is 0.91, half of
them lie below 0.48, and the largest of a spectrum is 6.7 in the mean (5 000 draws).
"""

import torch
from torch import Tensor

from .problem import log_uniform, uniform

LINES = 10


def spectra(batch: int, size: int, rng: torch.Generator) -> Tensor:
    """Draws spectra, with shape (B, 1, N)."""
    at = torch.arange(size)
    level, slope = log_uniform(batch, 0.1, 1, rng), uniform(batch, -1, 1, rng)
    flux = level[:, None] * (slope[:, None] * (at / size - 0.5)).exp()
    for _ in range(LINES):
        there = torch.rand(batch, generator=rng) < 0.5
        peak = there * log_uniform(batch, 0.3, 10, rng)
        center, width = uniform(batch, 0, size, rng), log_uniform(batch, 0.7, 4, rng)
        away = (at - center[:, None]) / width[:, None]
        flux = flux + peak[:, None] * (-away.square() / 2).exp()
    return flux[:, None]


def spread_matrix(width: Tensor, size: int) -> Tensor:
    r"""Computes what a spectrograph makes of light in each pixel, with shape (B, N, N).

    The line-spread function is a Gaussian whose width grows with the wavelength, from 0.7 to 1.3
    times its mean. Light that falls beyond the ends is lost.

    Arguments:
        width: Mean full widths at half maximum [pixels], with shape (B).
        size: Number of pixels.
    """
    at = torch.arange(size)
    sigma = width[:, None, None] / 2.3548 * (0.7 + 0.6 * at / size)
    away = (at[:, None] - at) / sigma
    return (-away.square() / 2).exp() / (sigma * (2 * torch.pi) ** 0.5)
