"""PSF stamps against the moments of a Gaussian."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from scipy.special import erf

from lensrim.errors import InputError
from lensrim.io import ReadOptions, read_observation
from lensrim.io.psf import center_offset, normalized, rebinned
from lensrim.lensing.psf import measure_fwhm

STAMPS = Path(__file__).parents[3] / "shared" / "data" / "psfs"


def stamp(size: int, width: float, pixel: float = 0.0, x: float = 0.0) -> np.ndarray:
    """A Gaussian sampled at pixel centres, or averaged over pixels of the given side."""
    u = np.arange(size) - size // 2

    def profile(u: np.ndarray) -> np.ndarray:
        if pixel == 0:
            return np.exp(-(u**2) / (2 * width**2))
        edges = np.array([[-0.5], [0.5]]) * pixel
        return np.diff(erf((u + edges) / (np.sqrt(2) * width)), axis=0)[0]

    result = profile(u)[:, None] * profile(u - x)
    return result / result.sum()


def variance(psf: np.ndarray) -> float:
    """Second central moment along y [pixel^2]."""
    y = np.arange(psf.shape[0]) - psf.shape[0] // 2
    return float(psf.sum(1) @ y**2)


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["effective", "optical"])
@pytest.mark.parametrize(("width", "tolerance"), [(1.0, 0.025), (2.5, 1e-3)])
def test_rebinning_averages_over_the_larger_pixel(
    factor: int, kind: str, width: float, tolerance: float
):
    native = stamp(61, width, pixel=1.0 if kind == "effective" else 0.0)
    psf = rebinned(native, factor, kind=kind)
    expected = stamp(psf.shape[0], width / factor, pixel=1.0)
    np.testing.assert_allclose(psf, expected, atol=tolerance * expected.max())
    np.testing.assert_allclose(psf, psf[::-1, ::-1], atol=1e-15)
    assert psf.sum() == pytest.approx(1)


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("kind", ["effective", "optical"])
def test_rebinning_adds_the_second_moment_of_the_box(factor: int, kind: str):
    width = 0.6 * factor
    psf = rebinned(stamp(61, width, pixel=1.0 if kind == "effective" else 0.0), factor, kind=kind)
    assert factor**2 * variance(psf) == pytest.approx(width**2 + factor**2 / 12, rel=0.01)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_an_oversampled_stamp_becomes_the_native_one(factor: int):
    fine = stamp(24 * factor + 1, 1.3 * factor, pixel=1.0)
    native = stamp(25, 1.3, pixel=1.0)
    psf = rebinned(fine, factor)
    margin = (psf.shape[0] - native.shape[0]) // 2
    inner = psf[margin:-margin, margin:-margin] if margin else psf
    np.testing.assert_allclose(inner, native, atol=2e-3 * native.max())


@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("kind", ["effective", "optical"])
def test_an_oversampled_stamp_is_read_with_the_box_of_the_image_pixel(
    parts: dict, write: Callable, factor: int, kind: str
):
    """An effective one holds its own pixel, an optical one none; both end up the same."""
    fine = stamp(8 * factor + 1, 1.3 * factor, pixel=1.0 if kind == "effective" else 0.0)
    parts["PSF"] = (fine, {})
    options = ReadOptions(psf_oversampling=factor, psf_kind=kind)
    observation = read_observation(write(parts), options)
    assert observation.psf_kind == "effective"
    expected = stamp(observation.psf.shape[0], 1.3, pixel=1.0)
    np.testing.assert_allclose(observation.psf, expected, atol=5e-3 * expected.max())


@pytest.mark.skipif(not STAMPS.is_dir(), reason="needs ../shared/data/psfs")
@pytest.mark.parametrize(
    ("native", "fine", "factor"),
    [
        ("emp_psf_f814w_1x", "emp_psf_f814w_2x", 2),
        ("emp_psf_f814w_1x", "emp_psf_f814w_4x", 4),
        (
            "psf_kernel_NIRCam_F444W_STARRED_super1",
            "psf_kernel_NIRCam_F444W_STARRED_super3",
            3,
        ),
    ],
)
def test_oversampled_stamps_that_others_made_hold_their_own_pixel(
    native: str, fine: str, factor: int
):
    """Averaged over the native pixel they have the native width, and sampled they have not."""
    coarse, stamp = (fits.getdata(STAMPS / f"{n}.fits").astype(float) for n in (native, fine))
    if coarse.ndim == 3:  # one for each place on the detector
        coarse, stamp = coarse[0], stamp[0]
    width = measure_fwhm(coarse)
    assert measure_fwhm(rebinned(stamp, factor)) == pytest.approx(width, rel=0.02)
    first = stamp.shape[0] // 2 % factor
    assert measure_fwhm(stamp[first::factor, first::factor]) < 0.97 * width


def test_rebinning_by_one_changes_nothing():
    psf = stamp(9, 1.0, pixel=1.0)
    np.testing.assert_allclose(rebinned(psf, 1), psf, atol=1e-16)


def test_rectangular_stamps_keep_their_axes():
    psf = rebinned(stamp(31, 2.0)[8:-8], 3)
    assert psf.shape == (5, 11)


def test_offset_ignores_wings_and_flat_tops():
    psf = stamp(21, 1.5)
    psf[0] += 0.002  # moves the plain centroid by half a pixel
    assert np.hypot(*center_offset(psf)) < 0.05
    flat = np.minimum(stamp(21, 3.0), 0.01)
    flat[10, 12] += 1e-5
    assert np.hypot(*center_offset(flat)) < 0.01


@pytest.mark.parametrize(
    ("psf", "message"),
    [
        (np.ones((4, 5)), r"odd sides.* found 4 x 5 with the star off by \+0.00 in y: resample"),
        (stamp(15, 1.5, x=0.5)[:, 1:], r"found 15 x 14 with the star off by [+-]0.00 in x"),
        (np.ones((3, 5, 5)), r"one 2-D stamp, found shape \(3, 5, 5\)"),
        (np.zeros((5, 5)), "positive sum, found 0"),
        (-stamp(5, 1.0), "positive sum, found -1"),
        (np.where(np.eye(5) > 0, np.nan, 1.0), "finite, found 5 NaN"),
        (stamp(15, 1.5, x=0.7), r"off by \+0.70 in x and \+0.00 in y: shift"),
    ],
)
def test_unfit_stamps_are_refused(psf: np.ndarray, message: str):
    with pytest.raises(InputError, match=f"^psf.fits: the PSF must .*{message}"):
        normalized(psf, where="psf.fits")


@pytest.mark.parametrize("rows", [slice(None), slice(1, None), slice(None, -1)])
@pytest.mark.parametrize("columns", [slice(None), slice(1, None), slice(None, -1)])
def test_of_even_sides_the_star_is_made_the_middle(rows: slice, columns: slice):
    whole = stamp(15, 1.5, x=0.1)
    found = normalized(whole[rows, columns], where="psf")
    rows, columns = (slice(None) if s == slice(None) else slice(1, -1) for s in (rows, columns))
    expected = whole[rows, columns]
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-12)


def test_even_sides_are_judged_in_pixels_of_the_image():
    between = stamp(41, 4.0, x=0.5)[:, 1:]
    with pytest.raises(InputError, match="the star off by"):
        normalized(between, where="psf")
    assert normalized(between, where="psf", oversampling=4).shape == (41, 40)
    beside = stamp(41, 4.0, x=1.3)[:, 1:]
    with pytest.raises(InputError, match="the star off by"):
        normalized(beside, where="psf")
    assert normalized(beside, where="psf", oversampling=4).shape == (41, 39)


def test_a_star_far_from_the_middle_of_even_sides_is_recut():
    with pytest.raises(InputError, match=r"off by -2.48 in x: recut it"):
        normalized(stamp(15, 1.5)[:, 5:], where="psf")


def test_centring_is_judged_in_pixels_of_the_image():
    psf = stamp(41, 4.0, x=1.2)
    assert normalized(psf, where="psf", oversampling=3).sum() == pytest.approx(1)
    with pytest.raises(InputError, match=r"off by \+0.60 in x"):
        normalized(psf, where="psf", oversampling=2)


@pytest.mark.parametrize("factor", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["effective", "optical"])
def test_an_oversampled_star_between_pixels_stays_in_the_middle(factor: int, kind: str):
    """The box of the larger pixel is about the star, not half a small pixel beside it."""
    u = np.arange(60) - 29.5
    width = 0.7 * factor
    response = 1.0 if kind == "effective" else 0.0
    edge = np.exp(-(u**2) / (2 * width**2))
    if response:
        edge = erf((u + 0.5) / (np.sqrt(2) * width)) - erf((u - 0.5) / (np.sqrt(2) * width))
    fine = normalized(edge[:, None] * edge, where="psf", oversampling=factor)
    assert fine.shape == (60, 60)
    psf = rebinned(fine, factor, kind=kind)
    np.testing.assert_allclose(center_offset(psf), 0, atol=1e-12)
    expected = stamp(psf.shape[0], 0.7, pixel=1.0)
    np.testing.assert_allclose(psf, expected, atol=5e-3 * expected.max())


def test_sides_of_both_kinds_are_rebinned(parts: dict, write: Callable):
    rows, columns = np.arange(40) - 19.5, np.arange(41) - 20
    fine = np.exp(-(rows[:, None] ** 2 + columns**2) / (2 * 3.0**2))
    parts["PSF"] = (fine, {"PIXSCALE": 0.0125})
    observation = read_observation(write(parts), ReadOptions(psf_oversampling=4))
    np.testing.assert_allclose(center_offset(observation.psf), 0, atol=1e-12)
    assert variance(observation.psf) == pytest.approx(variance(observation.psf.T), rel=1e-3)


def test_a_core_off_the_middle_is_told(parts: dict, write: Callable):
    parts["PSF"] = (stamp(11, 1.2, x=0.3), {})
    (note,) = (n for n in read_observation(write(parts)).notes if n.startswith("PSF"))
    assert "obs.fits[PSF] is off its middle by +0.30 in x and +0.00 in y [pixel]" in note
    parts["PSF"] = (stamp(11, 1.2, x=0.05), {})
    assert not any("PSF" in n for n in read_observation(write(parts, "b.fits")).notes)
