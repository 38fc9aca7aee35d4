r"""Random linear Gaussian problems, whose posterior mean is known exactly.

.. math:: x \sim N(0, C) , \qquad y = A x + \sigma n , \qquad A_{ij} \sim N(0, 1 / m) , \qquad
          \hat x = (C^{-1} + A^T A / \sigma^2)^{-1} A^T y / \sigma^2 .

Each sample has its own matrix and noise: what a machine can learn is the prior and how to descend,
not an inverse. It sees the score of the *likelihood* alone, in units of the noise,
:math:`\sigma^2 \nabla \log p(y | x) = A^T (y - A x)`, with :math:`\log \sigma` beside it. The
rivals are told :math:`C`.

References:
    Putzky & Welling 2017, arXiv:1706.04008, section 3.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...rim.core import RIM, Trajectory, sizes
from ...rim.fields import Aux, Field, State
from ...rim.losses import trajectory_loss
from ...rim.networks import UNet
from ...rim.preconditioning import Normalized, Raw
from ...training.config import TrainConfig
from .iterations import adam, conjugate_gradients, gradient_ascent
from .problem import Draws, Rival, Solver, log_uniform

FIELDS = {"x": Field(1, 1, step=0.5)}
ENCODINGS = (Raw(), Normalized())


@dataclass(frozen=True)
class Linear:
    r"""Creates the problem.

    Arguments:
        size: Elements :math:`n` of :math:`x`.
        seen: Elements :math:`m` of :math:`y`.
        decay: Inverse length :math:`k` of the prior's covariance, a Matérn of order 3/2,
            :math:`C_{ij} = (1 + k |i - j|) \exp(-k |i - j|)`.
        noise: Bounds of :math:`\sigma`.
        steps: Steps of the machine.
        config: How it is trained.
    """

    size: int = 32
    seen: int = 24
    decay: float = 0.35
    noise: tuple[float, float] = (0.03, 0.3)
    steps: int = 8
    widths: tuple[int, ...] = (32, 48)
    lift: int = 32
    config: TrainConfig = TrainConfig(
        steps=4000,
        batch_size=64,
        learning_rate=3e-3,
        warmup=100,
        betas=(0.9, 0.99),
        ema=0.995,
        weight_decay=0.0,
        validate_every=500,
        checkpoint_every=500,
    )
    name: str = "linear"

    @cached_property
    def covariance(self) -> Tensor:
        """The covariance :math:`C` of the prior, with shape (n, n)."""
        i = torch.arange(self.size, dtype=torch.float64)
        apart = self.decay * (i[:, None] - i).abs()
        return (1 + apart) * (-apart).exp()

    @cached_property
    def root(self) -> Tensor:
        """The Cholesky factor :math:`L`, :math:`C = L L^T`, with shape (n, n)."""
        return torch.linalg.cholesky(self.covariance)

    def draw(self, batch: int, rng: torch.Generator) -> Draws:
        """Draws ``truth`` (B, n), ``A`` (B, m, n), ``sigma`` (B) and ``y`` (B, m)."""
        x = torch.randn(batch, self.size, generator=rng) @ self.root.float().T
        a = torch.randn(batch, self.seen, self.size, generator=rng) / math.sqrt(self.seen)
        sigma = log_uniform(batch, *self.noise, rng)
        noise = torch.randn(batch, self.seen, generator=rng)
        y = torch.einsum("bij,bj->bi", a, x) + sigma[:, None] * noise
        return {"truth": x, "A": a, "sigma": sigma, "y": y}

    def machine(self) -> RIM:
        shape = sizes(FIELDS, encodings=len(ENCODINGS), observation=0, conditioning=1)
        network = UNet(1, **shape, widths=self.widths, lift=self.lift, embedding=32)
        return RIM(
            network,
            FIELDS,
            steps=self.steps,
            precondition=ENCODINGS,
            observation=0,
            conditioning=1,
        )

    def run(self, rim: RIM, draws: Draws) -> Trajectory:
        a, y = draws["A"], draws["y"]

        def score(state: State) -> tuple[State, Aux]:
            x = state["x"][:, 0]
            residual = y - torch.einsum("bij,bj->bi", a, x)
            return {"x": torch.einsum("bij,bi->bj", a, residual)[:, None]}, {}

        start = {"x": torch.zeros_like(draws["truth"])[:, None]}
        return rim(y, score, start, draws["sigma"].log()[:, None])

    def loss(self, rim: RIM, draws: Draws) -> Tensor:
        return trajectory_loss(self.run(rim, draws), {"x": draws["truth"][:, None]})[0]
