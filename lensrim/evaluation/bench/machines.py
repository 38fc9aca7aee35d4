"""Machines that are trained alike: of this package, and of torch_rim where it is installed."""

import importlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...rim.core import RIM, sizes
from ...rim.fields import Field
from ...rim.networks import Network
from ...rim.preconditioning import Normalized, Raw
from .deconvolution import Deconvolution

MakeNetwork = Callable[..., Network]
"""Takes the dimensions of the maps, and the sizes as keyword arguments."""


@dataclass(frozen=True)
class Machine:
    """Holds a machine for one problem.

    Arguments:
        module: What is trained.
        run: Takes observations; returns the estimates after each step.
    """

    module: nn.Module
    run: Callable[[Tensor], Sequence[Tensor]]

    @property
    def size(self) -> int:
        """The number of parameters."""
        return sum(p.numel() for p in self.module.parameters())

    def loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Computes the mean square error over all steps."""
        return torch.stack([(state - x).square().mean() for state in self.run(y)]).mean()


def ours(problem: Deconvolution, network: MakeNetwork, *, steps: int) -> Machine:
    """Creates a machine of this package, which sees the score bare and normalised.

    Arguments:
        problem: The problem.
        network: Makes its network.
        steps: Number T of steps.
    """
    fields = {"x": Field(1, problem.dims, step=0.5)}
    encodings = (Raw(problem.sigma**2), Normalized())
    shape = sizes(fields, encodings=len(encodings), observation=0)
    rim = RIM(
        network(problem.dims, **shape),
        fields,
        steps=steps,
        precondition=encodings,
        observation=0,
    ).to(problem.device)

    def run(y: Tensor) -> list[Tensor]:
        trajectory = rim(y, problem.score_fn(y), {"x": torch.zeros_like(y)})
        return [state["x"] for state in trajectory.states[1:]]

    return Machine(rim, run)


def torch_rim(
    problem: Deconvolution,
    hourglass: Mapping[str, Any],
    *,
    steps: int,
    encoding: str = "ADAM",
    scale: float = 1.0,
) -> Machine:
    """Creates a machine of torch_rim with its hourglass.

    Arguments:
        problem: The problem.
        hourglass: Keyword arguments of the hourglass.
        steps: Number T of steps.
        encoding: Its name of the encoding of the score.
        scale: Factor of the score, which it has no option for.
    """
    library = importlib.import_module("rim")

    def score(x: Tensor, y: Tensor) -> Tensor:
        return scale * problem.score_fn(y)({"x": x})[0]["x"]

    network = library.Hourglass(1, dimensions=problem.dims, **hourglass)
    rim = library.RIM(
        (problem.n,) * problem.dims,
        network.to(problem.device),
        score_fn=score,
        T=steps,
        score_preprocessing_method=encoding,
        device=problem.device,
    )
    return Machine(rim, rim)


def has_torch_rim() -> bool:
    """Whether torch_rim is installed; other packages may be called by its import name, too."""
    try:
        return importlib.util.find_spec("rim.rim") is not None
    except ModuleNotFoundError:
        return False


def train(
    machine: Machine, problem: Deconvolution, *, steps: int, batch: int, rate: float, seed: int
) -> None:
    """Trains a machine by Adam on one cycle of learning rates, each batch drawn anew.

    Arguments:
        machine: The machine.
        problem: Its problem.
        steps: Steps of the training.
        batch: Samples of each.
        rate: The highest learning rate.
        seed: Seed of the draws.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(machine.module.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, total_steps=steps)
    for _ in range(steps):
        optimiser.zero_grad()
        machine.loss(*problem.draw(batch, generator)).backward()
        nn.utils.clip_grad_norm_(machine.module.parameters(), 1.0)
        optimiser.step()
        schedule.step()


@torch.no_grad()
def errors(machine: Machine, problem: Deconvolution, *, count: int = 500) -> list[float]:
    """Computes the root mean square error after each step, on fields that none has seen."""
    x, y = problem.draw(count, torch.Generator().manual_seed(1234))
    return [float((state - x).square().mean().sqrt()) for state in machine.run(y)]


def best_error(problem: Deconvolution, *, count: int = 500) -> float:
    """Computes the root mean square error of the posterior mean, on the same fields."""
    x, y = problem.draw(count, torch.Generator().manual_seed(1234))
    return float((problem.posterior_mean(y) - x.cpu()).square().mean().sqrt())
