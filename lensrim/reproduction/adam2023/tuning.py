r"""Fine-tuning: the weights of a machine are changed for one image, held by an elastic penalty.

Steps of RMSProp minimise

.. math:: \frac{1}{2} \chi^2_\nu + \lambda \sum_i F_i (w_i - w^0_i)^2 ,

with :math:`\chi^2_\nu` that of the frame, as in the paper, and :math:`F` the mean square gradients
of the machine's own loss (:mod:`lensrim.inference.ewc`) on lenses that are drawn around its answer
(:mod:`lensrim.inference.nearby`) and observed as the image was. Of the states that are met the
answer is the one whose :math:`\chi^2_\nu` is nearest to 1, and the steps end where it falls to 1.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

from ...datasets.galaxies.generative import load_vae
from ...datasets.galaxies.learnt import LEARNT, weights_of
from ...grid import PixelGrid
from ...inference.ewc import ElasticPenalty
from ...inference.nearby import Neighbourhood
from ...inference.perturbation import packaged_prior
from ...inference.start import Start
from ...lensing.einstein import effective_theta_E, kappa_center
from ...rim import RIM, State
from ...training.feed import to_device
from .designs import Design
from .systems import Draws, kappa_of

MEMORY = 0.9
"""Memory of RMSProp for the square of the gradient: that of the paper's library."""


@dataclass(frozen=True)
class FineTuning:
    """Creates the fine-tuning.

    Arguments:
        steps: Most steps.
        rate: Their rate.
        strength: Strength :math:`\\lambda` of the penalty.
        samples: Lenses on which it is measured.
    """

    steps: int = 20
    rate: float = 3e-4
    strength: float = 1.0
    samples: int = 4

    def __call__(
        self, design: Design, rim: RIM, draws: Draws, seed: int
    ) -> tuple[dict[str, Tensor], int]:
        """Fine-tunes a machine to one lens.

        Arguments:
            design: Its design.
            rim: The machine, whose own weights stay as they are; it works where they are.
            draws: The lens, a batch of one, on the CPU, where lenses around it are drawn.
            seed: Seed of the lenses around the answer.

        Returns:
            The state, on the CPU, and how many steps were made.
        """
        own = copy.deepcopy(rim).requires_grad_(True)
        device = next(own.parameters()).device
        here, draws = draws, to_device(draws, device)
        with torch.no_grad():
            last = design.run(own, draws).last

        def loss(network: nn.Module, batch: Draws) -> tuple[Tensor, dict[str, float]]:
            return design.loss(network, batch), {}

        answer = {name: value.cpu() for name, value in last.items()}
        around = neighbours(design, answer, here, self.samples, seed)
        samples = (to_device(each, device) for each in around)
        penalty = ElasticPenalty.of(own, samples, loss, strength=self.strength)
        optimiser = torch.optim.RMSprop(own.parameters(), lr=self.rate, alpha=MEMORY)
        best, nearest = answer, float("inf")
        for step in range(self.steps + 1):
            state = design.run(own, draws).last
            misfit = (draws["image"] - design.image(state, draws)) / draws["sigma"]
            chi2 = misfit.square().mean()
            value = float(chi2.detach())
            if abs(value - 1) < nearest:
                best = {name: v.detach().cpu() for name, v in state.items()}
                nearest = abs(value - 1)
            if value <= 1 or step == self.steps:
                return best, step
            optimiser.zero_grad()
            (chi2 / 2 + penalty(own)).backward()
            optimiser.step()
        raise AssertionError("the loop ends by itself")


def neighbours(
    design: Design, state: State, draws: Draws, count: int, seed: int
) -> Iterator[Draws]:
    """Draws lenses around a state, observed as its image was, with their truth, one by one."""
    rng = torch.Generator().manual_seed(seed)
    near = _neighbourhood()
    whole = {"shear": torch.zeros(1, 2)} | {k: v.detach() for k, v in state.items()}
    for _ in range(count):
        like = near.states(whole, around(whole), 1, rng)
        with torch.no_grad():
            clean = design.image(like, draws)
        noise = draws["sigma"] * torch.randn(clean.shape, generator=rng)
        yield design.imagined(draws, like, clean + noise, clean)


def around(state: State) -> Start:
    """Returns a start whose macro-model, round and isothermal, has the mass of a state."""
    kappa = kappa_of(state)[0, 0].double().numpy()
    grid = PixelGrid((kappa.shape[0], kappa.shape[1]), 1.0)
    theta_E = effective_theta_E(kappa, grid, subsample=4)
    radius = theta_E if theta_E > 0 else min(grid.shape) / 4
    log_radius = float(torch.tensor(radius).log())
    p = torch.tensor([[log_radius, 0, 0, *kappa_center(kappa, grid), 0, 0, 2.0]])
    maps, size = state["log_kappa"], torch.ones(1)
    return Start(p.double(), state["source"], size, maps, state["shear"], torch.cat([maps] * 2, 1))


@lru_cache(maxsize=1)
def _neighbourhood() -> Neighbourhood:
    return Neighbourhood(load_vae(weights_of(LEARNT)), packaged_prior(), mass_spread=1.0)
