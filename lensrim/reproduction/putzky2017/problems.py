r"""The problems: what is seen of which images, with how much noise.

A training mixes the kinds of its problems, one a batch; one judges each with fixed numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ...evaluation.problems.problem import log_uniform, psnr, relative
from .operators import Coarse, Operator, binary, fourier, gaussian, holes
from .pictures import Leaves, Pictures

Draws = dict[str, Any]
"""``truth`` (B, 1, N, N), ``y``, ``sigma`` (B), and the ``operator`` of all of them."""

Maker = Callable[[float, int, torch.Generator], Operator]

BITS = 255
"""Noise is told in units of a step of eight bits."""

PROJECTIONS: Mapping[str, Maker] = {"Gaussian": gaussian, "binary": binary, "Fourier": fourier}
"""The random projections of the paper's section 4.4."""


def whole(share: float, size: int, rng: torch.Generator) -> Operator:
    """Returns what hides nothing."""
    return Coarse(1)


@dataclass(frozen=True)
class Kind:
    """Describes a family of problems that are trained on.

    Arguments:
        makers: Ways to make the operator, one of which a batch takes, in turn.
        shares: Numbers that are seen, by pixel, one of which a batch takes.
        noise: Bounds of the noise (log-uniform, each image its own).
    """

    makers: Sequence[Maker]
    shares: Sequence[float] = (1.0,)
    noise: tuple[float, float] = (1 / BITS, 1 / BITS)

    def draw(
        self, pictures: Pictures, size: int, batch: int, number: int, rng: torch.Generator
    ) -> Draws:
        """Draws batch ``number``."""
        share = self.shares[int(torch.randint(len(self.shares), (), generator=rng))]
        operator = self.makers[number % len(self.makers)](share, size, rng)
        sigma = log_uniform(batch, *self.noise, rng)
        return observed(pictures.draw(batch, size, rng), operator, sigma, rng)


def observed(x: Tensor, operator: Operator, sigma: Tensor, rng: torch.Generator) -> Draws:
    """Observes images (B, 1, N, N) with noise (B)."""
    seen = operator(x)
    noise = torch.randn(seen.shape, generator=rng)
    y = seen + sigma.reshape(-1, *[1] * (seen.ndim - 1)) * noise
    return {"truth": x, "y": y, "sigma": sigma, "operator": operator}


TASKS = Kind(tuple(PROJECTIONS.values()), (0.1, 0.2, 0.3, 0.4, 0.5))
"""Of the machine of three tasks: random projections with a noise of 1; the shares are ours."""

DENOISING = Kind((whole,), noise=(5 / BITS, 60 / BITS))
"""Of the machine for denoising; the range is ours."""


def minus_psnr(estimate: Tensor, truth: Tensor) -> Tensor:
    """Computes minus the peak signal-to-noise ratio [dB], of which less is better: (B)."""
    return -psnr(estimate, truth)


@dataclass(frozen=True)
class Trial:
    """Describes a problem on which machines are judged.

    Arguments:
        name: What it is called.
        make: Makes the operator.
        share: Numbers that are seen, by pixel.
        noise: The noise, in units of a step of eight bits.
        steps: Calls of the score that the rivals are compared at, beside their end.
        pictures: Its images.
        chosen_on: Images that the settings of the rivals are chosen on.
    """

    name: str
    make: Maker
    share: float = 1.0
    noise: float = 1.0
    steps: int = 10
    pictures: Pictures = field(default_factory=Leaves)
    chosen_on: Pictures = field(default_factory=Leaves)

    @property
    def is_denoising(self) -> bool:
        """Whether all is seen, and noise is all that is wrong."""
        return self.make is whole

    @property
    def label(self) -> str:
        """The name, for files."""
        return "".join(c if c.isalnum() else "_" for c in self.name)

    @property
    def errors(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        """Measures of the error; settings are chosen by the first."""
        return {"-PSNR": minus_psnr, "relative L2": relative}

    def draw(self, batch: int, size: int, rng: torch.Generator) -> Draws:
        """Draws the problem."""
        operator = self.make(self.share, size, rng)
        sigma = torch.full((batch,), self.noise / BITS)
        return observed(self.pictures.draw(batch, size, rng), operator, sigma, rng)


def twice(share: float, size: int, rng: torch.Generator) -> Operator:
    """Returns what sees means of squares of 2 x 2 pixels."""
    return Coarse(2)


def trials(steps: int, pictures: Pictures, chosen_on: Pictures) -> list[Trial]:
    """Returns the problems: projections to four tenths, three noises, holes, and coarse pixels."""

    def trial(name: str, make: Maker, share: float = 1.0, noise: float = 1.0) -> Trial:
        return Trial(name, make, share, noise, steps, pictures, chosen_on)

    return [
        *(trial(f"{name} projection to 0.4", make, 0.4) for name, make in PROJECTIONS.items()),
        trial("Gaussian projection to 0.2", gaussian, 0.2),
        *(trial(f"denoising, sigma {s}", whole, 1.0, s) for s in (15, 25, 50)),
        trial("inpainting, half of the pixels", holes, 0.5),
        trial("super-resolution, factor 2", twice),
    ]
