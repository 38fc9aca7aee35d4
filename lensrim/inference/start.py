r"""The start of the recurrent inference machine: the answer of the macro-model, for batches.

In the chain the macro-model is searched. In training nothing is searched. The slope, which an
image hardly knows (mass-sheet degeneracy), is drawn as fits were measured to find it: pulled to
the mean of its prior, and scattered. The rest of a converged fit is then a Gauss-Newton step or
two away from the true macro-model, whose noise, substructure and angular structure push it off;
those steps, with the source integrated out as in the search, give the errors that a fit would
have, with their correlations. A share of the samples is pushed further off, as fits with a heavy
tail are.

All lengths are in pixels of the image, as in :mod:`lensrim.datasets.pairs.pairs`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..datasets.pairs.systems import convergence
from ..grid import PixelGrid
from ..lensing import beyond
from ..lensing.convergence import KappaToAlpha
from ..lensing.likelihood import Setting, rays_of
from ..lensing.simulator import Simulator
from .ascent import REACH, MacroProblem
from .batch_problem import Centers, coarse_problem, first_state, problem_of
from .inversion import assemble, solve
from .macro import MacroPrior, MacroState, mass_model
from .scatter import Draws, push_of, slope_error
from .source_modes import MODES, SourceModes

TRAINED_SLOPE, TRAINED_WIDTH = 2.05, 0.16
"""Prior of slopes in the starts that the packaged machine was trained with."""


@dataclass(frozen=True)
class Start:
    """Holds the macro-model's answer on pixels, for B lenses.

    Arguments:
        p: Parameters, with shape (B, 8).
        source: Source map about the centre of the traced arcs, (B, 1, n, n).
        fov: Side of the source map [pixel of the image], (B).
        kappa: Convergence, (B, 1, H, W).
        shear: External shear that belongs to the map, (B, 2).
        beyond: Rest of the deflection, of mass beyond the map, (B, 2, H, W).
        effective: Effective number of linear parameters, (B); None of a start that solved for
            none.
        amplitudes: Amplitudes of the templates of the images, (B, Q), likewise.
    """

    p: Tensor
    source: Tensor
    fov: Tensor
    kappa: Tensor
    shear: Tensor
    beyond: Tensor
    effective: Tensor | None = None
    amplitudes: Tensor | None = None


def source_grid(shape: tuple[int, int]) -> PixelGrid:
    """Returns the source's pixels for an image of some shape; the side of the map is 1."""
    n = max(shape)
    return PixelGrid((n, n), 1 / n)


def start_of_pairs(batch: Mapping[str, Tensor], *, seed: int) -> Start:
    """Makes the starts of a batch of training pairs.

    Arguments:
        batch: From :class:`lensrim.datasets.pairs.pairs.Pairs`.
        seed: Seed of the pushes.
    """
    p = batch["macro"]
    draws = Draws(p, seed)
    lit = batch["lit"].double()
    noise = draws.normal(len(p), 2)
    # Where there is light, its centre is the prior's; else the middle of the frame.
    near = torch.where(lit > 0, 0.5, 3.0)
    centers = torch.where(lit[:, None] > 0, p[:, 3:5] + 0.3 * noise, torch.zeros_like(noise))
    prior = Centers((0.0, 0.0), 1.0, (2.5, 30.0), slope=TRAINED_SLOPE, slope_width=TRAINED_WIDTH)
    prior = replace(prior, centers=centers, widths=near)
    problem = coarse_problem(batch, prior)
    fitted = p.clone()
    change, state = slope_error(p, batch, draws), first_state(p, batch, problem)
    for left in (change, torch.zeros_like(change)):
        # The valley is curved: a second step leads back into it, at the slope that was drawn.
        state = problem.tune(replace(state, p=fitted), rounds=5)
        fitted = fitted + allowed(prior, fitted, conditional_step(problem, state, left))
    fitted = fitted + allowed(prior, fitted, push_of(p, draws))
    # The source prior is tuned at the model that is used, as it is in the chain; its core, which
    # costs most, where modes are few.
    problem = problem_of(batch, prior)
    state = problem.tune(replace(state, p=fitted), rounds=5)
    return answer_of(problem, state, batch)


def conditional_step(problem: MacroProblem, state: MacroState, change: Tensor) -> Tensor:
    """Makes the Gauss-Newton step of all parameters but the slope, given the slope's change."""
    gradient, curvature = problem.derivatives(state)
    damped = curvature + 0.01 * torch.diag_embed(curvature.diagonal(dim1=-2, dim2=-1))
    pull = gradient[:, :7] + damped[:, :7, 7] * change[:, None]
    move = -torch.linalg.solve(damped[:, :7, :7], pull)
    reach = move.new_tensor(REACH[:7])
    move = move / (move.abs() / reach).amax(-1, keepdim=True).clamp(min=1)
    return torch.cat([move, change[:, None]], 1)


