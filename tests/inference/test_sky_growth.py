"""Correlated noise of the sky, against its closed form, and what a fit makes of it."""

from dataclasses import replace

import numpy as np
import pytest

from lensrim.datasets.noise import unit_noise
from lensrim.evaluation.mocks import Mock
from lensrim.evaluation.standard import standard_mock
from lensrim.grid import PixelGrid
from lensrim.inference.frame import Frame
from lensrim.inference.framing import coarsen, frame_of, observe
from lensrim.inference.options import ReconstructOptions
from lensrim.inference.sighting import scene_of
from lensrim.inference.sky_growth import FEWEST, growth_over_psf

SIDE, LENGTH = 96, 0.5
ALL = np.ones((SIDE, SIDE), dtype=bool)
DARK = np.zeros((SIDE, SIDE))


def gaussian(fwhm: float) -> np.ndarray:
    axis = np.arange(-8, 9) / (fwhm / 2.355)
    psf = np.exp(-0.5 * (axis[:, None] ** 2 + axis**2))
    return psf / psf.sum()


@pytest.fixture(scope="module")
def frame() -> Frame:
    return Frame(
        image=DARK,
        sigma=np.ones_like(DARK),
        mask=ALL,
        grid=PixelGrid(ALL.shape, 0.05),
        psf=gaussian(2.0),
        psf_kind="effective",
        fwhm=0.1,
    )


def growth(
    frame: Frame,
    noise: np.ndarray,
    sky: np.ndarray = ALL,
    unit: float = 1.0,
    light: np.ndarray = DARK,
    structure: np.ndarray = DARK,
) -> float:
    sigma = np.full(ALL.shape, unit)
    found = growth_over_psf(noise, sigma, sky, frame, light=light, structure=structure)
    assert found is not None
    return found


def smoothed(psf: np.ndarray, length: float) -> float:
    """Scatter of a PSF's sums of noise smoothed by a Gaussian, over that of white noise."""
    axis = np.arange(-4, 5) / length
    kernel = np.exp(-0.5 * (axis[:, None] ** 2 + axis**2))
    kernel /= np.sqrt(np.square(kernel).sum())
    shape = (64, 64)
    power = np.abs(np.fft.fft2(psf, shape) * np.fft.fft2(kernel, shape)) ** 2
    return float(np.sqrt(power.mean() / np.square(psf).sum()))


@pytest.mark.parametrize("length", [0.4, 0.5, 0.7])
@pytest.mark.parametrize("fwhm", [1.6, 2.5])
def test_smoothed_noise_has_the_growth_of_its_kernel(frame: Frame, length: float, fwhm: float):
    frame = replace(frame, psf=gaussian(fwhm), fwhm=fwhm * 0.05)
    rng = np.random.default_rng(1)
    found = [growth(frame, unit_noise(rng, ALL.shape, length=length)) for _ in range(8)]
    assert np.mean(found) == pytest.approx(smoothed(frame.psf, length), rel=0.03)
    assert np.std(found) < 0.05


@pytest.mark.parametrize(("fwhm", "pixels"), [(2.0, SIDE), (4.0, SIDE), (4.0, 20)])
def test_white_noise_has_none(frame: Frame, fwhm: float, pixels: int):
    frame = replace(frame, psf=gaussian(fwhm), fwhm=fwhm * 0.05)
    rng, sky = np.random.default_rng(2), np.zeros_like(ALL)
    sky[:pixels, :pixels] = True
    found = [growth(frame, rng.standard_normal(ALL.shape), sky) for _ in range(100)]
    assert np.mean(np.array(found) > 1) <= 0.01


def test_an_optical_psf_is_seen_through_the_pixel(frame: Frame):
    """Noise passes the pixel response, too, that such a PSF does not hold."""
    noise = unit_noise(np.random.default_rng(8), ALL.shape, length=LENGTH)
    narrow = replace(frame, psf=gaussian(1.4), fwhm=0.07)
    assert growth(replace(narrow, psf_kind="optical"), noise) > 1.02 * growth(narrow, noise)


def test_a_narrow_frame_has_shifts_that_leave_it(frame: Frame):
    noise = unit_noise(np.random.default_rng(9), (5, 400), length=LENGTH)
    ones = np.ones_like(noise)
    strip = replace(frame, image=noise, sigma=ones, mask=ones > 0, grid=PixelGrid((5, 400), 0.05))
    zero = np.zeros_like(noise)
    found = growth_over_psf(noise, ones, ones > 0, strip, light=zero, structure=zero)
    assert found == pytest.approx(smoothed(frame.psf, LENGTH), rel=0.15)


def test_its_unit_does_not_matter(frame: Frame):
    noise = unit_noise(np.random.default_rng(3), ALL.shape, length=LENGTH)
    assert growth(frame, 7e-4 * noise, unit=7e-4) == pytest.approx(growth(frame, noise))
    assert growth(frame, 3 * noise) == pytest.approx(growth(frame, noise))


