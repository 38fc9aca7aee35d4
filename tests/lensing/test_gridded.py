"""Dirty images and beams hold all that visibilities say of an image."""

import math

import pytest
import torch
from interferometers import (
    BEAM,
    EVERY,
    GRID,
    OWN,
    SHARED,
    SIGMA,
    SIM,
    UV,
    N,
    draw,
    energy,
    truth,
    uniform,
)
from torch import Tensor

from lensrim.lensing.gridded import Gridded, beam_covariance
from lensrim.lensing.noise import VisibilityNoise


def weight(noise: VisibilityNoise) -> Tensor:
    """The weights, zero where a visibility is ignored, (B, N)."""
    return torch.atleast_2d((noise.mask / noise.parts.sigma.square()).squeeze(-2)).double()


def image(batch: int = 2, seed: int = 7) -> Tensor:
    return uniform(batch, 1, *GRID.shape, seed=seed) - 0.3


@pytest.fixture(scope="module")
def observed() -> Tensor:
    """The true image, (2, 1, H, W)."""
    x = truth()
    return SIM(x["source"], 10 ** x["log_kappa"], x["shear"])


@EVERY
def test_the_misfit_and_its_gradient_are_those_of_the_visibilities(noise, observed):
    y = draw(noise, observed)
    grid = Gridded.of(noise.interferometer, weight(noise), y)
    model = (0.9 * observed + 0.01 * image()).requires_grad_()
    exact = noise.chi2(model, y)
    (gradient,) = torch.autograd.grad(-exact.sum() / 2, model)
    torch.testing.assert_close(grid.chi2(model), exact, rtol=1e-9, atol=1e-7)
    torch.testing.assert_close(grid.slope(model.detach()), gradient, rtol=1e-9, atol=1e-9)


def test_the_gradient_is_that_of_the_definition():
    """One wave for each baseline, against the closed form of chi2."""
    y = torch.complex(uniform(1, N, seed=5), uniform(1, N, seed=6))
    grid = Gridded.of(SHARED, SIGMA[:1].double() ** -2, y)
    model = image(1).requires_grad_()
    (gradient,) = torch.autograd.grad(-energy(model * BEAM, y, UV[0], SIGMA[:1].double()), model)
    torch.testing.assert_close(grid.slope(model.detach()), gradient, rtol=1e-9, atol=1e-8)


@EVERY
def test_the_normal_operator_is_symmetric_and_laid_out(noise, observed):
    grid = Gridded.of(noise.interferometer, weight(noise), draw(noise, observed))
    a, b = image(seed=8), image(seed=9)
    torch.testing.assert_close((a * grid.normal(b)).sum(), (b * grid.normal(a)).sum())
    matrix = grid.matrix().expand(2, -1, -1)
    torch.testing.assert_close(matrix, matrix.mT)
    laid = (matrix @ a.flatten(1)[..., None]).reshape(a.shape)
    torch.testing.assert_close(laid, grid.normal(a), rtol=1e-8, atol=1e-8)
    diagonal = matrix.diagonal(dim1=-2, dim2=-1).reshape(a.shape)
    torch.testing.assert_close(diagonal, grid.precision.expand(a.shape))
    torch.testing.assert_close(grid.precision.expand(a.shape), noise.precision(a))


def test_the_middle_of_the_beam_is_the_gaussian():
    cycles = 0.05 * (uniform(2, 400, 2, seed=1) - 0.5)
    weights = 0.2 + uniform(2, 400, seed=2)
    found = beam_covariance(cycles, weights)
    offset = torch.tensor([0.3, -0.2], dtype=torch.float64)
    waves = (2 * math.pi * cycles @ offset).cos()
    beam = (weights * waves).sum(1) / weights.sum(1)
    form = torch.einsum("i,bij,j->b", offset, torch.linalg.inv(found), offset)
    torch.testing.assert_close(beam, (-form / 2).exp(), rtol=1e-4, atol=0)


def test_what_cannot_be_taken_in():
    y = torch.ones(2, N, dtype=torch.complex128)
    with pytest.raises(ValueError, match="visibilities must be complex"):
        Gridded.of(OWN, torch.ones(2, N), torch.ones(2, N))
    with pytest.raises(ValueError, match="visibilities must be as many as the 2 samples"):
        Gridded.of(OWN, torch.ones(2, N), y[:1])
    for weight, said in (
        (torch.ones(N), "weight must have shape"),
        (torch.ones(2, N + 1), "weight must have shape"),
        (-torch.ones(2, N), "weight must be finite and 0 or more, got -1"),
        (torch.full((2, N), torch.nan), "weight must be finite"),
    ):
        with pytest.raises(ValueError, match=said):
            Gridded.of(OWN, weight, y)
