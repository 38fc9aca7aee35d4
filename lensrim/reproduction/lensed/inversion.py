r"""Those who do without a machine: linear inversion, at equal data.

- *Modes*: the exact posterior mean under the Gaussian random field of
  :mod:`lensrim.inference.inversion`, whose size, core, strength and length follow the evidence of
  each observation.
- *Pixels*: the minimum of :math:`\chi^2 + \lambda \| \nabla s \|^2` by conjugate gradients, each
  iteration one call of the score; :math:`\lambda` is chosen on separate lenses.

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
from ...inference.batch_problem import STEP_MODES, first_state, problem_on
from ...inference.inversion import ImageData, assemble, solve
from ...inference.macro import MacroPrior, MacroState
from ...inference.source_modes import MODES, TUNED, SourceModes
from ...inference.start import combine
from .scene import Scene

ROUNDS = 6
"""Rounds in which the source prior climbs the evidence."""

PRIOR = MacroPrior((0.0, 0.0), 2.0, (1.0, 40.0))
"""Of the lens, isothermal: wide, lengths in pixels."""

TUNE_EVERY = 5
"""Steps of the lens after which the source prior is tuned again."""

RIDGE = 0.1
"""Share of the gradient's weight that a source of any size is held to zero with."""


def tuned(
    scene: Scene, image: ImageData, lens: Tensor, modes: int = TUNED
) -> tuple[MacroProblem, MacroState]:
    """Sets up the problem of lenses (B, 7), with the source prior that is best for each."""
    slope = torch.full_like(lens[:, :1], PRIOR.slope)
    arc, width = scene.draws["arc"], scene.data.width
    problem = problem_on(image, PRIOR, modes, arc=arc, fwhm=width, free_core=True)
    start = first_state(
        torch.cat([lens, slope], 1).double(), {"amplitude": torch.ones_like(width)}, problem
    )
    with torch.no_grad():
        return problem, problem.tune(start, rounds=ROUNDS)


def invert(scene: Scene, lens: Tensor) -> tuple[Tensor, Tensor]:
    """Solves for sources, given the lenses (B, 7) of the view.

    Returns:
        Their maps, with shape (B, 1, n, n), and the effective number of parameters (B).
    """
    problem, state = tuned(scene, scene.data.whitened(2), lens)
    modes, n = SourceModes(MODES), scene.draws["arc"].shape[-1]
    with torch.no_grad():
        core, size = state.hyper[:, 2:].exp().float().flip(1).unbind(1)
        basis = modes.on_pixels(PixelGrid((n, n), 1 / n), scene.view.side / size, core)
        columns = scene.data.columns(problem.image, scene.view(basis))
        solution = solve(assemble(problem.image, columns), modes, state.hyper)
        source = combine(solution.mean[:, : len(modes)].float(), basis)
    return source, solution.effective.float()


def refine(scene: Scene, lens: Tensor, *, steps: int = 15) -> Tensor:
    """Betters lenses (B, 7) by steps up the evidence, with few modes and one ray a pixel."""
    problem, state = tuned(scene, scene.data.whitened(1), lens, STEP_MODES)
    for i in range(steps):
        state = problem.step(state)
        if i % TUNE_EVERY == TUNE_EVERY - 1:
            with torch.no_grad():
                state = problem.tune(state, rounds=2)
    return state.p[:, :7].to(lens)


def pixels(scene: Scene, *, weight: float) -> Iterator[Tensor]:
    r"""Iterates on the pixels of what is sought.

    Arguments:
        scene: The observations.
        weight: The weight :math:`\lambda`, one over the variance of neighbours' differences.
    """
    view, data = scene.view, scene.data
    right = view.adjoint(data.moment)

    def product(x: Tensor) -> Tensor:
        source = x.reshape(right.shape)
        seen = view.adjoint(data.normal(view(source)))
        return (seen + weight * (roughness(source) + RIDGE * source)).flatten(1)

    found = conjugate_gradients(product, right.flatten(1))
    return (x.reshape(right.shape) for x in found)


def roughness(source: Tensor) -> Tensor:
    """Computes half of the gradient of the sum of squared differences; outside there is zero."""
    padded = torch.nn.functional.pad(source, (1, 1, 1, 1))
    around = padded[..., 1:-1, 2:] + padded[..., 1:-1, :-2]
    around = around + padded[..., 2:, 1:-1] + padded[..., :-2, 1:-1]
    return 4 * source - around
