"""The sky of an image without its lens galaxy, against mocks that have none."""

from dataclasses import replace

import numpy as np
import pytest

from lensrim.datasets.priors import SystemPrior
from lensrim.evaluation.mocks import Mock, make_mock
from lensrim.inference import sky
from lensrim.inference.frame import Frame
from lensrim.inference.framing import frame_of, observe
from lensrim.inference.sky import noise_scale, sky_level

SEEDS = range(8)


@pytest.fixture(scope="module")
def mocks() -> list[Mock]:
    """Arcs over a sky of zero, from small ones to rings that fill most of the frame."""
    prior = SystemPrior(light_share=0.0)
    return [make_mock(seed, oversample=3, prior=prior) for seed in SEEDS]


def raised(mock: Mock, by: float) -> Frame:
    """The frame of a mock with a sky of so many standard deviations of its faintest pixel."""
    observation = mock.observation
    return frame_of(replace(observation, image=observation.image + by * observation.sigma.min()))


def test_the_level_is_zero_where_there_is_no_sky(mocks: list[Mock]):
    errors = [sky_level(frame_of(m.observation)) / m.observation.sigma.min() for m in mocks]
    assert abs(np.mean(errors)) < 0.05
    assert np.abs(errors).max() < 0.1


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_the_level_does_not_need_the_right_noise(mocks: list[Mock], factor: float):
    frame = frame_of(mocks[0].observation)
    wrong = replace(frame, sigma=factor * frame.sigma)
    assert sky_level(wrong) == pytest.approx(sky_level(frame), abs=1e-3 * frame.sigma.min())


def test_correlated_noise_is_not_taken_for_arcs(mocks: list[Mock]):
    """Noise that is smoothed, as in drizzled images, has lumps as large as the PSF."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(0)
    errors = []
    for mock in mocks:
        frame = frame_of(mock.observation)
        noise = gaussian_filter(rng.standard_normal(frame.image.shape), 0.8)
        image = mock.truth.arcs + frame.sigma * noise / noise.std()
        errors.append(sky_level(replace(frame, image=image)) / frame.sigma.min())
    assert np.abs(errors).max() < 0.2


@pytest.mark.parametrize("by", [1.0, -3.0, 20.0])
def test_the_arcs_are_the_same_over_any_sky(mocks: list[Mock], by: float):
    for mock in mocks:
        here, there = (observe(raised(mock, s), lens_light=False) for s in (0.0, by))
        np.testing.assert_array_equal(there.arcs, here.arcs)
        change = (there.light.sky - here.light.sky) / mock.observation.sigma.min()
        assert change == pytest.approx(by, abs=1e-6)


def test_the_arcs_are_nearly_those_of_the_true_sky(mocks: list[Mock], monkeypatch):
    frames = [frame_of(m.observation) for m in mocks]
    found = [observe(f, lens_light=False).arcs for f in frames]
    monkeypatch.setattr(sky, "sky_level", lambda _: 0.0)
    for arcs, frame in zip(found, frames, strict=True):
        true = observe(frame, lens_light=False).arcs
        assert (arcs & true).sum() > 0.85 * (arcs | true).sum()


def test_a_masked_frame_counts_its_used_pixels_only(mocks: list[Mock]):
    frame = frame_of(mocks[1].observation)
    mask = frame.mask.copy()
    mask[:, :20] = False
    image = np.where(mask, frame.image, 0.0) + np.where(mask, 5.0, 0.0) * frame.sigma
    level = sky_level(replace(frame, image=image, mask=mask)) / frame.sigma.min()
    assert level == pytest.approx(5.0, abs=0.2)


def test_the_scale_of_the_noise_is_that_of_the_blank_sky(mocks: list[Mock]):
    frame = frame_of(mocks[0].observation)
    dark = np.zeros_like(frame.image)
    assert noise_scale(frame.image, dark, frame) == pytest.approx(1, abs=0.1)
    small = replace(frame, sigma=frame.sigma / 2)
    assert noise_scale(frame.image, dark, small) == pytest.approx(2, abs=0.2)
