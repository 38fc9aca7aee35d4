"""The forms in which observations come."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lensrim.errors import InputError
from lensrim.io import ReadOptions, read_observation


def read(path: Path, **options):
    return read_observation(path, ReadOptions(**options))


def test_one_file_with_its_own_noise_psf_and_wcs(parts: dict, write: Callable):
    parts["MASK"] = (np.ones((31, 37), dtype=np.uint8), {})
    parts["MASK"][0][0] = 0
    parts["DQ"] = (np.zeros((31, 37), dtype=np.int32), {})
    parts["DQ"][0][:2, 0] = 4
    observation = read(write(parts))
    np.testing.assert_array_equal(observation.image, parts["SCI"][0])
    np.testing.assert_array_equal(observation.sigma, 0.1)
    assert observation.name == "obs"
    assert observation.noise_kind == "sigma"
    assert observation.unit == "electron/s"
    assert observation.pixel_scale == pytest.approx(0.05, rel=1e-9)
    assert observation.wcs.wcs.crpix == pytest.approx([12.0, 20.5])
    assert (~observation.mask).sum() == 38
    assert observation.notes[-1] == "38 of 1147 pixels ignored: data quality flag 2, mask 36"


def test_background_and_exposure_beside_the_image(parts: dict, write: Callable):
    parts["SCI"][1]["BKGRMS"] = 0.2
    parts["SCI"][0][0, 0] = -5
    del parts["ERR"]
    parts["EXPTIME"] = (np.full((31, 37), 100.0), {})
    parts["EXPTIME"][0][0, 1] = 0
    observation = read(write(parts))
    expected = np.sqrt(0.2**2 + np.maximum(parts["SCI"][0], 0) / 100)
    used = np.ones((31, 37), dtype=bool)
    used[0, 1] = False
    np.testing.assert_array_equal(observation.mask, used)
    np.testing.assert_allclose(observation.sigma[used], expected[used])
    assert observation.sigma[0, 0] == pytest.approx(0.2)
    assert observation.noise_kind == "background+exposure"


def test_background_and_exposure_as_options(parts: dict, write: Callable):
    del parts["ERR"]
    path = write(parts)
    expected = np.sqrt(0.3**2 + parts["SCI"][0] / 50)
    np.testing.assert_allclose(read(path, background=0.3, exposure="50s").sigma, expected)
    parts["SCI"][1]["EXPTIME"] = 50.0
    other = write(parts, "other.fits")
    np.testing.assert_allclose(read(other, background=0.3).sigma, expected)


@pytest.mark.parametrize("suffix", [".fits", ".fits.gz"])
def test_a_folder_with_data_noise_map_and_psf(
    parts: dict, write_folder: Callable, suffix: str, monkeypatch: pytest.MonkeyPatch
):
    images = dict(zip(("data", "noise_map", "psf"), (p[0] for p in parts.values()), strict=True))
    mask = np.zeros((31, 37), dtype=np.int16)
    mask[5] = 1
    folder = write_folder({**{k + suffix: v for k, v in images.items()}, "mask.fits": mask})
    observation = read(folder, pixel_scale=0.04)
    np.testing.assert_array_equal(observation.image, parts["SCI"][0])
    assert observation.name == "lens"
    assert observation.mask.all()
    assert "mask.fits: seen, used only with --mask and --mask-sense" in observation.notes
    masked = read(folder, pixel_scale=0.04, mask="mask.fits", mask_sense="ignored")
    np.testing.assert_array_equal(masked.mask, mask == 0)
    monkeypatch.chdir(folder)
    here = read(
        Path("data" + suffix), noise="noise_map" + suffix, psf=f"psf{suffix}[0]", pixel_scale=0.04
    )
    np.testing.assert_array_equal(here.image, observation.image)
    np.testing.assert_array_equal(here.psf, observation.psf)
    assert here.name == "lens"


def test_a_folder_with_one_file(parts: dict, write: Callable, tmp_path: Path):
    write(parts, "only.fits")
    observation = read(tmp_path)
    assert observation.name == "only"
    assert observation.notes[0] == "read only.fits, alone in its folder"


def test_bands_are_told_apart_by_their_prefix(parts: dict, write: Callable):
    bands = {}
    for i, band in enumerate(["VIS", "NIR_Y"]):
        header = {**parts["SCI"][1], "MAGZERO": 24.6 + i}
        bands[f"{band}_BGSUB"] = (parts["SCI"][0] + i, header)
        bands[f"{band}_PSF"] = parts["PSF"]
        bands[f"{band}_RMS"] = (np.full((31, 37), 0.1 + i), {})
    path = write(bands)
    observation = read(path, data="nir_y_bgsub")
    np.testing.assert_array_equal(observation.image, parts["SCI"][0] + 1)
    np.testing.assert_array_equal(observation.sigma, 1.1)
    assert observation.zeropoint == 25.6
    same = read(f"{path}[NIR_Y_BGSUB]")
    np.testing.assert_array_equal(same.image, observation.image)
    with pytest.raises(
        InputError, match=r"2 HDUs may be the image: choose one by --data: VIS_BGSUB, NIR_Y_BGSUB"
    ):
        read(path)


def test_extensions_of_one_name_go_by_version(parts: dict, write: Callable):
    twice = {}
    for version in (1, 2):
        twice[f"SCI,{version}"] = (parts["SCI"][0] * version, parts["SCI"][1])
        twice[f"ERR,{version}"] = (parts["ERR"][0] * version, {})
    path = write({**twice, "PSF": parts["PSF"]})
    np.testing.assert_allclose(read(path, data="SCI,2").sigma, 0.2)
    np.testing.assert_allclose(read(path, data="1").sigma, 0.1)
    with pytest.raises(InputError, match=r"choose one by --data: SCI,1, SCI,2"):
        read(path)
    with pytest.raises(InputError, match=r"2 HDUs are called SCI: choose one of SCI,1 \(number 1"):
        read(path, data="SCI")


def test_a_plain_image_with_everything_named(parts: dict, tmp_path: Path, write: Callable):
    fits.PrimaryHDU(parts["SCI"][0]).writeto(tmp_path / "plain.fits")
    other = write({"NOISE": parts["ERR"], "STAR": parts["PSF"]}, "calibration.fits")
    observation = read(
        tmp_path / "plain.fits",
        noise=f"{other}[NOISE]",
        noise_kind="variance",
        psf="calibration.fits[2]",
        pixel_scale=0.03,
        zeropoint=25.0,
        rescale_noise=2.0,
    )
    np.testing.assert_allclose(observation.sigma, 2 * np.sqrt(0.1))
    assert observation.zeropoint == 25.0
    assert "noise multiplied by 2" in observation.notes


def test_bad_pixels_are_ignored_and_counted(parts: dict, write: Callable):
    parts["SCI"][0][0, :3] = np.nan
    parts["ERR"][0][1, :4] = 0
    parts["ERR"][0][2, 0] = np.nan
    parts["ERR"][0][3, :2] = 1e8
    parts["ERR"][0][4, 0] = -1
    observation = read(write(parts))
    assert observation.notes[-1] == (
        "11 of 1147 pixels ignored: NaN or infinite 3, noise zero, negative or not finite 6,"
        " noise a million times the median 2"
    )
    assert np.isfinite(observation.image).all()
    np.testing.assert_allclose(observation.sigma, 0.1)


@pytest.mark.parametrize("dtype", [">f4", ">f8", "<f4", "<i2", ">i4", "u1", "u2"])
def test_pixels_come_in_any_type(parts: dict, write: Callable, dtype: str):
    pixels = np.round(parts["SCI"][0] * 10).astype(dtype)
    parts["SCI"] = (pixels, parts["SCI"][1])
    observation = read(write(parts))
    assert observation.image.dtype == np.dtype("=f8")
    np.testing.assert_array_equal(observation.image, pixels.astype(float))


def test_scaled_and_blank_integers(parts: dict, tmp_path: Path, write: Callable):
    path = write(parts)
    with fits.open(path) as hdus:
        hdus["SCI"].scale("int16", bscale=0.5, bzero=10)
        hdus["SCI"].data[0, 0] = -32768
        hdus["SCI"].header["BLANK"] = -32768
        hdus.writeto(tmp_path / "scaled.fits")
    observation = read(tmp_path / "scaled.fits")
    assert not observation.mask[0, 0]
    assert np.abs(observation.image - parts["SCI"][0])[observation.mask].max() <= 0.25 + 1e-6


def test_compressed_forms(parts: dict, tmp_path: Path, write: Callable):
    path = write(parts)
    packed = tmp_path / "packed.fits.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read(packed).image, parts["SCI"][0])
    assert read(packed).name == "packed"
    with fits.open(path) as hdus:
        tiles = fits.CompImageHDU(
            parts["SCI"][0], hdus["SCI"].header, quantize_level=0, compression_type="GZIP_1"
        )
        fits.HDUList([fits.PrimaryHDU(), tiles, *hdus[2:]]).writeto(tmp_path / "tiles.fits")
    np.testing.assert_array_equal(read(tmp_path / "tiles.fits").image, parts["SCI"][0])


def test_a_cube_of_one_plane_is_an_image(parts: dict, write: Callable):
    parts["SCI"] = (parts["SCI"][0][None], parts["SCI"][1])
    observation = read(write(parts))
    assert observation.shape == (31, 37)
    assert observation.notes[0] == "obs.fits[SCI]: axes of length 1 of shape (1, 31, 37) dropped"


def test_missing_padding_is_harmless(parts: dict, write: Callable):
    path = write(parts)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) - 2880 + 11 * 11 * 8])
    np.testing.assert_array_equal(read(path).image, parts["SCI"][0])


def test_an_oversampled_psf_is_put_on_the_image_pixels(parts: dict, write: Callable):
    u = np.arange(27) - 13
    fine = np.exp(-(u**2 + u[:, None] ** 2) / (2 * 3.6**2))
    parts["PSF"] = (fine, {"PIXSCALE": 0.05 / 3})
    observation = read(write(parts), psf_oversampling=3, psf_kind="optical")
    assert observation.psf.shape == (9, 9)
    assert observation.psf_kind == "effective"
    with pytest.raises(
        InputError, match=r"0.05 arcsec, PIXSCALE of forgotten.fits\[PSF\] 0.016667"
    ):
        read(write(parts, "forgotten.fits"))


@pytest.mark.parametrize("name", ["FLAG", "FLAGS", "BPM", "SCI_BADPIX", "QUALITY", "DQ_MASK"])
def test_what_looks_like_flags_and_is_not_read_is_told(parts: dict, write: Callable, name: str):
    flags = np.zeros((31, 37), dtype=np.int16)
    flags[3:5] = 4
    parts[name] = (flags, {})
    parts["OTHER"] = (np.zeros((3, 3)), {})
    note = f"obs.fits[{name}]: seen, used only with --dq or --mask"
    assert note in read(write(parts, "obs.fits")).notes
    used = read(write(parts, "used.fits"), dq=name)
    assert (~used.mask).sum() == 2 * 37
    assert not any("seen, used only" in line for line in used.notes)


def test_flags_of_another_image_of_the_file_are_not_told(parts: dict, write: Callable):
    flags = np.zeros((31, 37), dtype=np.int16)
    both = {f"{name},1": held for name, held in parts.items()} | {"DQ,1": (flags, {})}
    both |= {f"{name},2": parts[name] for name in ("SCI", "ERR")} | {"DQ,2": (flags, {})}
    notes = read(write(both), data="SCI,1", psf="PSF").notes
    assert not any("seen, used only" in note for note in notes)


def test_psf_kind_is_passed_on(parts: dict, write: Callable):
    assert read(write(parts), psf_kind="optical").psf_kind == "optical"


def test_a_mask_is_read_unasked_with_a_note(parts: dict, write: Callable):
    mask = np.ones((31, 37), dtype=np.uint8)
    mask[:10] = 0
    parts["MASK"] = (mask, {})
    path = write(parts)
    note = "mask: obs.fits[MASK] read, 1 = used (--mask-sense ignored for the opposite)"
    for options in ({}, {"mask": "MASK"}):
        observation = read(path, **options)
        np.testing.assert_array_equal(observation.mask, mask == 1)
        assert note in observation.notes
    assert note not in read(path, mask_sense="used").notes


def test_a_mask_that_would_leave_the_lesser_part_must_say_its_sense(parts: dict, write: Callable):
    mask = np.zeros((31, 37), dtype=np.uint8)
    mask[:15] = 1
    parts["MASK"] = (mask, {})
    path = write(parts)
    with pytest.raises(
        InputError,
        match=r"\[MASK\]: the mask must say what 1 means where 1 is in fewer than half of the"
        r" pixels, found 555 of 1147: give --mask-sense used or ignored",
    ):
        read(path)
    for sense, used in (("used", 1), ("ignored", 0)):
        np.testing.assert_array_equal(read(path, mask_sense=sense).mask, mask == used)


def test_an_oversampling_beyond_the_stamp_is_refused(write, parts):
    with pytest.raises(InputError, match="--psf-oversampling: must not exceed"):
        read(write(parts), psf_oversampling=1001)


@pytest.mark.parametrize("sense", ["used", "ignored"])
def test_a_sense_without_a_mask_is_refused(write, parts, sense):
    with pytest.raises(InputError, match="--mask-sense: no mask is read"):
        read(write(parts), mask_sense=sense)


@pytest.mark.parametrize(
    ("exposure", "match"), [("0s", "must be positive"), ("1e3", "write 1e3s"), ("-5s", "positive")]
)
def test_an_exposure_that_is_no_time_is_refused(write, parts, exposure, match):
    with pytest.raises(InputError, match=f"--exposure.*{match}"):
        read(write(parts), exposure=exposure, background=0.1)


def test_a_scale_in_degrees_is_refused(write, parts):
    parts["SCI"] = (parts["SCI"][0], {"PIXSCALE": 2.5e-5})
    with pytest.raises(InputError, match="is it in degrees"):
        read(write(parts))


PLANES = {
    "MP_BAD": 0,
    "MP_SAT": 1,
    "MP_CR": 3,
    "HIERARCH MP_DETECTED": 5,
    "HIERARCH MP_NO_DATA": 8,
}


@pytest.mark.parametrize("given", [{}, {"dq": "MASK"}])
def test_named_bits_of_a_mask_tell_the_bad_from_the_seen(
    parts: dict, write: Callable, given: dict
):
    """As of LSST and Hyper Suprime-Cam, whose lens itself has a bit."""
    flags = np.zeros((31, 37), dtype=np.int32)
    flags[10:20, 10:20] |= 1 << 5
    flags[12, 12] |= 1 << 1
    flags[0] |= 1 << 8
    parts = {
        "IMAGE": parts["SCI"],
        "MASK": (flags, PLANES),
        "VARIANCE": (parts["ERR"][0] ** 2, {}),
        "PSF": parts["PSF"],
    }
    observation = read(write(parts), **given)
    np.testing.assert_array_equal(observation.mask, (flags & (1 << 1 | 1 << 8)) == 0)
    assert observation.noise_kind == "variance"
    note = "flags: of obs.fits[MASK] BAD, CR, NO_DATA, SAT taken as bad, not DETECTED"
    assert note in observation.notes


def test_named_bits_count_beside_data_quality(parts: dict, write: Callable):
    flags, quality = np.zeros((2, 31, 37), dtype=np.int32)
    flags[3, 4], quality[5, 6] = 1, 8
    parts |= {"MASK": (flags, PLANES), "DQ": (quality, {})}
    path = write(parts)
    np.testing.assert_array_equal(read(path).mask, (flags == 0) & (quality == 0))
    with pytest.raises(InputError, match=r"\[MASK\]: a mask must hold 0 and 1 only, found flags"):
        read(path, mask="MASK")
    with pytest.raises(InputError, match=r"\[MASK\]: a mask must hold 0 and 1 only, found flags"):
        read(path, mask_sense="used")


def test_a_mask_of_flags_without_names_is_told_to_be_flags(parts: dict, write: Callable):
    flags = np.zeros((31, 37), dtype=np.int32)
    flags[3, 4] = 4
    parts["MASK"] = (flags, {})
    path = write(parts)
    with pytest.raises(InputError, match=r"must hold 0 and 1 only, .* give flags as --dq MASK"):
        read(path)
    np.testing.assert_array_equal(read(path, dq="MASK").mask, flags == 0)
