r"""Positive spectra deconvolved, each with a line-spread function and a noise of its own.

.. math:: y = A x + \sigma n , \qquad x = \log(1 + e^u) > 0 ,

with :func:`emission lines <lensrim.evaluation.problems.lines.spectra>` blurred by a width that
grows with the wavelength. The machine moves the free variable :math:`u`, from the one that belongs
to the data; its score is in units of the noise, and it is told :math:`\log \sigma` and the mean
width. Its file is read by ``load_rim(path, known=[begun])``: that function makes its start.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...rim import (
    RIM,
    ApproximateInverse,
    Field,
    Normalized,
    Raw,
    Softplus,
    State,
    Trajectory,
    UNet,
    energy_score,
    sizes,
    trajectory_loss,
)
from ...training.config import TrainConfig
from .iterations import adam, richardson_lucy
from .lines import spectra, spread_matrix
from .problem import STATISTICS, Draws, Rival, generator, log_uniform, relative, rms

FIELDS = {"x": Field(1, 1, spread=2.0, step=0.5, link=Softplus())}
ENCODINGS = (Raw(), Normalized())


def blur(x: Tensor, a: Tensor) -> Tensor:
    """Computes what is seen of spectra (B, 1, N) through matrices (B, M, N), shape (B, 1, M)."""
    return x @ a.mT


def energy(x: State, y: Tensor, a: Tensor) -> Tensor:
    r"""Computes :math:`\| y - A x \|^2 / 2`, the energy in units of the noise."""
    return (y - blur(x["x"], a)).square().sum((1, 2)) / 2


def begun(y: Tensor) -> dict[str, Tensor]:
    """Returns the data as a spectrum to start from: what is not positive is raised to 0.1."""
    return {"x": y.clamp(min=0.1)}


@dataclass(frozen=True)
class Spectra:
    """Creates the problem.

    Arguments:
        size: Pixels of a spectrum.
        widths: Bounds of the mean width of the line-spread function [pixels, full at half
            maximum].
        noise: Bounds of the noise.
        steps: Steps of the machine.
        unseen: Number of draws on which all are judged.
        name: On the command line.
        config: How the machine is trained.
    """

    size: int = 128
    widths: tuple[float, float] = (3.0, 8.0)
    noise: tuple[float, float] = (0.02, 0.2)
    steps: int = 8
    unseen: int = 1000
    name: str = "spectra"
    config: TrainConfig = TrainConfig(
        steps=800,
        batch_size=16,
        learning_rate=3e-3,
        warmup=50,
        ema=0.99,
        weight_decay=0.0,
        validate_every=250,
        checkpoint_every=250,
    )

    @property
    def errors(self) -> Mapping[str, Callable[[Tensor, Tensor], Tensor]]:
        return {"relative L2": relative, "rms": rms}

    def draw(self, batch: int, rng: torch.Generator) -> Draws:
        """Draws ``truth`` and ``y`` (B, 1, N), ``A`` (B, N, N), ``width`` and ``sigma`` (B)."""
        x, width = spectra(batch, self.size, rng), log_uniform(batch, *self.widths, rng)
        a, sigma = spread_matrix(width, self.size), log_uniform(batch, *self.noise, rng)
        noise = torch.randn(x.shape, generator=rng)
        y = blur(x, a) + sigma[:, None, None] * noise
        return {"truth": x, "y": y, "A": a, "width": width, "sigma": sigma}

    def machine(self) -> RIM:
        shape: dict[str, Any] = sizes(FIELDS, encodings=len(ENCODINGS), conditioning=2)
        network = UNet(1, **shape, widths=(24, 32), lift=16, embedding=32)
        return RIM(
            network,
            FIELDS,
            steps=self.steps,
            precondition=ENCODINGS,
            conditioning=2,
            start=ApproximateInverse(begun),
        )

    def run(self, rim: RIM, draws: Draws) -> Trajectory:
        score_fn = energy_score(energy, draws["y"], draws["A"], fields=FIELDS)
        described = torch.stack([draws["sigma"].log(), draws["width"].log()], 1)
        return rim(draws["y"], score_fn, conditioning=described)

    def loss(self, rim: RIM, draws: Draws) -> Tensor:
        # Of logarithms: a faint spectrum counts as a bright one.
        truth = {"x": draws["truth"]}
        return trajectory_loss(self.run(rim, draws), truth, floor=1e-4, physical=True)[0]

    def rivals(self, seed: int) -> Sequence[Rival]:
        known = spectra(20_000, self.size, generator(seed, STATISTICS))[:, 0].double()
        mean, covariance = known.mean(0), known.T.cov()
        smooth = {
            f"weight {weight:g}, rate {rate:g}": partial(smoothed, weight=weight, rate=rate)
            for weight in (1.0, 10.0, 30.0, 100.0)
            for rate in (0.01, 0.03, 0.1, 0.3)
        }
        return [
            Rival(
                "Wiener filter, negative values cut",
                "mean and covariance",
                {"": partial(wiener, mean=mean, covariance=covariance)},
                shown=True,
            ),
            Rival(
                "Richardson-Lucy",
                "positive",
                {"from the data": lucy, "from a constant": partial(lucy, flat=True)},
                converged=500,
                oracle=True,
            ),
            Rival("Adam, smooth logarithm", "positive, smooth", smooth, converged=500, shown=True),
        ]


def wiener(draws: Draws, *, mean: Tensor, covariance: Tensor) -> Iterator[Tensor]:
    r"""Computes the best linear estimate,
    :math:`\mu + C A^T (A C A^T + \sigma^2)^{-1} (y - A \mu)`, and cuts what is negative."""
    a, y = draws["A"].double(), draws["y"].double()[:, 0]
    noise = draws["sigma"].double()[:, None].square().expand_as(y).diag_embed()
    left = a @ covariance
    gain = torch.linalg.solve(left @ a.mT + noise, left).mT
    x = mean + torch.einsum("bij,bj->bi", gain, y - a @ mean)
    yield x[:, None].clamp(min=0).to(draws["y"])


def lucy(draws: Draws, *, flat: bool = False) -> Iterator[Tensor]:
    """Begins Richardson and Lucy's iteration, with the data or with a constant."""
    start = begun(draws["y"])["x"]
    if flat:
        start = start.mean(2, keepdim=True).expand_as(start)
    return richardson_lucy(draws["y"], draws["A"], start)


def smoothed(draws: Draws, *, weight: float, rate: float) -> Iterator[Tensor]:
    r"""Descends :math:`\| y - A e^u \|^2 / 2 \sigma^2 + w \| \nabla u \|^2 / 2` by Adam."""
    start = begun(draws["y"])["x"].log()
    return (u.exp() for u in adam(partial(smooth_score, draws, weight), start, rate=rate))


def smooth_score(draws: Draws, weight: float, u: Tensor) -> Tensor:
    """Computes minus the gradient of that energy."""
    x, step, variance = u.exp(), u.diff(dim=2), draws["sigma"].square()[:, None, None]
    bent = F.pad(step, (0, 1)) - F.pad(step, (1, 0))
    return x * ((draws["y"] - blur(x, draws["A"])) @ draws["A"]) / variance + weight * bent
