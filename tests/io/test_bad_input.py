"""Every input that cannot be used gives one line: where, the rule, what was found, what to do."""

import gzip
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from lensrim.errors import InputError
from lensrim.io import ReadOptions, read_observation


def refused(path: Path | str, message: str, **options) -> None:
    """Reads in vain and checks the message, its single line included."""
    with pytest.raises(InputError, match=message) as caught:
        read_observation(path, ReadOptions(**options))
    assert "\n" not in str(caught.value)


def test_a_missing_file(tmp_path: Path):
    refused(tmp_path / "none.fits", r"none.fits: no such file: check")
    refused(f"{tmp_path / 'none.fits'}[SCI]", r"none.fits: no such file: check")


def test_a_folder_with_nothing_usable(parts: dict, write: Callable, tmp_path: Path):
    refused(tmp_path, r"data.fits\[.gz\] .* or one FITS file, found no FITS file: name")
    write(parts, "a.fits")
    write(parts, "b.fits")
    refused(tmp_path, r"found a.fits, b.fits: name the image's file")


def test_a_folder_with_two_of_a_kind(write_folder: Callable):
    pixels = np.ones((5, 5))
    refused(
        write_folder({"data.fits": pixels, "data.fits.gz": pixels}), "holds both data.fits and"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"the file is empty \(0 bytes\)"),
        (b"hello world", r"not a FITS file .* begins with b'hello '"),
        (b"\x89PNG\r\n\x1a\n" + bytes(4000), "not a FITS file"),
        (gzip.compress(b"hello world", mtime=0), r"not a FITS file .* begins with b'hello '"),
        (b"\x1f\x8b123", "gzip file is truncated or damaged"),
        (b"SIMPLE  =                    T", "truncated or damaged"),
        (b"SIMPLE  =                    T".ljust(2880), "truncated or damaged"),
    ],
)
def test_files_that_are_not_fits(tmp_path: Path, content: bytes, message: str):
    path = tmp_path / "bad.fits"
    path.write_bytes(content)
    refused(path, rf"bad.fits: .*{message}")


@pytest.mark.parametrize("keep", [0.05, 0.2, 0.4, 0.55, 0.7, 0.8, 0.9])
def test_truncated_files(parts: dict, write: Callable, keep: float):
    path = write(parts)
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    refused(path, "truncated")
    packed = gzip.compress(content)
    path.write_bytes(packed[: int(keep * len(packed))])
    refused(path, "the gzip file is truncated or damaged")
    path.write_bytes(gzip.compress(content[: int(keep * len(content))]))
    refused(path, "truncated")


def test_no_image(tmp_path: Path, parts: dict, write: Callable):
    fits.PrimaryHDU().writeto(tmp_path / "empty.fits")
    refused(tmp_path / "empty.fits", r"no 2-D image, the file holds 0 \(no name\) \(no image\)")
    fits.PrimaryHDU(np.ones(9)).writeto(tmp_path / "line.fits")
    refused(tmp_path / "line.fits", "no 2-D image, the file holds 0 .* 9: give another")
    columns = [fits.Column(name="flux", format="D", array=np.ones(4))]
    table = fits.BinTableHDU.from_columns(columns, name="CATALOG")
    fits.HDUList([fits.PrimaryHDU(), table]).writeto(tmp_path / "table.fits")
    refused(tmp_path / "table.fits", "no 2-D image, .* 1 CATALOG")
    refused(tmp_path / "table.fits", "2-D image is needed, found no image", data="CATALOG")
    del parts["SCI"]
    refused(write(parts), "no 2-D image, the file holds .* 1 ERR 31x37, 2 PSF 11x11")


def test_a_cube(parts: dict, write: Callable):
    parts["SCI"] = (np.ones((3, 31, 37)), {})
    path = write(parts)
    refused(path, "no 2-D image, .* 1 SCI 3x31x37.*: cut one plane out of the cube")
    refused(path, r"\[SCI\]: a 2-D image is needed, found shape \(3, 31, 37\): cut", data="SCI")


@pytest.mark.parametrize("part", ["ERR", "MASK", "DQ"])
def test_shapes_that_differ(parts: dict, write: Callable, part: str):
    parts[part] = (np.ones((31, 36)), {})
    refused(write(parts), rf"\[{part}\]: .* as the image, found 31 x 36 against 31 x 37 in .*SCI")


def test_only_nan(parts: dict, write: Callable):
    parts["SCI"][0][:] = np.nan
    refused(write(parts), r"\[SCI\]: the image must hold data, found only NaN")


def test_a_constant_image(parts: dict, write: Callable):
    parts["SCI"][0][:] = 0
    refused(write(parts), r"\[SCI\]: the image must vary, found 0 in every used pixel")


