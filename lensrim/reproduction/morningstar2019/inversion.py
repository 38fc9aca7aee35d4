r"""Those who do without a machine: linear inversion, at equal data.

- *Modes*: the exact posterior mean under the Gaussian random field of
  :mod:`lensrim.inference.inversion`, whose size, core, strength and length follow the evidence of
  each image.
- *Pixels*: the minimum of :math:`\| (y - F s) / \sigma \|^2 + \lambda \| \nabla s \|^2` by
  conjugate gradients, each iteration one call of the score; :math:`\lambda` is chosen on separate
  lenses.

Both see the forward model of the machines. What a network reads of a lens can be bettered by steps
of Gauss and Newton up the evidence, the source integrated out, as in the macro-model's search.

References:
    Warren & Dye 2003, ApJ 590, 673; Suyu+ 2006, MNRAS 371, 983.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from ...evaluation.problems.iterations import conjugate_gradients
from ...grid import PixelGrid
from ...inference.ascent import MacroProblem
from ...inference.inversion import MODES, TUNED, SourceModes, assemble, solve
from ...inference.macro import MacroPrior, MacroState
from ...inference.start import STEP_MODES, combine, first_state, problem_of
from .lenses import Draws, View

ROUNDS = 6
"""Rounds in which the source prior climbs the evidence."""

PRIOR = MacroPrior((0.0, 0.0), 2.0, (1.0, 40.0))
"""Of the lens, isothermal: wide, lengths in pixels."""

TUNE_EVERY = 5
"""Steps of the lens after which the source prior is tuned again."""

RIDGE = 0.1
"""Share of the gradient's weight that a source of any size is held to zero with."""


def tuned(
    draws: Draws, lens: Tensor, modes: int = TUNED, *, subsample: int = 2
) -> tuple[MacroProblem, MacroState]:
    """Sets up the problem of lenses (B, 7), with the source prior that is best for each."""
    slope = torch.full_like(lens[:, :1], PRIOR.slope)
    problem = problem_of(draws, PRIOR, modes, subsample=subsample, free_core=True)
    start = first_state(
        torch.cat([lens, slope], 1).double(), {"amplitude": lens[:, 0].exp() ** 0}, problem
    )
    with torch.no_grad():
        return problem, problem.tune(start, rounds=ROUNDS)


def invert(draws: Draws, view: View, lens: Tensor) -> tuple[Tensor, Tensor]:
    """Solves for sources, given lenses (B, 7).

    Returns:
        Their maps, with shape (B, 1, n, n), and the effective number of parameters (B).
    """
    problem, state = tuned(draws, lens)
    modes, n = SourceModes(MODES), draws["image"].shape[-1]
    with torch.no_grad():
        core, size = state.hyper[:, 2:].exp().float().flip(1).unbind(1)
        basis = modes.on_pixels(PixelGrid((n, n), 1 / n), view.side / size, core)
        images = view(basis).double().flatten(2)
        columns = (images * problem.image.weight[:, None]).transpose(1, 2)
        solution = solve(assemble(problem.image, columns), modes, state.hyper)
        source = combine(solution.mean[:, : len(modes)].float(), basis)
    return source, solution.effective.float()


def refine(draws: Draws, lens: Tensor, *, steps: int = 15) -> Tensor:
    """Betters lenses (B, 7) by steps up the evidence, with few modes and one ray a pixel."""
    problem, state = tuned(draws, lens, STEP_MODES, subsample=1)
    for i in range(steps):
        state = problem.step(state)
        if i % TUNE_EVERY == TUNE_EVERY - 1:
            with torch.no_grad():
                state = problem.tune(state, rounds=2)
    return state.p[:, :7].to(lens)


def pixels(draws: Draws, view: View, *, weight: float) -> Iterator[Tensor]:
    r"""Iterates on the pixels of sources.

    Arguments:
        draws: The observations.
        view: How lenses show sources.
        weight: The weight :math:`\lambda`, one over the variance of neighbours' differences.
    """
    precision = draws["mask"] / draws["sigma"].square()
    shape = draws["image"].shape

    def product(x: Tensor) -> Tensor:
        source = x.reshape(shape)
        seen = view.adjoint(view(source) * precision)
        return (seen + weight * (roughness(source) + RIDGE * source)).flatten(1)

    right = view.adjoint(draws["image"] * precision).flatten(1)
    return (x.reshape(shape) for x in conjugate_gradients(product, right))


def roughness(source: Tensor) -> Tensor:
    """Computes half of the gradient of the sum of squared differences; outside there is zero."""
    padded = torch.nn.functional.pad(source, (1, 1, 1, 1))
    around = padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
    around = around + padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1]
    return 4 * source - around
