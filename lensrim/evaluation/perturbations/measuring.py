"""What a mass, or an answer, lacks of a true convergence that no macro-model or sheet explains."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...grid import PixelGrid
from ...inference.macro import mass_model
from ...inference.perturbation import PerturbationPrior, along_axes
from ...lensing.mass import pixel_average
from ..mocks import Mock

Array = NDArray[np.float64]

INNER, OUTER = 0.3, 2.5

FREE = (0, 1, 2, 3, 4, 7)
"""Parameters of the macro-model that change the convergence."""

NODES = tuple(0.3 * 1.5**j for j in range(6))
ORDERS = 6


@dataclass(frozen=True)
class Measured:
    """Holds what one lens says of the coefficients.

    Arguments:
        gram: :math:`B_\\perp B_\\perp^T`, with shape (P, P), and ...
        moment: ... :math:`B_\\perp e_\\perp`, with shape (P), of weights with mean square 1.
        rms: Root of the mean square of :math:`e_\\perp`.
    """

    gram: Array
    moment: Array
    rms: float


def unit_prior(nodes: Sequence[float] = NODES, orders: int = ORDERS) -> PerturbationPrior:
    """Returns the prior with variances of 1, whose functions are the bare ones."""
    eye = np.eye(len(nodes))
    return PerturbationPrior(tuple(nodes), ((eye,), *((eye, eye) for _ in range(orders))))


def first_guess(mock: Mock) -> Tensor:
    """Returns the parameters of a mock's ellipsoid in pixels, with shape (8)."""
    lens = mock.truth.system.in_pixels().lens
    host = lens.ellipsoid
    flat = (1 - host.q) / (1 + host.q)
    e1, e2 = flat * math.cos(2 * host.phi), flat * math.sin(2 * host.phi)
    p = [math.log(host.theta_E), e1, e2, host.center_x, host.center_y]
    return torch.tensor([*p, lens.gamma1, lens.gamma2, host.gamma], dtype=torch.float64)


def measure(kappa: Array, guess: Tensor, *, steps: int = 3) -> Measured:
    """Measures what no macro-model explains of a convergence.

    Arguments:
        kappa: True convergence, with shape (H, W).
        guess: Parameters in pixels to begin with, with shape (8).
        steps: Gauss-Newton steps of the macro-model.
    """
    grid = PixelGrid((kappa.shape[0], kappa.shape[1]), 1.0)
    p, truth = guess.clone(), torch.from_numpy(kappa)
    for step in range(steps + 1):
        region, weight = _rings(p, grid)
        error = (truth / _log_kappa(p, grid).exp() - 1)[region] * weight
        slopes = _slopes(p, grid)[:, region] * weight
        if step < steps:
            p[list(FREE)] += torch.linalg.lstsq(slopes.T, error).solution.clamp(-0.15, 0.15)
    return _left(error, slopes, _weighted_functions(p, grid, region, weight))


def measure_answer(kappa: Array, answer: Array, p: Tensor, grid: PixelGrid) -> Measured:
    """Measures what an answer lacks of a convergence, but for what a macro-model or a mass sheet
    explains.

    Arguments:
        kappa: True convergence, with shape (H, W).
        answer: That of the answer, without its own mass sheet, with shape (H, W).
        p: Parameters of its macro-model, with shape (8).
        grid: The pixels.
    """
    region, weight = _rings(p, grid)
    given = torch.from_numpy(answer)
    error = (torch.from_numpy(kappa) / given - 1)[region] * weight
    # a change of the macro-model is added to the answer, whose convergence is another
    macro = _log_kappa(p, grid).exp() / given
    sheet = (1 - given) / given
    slopes = torch.cat([_slopes(p, grid) * macro, sheet[None]])[:, region] * weight
    return _left(error, slopes, _weighted_functions(p, grid, region, weight))


def _slopes(p: Tensor, grid: PixelGrid) -> Tensor:
    """Derivatives of ln kappa by the free parameters, with shape (F, H, W)."""
    logarithm = _log_kappa(p, grid)
    moved = p.expand(len(FREE), -1).clone()
    moved[range(len(FREE)), list(FREE)] += 1e-4
    return torch.stack([(_log_kappa(q, grid) - logarithm) / 1e-4 for q in moved])


def _rings(p: Tensor, grid: PixelGrid) -> tuple[Tensor, Tensor]:
    """The pixels that are measured, and their weights, which are alike for every ring."""
    radius = torch.hypot(*along_axes(grid, p))
    region = (radius > INNER) & (radius < OUTER)
    weight = 1 / radius[region]
    return region, weight / weight.square().mean().sqrt()


def _weighted_functions(p: Tensor, grid: PixelGrid, region: Tensor, weight: Tensor) -> Tensor:
    return unit_prior().functions(*along_axes(grid, p))[:, region] * weight


def _left(error: Tensor, slopes: Tensor, functions: Tensor) -> Measured:
    """Takes what the slopes explain out of an error and of the functions."""
    explained, _ = torch.linalg.qr(slopes.T)
    error = error - explained @ (explained.T @ error)
    functions = functions - (functions @ explained) @ explained.T
    return Measured(
        (functions @ functions.T).numpy(),
        (functions @ error).numpy(),
        float(error.square().mean().sqrt()),
    )


def _log_kappa(p: Tensor, grid: PixelGrid) -> Tensor:
    return pixel_average(mass_model(p), grid).log()
