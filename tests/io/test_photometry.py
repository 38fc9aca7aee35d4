"""Zeropoints against known magnitudes."""

from collections.abc import Callable

import numpy as np
import pytest

from lensrim.io import ReadOptions, read_observation


def zeropoint(parts: dict, write: Callable, **keywords) -> float | None:
    parts["SCI"][1].update(keywords)
    return read_observation(write(parts)).zeropoint


@pytest.mark.parametrize("keyword", ["MAGZERO", "MAGZPT", "ZEROPNT", "ZPT"])
def test_keywords(parts: dict, write: Callable, keyword: str):
    assert zeropoint(parts, write, **{keyword: 25.5}) == 25.5


def test_a_long_keyword(parts: dict, write: Callable):
    parts["SCI"][1]["HIERARCH ZEROPOINT"] = 25.5
    assert zeropoint(parts, write) == 25.5


def test_the_option_wins(parts: dict, write: Callable):
    parts["SCI"][1]["MAGZERO"] = 25.5
    assert read_observation(write(parts), ReadOptions(zeropoint=30.0)).zeropoint == 30.0


@pytest.mark.parametrize(("unit", "expected"), [("Jy", 8.9), ("mJy", 16.4), ("nJy", 31.4)])
def test_flux_densities_are_ab(parts: dict, write: Callable, unit: str, expected: float):
    assert zeropoint(parts, write, BUNIT=unit) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("keywords", [{}, {"PIXAR_SR": (0.05 / 206264.806) ** 2}])
def test_surface_brightness_with_the_pixel_area(parts: dict, write: Callable, keywords: dict):
    expected = 8.9 - 2.5 * np.log10(1e6 * (0.05 / 206264.806) ** 2)
    assert zeropoint(parts, write, BUNIT="MJy/sr", **keywords) == pytest.approx(expected, abs=1e-4)


def test_the_area_of_other_pixels_is_not_used(parts: dict, write: Callable):
    """Webb's pipeline leaves PIXAR_SR as it was where it resamples to other pixels."""
    parts["SCI"][1].update(BUNIT="MJy/sr", PIXAR_SR=(0.063 / 206264.806) ** 2)
    read = read_observation(write(parts))
    assert read.zeropoint == pytest.approx(26.9773, abs=1e-3)
    (note,) = (note for note in read.notes if "zeropoint" in note)
    assert note.endswith("its pixels of 0.05 arcsec; PIXAR_SR, of 0.063 arcsec, is not used")
    parts["SCI"][1]["BUNIT"] = "nJy"  # in which there is no area
    assert not any("PIXAR_SR" in note for note in read_observation(write(parts, "f.fits")).notes)


def test_hubble_keywords(parts: dict, write: Callable):
    # ACS F814W: the published AB zeropoint of this pair is 25.95.
    keywords = {"PHOTFLAM": 7.0723600e-20, "PHOTPLAM": 8045.0}
    assert zeropoint(parts, write, **keywords) == pytest.approx(25.94, abs=0.02)


def test_st_magnitudes_without_the_pivot(parts: dict, write: Callable):
    expected = -21.1 - 2.5 * np.log10(7e-20)
    assert zeropoint(parts, write, PHOTFLAM=7e-20, PHOTZPT=-21.1) == pytest.approx(expected)


@pytest.mark.parametrize(
    "keywords",
    [{}, {"MAGZERO": "unknown"}, {"BUNIT": "electron", "PHOTFLAM": 7e-20, "PHOTPLAM": 8045.0}],
)
def test_none_is_no_error(parts: dict, write: Callable, keywords: dict):
    assert zeropoint(parts, write, **keywords) is None
