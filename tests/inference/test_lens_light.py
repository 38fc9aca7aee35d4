"""The lens light: Gaussians, amplitudes, derivatives, and the fit of a shape."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lensrim.grid import PixelGrid
from lensrim.inference import lens_light
from lensrim.inference.frame import Frame
from lensrim.inference.gaussians import WIDE, Gaussians, quadratic_forms
from lensrim.inference.lens_light import WITHIN, LensLightFitter, half_side_of
from lensrim.inference.light_profile import roughness
from lensrim.inference.projection import TOLERANCE, Fitted, Pixels
from lensrim.lensing.psf import PSF, gaussian_psf
from lensrim.lensing.ray_psf import RayPSF, reach_of

GRID = PixelGrid((40, 37), 0.05)
FWHM = 0.12
SIGMAS = np.geomspace(0.3, 15, 9) * GRID.spacing
SHAPE = np.array([0.031, -0.017, 0.2, -0.1, -0.05, 0.3])
SHAPES = [SHAPE, np.zeros(6), np.array([0.7, 0.4, 0.5, 0.5, -0.5, 0.4])]
TRUTH = 4 * np.exp(-0.3 * np.arange(9) - 0.03 * np.arange(9) ** 2)
PRECISION = roughness(SIGMAS)


def frame(image: np.ndarray) -> Frame:
    psf = gaussian_psf(FWHM, GRID.spacing, 13).numpy()
    sigma = 0.01 * np.ones(GRID.shape)
    return Frame(image, sigma, sigma > 0, GRID, psf, "effective", FWHM)


EMPTY = frame(np.zeros(GRID.shape))


def ray_blur(side: int | None) -> RayPSF:
    """In double precision: a box that moves by a pixel changes nothing then."""
    shape, psf = GRID.shape if side is None else (side, side), torch.from_numpy(EMPTY.psf)
    return RayPSF(psf, shape, subsample=3, dtype=torch.float64, periodic=side is not None)


def blur(side: int) -> PSF:
    return EMPTY.operator(3, box=side).double()


GAUSSIANS = Gaussians(GRID, SIGMAS, blur, ray_blur, reach=reach_of((13, 13)), margin=6)


def seen(shape: np.ndarray, image: np.ndarray, whiten=lambda columns: columns) -> Fitted:
    pixels = Pixels.of(image, EMPTY.sigma, image > -np.inf, whiten)
    return Fitted.of(GAUSSIANS, pixels, shape, PRECISION)


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


def convolved(shape: np.ndarray) -> np.ndarray:
    """Gaussians convolved with the Gaussian PSF, in closed form: covariances add."""
    inner, outer = shape[2:4], shape[4:]
    offset = np.stack([X - shape[0], Y - shape[1]], -1)
    psf, images = FWHM**2 / (8 * np.log(2)) * np.eye(2), []
    for sigma, t in zip(SIGMAS, np.linspace(0, 1, len(SIGMAS)), strict=True):
        e1, e2 = (1 - t) * inner + t * outer
        form = (1 + e1**2 + e2**2) * np.eye(2) - 2 * np.array([[e1, e2], [e2, -e1]])
        plain = sigma**2 * (1 - e1**2 - e2**2) * np.linalg.inv(form)
        wide = np.linalg.inv(plain + psf)
        peak = np.sqrt(np.linalg.det(plain) * np.linalg.det(wide))
        distance = np.einsum("...i,ij,...j->...", offset, wide, offset)
        images.append(peak * np.exp(-0.5 * distance))
    return np.array(images)


@pytest.mark.parametrize("shape", SHAPES, ids=["plain", "round", "edge"])
def test_gaussians_are_seen_through_the_psf_as_in_closed_form(shape):
    true = convolved(shape)
    found = GAUSSIANS.draw(shape).images().numpy().reshape(true.shape)
    inside = (slice(None), slice(10, -10), slice(10, -10))  # no light comes from beyond the frame
    error = np.abs(found - true)[inside].max((1, 2)) / true.max((1, 2))
    narrow = WIDE * GRID.spacing > SIGMAS
    assert narrow.sum() >= 3
    assert error[narrow].max() < 4e-3  # the spline between samples of this PSF: 0.2 per cent
    assert error[~narrow][:2].max() < 2e-3
    # at the border, where a fifth or more would be missing, the PSF brings in what lies beyond
    border = np.ones(GRID.shape, dtype=bool)
    border[3:-3, 3:-3] = False
    bright = border & (true > 0.02 * true.max((1, 2), keepdims=True))
    off = np.abs(found / true - 1)
    assert bright[~narrow].any()
    assert off[~narrow][bright[~narrow]].max() < 0.01


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


@pytest.mark.parametrize("sides", [(47, 40), (40, 47), (48, 48)])
def test_the_margin_of_wide_gaussians_lies_about_the_frame(sides):
    grid = PixelGrid(sides, 0.05, (0.3, -0.2))
    psf = gaussian_psf(FWHM, grid.spacing, 13).numpy()
    empty = np.zeros(sides)
    whole = Frame(empty, empty + 1, empty == 0, grid, psf, "effective", FWHM)
    gaussians = LensLightFitter(whole).gaussians
    assert half_side_of(psf, 1 - 1e-9) == 6 > half_side_of(psf, WITHIN) > 0
    assert gaussians.around.side == max(sides) + 2 * half_side_of(psf, WITHIN)
    found = gaussians.around.paste(gaussians.wide[:, 0])
    assert torch.allclose(found, gaussians.pixels[:, 0], rtol=0, atol=1e-12)
    # a wide Gaussian is as bright as it should be, in the corners too
    image = gaussians.draw(np.zeros(6)).images()[-1] / gaussians.around.paste(
        torch.exp(-0.5 * gaussians.wide[:, 0].square().sum(0) / gaussians.sigmas[-1] ** 2)
    )
    assert image.max() / image.min() < 1.02  # the PSF widens it; 2 where nothing came in


def test_negative_wings_make_no_margin_too_small():
    y, x = np.mgrid[-10:11, -10:11]
    psf = np.exp(-(x**2 + y**2) / 8) - 0.004
    assert half_side_of(psf / psf.sum(), 0.97) == 8  # it first has 97 % at 4
    assert half_side_of(np.ones((1, 1)), 0.97) == 0


@pytest.mark.parametrize("at", [(0.03, -0.02), (1.4, -1.3)], ids=["middle", "edge"])
def test_a_box_about_narrow_gaussians_holds_all_of_them(at):
    """As if all of the frame were convolved, to single precision."""
    grid = PixelGrid((72, 90), 0.05)
    psf = gaussian_psf(FWHM, grid.spacing, 13).numpy()
    empty = np.zeros(grid.shape)
    whole = Frame(empty, empty + 1, empty == 0, grid, psf, "effective", FWHM)
    blurs = (lambda n: whole.operator(3, box=n)), (lambda n: whole.ray_operator(3, box=n))
    shape = np.array([*at, 0.2, -0.1, -0.05, 0.3])
    image = torch.from_numpy(np.random.default_rng(1).normal(size=empty.size))
    boxed = Gaussians(grid, SIGMAS, *blurs, reach=reach_of(psf.shape), margin=6).draw(shape)
    plain = Gaussians(grid, SIGMAS, *blurs, reach=10**6, margin=6).draw(shape)
    assert plain.layers[0].box is None
    side = boxed.layers[0].box.side
    assert 2 * reach_of(psf.shape) < side < 50
    weights = torch.from_numpy(TRUTH)
    for found, expected in (
        (boxed.images(), plain.images()),
        (boxed.tangent(weights), plain.tangent(weights)),
        (boxed.pull(image), plain.pull(image)),
    ):
        assert (found - expected).abs().max() < 2e-6 * expected.abs().max()


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
    assert (light.amplitudes[:-1] > 0).all()


def test_what_may_be_an_arc_is_not_taken_for_light():
    image = galaxy()
    for whiten, good in ((without(ARC), True), (lambda columns: columns, False)):
        _, light = fitted(image + ARC + noise(), whiten=whiten)
        left = (light.image + light.sky - image)[ARC > 0.1] / 0.01
        assert bool(np.sqrt((left**2).mean()) < 0.5) is good


@pytest.mark.parametrize("arc", [0.0, 0.3], ids=["stable at once", "arcs"])
def test_rounds_that_end_early_lead_to_the_same_light(arc, monkeypatch):
    ends = []
    fit = LensLightFitter.fit

    def spied(self, *args, tolerance: float = TOLERANCE, **options):
        ends.append(tolerance)
        return fit(self, *args, tolerance=tolerance, **options)

    def found():
        fitter = LensLightFitter(frame(galaxy() + 0.03 + arc * ARC + noise()), count=9)
        return fitter.fit_under_arcs()

    monkeypatch.setattr(LensLightFitter, "fit", spied)
    _, light, outlier = found()
    assert ends[0] > ends[-1] == TOLERANCE
    monkeypatch.setattr(lens_light, "COARSE", (TOLERANCE,) * 3)
    _, strict, expected = found()
    assert (outlier == expected).mean() > 0.99
    assert bool(outlier.any()) is bool(arc)
    apart = (light.image + light.sky - strict.image - strict.sky) / 0.01
    assert np.sqrt((apart**2).mean()) < 0.01


def test_a_shape_keeps_to_its_bounds():
    flat = np.exp(-0.5 * ((X / 0.5) ** 2 + (Y / 0.04) ** 2))
    shape, _ = fitted(flat + noise())
    assert np.abs(shape[2:]).max() == pytest.approx(0.5)
    assert shape[2:].max() <= 0.5


@pytest.mark.parametrize("brightness", [0.05, 0.2, 1.0])
def test_a_lens_among_brighter_arcs_is_found(brightness: float):
    """The brightest pixels near the middle of the frame are of an arc."""
    radius = np.hypot(X, Y)
    arcs = 6 * np.exp(-((radius - 0.42) ** 2) / 0.004) * (0.3 + (Y > 0.2 * X))
    image = brightness * galaxy() + arcs + noise()
    assert arcs.max() > (brightness * galaxy()).max()
    _, light, outlier = LensLightFitter(frame(image), count=9).fit_under_arcs()
    assert np.hypot(*np.subtract(light.center, SHAPE[:2])) < GRID.spacing
    assert outlier[arcs > 0.5].mean() > 0.9


def test_a_lens_whose_middle_is_masked_is_sought_there():
    """And not in the corner of the frame, its first pixel."""
    radius = np.hypot(X - SHAPE[0], Y - SHAPE[1])
    image = galaxy() + 0.3 * ARC + noise()
    seen = replace(frame(image), mask=radius > 0.5)
    fitter = LensLightFitter(seen, count=9)
    assert all(not guess.any() for guess in fitter._guesses(image))
    _, light, _ = fitter.fit_under_arcs()
    assert np.hypot(*np.subtract(light.center, SHAPE[:2])) < 4 * GRID.spacing
