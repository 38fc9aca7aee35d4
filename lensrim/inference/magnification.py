r"""The total magnification, and for the macro-model its error, of the source and the lens model.

.. math:: \mu = \frac{\sum_\theta s(\beta(\theta))}{\sum_\beta s(\beta)} \, \frac{h^2}{h_s^2} \, ,

both sums over the part of the source that is detected, where its mean exceeds ``DETECTED``
standard deviations: far out a source map is noise around zero, and its sum has no meaning. The
magnification leans on the slope of the mass (mass-sheet degeneracy), which the error holds within
the prior of the slope.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ..grid import PixelGrid
from .answer import Answer
from .ascent import MacroProblem
from .inversion import solve
from .macro import MacroState
from .search import Scene
from .view import MassMaps, View

DETECTED = 3.0
"""Significance of the source above which it counts."""

SIDE = 128
"""Pixels along the side of the square on which the source is summed."""

DRAWS = 32
"""Draws from the posterior of the source."""


def total_magnification(
    problem: MacroProblem, state: MacroState, covariance: Tensor, *, seed: int = 0
) -> tuple[float, float]:
    """Computes the total magnification and its standard deviation.

    Arguments:
        problem: What the macro-model was fitted to.
        state: The macro-model, a single candidate.
        covariance: That of its parameters, with shape (8, 8).
        seed: Seed of the draws.

    Returns:
        Both; NaN where no part of the source is detected.
    """
    values, vectors = torch.linalg.eigh(covariance)
    # The source is solved for again one standard deviation along every axis of the ellipsoid.
    axes = (vectors * values.clamp(min=0).sqrt()).T
    p = torch.cat([state.p, state.p + axes])
    hyper = state.hyper.expand(len(p), -1)
    blank = p.new_zeros(len(p))
    models = MacroState(p, hyper, blank, blank)
    with torch.no_grad():
        solution = solve(problem.system(models), problem.modes, hyper)
        k = len(problem.modes)
        basis = _basis(problem, state)
        best = solution.mean[:1, :k] @ basis
        generator = torch.Generator().manual_seed(seed)
        white = torch.randn(solution.scale.shape[1], DRAWS, generator=generator, dtype=p.dtype)
        white = white.to(p.device)  # drawn on the host: the same numbers on every device
        spread = torch.linalg.solve_triangular(solution.factor[0].T, white, upper=True)
        drawn = best + ((spread * solution.scale[0, :, None])[:k].T @ basis)
        mask = best[0] > DETECTED * (drawn - best).square().mean(0).sqrt()
        by_model = _ratio(problem, models, solution.mean[:, :k] @ basis * mask)
        by_source = _ratio(
            problem, models.select(torch.zeros_like(white[0], dtype=torch.long)), drawn * mask
        )
    variance = (by_model[1:] - by_model[0]).square().sum() + by_source.var()
    return float(by_model[0]), float(variance.sqrt())


def magnification_of(scene: Scene, result: Answer) -> float:
    """Computes the total magnification of an answer's maps; NaN where nothing is detected."""
    alpha = torch.from_numpy(np.stack([result.alpha_x, result.alpha_y]))
    deflector = MassMaps(torch.from_numpy(result.kappa), alpha)
    grid, source = result.source_grid, torch.from_numpy(result.source)
    detected = source > DETECTED * torch.from_numpy(result.source_std)
    if not bool(detected.any()):
        return float("nan")
    view = View.of(scene, deflector, grid.fov[0], grid.center)
    masked = source * detected
    seen = view.trace(masked[None]).sum()
    return float(seen / masked.sum()) * (scene.frame.grid.spacing / grid.spacing) ** 2


def _basis(problem: MacroProblem, state: MacroState) -> Tensor:
    """Draws the modes on a square of ``SIDE`` pixels, with shape (K, SIDE²)."""
    core, grid = state.hyper[:, 3].exp(), PixelGrid((SIDE, SIDE), 1 / SIDE)
    return problem.modes.on_pixels(grid, torch.ones_like(core), core)[0].flatten(1)


def _ratio(problem: MacroProblem, models: MacroState, sources: Tensor) -> Tensor:
    """Returns lensed flux over source flux of sources (B, SIDE²), each by its own model."""
    position = problem.positions(models).to(sources)
    maps = sources.reshape(len(sources), 1, SIDE, SIDE)
    seen = grid_sample(maps, 2 * position, align_corners=False)
    lensed = seen.sum((1, 2, 3)) / position.shape[1]
    cell = (models.hyper[:, 2].exp() / SIDE / problem.spacing) ** 2
    return lensed / (sources.sum(-1) * cell)