def allowed(prior: MacroPrior, p: Tensor, move: Tensor) -> Tensor:
    """Shortens moves out of the prior's range, but never to nothing: starts have errors."""
    for _ in range(5):
        ok = torch.isfinite(prior.log_density(p + move))
        move = torch.where(ok[:, None], move, move / 2)
    return move


def answer_of(problem: MacroProblem, state: MacroState, batch: Mapping[str, Tensor]) -> Start:
    """Puts macro-models and their sources on pixels.

    The source is solved for a second time through the forward model itself, as in the chain: one
    that was solved for with analytic rays is off where the pixels of source and mass are coarse.
    """
    problem = replace(problem, modes=SourceModes(MODES))
    shape, modes = problem.image.shape, problem.modes
    with torch.no_grad():
        solution = solve(problem.system(state), modes, state.hyper)
        z = solution.mean[:, : len(modes)].float()
        core, size = state.hyper[:, 2:].exp().float().flip(1).unbind(1)
        grid = source_grid(shape)
        whole = combine(z, modes.on_pixels(grid, torch.ones_like(size), core))
        share = (extent(whole) + batch["fwhm"].to(size) / size).clamp(max=1.0)
        basis = modes.on_pixels(grid, share, core)
        mass = mass_model(state.p.float())
        image_grid = PixelGrid(shape, 1.0)
        kappa = convergence(mass, image_grid, state.p[:, 3:5])
        alpha = torch.stack(mass.deflection(*image_grid.coordinates(device=kappa.device)), 1)
        shear, rest = shear_of_map(alpha, kappa, batch["arc"])
        start = Start(state.p, whole, size * share, kappa, shear, rest)
        simulator = Simulator(
            image_grid, grid, batch["psf"], psf_on_rays=True, device=kappa.device
        )
        seen = {"source": whole, "kappa": kappa, "shear": shear}
        rays, center = rays_of(simulator, seen, Setting(batch["arc"], start.fov, rest))
        images = simulator.trace(basis, rays, center).double().flatten(2)
        columns = problem.image.weighted(images)
        solution = solve(assemble(problem.image, columns), modes, state.hyper)
        source = combine(solution.mean[:, : len(modes)].float(), basis)
    amplitudes = solution.mean[:, len(modes) :]
    return replace(start, source=source, effective=solution.effective, amplitudes=amplitudes)


def combine(z: Tensor, basis: Tensor) -> Tensor:
    """Adds maps (B, K, n, n) up with coefficients (B, K), with shape (B, 1, n, n)."""
    return torch.einsum("bk,bkij->bij", z, basis)[:, None]


def extent(source: Tensor, *, light: float = 0.98, margin: float = 1.3) -> Tensor:
    """Measures the side of the middle square that holds a source, relative to the map: (B).

    It reaches ``margin`` times as far as the pixel beyond which, ordered by distance from the
    middle, 1 - ``light`` of the flux above a fiftieth of the peak is found.
    """
    n = source.shape[-1]
    bright = (source - 0.02 * source.amax((1, 2, 3), keepdim=True)).clamp(min=0).flatten(1)
    x, y = source_grid((n, n)).coordinates(device=source.device)
    radius, order = torch.maximum(x.abs(), y.abs()).flatten().sort(stable=True)
    flux = bright[:, order].cumsum(1)
    index = (flux < light * flux[:, -1:]).sum(1).clamp(max=n * n - 1)
    return 2 * margin * radius[index]


def shear_of_map(alpha: Tensor, kappa: Tensor, arc: Tensor) -> tuple[Tensor, Tensor]:
    """Finds what a map's deflection lacks: a shear, and the rest.

    Arguments:
        alpha: The whole deflection at the pixels' centres [pixel], with shape (B, 2, H, W).
        kappa: The map, with shape (B, 1, H, W).
        arc: Weights of the arcs, where the shear is fitted, with shape (B, 1, H, W).

    Returns:
        The shear, with shape (B, 2), and the deflection that is left, with shape (B, 2, H, W).
    """
    grid = PixelGrid((alpha.shape[-2], alpha.shape[-1]), 1.0)
    operator = KappaToAlpha(grid, device=kappa.device)
    shear, rest = beyond.shear_of_map(alpha, kappa, arc, operator)
    return shear.float(), rest.float()
