"""Eleven observations as astronomers keep them, with the options that each form needs."""

from pathlib import Path

import numpy as np
import pytest

from lensrim.io import ReadOptions, read_observation

LENSES = Path(__file__).parents[3] / "shared" / "data" / "lenses"
pytestmark = pytest.mark.skipif(not LENSES.is_dir(), reason="needs ../shared/data/lenses")

OBSERVATIONS = {
    "hst_ring_f390w": ({}, 0.04, (120, 120), 0),
    "hst_arc_f475x": ({}, 0.04, (130, 130), 0),
    "slacs_j0959+0410_f555w": ({}, 0.0465, (110, 110), 0),
    "slacs_j1627-0053_f555w": ({}, 0.0465, (110, 110), 0),
    "slacs1430+4105": ({"pixel_scale": 0.05}, 0.05, (281, 281), 14),
    "slacs1250+0523": ({}, 0.05, (281, 281), 61212),
    "euclid_q1": ({"data": "VIS_BGSUB"}, 0.1, (100, 100), 51),
    "jwst_cosj100028+021928_f150w": ({"pixel_scale": 0.03}, 0.03, (419, 419), 0),
    "jwst_cosj100047+015023_f150w": ({"pixel_scale": 0.03}, 0.03, (419, 419), 0),
    "jwst_cosj100028+021928_f444w": ({"pixel_scale": 0.06}, 0.06, (209, 209), 0),
    "jwst_cosj100047+015023_f444w": ({"pixel_scale": 0.06}, 0.06, (209, 209), 0),
}


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_every_form_is_read(name: str):
    options, scale, shape, ignored = OBSERVATIONS[name]
    observation = read_observation(LENSES / name, ReadOptions(**options))
    assert observation.shape == shape
    assert observation.pixel_scale == pytest.approx(scale, rel=1e-3)
    assert (~observation.mask).sum() == ignored
    sigma = observation.sigma
    assert sigma.max() < 1e4 * np.median(sigma)
    assert observation.psf.sum() == pytest.approx(1)
    coarse = observation.cutout([n / 2 for n in shape[::-1]], (75, 75)).binned(2)
    assert coarse.shape == (37, 37)
