r"""Images denoised and deblurred, each with a PSF and a noise of its own.

.. math:: y = P * x + \sigma n ,

on a periodic frame, so that the convolution is a product of Fourier transforms. The images are
:func:`dead leaves <lensrim.evaluation.problems.leaves.dead_leaves>`; the PSFs Gaussian or Moffat,
elliptical, with known shape. The machine sees the score in units of the noise,
:math:`\sigma^2 \nabla \log p(y | x) = P^T * (y - P * x)`, the normalised residual, and
:math:`\log \sigma` and the width of the PSF.

The Wiener filter is told the mean power spectrum of the prior, :math:`S`,

.. math:: \hat x = \mu + \mathcal{F}^{-1} \frac{\bar P S}{|P|^2 S + \sigma^2} \mathcal{F} (y - \mu) ,

and is the best linear estimator. Total variation is the usual guess for a prior of edges.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from ...rim.core import RIM, Trajectory, sizes
from ...rim.fields import Aux, Field, State
from ...rim.losses import trajectory_loss
from ...rim.networks import UNet
from ...rim.preconditioning import Normalized, Raw
from ...training.config import TrainConfig
from .iterations import adam
from .leaves import dead_leaves
from .problem import STATISTICS, Draws, Rival, Solver, generator, log_uniform, uniform
from .tv import chambolle_pock, tv_score

FIELDS = {"x": Field(1, 2, spread=0.2, step=0.1)}
ENCODINGS = (Raw(10.0), Normalized())
AUX = {"residual": 1}


def transfer(batch: int, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    r"""Draws PSFs: their Fourier transforms (B, 1, N, N // 2 + 1), and their widths [pixels] (B).

    Half of them are Gaussian, half Moffat, :math:`(1 + r^2 / a^2)^{-\beta}` with :math:`\beta` of
    2.5 to 4.5; the full widths at half maximum are 1.5 to 4 pixels, the axis ratios 0.6 to 1.
    """
    width, ratio = log_uniform(batch, 1.5, 4, rng), uniform(batch, 0.6, 1, rng)
    angle, beta = uniform(batch, 0, math.pi, rng), uniform(batch, 2.5, 4.5, rng)[:, None, None]
    moffat = torch.rand(batch, generator=rng)[:, None, None] < 0.5
    i = torch.fft.fftfreq(size, 1 / size)
    x, y = i[None, None, :], i[None, :, None]
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along, across = x * cos + y * sin, y * cos - x * sin
    q = ratio.sqrt()[:, None, None]
    # The square of the radius, in units of that of half maximum.
    square = ((q * along).square() + (across / q).square()) / (width[:, None, None] / 2) ** 2
    profile = torch.where(moffat, (1 + square * (2 ** (1 / beta) - 1)) ** -beta, 0.5**square)
    psf = profile / profile.sum((1, 2), keepdim=True)
    return torch.fft.rfft2(psf)[:, None], width


def convolve(x: Tensor, transform: Tensor) -> Tensor:
    """Convolves periodic images (B, 1, N, N) with kernels whose Fourier transforms are given."""
    return torch.fft.irfft2(transform * torch.fft.rfft2(x), s=x.shape[-2:])


@dataclass(frozen=True)
class Images:
    """Creates the problem.

    Arguments:
        size: Pixels of a side.
        noise: Bounds of the noise, where the images lie in [0, 1].
        steps: Steps of the machine.
        config: How it is trained.
    """

    size: int = 48
    noise: tuple[float, float] = (0.01, 0.1)
    steps: int = 8
    widths: tuple[int, ...] = (24, 48)
    lift: int = 16
    config: TrainConfig = TrainConfig(
        steps=1200,
        batch_size=8,
        learning_rate=2e-3,
        warmup=50,
        ema=0.99,
        weight_decay=0.0,
        validate_every=100,
        checkpoint_every=100,
    )
    name: str = "images"

    def draw(self, batch: int, rng: torch.Generator) -> Draws:
        """Draws ``truth`` and ``y`` (B, 1, N, N), ``transform``, ``width`` and ``sigma`` (B)."""
        x = dead_leaves(batch, self.size, rng)
        transform, width = transfer(batch, self.size, rng)
        sigma = log_uniform(batch, *self.noise, rng)
        noise = torch.randn(x.shape, generator=rng)
        y = convolve(x, transform) + sigma[:, None, None, None] * noise
        return {"truth": x, "y": y, "transform": transform, "width": width, "sigma": sigma}

    def machine(self) -> RIM:
        shape = sizes(FIELDS, encodings=len(ENCODINGS), aux=AUX, conditioning=2)
        network = UNet(2, **shape, widths=self.widths, lift=self.lift, embedding=32)
        return RIM(
            network, FIELDS, steps=self.steps, precondition=ENCODINGS, aux=AUX, conditioning=2
        )

    def run(self, rim: RIM, draws: Draws) -> Trajectory:
        y, transform, sigma = draws["y"], draws["transform"], draws["sigma"]

        def score(state: State) -> tuple[State, Aux]:
            residual = y - convolve(state["x"], transform)
            normalised = residual / sigma[:, None, None, None]
            return {"x": convolve(residual, transform.conj())}, {"residual": normalised}

        described = torch.stack([sigma.log(), draws["width"].log()], 1)
        return rim(y, score, {"x": y}, described)

    def loss(self, rim: RIM, draws: Draws) -> Tensor:
        return trajectory_loss(self.run(rim, draws), {"x": draws["truth"]})[0]
