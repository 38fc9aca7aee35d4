"""What the network tells the search of a scene: where to start, and where to be surprised."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ..._toml import read_toml
from ..._weight_files import check_sum
from ..._weights import read_weights
from ..macro import MacroPrior
from ..scene import Scene
from ..search import FLATTEST
from .look import Look
from .network import Guess, Guesser

CARD = Path(__file__).with_name("card.toml")
"""What is known of the packaged network, which lies beside it."""

TURNS = 4
"""Squares of a scene, a right angle apart: the network guesses from each of them."""


@lru_cache(maxsize=1)
def packaged_guesser() -> Guesser:
    """Reads the packaged network.

    Raises:
        InputError: If its file is not the one of its card.
    """
    card = read_toml(CARD)
    path = CARD.with_name(card["file"])
    check_sum(path, card["sha256"])
    network = Guesser()
    network.load_state_dict(read_weights(path)[0])
    return network.eval()


@dataclass(frozen=True)
class Guesses:
    """Holds what the network says of a scene.

    Arguments:
        look: The squares, ``TURNS`` of them.
        guess: A guess for each.
        prior: What is known of the macro-model besides.
    """

    look: Look
    guess: Guess
    prior: MacroPrior

    def starts(self, seed: int, *, draws: int) -> Tensor:
        """Returns parameters to start from, each guess's mean and draws, with shape (N, 8).

        Arguments:
            seed: Seed of the draws.
            draws: Draws from each guess, beside its mean.
        """
        generator = torch.Generator().manual_seed(seed)
        drawn = self.guess.draw(draws, generator)
        numbers = torch.cat([self.guess.mean[:, None], drawn], 1).flatten(0, 1)
        look = self.look.repeated(1 + draws)
        low, high = (math.log(t) for t in self.prior.theta_E)
        p = look.told(numbers).double()
        return allowed(p, self.prior.theta_E, margin=0.01 * (high - low))

    def distance(self, p: Tensor) -> float:
        """Computes how many widths a macro-model (8) is off the guesses, of the nearest."""
        seen = self.look.seen(p.float().expand(TURNS, -1))
        return float(self.guess.distance(seen).min())


def allowed(p: Tensor, theta_E: tuple[float, float], *, margin: float) -> Tensor:
    """Moves guessed parameters (N, 8) into the range of a prior.

    Arguments:
        p: The parameters.
        theta_E: Range of Einstein radii, in the unit of the parameters.
        margin: How far the logarithm of a radius stays from the ends of the range.
    """
    low, high = (math.log(t) for t in theta_E)
    radius = p[:, :1].clamp(low + margin, high - margin)
    flat = p[:, 1:3].norm(dim=1, keepdim=True).clamp(min=1e-12)
    shape = p[:, 1:3] * (FLATTEST / flat).clamp(max=1.0)
    return torch.cat([radius, shape, p[:, 3:]], 1)


@torch.no_grad()
def guesses_of(scene: Scene, prior: MacroPrior) -> Guesses:
    """Lets the network look at a scene from ``TURNS`` sides."""
    frame, light = scene.frame, scene.light
    left = frame.image - light.image - light.sky
    image, sigma, mask = (
        torch.from_numpy(a).float()[None, None].expand(TURNS, -1, -1, -1)
        for a in (left * frame.mask, scene.sigma, frame.mask.astype(float))
    )
    look = Look(
        torch.tensor([prior.center]).expand(TURNS, 2).float(),
        torch.full((TURNS,), min(frame.grid.fov) / 2),
        torch.arange(TURNS) * (math.pi / 2),
        torch.ones(TURNS),
    )
    peak = torch.full((TURNS,), float(scene.arc_light.max()))
    pixels = replace(look, center=look.center - torch.tensor(frame.grid.center))
    maps = pixels.maps(image, sigma, mask, peak, spacing=frame.grid.spacing)
    return Guesses(look, packaged_guesser()(maps), prior)
