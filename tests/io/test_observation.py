"""Cut-outs, binning and masks keep track of pixels, noise and sky."""

import numpy as np
import pytest
from astropy.wcs import WCS

from lensrim.errors import InputError
from lensrim.io import Observation

SCALE = 0.05


def gaussian(size: int, width: float) -> np.ndarray:
    u = np.arange(size) - size // 2
    profile = np.exp(-(u**2) / (2 * width**2))
    return np.outer(profile, profile)


def world() -> WCS:
    """A rotated tangential WCS, East to the left."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype, wcs.wcs.crval = ["RA---TAN", "DEC--TAN"], [150.1, 2.2]
    wcs.wcs.crpix = [12.0, 20.5]
    wcs.wcs.cd = SCALE / 3600 * np.array([[-0.8, 0.6], [0.6, 0.8]])
    return wcs


def make(shape: tuple[int, int] = (31, 37), **changes) -> Observation:
    rng = np.random.default_rng(3)
    values = {
        "image": rng.normal(size=shape),
        "sigma": rng.uniform(0.5, 2, shape),
        "psf": gaussian(9, 1.2),
        "mask": np.ones(shape, dtype=bool),
        "pixel_scale": SCALE,
        "wcs": world(),
    }
    return Observation(**{**values, **changes})


def sky(observation: Observation, column: float, row: float) -> np.ndarray:
    return np.array(observation.wcs.wcs_pix2world(column, row, 0)).ravel()


def test_arrays_are_made_fit():
    image = np.ones((5, 7), dtype=np.float32)
    image[0, 0] = np.nan
    sigma = np.full((5, 7), 3, dtype=int)
    sigma[0, 0] = 0
    mask = np.ones((5, 7), dtype=int)
    mask[0, 0] = 0
    made = make(image=image, sigma=sigma, mask=mask, psf=gaussian(3, 1.0))
    assert made.image.dtype == made.sigma.dtype == np.float64
    assert made.mask.dtype == bool
    assert made.image[0, 0] == 0
    assert made.sigma[0, 0] == 3
    assert made.psf.sum() == pytest.approx(1)
    assert np.isnan(image[0, 0])  # the caller's array is left alone


def test_what_is_shown_says_what_was_understood():
    shown = repr(make(name="lens", mask=np.arange(31 * 37).reshape(31, 37) > 9, unit="electron/s"))
    assert shown.startswith("<Observation lens: 37 x 31 pixels of 0.05 arcsec, 10 ignored; ")
    assert "electron/s (read as sigma); PSF 9 x 9, effective>" in shown


@pytest.mark.parametrize(("name", "kept"), [("\x1b]0;a\x07", "_]0;a_"), ("caf\udce9", "caf_")])
def test_a_name_can_be_printed(name: str, kept: str):
    assert make(name=name).name == make(name=name).cutout((9, 9), (5, 5)).name == kept


def test_grid_is_centred_on_the_image():
    grid = make().grid
    assert grid.shape == (31, 37)
    assert grid.spacing == SCALE
    assert grid.center == (0, 0)


@pytest.mark.parametrize("center", [(20, 15), (18.5, 14.5)])
@pytest.mark.parametrize("shape", [(9, 11), (8, 12)])
def test_a_cutout_keeps_sky_and_pixels(center: tuple[float, float], shape: tuple[int, int]):
    whole = make()
    part = whole.cutout(center, shape)
    x, y = part.corner
    assert part.shape == shape
    np.testing.assert_array_equal(part.image, whole.image[y : y + shape[0], x : x + shape[1]])
    np.testing.assert_allclose(sky(part, 3, 2), sky(whole, 3 + x, 2 + y), rtol=0, atol=1e-11)
    middle = np.array([x + (shape[1] - 1) / 2, y + (shape[0] - 1) / 2])
    assert np.abs(middle - center).max() <= 0.5


def test_a_cutout_beyond_the_edge_is_filled_with_ignored_pixels():
    whole = make()
    part = whole.cutout((1, 29), (9, 9))
    assert part.corner == (-3, 25)
    assert part.mask.sum() == 6 * 6
    assert (part.image[~part.mask] == 0).all()
    np.testing.assert_array_equal(part.image[:6, 3:], whole.image[25:, :6])
    assert part.notes[-1] == "cut-out: 45 pixels outside the image are ignored"


@pytest.mark.parametrize(
    ("center", "shape", "message"),
    [
        ((37, 3), (5, 5), "must lie in the image of 37 columns and 31 rows, got x = 37, y = 3"),
        ((3, float("nan")), (5, 5), "must lie in the image"),
        ((3, 3), (0, 5), r"at least a pixel, got shape \(0, 5\)"),
    ],
)
def test_impossible_cutouts_are_refused(center, shape, message: str):
    with pytest.raises(InputError, match=message):
        make().cutout(center, shape)


def test_a_cutout_without_used_pixels_is_refused():
    mask = np.ones((31, 37), dtype=bool)
    mask[:9, :9] = False
    with pytest.raises(InputError, match="5 x 5 about x = 3, y = 3 has no used pixel"):
        make(mask=mask).cutout((3, 3), (5, 5))


@pytest.mark.parametrize("b", [2, 3, 4])
def test_binning_averages_data_and_noise(b: int):
    whole = make((24, 36))
    coarse = whole.binned(b)
    block = (slice(b, 2 * b), slice(2 * b, 3 * b))
    assert coarse.shape == (24 // b, 36 // b)
    assert coarse.bin == b
    assert coarse.pixel_scale == pytest.approx(b * SCALE)
    assert coarse.image[1, 2] == pytest.approx(whole.image[block].mean())
    expected = np.sqrt((whole.sigma[block] ** 2).mean() / b**2)
    assert coarse.sigma[1, 2] == pytest.approx(expected)


def test_binned_white_noise_has_the_stated_sigma():
    noise = np.random.default_rng(0).normal(scale=2.0, size=(300, 300))
    coarse = make(image=noise, sigma=np.full(noise.shape, 2.0), mask=noise < np.inf).binned(3)
    assert (coarse.image / coarse.sigma).std() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize(("b", "shape"), [(2, (31, 37)), (3, (31, 38)), (4, (30, 37))])
def test_binning_keeps_the_sky(b: int, shape: tuple[int, int]):
    whole = make(shape)
    coarse = whole.binned(b)
    x, y = coarse.corner
    assert (x, y) == (shape[1] % b // 2, shape[0] % b // 2)
    native = (x + 2 * b + (b - 1) / 2, y + b + (b - 1) / 2)
    np.testing.assert_allclose(sky(coarse, 2, 1), sky(whole, *native), rtol=0, atol=1e-11)


def test_corners_of_corners_are_native():
    whole = make((40, 44))
    part = whole.cutout((20, 20), (30, 32)).binned(2).cutout((8, 7), (10, 12))
    x, y = part.corner
    block = whole.image[y : y + 2, x : x + 2]
    assert part.image[0, 0] == pytest.approx(block.mean())
    native = (x + 0.5, y + 0.5)
    np.testing.assert_allclose(sky(part, 0, 0), sky(whole, *native), rtol=0, atol=1e-11)


def test_a_block_is_used_if_half_its_pixels_are():
    mask = np.ones((4, 6), dtype=bool)
    mask[0, :2] = False  # half of the first block
    mask[0, 2:4] = mask[1, 2] = False  # three quarters of the second
    whole = make(mask=mask, image=np.arange(24.0).reshape(4, 6), sigma=np.full((4, 6), 2.0))
    coarse = whole.binned(2)
    np.testing.assert_array_equal(coarse.mask, [[True, False, True], [True, True, True]])
    assert coarse.image[0, 0] == pytest.approx((6 + 7) / 2)
    assert coarse.sigma[0, 0] == pytest.approx(2 / np.sqrt(2))


@pytest.mark.parametrize("b", [1, 2, 3])
def test_a_place_of_the_frame_is_one_of_the_file_and_back(b: int):
    whole = make()
    frame = whole.cutout((20.0, 15.0), (20, 22)).binned(b)
    x, y = frame.to_file(3.25, 1.5)
    np.testing.assert_allclose(sky(frame, 3.25, 1.5), sky(whole, x, y), rtol=0, atol=1e-10)
    assert frame.from_file(x, y) == pytest.approx((3.25, 1.5))
    assert whole.from_file(x, y) == pytest.approx((x, y))


def test_binning_puts_the_pixel_box_into_an_optical_psf():
    coarse = make(psf_kind="optical").binned(2)
    assert coarse.psf_kind == "effective"
    assert "effective from here on" in coarse.notes[-1]
    y = np.arange(coarse.psf.shape[0]) - coarse.psf.shape[0] // 2
    assert 4 * (coarse.psf.sum(1) @ y**2) == pytest.approx(1.2**2 + 4 / 12, rel=0.01)


def test_binning_by_one_is_the_same():
    whole = make()
    assert whole.binned(1) is whole


@pytest.mark.parametrize(
    ("b", "message"), [(0, "positive integer, got 0"), (40, "no block of 40")]
)
def test_impossible_bins_are_refused(b: int, message: str):
    with pytest.raises(InputError, match=message):
        make().binned(b)


def test_masks_only_take_pixels_away():
    first, second = np.ones((31, 37), dtype=bool), np.ones((31, 37), dtype=bool)
    first[0], second[:, 0] = False, False
    both = make(mask=first).with_mask(second)
    np.testing.assert_array_equal(both.mask, first & second)
    with pytest.raises(
        InputError, match=r"mask must have the image's shape \(31, 37\), got \(3, 3\)"
    ):
        both.with_mask(np.ones((3, 3)))


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": np.ones(5)}, "image must be 2-D"),
        ({"sigma": np.ones((3, 3))}, "sigma must have the image's shape"),
        ({"sigma": np.zeros((31, 37))}, "positive finite sigma, 1147 are not"),
        ({"mask": np.zeros((31, 37))}, "no pixel is used"),
        ({"pixel_scale": 0.0}, "pixel_scale must be positive, got 0"),
        ({"psf_kind": "sharp"}, "psf_kind must be 'effective' or 'optical', got 'sharp'"),
        ({"psf": np.ones((4, 4))}, "observation: psf: the PSF must have odd sides"),
    ],
)
def test_unfit_arrays_are_refused(changes: dict, message: str):
    with pytest.raises(InputError, match=message):
        make(**changes)
