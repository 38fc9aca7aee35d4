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
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from ...rim import (
    RIM,
    Field,
    Normalized,
    Raw,
    State,
    Trajectory,
    UNet,
    energy_score,
    sizes,
    trajectory_loss,
)
from ...training.config import TrainConfig
from .iterations import adam, conjugate_gradients, gradient_ascent
from .problem import Draws, Rival, Solver, log_uniform, rms

FIELDS = {"x": Field(1, 1, step=0.5)}
ENCODINGS = (Raw(), Normalized())


def energy(x: State, y: Tensor, a: Tensor) -> Tensor:
    r"""Computes :math:`\| y - A x \|^2 / 2`, the energy in units of the noise."""
    return (y - torch.einsum("bij,bj->bi", a, x["x"][:, 0])).square().sum(1) / 2


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
        widths, lift: Channels of its U-Net.
        unseen: Number of draws on which all are judged.
        name: On the command line.
        config: How the machine is trained.
    """

    size: int = 32
    seen: int = 24
    decay: float = 0.35
    noise: tuple[float, float] = (0.03, 0.3)
    steps: int = 8
    widths: tuple[int, ...] = (24, 32)
    lift: int = 24
    unseen: int = 1000
    name: str = "linear"
    config: TrainConfig = TrainConfig(
        steps=1500,
        batch_size=32,
        learning_rate=3e-3,
        warmup=50,
        ema=0.99,
        weight_decay=0.0,
        validate_every=250,
        checkpoint_every=250,
    )

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

    @property
    def errors(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        return {"rms": rms}

    def draw(self, batch: int, rng: torch.Generator) -> Draws:
        """Draws ``truth`` (B, 1, n), ``A`` (B, m, n), ``sigma`` (B) and ``y`` (B, m)."""
        x = torch.randn(batch, 1, self.size, generator=rng) @ self.root.float().T
        a = torch.randn(batch, self.seen, self.size, generator=rng) / math.sqrt(self.seen)
        sigma = log_uniform(batch, *self.noise, rng)
        noise = torch.randn(batch, self.seen, generator=rng)
        y = torch.einsum("bij,bj->bi", a, x[:, 0]) + sigma[:, None] * noise
        return {"truth": x, "A": a, "sigma": sigma, "y": y}

    def machine(self) -> RIM:
        shape: dict[str, Any] = sizes(
            FIELDS, encodings=len(ENCODINGS), observation=0, conditioning=1
        )
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
        score_fn = energy_score(energy, draws["y"], draws["A"], fields=FIELDS)
        start = {"x": torch.zeros_like(draws["truth"])}
        return rim(draws["y"], score_fn, start, draws["sigma"].log()[:, None])

    def loss(self, rim: RIM, draws: Draws) -> Tensor:
        return trajectory_loss(self.run(rim, draws), {"x": draws["truth"]})[0]

    def rivals(self, seed: int) -> Sequence[Rival]:
        """Returns those who know the likelihood alone, those who are told :math:`C`, and may
        iterate in :math:`x` or in :math:`L^{-1} x`, and the posterior mean."""
        one = torch.eye(self.size, dtype=torch.float64)
        nothing = {"": Variables(one, 0 * one)}
        told = {
            "in x": Variables(one, torch.linalg.inv(self.covariance)),
            "whitened": Variables(self.root, one),
        }
        found = [
            Rival(f"{name}{end}", prior, settings(ways, spaces), 500)
            for end, prior, spaces in ((", no prior", "", nothing), ("", "C", told))
            for name, ways in WAYS.items()
        ]
        exact = {"": partial(posterior_mean, covariance=self.covariance)}
        return [*found, Rival("posterior mean", "C", exact, shown=True)]


@dataclass(frozen=True)
class Variables:
    r"""Holds the variables :math:`z`, :math:`x = L z`, that a rival iterates in.

    Arguments:
        root: The matrix :math:`L`, with shape (n, n).
        precision: The inverse of the prior's covariance of :math:`z`; zero for no prior.
    """

    root: Tensor
    precision: Tensor

    def quadratic(self, draws: Draws) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`H` (B, n, n) and :math:`b` (B, n) of the score :math:`b - H z` of the
        log-posterior."""
        seen = draws["A"].double() @ self.root / draws["sigma"].double()[:, None, None]
        y = draws["y"].double() / draws["sigma"].double()[:, None]
        return self.precision + seen.mT @ seen, times(seen.mT, y)

    def estimates(self, iterates: Iterator[Tensor]) -> Iterator[Tensor]:
        """Yields :math:`x`, with shape (B, 1, n), of each :math:`z`."""
        return ((z @ self.root.T)[:, None].float() for z in iterates)


def times(matrix: Tensor, x: Tensor) -> Tensor:
    """Multiplies matrices (B, m, n) with vectors (B, n)."""
    return torch.einsum("bij,bj->bi", matrix, x)


def descend(
    draws: Draws, variables: Variables, *, rate: float, momentum: float = 0.0
) -> Iterator[Tensor]:
    """Descends with a step in units of the inverse of each sample's largest eigenvalue."""
    h, b = variables.quadratic(draws)
    step = rate / torch.linalg.eigvalsh(h)[:, -1:]
    start = torch.zeros_like(b)
    return variables.estimates(
        gradient_ascent(lambda z: b - times(h, z), start, rate=step, momentum=momentum)
    )


def adaptive(draws: Draws, variables: Variables, *, rate: float) -> Iterator[Tensor]:
    """Descends by Adam."""
    h, b = variables.quadratic(draws)
    return variables.estimates(adam(lambda z: b - times(h, z), torch.zeros_like(b), rate=rate))


def conjugate(draws: Draws, variables: Variables) -> Iterator[Tensor]:
    """Descends by conjugate gradients."""
    h, b = variables.quadratic(draws)
    return variables.estimates(conjugate_gradients(lambda z: times(h, z), b))


def posterior_mean(draws: Draws, *, covariance: Tensor) -> Iterator[Tensor]:
    """Computes the posterior mean, the least mean square error that anyone can have."""
    one = torch.eye(len(covariance), dtype=torch.float64)
    h, b = Variables(one, torch.linalg.inv(covariance)).quadratic(draws)
    yield torch.linalg.solve(h, b)[:, None].float()


RATES = (0.5, 1.0, 1.5, 1.9)
MOMENTA = (0.5, 0.7, 0.8, 0.9, 0.95)
ADAM_RATES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)

WAYS: dict[str, dict[str, Callable[..., Iterator[Tensor]]]] = {
    "gradient descent": {f"rate {r:g} / L": partial(descend, rate=r) for r in RATES},
    "momentum": {
        f"rate {r:g} / L, momentum {m:g}": partial(descend, rate=r, momentum=m)
        for r in RATES
        for m in MOMENTA
    },
    "Adam": {f"rate {r:g}": partial(adaptive, rate=r) for r in ADAM_RATES},
    "conjugate gradients": {"": conjugate},
}
"""Ways to iterate, each with the settings among which it chooses."""


def settings(
    ways: Mapping[str, Callable[..., Iterator[Tensor]]], spaces: Mapping[str, Variables]
) -> dict[str, Solver]:
    """Combines the settings of a way with the variables that it may iterate in."""
    return {
        ", ".join(filter(None, (label, space))): partial(solve, variables=variables)
        for label, solve in ways.items()
        for space, variables in spaces.items()
    }