@pytest.mark.parametrize(
    ("value", "found"), [(0, "from 0 to 0"), (-1, "from -1 to -1"), (np.nan, "only NaN")]
)
def test_no_positive_noise(parts: dict, write: Callable, value: float, found: str):
    parts["ERR"][0][:] = value
    refused(write(parts), rf"\[ERR\]: noise must be finite and positive, found .*{found}")


def test_no_positive_exposure(parts: dict, write: Callable):
    parts["EXPTIME"] = (np.zeros((31, 37)), {})
    refused(write(parts), r"\[EXPTIME\]: noise must be finite", background=0.1, exposure="EXPTIME")


def test_no_noise(parts: dict, write: Callable):
    del parts["ERR"]
    refused(write(parts), r"no noise map, the file holds .*: give --noise \(HDU or file\), or --b")


def test_parts_beside_the_image_are_hinted_at(parts: dict, write_folder: Callable):
    folder = write_folder({"data.fits": parts["SCI"][0], "noise_map.fits": parts["ERR"][0]})
    refused(folder / "data.fits", r"\(the folder of .*noise_map.fits can be given as a whole\)")


def test_no_psf(parts: dict, write: Callable):
    del parts["PSF"]
    refused(write(parts), r"no PSF, the file holds .*: give --psf \(HDU, file or file\[HDU\]\)")


@pytest.mark.parametrize(
    ("psf", "message"),
    [
        (np.ones((10, 11)), "have odd sides"),
        (np.zeros((11, 11)), "have a positive sum, found 0"),
        (np.full((11, 11), np.nan), "be finite, found 121 NaN"),
        (
            np.roll(np.pad([[1.0]], 5), 1, axis=0),
            r"be centred .* off by \+0.00 in x and \+1.00 in y",
        ),
        (np.pad([[1.0]], 16), "not be larger than the image, found 33 x 33 against 31 x 37"),
    ],
)
def test_unfit_psfs(parts: dict, write: Callable, psf: np.ndarray, message: str):
    parts["PSF"] = (psf, {})
    refused(write(parts), rf"obs.fits\[PSF\]: the PSF must {message}")


@pytest.mark.parametrize("option", ["data", "noise", "psf", "mask", "dq", "exposure"])
def test_unknown_hdus_and_files(parts: dict, write: Callable, option: str):
    path = write(parts)
    refused(
        path, r"'?NOPE'?.* holds 0 .*1 SCI 31x37, 2 ERR 31x37, 3 PSF 11x11", **{option: "NOPE"}
    )
    if option != "data":
        refused(path, f"--{option} nope.fits: no such file, here or in", **{option: "nope.fits"})
    other = re.escape(str(path)) + ": no HDU '7': the file holds"
    refused(path, other, **{option: f"{path}[7]"})


def test_a_name_that_fits_two_files(
    parts: dict, write: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    here = tmp_path / "here"
    here.mkdir()
    path = write(parts)
    for folder in (here, tmp_path):
        fits.PrimaryHDU(parts["PSF"][0]).writeto(folder / "star.fits")
    monkeypatch.chdir(here)
    refused(path, "--psf star.fits: there is one here and one in", psf="star.fits")


def test_a_file_of_several_images_needs_its_hdu_named(parts: dict, write: Callable):
    other = write({"A": parts["PSF"], "B": parts["PSF"]}, "stars.fits")
    path = write(parts)
    refused(path, r"one 2-D image is needed for --psf, .* name the HDU as stars", psf=str(other))
    assert read_observation(path, ReadOptions(psf=f"{other}[B]")).psf.shape == (11, 11)


def test_the_image_named_twice(parts: dict, write: Callable):
    refused(f"{write(parts)}[SCI]", "named twice, here and by --data SCI", data="SCI")


def test_masks_hold_zero_and_one(parts: dict, write: Callable):
    parts["MASK"] = (np.ones((31, 37), dtype=np.int16), {})
    parts["MASK"][0][0, 0] = 7
    refused(write(parts), r"\[MASK\]: a mask must hold 0 and 1 only, found 7 \(1 pixels\)")


def test_a_mask_that_ignores_everything(parts: dict, write: Callable):
    parts["MASK"] = (np.ones((31, 37), dtype=np.uint8), {})
    refused(write(parts), "ignores every pixel with --mask-sense ignored", mask_sense="ignored")


def test_nothing_left_to_use(parts: dict, write: Callable):
    parts["DQ"] = (np.ones((31, 37), dtype=np.int16), {})
    refused(write(parts), "no pixel is left to use, 1147 of 1147 pixels ignored: data quality")


@pytest.mark.usefixtures("types_unchecked")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"psf_oversampling": 0}, "--psf-oversampling: must be positive, got 0"),
        ({"psf_oversampling": 1.5}, "--psf-oversampling: must be a whole number, found 1.5"),
        ({"zeropoint": float("inf")}, "--zeropoint: must be finite, got inf"),
    ],
)
def test_impossible_options(parts: dict, write: Callable, options: dict, message: str):
    refused(write(parts), message, **options)