def test_light_that_varies_slowly_is_no_noise(frame: Frame):
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE
    slow = 2 * np.sin(2 * x + y) + np.exp(-8 * ((x - 0.5) ** 2 + (y - 0.5) ** 2))
    rng = np.random.default_rng(4)
    assert growth(frame, rng.standard_normal(ALL.shape) + slow) < 1.1
    noise = unit_noise(rng, ALL.shape, length=LENGTH)
    assert growth(frame, noise + slow) == pytest.approx(growth(frame, noise), rel=0.05)


def test_single_pixels_do_not_decide(frame: Frame):
    rng = np.random.default_rng(5)
    noise = unit_noise(rng, ALL.shape, length=LENGTH)
    plain = growth(frame, noise)
    noise[rng.integers(SIDE, size=10), rng.integers(SIDE, size=10)] = 100.0
    assert growth(frame, noise) == pytest.approx(plain, rel=0.05)


def test_only_the_sky_is_looked_at(frame: Frame):
    noise = unit_noise(np.random.default_rng(6), ALL.shape, length=LENGTH)
    sky = ALL.copy()
    sky[30:60, 30:60] = False
    assert growth(frame, np.where(sky, noise, 50.0), sky) == growth(frame, noise, sky)
    # bright or rough parts of the lens galaxy, though its light is subtracted
    lit = np.where(sky, 0.0, 100.0)
    assert growth(frame, np.where(sky, noise, 50.0), light=lit) == growth(frame, noise, sky)
    rough = np.where(sky, 0.0, 0.5)
    assert growth(frame, np.where(sky, noise, 50.0), structure=rough) == growth(frame, noise, sky)


def test_too_little_sky_tells_nothing(frame: Frame):
    noise = unit_noise(np.random.default_rng(6), ALL.shape, length=LENGTH)
    few = np.zeros_like(ALL)
    few.ravel()[: FEWEST - 1] = True
    for residual, sky in ((noise, few), (DARK, ALL)):
        found = growth_over_psf(residual, ALL + 0.0, sky, frame, light=DARK, structure=DARK)
        assert found is None


@pytest.fixture(scope="module")
def drizzled() -> Mock:
    """A validation mock whose noise is correlated, with a frame of 128 pixels, mostly sky."""
    mock = standard_mock(0, split="validation")
    observation, rng = mock.observation, np.random.default_rng(7)
    noise = unit_noise(rng, (128, 128), length=LENGTH)
    clean = np.pad(mock.truth.arcs + mock.truth.lens_light, 32)
    sigma = np.pad(observation.sigma, 32, mode="edge")
    wide = replace(
        observation, image=clean + sigma * noise, sigma=sigma, mask=np.ones_like(clean, dtype=bool)
    )
    return replace(mock, observation=wide)


def test_a_scene_is_fitted_with_more_noise_than_its_pixels_have(drizzled: Mock):
    scene = observe(frame_of(drizzled.observation), lens_light=False)
    assert scene.growth == pytest.approx(smoothed(drizzled.observation.psf, LENGTH), rel=0.05)
    sky = scene.structure == 0
    np.testing.assert_allclose(scene.sigma[sky], scene.growth * scene.pixel_sigma[sky])
    # its pixels scatter as ever
    assert scene.noise_scale == pytest.approx(1, abs=0.05)
    assert scene.expected(100, 1000) == pytest.approx(1 - 0.1 * scene.growth**2)
    assert scene.expected(1e6, 1000) == 0


def test_what_was_read_tells_where_the_frame_has_too_little_sky(drizzled: Mock):
    measured = replace(drizzled.observation, noise_growth=(1.0, 1.3, 1.4))
    options = ReconstructOptions(lens_light="none", bin=1)
    _, scene, notes = scene_of(measured, options)
    assert scene.growth == pytest.approx(smoothed(measured.psf, LENGTH), rel=0.08)
    assert f"fitted as {scene.growth:.2f} times as large" in notes[-1]
    arcs = np.pad(drizzled.truth.arcs, 32) > 0.5 * measured.sigma
    _, scene, notes = scene_of(measured.with_mask(arcs), options)
    assert scene.growth == 1.4 and "fitted as 1.40 times" in notes[-1]
    _, scene, notes = scene_of(drizzled.observation.with_mask(arcs), options)
    assert scene.growth == 1 and not any("correlated" in note for note in notes)


def test_the_growth_of_binned_noise_counts_once(drizzled: Mock):
    measured = replace(drizzled.observation, noise_growth=(1.0, 1.3, 1.4))
    scene = observe(frame_of(measured), lens_light=False)
    coarse = coarsen(scene, measured)
    assert coarse is not None and coarse.growth == scene.growth
    white = coarsen(scene, drizzled.observation)
    assert white is not None
    np.testing.assert_array_equal(coarse.sigma, white.sigma)
