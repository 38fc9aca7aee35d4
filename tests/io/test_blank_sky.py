"""Noise measured anew on blank sky, against noise of a known scale and correlation."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy.ndimage import gaussian_filter

from lensrim.errors import InputError
from lensrim.io import ReadOptions, read_observation
from lensrim.io.blank_sky import blank_sky, rescaled
from lensrim.io.observation import Observation

SHAPE, WIDTH = (120, 131), 1.1
ALL = np.ones(SHAPE, dtype=bool)


def noise(length: float = 0.0, seed: int = 0) -> np.ndarray:
    """Unit noise of a correlation length [pixel]."""
    values = gaussian_filter(np.random.default_rng(seed).standard_normal(SHAPE), length)
    return values / values.std()


def lens(peak: float = 60.0) -> np.ndarray:
    """A galaxy with wings and a ring, in the middle [standard deviation of the noise]."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    r = np.hypot(x - 65, y - 60)
    return peak * np.exp(-3.7 * ((r / 8) ** 0.5 - 1)) / 30 + 10 * np.exp(
        -0.5 * ((r - 20) / 2) ** 2
    )


@pytest.mark.parametrize("true", [0.4, 0.75, 1.0, 1.6])
@pytest.mark.parametrize("sky", [0.0, -30.0, 4.0])
def test_the_factor_is_that_of_the_noise(true: float, sky: float):
    image = true * (noise() + lens()) + sky
    sigma, found = rescaled(image, np.ones(SHAPE), ALL, width=WIDTH, label="image")
    assert found.factor == pytest.approx(true, rel=0.05)
    np.testing.assert_allclose(sigma, found.factor)
    assert not found.floored


@pytest.mark.parametrize(("length", "most"), [(0.0, 0.01), (0.7, 0.03)])
def test_the_peaks_of_noise_are_sky(length: float, most: float):
    """In the mean of many images: one of them scatters by as much."""
    factors = [
        rescaled(noise(length, seed) + lens(), np.ones(SHAPE), ALL, width=WIDTH, label="image")[1]
        for seed in range(8)
    ]
    assert np.mean([found.factor for found in factors]) == pytest.approx(1, abs=most)


def test_what_shows_the_lens_is_not_blank():
    blank = blank_sky(noise() + lens(), np.ones(SHAPE), ALL, WIDTH)
    assert not (blank & (lens() > 1)).any()
    assert blank[lens() < 0.1].mean() > 0.5


def test_white_noise_does_not_grow():
    found = rescaled(noise() + lens(), np.ones(SHAPE), ALL, width=WIDTH, label="image")[1]
    assert found.growth[0] == 1
    assert len(found.growth) == 6
    np.testing.assert_allclose(found.growth, 1, atol=0.25)
    assert found.growth[1] == pytest.approx(1, abs=0.06)
    assert len(found.notes()) == 1


def test_correlated_noise_grows_as_it_must():
    """The variance of means of 2 x 2 of noise smoothed by a Gaussian is known."""
    length = 0.6
    found = rescaled(noise(length) + lens(), np.ones(SHAPE), ALL, width=WIDTH, label="image")[1]
    one = np.exp(-1 / (4 * length**2))  # between neighbours, two-dimensional: by distance squared
    expected = np.sqrt(1 + 2 * one + one**2)
    assert found.growth[1] == pytest.approx(expected, rel=0.08)
    assert "correlated" in found.notes()[1]


def test_a_binned_image_has_the_noise_of_its_means():
    length, b = 0.8, 2
    image = noise(length) + lens()
    found = rescaled(image, np.ones(SHAPE), ALL, width=WIDTH, label="image")[1]
    psf = np.zeros((5, 5))
    psf[2, 2] = 1.0
    observation = Observation(image, np.ones(SHAPE), psf, ALL, 0.05, noise_growth=found.growth)
    white = replace(observation, noise_growth=())
    assert observation.binned(1).sigma.max() == 1
    assert white.binned(b).sigma[0, 0] == pytest.approx(1 / b)
    binned = observation.binned(b)
    true = noise(length, seed=1)[:, :130].reshape(60, 2, 65, 2).mean((1, 3)).std()
    assert binned.sigma[0, 0] == pytest.approx(true, rel=0.06)
    # twice two is four
    np.testing.assert_allclose(binned.binned(2).sigma[0, 0], observation.binned(4).sigma[0, 0])


def test_a_floor_alone_is_replaced():
    """Photon noise that a floor hides comes back, with the gain of what is above it."""
    light = lens(peak=400.0)
    true = np.sqrt(1 + 0.3 * light)
    stated = np.maximum(true, 2.5)
    assert (stated == 2.5).mean() > 0.6
    image = light + true * noise()
    sigma, found = rescaled(image, stated, ALL, width=WIDTH, label="image")
    assert found.floored
    assert "floor" in found.notes()[0]
    np.testing.assert_array_equal(sigma[stated > 2.5], stated[stated > 2.5])
    hidden = stated == 2.5
    assert np.median((sigma / true)[hidden]) == pytest.approx(1, abs=0.08)
    ring = hidden & (light > 5)
    assert np.median((sigma / true)[ring]) == pytest.approx(1, abs=0.15)


def test_too_little_sky_is_said():
    bright = np.full(SHAPE, 50.0) * np.linspace(1, 3, SHAPE[1]) + noise()
    used = np.zeros(SHAPE, dtype=bool)
    used[50:60, 50:60] = True
    with pytest.raises(InputError, match=r"needs 200 pixels of blank sky, found 1?[0-9]{0,2} of"):
        rescaled(bright, np.ones(SHAPE), used, width=WIDTH, label="image")


def test_sky_of_one_value_is_said():
    with pytest.raises(InputError, match="needs sky that scatters, found patches of one value"):
        rescaled(np.round(lens()), np.ones(SHAPE), ALL, width=WIDTH, label="image")


def test_the_reader_does_it_and_says_so(tmp_path: Path):
    y, x = np.mgrid[-4:5, -4:5]
    psf = np.exp(-(x**2 + y**2) / 2)
    hdus = [
        fits.PrimaryHDU(),
        fits.ImageHDU(noise(0.6) + lens(), fits.Header({"PIXSCALE": 0.05}), name="SCI"),
        fits.ImageHDU(2 * np.ones(SHAPE), name="ERR"),
        fits.ImageHDU(psf, name="PSF"),
    ]
    fits.HDUList(hdus).writeto(tmp_path / "lens.fits")
    observation = read_observation(tmp_path / "lens.fits", ReadOptions(rescale_noise="sky"))
    assert observation.noise_factor == pytest.approx(0.5, rel=0.08)
    assert np.median(observation.sigma) == pytest.approx(2 * observation.noise_factor)
    assert any("noise multiplied by 0." in note for note in observation.notes)
    assert any("correlated" in note for note in observation.notes)
    assert "rescale_noise = sky" in observation.options


@pytest.mark.parametrize("rows", [2, 12, 48])
def test_what_was_filled_with_one_value_is_no_sky(rows: int):
    """As rows beyond the edge of a chip, with a noise that says nothing of them."""
    image = noise() + lens()
    image[:rows] = 0.0
    _, found = rescaled(image, np.ones(SHAPE), ALL, width=WIDTH, label="image")
    assert found.factor == pytest.approx(1, rel=0.06)
