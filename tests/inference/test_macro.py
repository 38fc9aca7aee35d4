"""The macro-model's derivatives against differences, its steps, and what is integrated out."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from lensrim.grid import PixelGrid
from lensrim.inference.ascent import MacroProblem
from lensrim.inference.inversion import ImageData
from lensrim.inference.macro import (
    MacroPrior,
    MacroState,
    deflection_jacobian,
    mass_model,
)
from lensrim.inference.source_modes import SourceModes
from lensrim.lensing.psf import PSF, gaussian_psf

GRID = PixelGrid((26, 25), 0.1)
TRUTH = torch.tensor([[math.log(0.7), 0.12, -0.05, 0.02, 0.01, 0.03, 0.02, 2.0]]).double()
HYPER = torch.tensor([[1.0, math.log(0.15), math.log(0.9), math.log(0.08)]]).double()


def make_problem(*, modes: int = 6, noise: float = 0.05, slope_width: float = 0.16):
    """A lens without light: a Gaussian source, seen with noise."""
    (h, w), k = GRID.shape, 2
    x, y = GRID.coordinates(k, dtype=torch.float64)
    x, y = (c.expand(k * h, k * w).reshape(h, k, w, k).permute(1, 3, 0, 2) for c in (x, y))
    x, y = (c.reshape(k * k, h * w) for c in (x, y))
    ax, ay = mass_model(TRUTH).deflection(x, y)
    u, v = (x - ax)[0] - 0.03, (y - ay)[0] + 0.02
    psf = PSF(gaussian_psf(0.2, 0.1, 9), GRID.shape, subsample=k, dtype=torch.float64)
    clean = torch.exp(-0.5 * (u**2 + v**2) / 0.1**2).mean(0).reshape(1, 1, h, w)
    clean = psf(clean).reshape(-1)
    generator = torch.Generator().manual_seed(0)
    data = clean + noise * torch.randn(h * w, generator=generator, dtype=torch.float64)
    arc = torch.where(clean > 0.1, clean, 0.0)
    image = ImageData(
        data=data / noise,
        weight=torch.full_like(data, 1 / noise),
        shape=GRID.shape,
        subsample=k,
        psf=psf,
        templates=torch.ones(h * w, 1, dtype=torch.float64),
    )
    prior = MacroPrior((0.0, 0.0), 0.1, (0.2, 1.1), slope=2.0, slope_width=slope_width)
    sizes, modes_ = (0.4, 2.0), SourceModes(modes)
    return MacroProblem(image, x, y, arc / arc.sum(), modes_, prior, sizes, GRID.spacing)


def make_state(p: torch.Tensor) -> MacroState:
    zeros = torch.zeros(len(p), dtype=p.dtype)
    return MacroState(p, HYPER.repeat(len(p), 1), zeros, zeros + 0.03)


def test_the_jacobian_is_that_of_the_deflection():
    problem = make_problem()
    p = torch.cat([TRUTH, TRUTH + 0.05])
    p[1, 1:3] = 0.0  # round
    jacobian = deflection_jacobian(p, problem.x, problem.y, free_slope=True)
    for i in range(p.shape[1]):
        shift = torch.zeros_like(p)
        shift[:, i] = 1e-6
        up, down = (
            torch.stack(mass_model(p + s * shift).deflection(problem.x, problem.y), dim=-1)
            for s in (1, -1)
        )
        # the ray nearest to the singular centre is not smooth on the scale of the step
        torch.testing.assert_close(jacobian[..., i], (up - down) / 2e-6, rtol=1e-4, atol=1e-4)


def test_the_gradient_is_that_of_the_objective():
    problem = make_problem()
    state = make_state(TRUTH + 0.02)
    gradient, _ = problem.derivatives(state)
    for i in range(8):
        shift = torch.zeros_like(state.p)
        shift[:, i] = 1e-5
        up, down = (problem.evaluate(state.p + s * shift, state) for s in (1, -1))
        assert float(-gradient[0, i]) == pytest.approx(float(up - down) / 2e-5, rel=2e-3, abs=2e-2)


@pytest.mark.parametrize("step", [0.5, 0.25])
def test_the_core_goes_by_steps_that_shrink_with_the_others(step: float):
    problem = replace(make_problem(), free_core=True)
    moves = set()
    for core in (0.02, 0.05, 0.1):
        state = make_state(TRUTH)
        state.hyper[:, 3] = math.log(core)
        before = problem.tune(state, rounds=4, step=step)
        moves.add(round(float(before.hyper[0, 3] - math.log(core)) / (step * math.log(4)), 6))
        assert before.value >= replace(problem, free_core=False).tune(state, rounds=4).value - 0.5
    assert moves == {1.0}  # the source is a Gaussian: it has no cusp


def test_steps_never_lose_and_arrive_at_the_truth():
    problem = make_problem()
    state = problem.tune(make_state(TRUTH + torch.tensor([0.1, *[0.03] * 6, 0.0])))
    values = [float(state.value)]
    for _ in range(8):
        state = problem.step(state)
        values.append(float(state.value))
    assert values == sorted(values)
    assert float(state.p[0, 0].exp()) == pytest.approx(0.7, rel=0.01)


def test_a_state_outside_the_prior_is_never_entered():
    problem = make_problem()
    outside = TRUTH.clone()
    outside[0, 0] = math.log(5.0)
    assert float(problem.evaluate(outside, make_state(TRUTH))) == -math.inf


def test_the_marginal_root_takes_the_source_out():
    problem, state = make_problem(), make_state(TRUTH)
    whiten = problem.marginal(state)
    k = len(problem.modes)
    columns = problem.system(state).columns[0, :, :k]
    columns = (columns * problem.modes.power(state.hyper)[0].sqrt()).numpy()
    covariance = np.eye(len(columns)) + columns @ columns.T
    pixels = np.random.default_rng(1).standard_normal((len(columns), 2))
    expected = pixels.T @ np.linalg.solve(covariance, pixels)
    white = whiten(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(white.T @ white, expected, rtol=1e-6)
