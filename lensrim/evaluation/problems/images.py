r"""Images denoised and deblurred, each with a PSF and a noise of its own.

.. math:: y = P * x + \sigma n ,

on a periodic frame, so that the convolution is a product of Fourier transforms. The images are
:func:`dead leaves <lensrim.evaluation.problems.leaves.dead_leaves>`; the PSFs Gaussian or Moffat,
elliptical, with known shape. The machine sees the score in units of the noise,
:math:`\sigma^2 \nabla \log p(y | x) = P^T * (y - P * x)`, the normalised residual, and
:math:`\log \sigma` and the width of the PSF.

The Wiener filter is told the mean power spectrum of the prior, :math:`S`,

.. math::
    \hat x = \mu + \mathcal{F}^{-1} \frac{\bar P S}{|P|^2 S + \sigma^2} \mathcal{F} (y - \mu) ,

and is the best linear estimator. Total variation is the usual guess for a prior of edges.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...rim import (
    RIM,
    Aux,
    Field,
    Normalized,
    Raw,
    State,
    Trajectory,
    UNet,
    linked_score,
    sizes,
    trajectory_loss,
)
from ...training.config import TrainConfig
from .iterations import adam
from .leaves import dead_leaves
from .problem import (
    STATISTICS,
    Draws,
    Rival,
    generator,
    log_uniform,
    psnr,
    relative,
    uniform,
)
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


def score(x: State, y: Tensor, transform: Tensor, sigma: Tensor) -> tuple[State, Aux]:
    """Computes the score in units of the noise, and the normalised residual beside it."""
    residual = y - convolve(x["x"], transform)
    normalised = residual / sigma[:, None, None, None]
    return {"x": convolve(residual, transform.conj())}, {"residual": normalised}


@dataclass(frozen=True)
class Images:
    """Creates the problem.

    Arguments:
        size: Pixels of a side.
        noise: Bounds of the noise, where the images lie in [0, 1].
        steps: Steps of the machine.
        widths, lift: Channels of its U-Net.
        unseen: Number of draws on which all are judged.
        name: On the command line.
        config: How the machine is trained.
    """

    size: int = 48
    noise: tuple[float, float] = (0.01, 0.1)
    steps: int = 8
    widths: tuple[int, ...] = (16, 32)
    lift: int = 12
    unseen: int = 500
    name: str = "images"
    config: TrainConfig = TrainConfig(
        steps=800,
        batch_size=8,
        learning_rate=3e-3,
        warmup=50,
        ema=0.99,
        weight_decay=0.0,
        validate_every=100,
        checkpoint_every=50,
    )

    @property
    def errors(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        return {"relative L2": relative, "PSNR": psnr}

    def draw(self, batch: int, rng: torch.Generator) -> Draws:
        """Draws ``truth`` and ``y`` (B, 1, N, N), ``transform``, ``width`` and ``sigma`` (B)."""
        x = dead_leaves(batch, self.size, rng)
        transform, width = transfer(batch, self.size, rng)
        sigma = log_uniform(batch, *self.noise, rng)
        noise = torch.randn(x.shape, generator=rng)
        y = convolve(x, transform) + sigma[:, None, None, None] * noise
        return {"truth": x, "y": y, "transform": transform, "width": width, "sigma": sigma}

    def machine(self) -> RIM:
        shape: dict[str, Any] = sizes(FIELDS, encodings=len(ENCODINGS), aux=AUX, conditioning=2)
        network = UNet(2, **shape, widths=self.widths, lift=self.lift, embedding=32)
        return RIM(
            network, FIELDS, steps=self.steps, precondition=ENCODINGS, aux=AUX, conditioning=2
        )

    def run(self, rim: RIM, draws: Draws) -> Trajectory:
        y, sigma = draws["y"], draws["sigma"]
        score_fn = linked_score(score, y, draws["transform"], sigma, fields=FIELDS)
        described = torch.stack([sigma.log(), draws["width"].log()], 1)
        return rim(y, score_fn, {"x": y}, described)

    def loss(self, rim: RIM, draws: Draws) -> Tensor:
        # Of logarithms: the errors of a sharp image without noise count as those of a bad one.
        return trajectory_loss(self.run(rim, draws), {"x": draws["truth"]}, floor=0.01)[0]

    def rivals(self, seed: int) -> Sequence[Rival]:
        known = dead_leaves(2000, self.size, generator(seed, STATISTICS))
        mean = float(known.mean())
        spectrum = (torch.fft.rfft2(known - mean).abs() ** 2).mean((0, 1)) / self.size**2
        primal = {
            f"weight {w:g} / sigma, step {step:g}": partial(sharpest, weight=w, step=step)
            for w in (0.1, 0.15, 0.22, 0.32)
            for step in (3.0, 10.0)
        }
        descents = {
            f"weight {w:g} / sigma, rate {rate:g}": partial(smoothest, weight=w, rate=rate)
            for w in (0.1, 0.15, 0.22, 0.32)
            for rate in (0.01, 0.03)
        }
        return [
            Rival(
                "Wiener filter",
                "power spectrum",
                {"": partial(wiener, mean=mean, spectrum=spectrum)},
                shown=True,
            ),
            Rival("TV, Chambolle-Pock", "edges", primal, 300, shown=True),
            Rival("TV, Adam", "edges", descents, 300),
        ]


def wiener(draws: Draws, *, mean: float, spectrum: Tensor) -> Iterator[Tensor]:
    """Computes the Wiener filter's answer.

    Arguments:
        draws: What to solve.
        mean: The mean of all pixels of the prior.
        spectrum: The mean power of a pixel in each wave, with shape (N, N // 2 + 1).
    """
    transform = draws["transform"]
    noise = draws["sigma"].square()[:, None, None, None]
    gain = transform.conj() * spectrum / (transform.abs().square() * spectrum + noise)
    yield mean + convolve(draws["y"] - mean, gain)


def sharpest(draws: Draws, *, weight: float, step: float) -> Iterator[Tensor]:
    r"""Minimises the energy with total variation, of the weight
    :math:`\mathrm{weight} / \sigma`."""
    return chambolle_pock(
        draws["y"], draws["transform"], weight=weight * draws["sigma"], step=step
    )


def smoothest(draws: Draws, *, weight: float, rate: float) -> Iterator[Tensor]:
    """Minimises the same by Adam, with the corner of the total variation rounded."""
    y, transform = draws["y"], draws["transform"]
    scale = weight * draws["sigma"][:, None, None, None]

    def score(x: Tensor) -> Tensor:
        return convolve(y - convolve(x, transform), transform.conj()) + scale * tv_score(x, 0.01)

    return adam(score, y, rate=rate)
