"""The lens light: Gaussians, amplitudes, derivatives, and the fit of a shape."""

import numpy as np
import pytest
import torch
from scipy import optimize

from lensrim.grid import PixelGrid
from lensrim.inference import gaussians
from lensrim.inference.gaussians import WIDE, Gaussians, quadratic_forms
from lensrim.inference.lens_light import Frame, LensLightFitter
from lensrim.inference.projection import Fitted, Pixels, not_negative
from lensrim.lensing.psf import gaussian_psf

GRID = PixelGrid((40, 37), 0.05)
SIGMAS = np.geomspace(0.3, 15, 9) * GRID.spacing
SHAPE = np.array([0.031, -0.017, 0.2, -0.1, -0.05, 0.3])
SHAPES = [SHAPE, np.zeros(6), np.array([0.7, 0.4, 0.5, 0.5, -0.5, 0.4])]
TRUTH = np.array([2.0, 0.0, 1.5, 0.0, 3.0, 1.0, 0.0, 0.4, 0.1])


def frame(image: np.ndarray) -> Frame:
    psf = gaussian_psf(0.12, GRID.spacing, 13).numpy()
    sigma = 0.01 * np.ones(GRID.shape)
    return Frame(image, sigma, sigma > 0, GRID, psf, "effective", 0.12)


EMPTY = frame(np.zeros(GRID.shape))
BLUR = EMPTY.operator(3).double()
GAUSSIANS = Gaussians(GRID, SIGMAS, BLUR)


def seen(shape: np.ndarray, image: np.ndarray, whiten=lambda columns: columns) -> Fitted:
    pixels = Pixels.of(image, EMPTY.sigma, image > -np.inf, whiten)
    return Fitted.of(GAUSSIANS, pixels, shape)


def galaxy(shape: np.ndarray = SHAPE):
    images = GAUSSIANS.draw(shape).images()
    return (torch.from_numpy(TRUTH) @ images).reshape(GRID.shape).numpy()


def noise(seed: int = 0) -> np.ndarray:
    return 0.01 * np.random.default_rng(seed).standard_normal(GRID.shape)


def without(arc: np.ndarray):
    """Takes out of pixels what a source of that image could be."""
    unit = torch.from_numpy(arc.ravel() / np.linalg.norm(arc))
    return lambda pixels: pixels - 0.999 * torch.tensordot(unit, unit @ pixels, 0)


X, Y = (np.asarray(c) for c in GRID.coordinates(dtype=torch.float64))
ARC = np.exp(-((np.hypot(X, Y) - 0.6) ** 2) / 0.01) * (Y > 0.2 * X)


@pytest.mark.parametrize("shape", SHAPES, ids=["plain", "round", "edge"])
def test_gaussians_are_those_of_all_rays(shape, monkeypatch):
    found = GAUSSIANS.draw(shape).images()
    monkeypatch.setattr(gaussians, "WIDE", np.inf)
    monkeypatch.setattr(gaussians, "REACH", 100.0)
    true = Gaussians(GRID, SIGMAS, BLUR).draw(shape).images()
    flattest = np.hypot(shape[2::2], shape[3::2]).max()
    minor = WIDE * np.sqrt((1 - flattest) / (1 + flattest))
    assert float((found - true).abs().max()) < 1e-3 / minor**4
    assert float((found - true).abs().max()) > 0  # else nothing was drawn in another way


@pytest.mark.parametrize("variance", [0.0, 1e-4])
def test_a_gaussian_keeps_its_flux(variance):
    forms, _ = quadratic_forms(SIGMAS, SHAPE, np.full(len(SIGMAS), variance))
    log, a, b, c = forms.numpy().T
    flux = np.exp(log) * 2 * np.pi / np.sqrt(4 * a * c - b**2)
    np.testing.assert_allclose(flux, 2 * np.pi * SIGMAS**2, rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES, ids=["plain", "round", "edge"])
@pytest.mark.parametrize("whiten", [lambda columns: columns, without(ARC)], ids=["", "whitened"])
def test_the_jacobian_is_that_of_differences(shape, whiten):
    image = galaxy(shape + 0.02) + noise() + 0.3 * ARC
    found = seen(shape, image, whiten).jacobian().numpy()
    for column, change in zip(found.T, 1e-6 * np.eye(6), strict=True):
        upper, lower = (seen(shape + s * change, image, whiten).residual for s in (1, -1))
        expected = (upper - lower).numpy() / 2e-6
        assert np.linalg.norm(column - expected) < 1e-5 * np.linalg.norm(expected)


@pytest.mark.parametrize("seed", range(5))
def test_amplitudes_are_those_of_a_bounded_solve(seed):
    rng = np.random.default_rng(seed)
    columns = 10 ** rng.uniform(-3, 3, 8) * (rng.standard_normal((60, 8)) + 1)
    columns[:, 2] = 0.0
    image = rng.standard_normal(60) - 0.5
    found = not_negative(torch.from_numpy(columns), torch.from_numpy(image)).numpy()
    kept = [0, 1, 3, 4, 5, 6, 7]
    bounds = np.array([0.0] * 6 + [-np.inf]), np.full(7, np.inf)
    scale = np.linalg.norm(columns[:, kept], axis=0)
    true = optimize.lsq_linear(columns[:, kept] / scale, image, bounds, method="bvls", tol=1e-14)
    np.testing.assert_allclose(found[kept] * scale, true.x, atol=1e-8)
    assert found[2] == 0
    assert (true.x[:-1] <= 1e-12).any()
    assert true.x[-1] < 0


def fitted(image: np.ndarray, **options):
    fitter = LensLightFitter(frame(image), count=9)
    start = np.array([0.08, 0.05, 0.0, 0.0, 0.0, 0.0])
    return fitter.fit(image, EMPTY.mask, start, **options)


def test_a_fit_explains_a_galaxy():
    image = galaxy() + 0.03
    shape, light = fitted(image + noise())
    np.testing.assert_allclose(shape[:2], SHAPE[:2], atol=1e-3)
    left = (light.image + light.sky - image) / 0.01
    assert np.sqrt((left**2).mean()) < 0.15
    assert light.sky == pytest.approx(0.03, abs=0.02)
    assert (light.amplitudes[:-1] >= 0).all()


def test_what_may_be_an_arc_is_not_taken_for_light():
    image = galaxy()
    for whiten, good in ((without(ARC), True), (lambda columns: columns, False)):
        _, light = fitted(image + ARC + noise(), whiten=whiten)
        left = (light.image + light.sky - image)[ARC > 0.1] / 0.01
        assert bool(np.sqrt((left**2).mean()) < 0.5) is good


def test_a_shape_keeps_to_its_bounds():
    flat = np.exp(-0.5 * ((X / 0.5) ** 2 + (Y / 0.04) ** 2))
    shape, _ = fitted(flat + noise())
    assert np.abs(shape[2:]).max() == pytest.approx(0.5)
    assert shape[2:].max() <= 0.5


def test_amplitudes_that_go_round_in_circles_are_solved_for_otherwise(
    monkeypatch: pytest.MonkeyPatch,
):
    generator = torch.Generator().manual_seed(1)
    columns = torch.rand(40, 6, generator=generator, dtype=torch.float64)
    image = columns @ torch.tensor([1.0, -1.0, 0.5, -0.5, 0.2, 0.3], dtype=torch.float64)
    usual = not_negative(columns, image)

    def circles(*_: object, **__: object):
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr(optimize, "nnls", circles)
    torch.testing.assert_close(not_negative(columns, image), usual, rtol=1e-6, atol=1e-8)
    assert bool((usual[:-1] == 0).any())  # some are held at zero
