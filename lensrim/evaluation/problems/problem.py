"""What a problem is made of: how it is drawn, its machine, and those who solve it otherwise.

The draws of a problem are a function of a seed, of what they are for, and of their number: what is
trained on, what settings are chosen on, and what is judged on never meet.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ...rim import RIM, Trajectory
from ...training.config import TrainConfig

Draws = Mapping[str, Any]
"""Samples of a problem, the batch first: ``truth`` and ``y``, maps of one channel or vectors,
``sigma``, and what else it has, such as an operator."""

Solver = Callable[[Draws], Iterator[Tensor]]
"""Begins to solve draws, and yields its estimate after each call of the score; a direct solution
is yielded once."""

TRAINING, VALIDATION, CHOICE, UNSEEN, STATISTICS = range(5)
"""What draws are for."""


def generator(seed: int, purpose: int, index: int = 0) -> torch.Generator:
    """Creates the random numbers of a batch.

    Arguments:
        seed: Seed of a whole run.
        purpose: What the draws are for.
        index: Number of the batch.
    """
    words = np.random.default_rng([seed, purpose, index])
    return torch.Generator().manual_seed(int(words.integers(2**62)))


def uniform(batch: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    """Draws numbers between two bounds, with shape (B)."""
    return low + (high - low) * torch.rand(batch, generator=rng)


def log_uniform(batch: int, low: float, high: float, rng: torch.Generator) -> Tensor:
    """Draws positive numbers whose logarithms lie evenly between two bounds, with shape (B)."""
    return low * (high / low) ** torch.rand(batch, generator=rng)


@dataclass(frozen=True)
class Rival:
    """Holds another way to solve a problem.

    Arguments:
        name: What it is called in the table.
        told: What it is told of the prior.
        settings: Ways to set it, by label; the best on separate draws is taken for each number of
            calls.
        converged: Calls of the score after which it no longer changes to speak of, the second
            number that the table has; ``None`` for a direct solution, which makes none.
        oracle: Whether to add a row in which each sample is stopped where its error is least,
            which only who knows the truth can do.
        shown: Whether the figure shows what it makes of the examples.
    """

    name: str
    told: str
    settings: Mapping[str, Solver]
    converged: int | None = None
    oracle: bool = False
    shown: bool = False


@runtime_checkable
class Measured(Protocol):
    """What has measures of the error of estimates."""

    @property
    def errors(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        """Measures of the error of estimates, given the truth, with shape (B), by name; settings
        are chosen by the least mean of the first."""
        ...


@runtime_checkable
class Problem(Measured, Protocol):
    """An inverse problem."""

    @property
    def name(self) -> str:
        """Its name on the command line."""
        ...

    @property
    def config(self) -> TrainConfig:
        """How its machine is trained."""
        ...

    @property
    def unseen(self) -> int:
        """Number of draws on which all are judged."""
        ...

    def draw(self, batch: int, rng: torch.Generator) -> Draws:
        """Draws samples."""
        ...

    def machine(self) -> RIM:
        """Creates an untrained machine."""
        ...

    def run(self, rim: RIM, draws: Draws) -> Trajectory:
        """Runs a machine, whose field ``x`` is compared with the truth, on draws."""
        ...

    def loss(self, rim: RIM, draws: Draws) -> Tensor:
        """Computes what the training makes small."""
        ...

    def rivals(self, seed: int) -> Sequence[Rival]:
        """Returns all others; what they are told is counted on draws of this seed."""
        ...


def rms(estimate: Tensor, truth: Tensor) -> Tensor:
    """Computes the root mean square error, with shape (B)."""
    return (estimate - truth).flatten(1).square().mean(1).sqrt()


def relative(estimate: Tensor, truth: Tensor) -> Tensor:
    """Computes the relative error in the L2 norm, with shape (B)."""
    return (estimate - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)


def psnr(estimate: Tensor, truth: Tensor) -> Tensor:
    """Computes the peak signal-to-noise ratio [dB] for a peak of 1, with shape (B)."""
    return -20 * rms(estimate, truth).log10()
