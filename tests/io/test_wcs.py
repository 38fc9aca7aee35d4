"""The pixel scale, from whoever states it, and contradictions."""

from collections.abc import Callable

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import local_partial_pixel_derivatives

from lensrim.errors import InputError
from lensrim.io import ReadOptions, read_observation


def strip(header: dict) -> None:
    """Removes the world coordinates."""
    for key in [k for k in header if k != "BUNIT"]:
        del header[key]


@pytest.mark.parametrize("keyword", ["PIXSCALE", "PIXELSCL", "SECPIX", "D001SCAL", "SCALE"])
def test_the_scale_is_read_from_keywords(parts: dict, write: Callable, keyword: str):
    strip(parts["SCI"][1])
    parts["SCI"][1][keyword] = 0.07
    observation = read_observation(write(parts))
    assert observation.pixel_scale == 0.07
    assert observation.wcs is None
    assert f"pixel scale 0.07 arcsec from {keyword} of obs.fits[SCI]" in observation.notes


def test_the_scale_is_read_from_the_primary_header(parts: dict, write: Callable):
    strip(parts["SCI"][1])
    assert read_observation(write(parts, primary={"PIXSCALE": 0.07})).pixel_scale == 0.07


def test_the_scale_of_the_primary_header_is_that_of_the_image(parts: dict, write: Callable):
    """And not of finer pixels that the PSF in the same file has."""
    strip(parts["SCI"][1])
    path = write(parts, primary={"PIXSCALE": 0.05})
    assert read_observation(path, ReadOptions(psf_oversampling=3)).pixel_scale == 0.05
    parts["PSF"][1]["PIXSCALE"] = 0.05
    wrong = write(parts, "wrong.fits", primary={"PIXSCALE": 0.05})
    with pytest.raises(InputError, match=r"PSF\] times the oversampling 3 0.15"):
        read_observation(wrong, ReadOptions(psf_oversampling=3))


@pytest.mark.parametrize("value", ["LINEAR", 0.65, 1.0])
def test_what_may_be_a_scale_of_anything_is_nothing_against_a_wcs(
    parts: dict, write: Callable, value: object
):
    parts["SCI"][1]["SCALE"] = parts["PSF"][1]["SCALE"] = value
    observation = read_observation(write(parts))
    assert observation.pixel_scale == pytest.approx(0.05)
    assert not any("SCALE" in line for line in observation.notes)


def test_what_may_be_a_scale_of_anything_is_the_images_alone(parts: dict, write: Callable):
    strip(parts["SCI"][1])
    parts["SCI"][1]["SCALE"], parts["PSF"][1]["SCALE"] = 1.0, "LINEAR"
    path = write(parts, primary={"PIXSCALE": 0.07})
    assert read_observation(path).pixel_scale == 0.07
    alone = write(parts, "alone.fits")
    assert read_observation(alone).pixel_scale == 1.0
    assert read_observation(alone, ReadOptions(pixel_scale=0.05)).pixel_scale == 0.05


def test_no_scale(parts: dict, write: Callable):
    strip(parts["SCI"][1])
    parts["PSF"][1]["PIXSCALE"] = 0.07
    with pytest.raises(
        InputError, match=r"no pixel scale.*--pixel-scale in arcsec \(PIXSCALE of obs.fits\[PSF\]"
    ):
        read_observation(write(parts))


@pytest.mark.parametrize("part", ["SCI", "ERR", "PSF", "MASK"])
def test_contradictions_name_both(parts: dict, write: Callable, part: str):
    parts["MASK"] = (np.ones((31, 37), dtype=np.uint8), {})
    parts[part][1]["PIXSCALE"] = 0.051
    path = write(parts)
    both = rf"the WCS of obs.fits\[SCI\] says 0.05 arcsec, PIXSCALE of obs.fits\[{part}\] 0.051"
    with pytest.raises(InputError, match=both):
        read_observation(path)
    trusted = read_observation(path, ReadOptions(pixel_scale=0.05, trust_scale=True))
    assert trusted.pixel_scale == 0.05
    assert trusted.wcs is not None
    assert any("the first is trusted" in note for note in trusted.notes)


def test_one_percent_is_agreement(parts: dict, write: Callable):
    parts["SCI"][1]["PIXSCALE"] = 0.0504
    assert read_observation(write(parts)).pixel_scale == pytest.approx(0.05)


def test_the_option_against_the_header(parts: dict, write: Callable):
    path = write(parts)
    with pytest.raises(InputError, match=r"--pixel-scale says 0.1 arcsec, the WCS of .* 0.05"):
        read_observation(path, ReadOptions(pixel_scale=0.1))
    trusted = read_observation(path, ReadOptions(pixel_scale=0.1, trust_scale=True))
    assert trusted.pixel_scale == 0.1
    assert trusted.wcs is None
    assert "obs.fits[SCI]: WCS left out, its scale is overridden" in trusted.notes


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trust_scale": True}, "--trust-scale: needs the scale to trust, found none"),
        ({"pixel_scale": -0.1}, "--pixel-scale: must be positive, got -0.1"),
        ({"pixel_scale": float("nan")}, "--pixel-scale: must be positive, got nan"),
    ],
)
def test_impossible_scales(parts: dict, write: Callable, options: dict, message: str):
    with pytest.raises(InputError, match=message):
        read_observation(write(parts), ReadOptions(**options))


@pytest.mark.parametrize("part", ["SCI", "ERR", "PSF"])
@pytest.mark.parametrize(
    ("keyword", "value", "message"),
    [
        ("PIXSCALE", -0.1, "must be a pixel scale in arcsec, found -0.1"),
        ("PIXSCALE", 1.39e-5, r"must be a pixel scale in arcsec, found 1.39e-05"),
        ("PIXSCALE", "LINEAR", "must be a finite number, found 'LINEAR'"),
    ],
)
def test_senseless_keywords(
    parts: dict, write: Callable, part: str, keyword: str, value, message: str
):
    parts[part][1][keyword] = value
    path = write(parts)
    with pytest.raises(
        InputError,
        match=rf"\[{part}\]: keyword {keyword} {message}: correct .*, or override it with"
        r" --pixel-scale and --trust-scale",
    ):
        read_observation(path, ReadOptions(pixel_scale=0.05))
    trusted = read_observation(path, ReadOptions(pixel_scale=0.05, trust_scale=True))
    assert trusted.pixel_scale == 0.05
    assert trusted.wcs is not None
    note = f"obs.fits[{part}]: keyword {keyword} {message}; ignored, --pixel-scale is trusted"
    assert note in trusted.notes


def test_pixels_must_be_square(parts: dict, write: Callable):
    parts["SCI"][1]["CDELT1"] = 1.05
    with pytest.raises(InputError, match=r"must be square to 1 %, the WCS gives 0.0525 by 0.05"):
        read_observation(write(parts))


def test_a_wcs_without_scale_is_left_out(parts: dict, write: Callable):
    strip(parts["SCI"][1])
    parts["SCI"][1].update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRVAL1=10.0, CRVAL2=20.0)
    observation = read_observation(write(parts), ReadOptions(pixel_scale=0.05))
    assert observation.wcs is None
    assert any("3600 arcsec make no sense" in note for note in observation.notes)


def test_an_unreadable_wcs_is_left_out(parts: dict, write: Callable):
    parts["SCI"][1]["CTYPE1"] = "RA---XYZ"
    observation = read_observation(write(parts), ReadOptions(pixel_scale=0.05))
    assert observation.wcs is None
    assert any("WCS left out, it cannot be read" in note for note in observation.notes)


def test_why_a_wcs_gives_no_scale_is_told(parts: dict, write: Callable):
    parts["SCI"][1]["CTYPE1"] = "RA---XYZ"
    with pytest.raises(InputError, match="no pixel scale, WCS left out, it cannot be read"):
        read_observation(write(parts))


def test_the_scale_is_that_of_the_lens_not_of_the_reference_point(parts: dict, write: Callable):
    header = parts["SCI"][1]
    axes = {"CTYPE1": "RA---CAR", "CTYPE2": "DEC--CAR", "CRVAL1": 150.1, "CRVAL2": 0.0}
    plain = {"PC1_2": 0.0, "PC2_1": 0.0, "LATPOLE": 90.0, "CDELT1": 0.05 / 3600}
    plain |= {"PC1_1": -1.0, "PC2_2": 1.0, "CDELT2": 0.05 / 3600}
    header.update(axes | plain, CRPIX2=20.5 - 62 * 3600 / 0.05)
    # a degree of right ascension is cos(62 deg) long there
    with pytest.raises(
        InputError, match=r"square to 1 %, the WCS gives 0\.05 by 0\.023474 arcsec"
    ):
        read_observation(write(parts))
    header.update(CTYPE1="RA---TAN", CTYPE2="DEC--TAN", CRPIX2=20.5 - 5 * 3600 / 0.05)
    read = read_observation(write(parts, "tan.fits"))
    # a step on a tangent plane is an angle cos^2 as large along the radius, and cos across it
    t = np.arctan(np.radians(5))
    assert read.pixel_scale == pytest.approx(0.05 * np.cos(t) ** 1.5, rel=1e-5)


def test_a_dummy_position_is_noted(parts: dict, write: Callable):
    parts["SCI"][1].update(CRVAL1=0.0, CRVAL2=0.0, CRPIX1=1.0, CRPIX2=1.0, LATPOLE=0.0)
    observation = read_observation(write(parts))
    assert observation.wcs is not None
    assert any("scale and orientation only" in note for note in observation.notes)


def test_other_axes_are_no_celestial_wcs(parts: dict, write: Callable):
    strip(parts["SCI"][1])
    parts["SCI"][1].update(CTYPE1="LINEAR", CTYPE2="LINEAR", PIXSCALE=0.05)
    assert read_observation(write(parts)).wcs is None


SIP = {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 2e-6, "A_1_1": -1e-6, "B_0_2": 1e-6, "B_2_0": 2e-6}
TPV = {"PV1_0": 1e-4, "PV1_1": 1.004, "PV1_2": 3e-3, "PV2_0": -2e-4, "PV2_1": 0.998, "PV2_4": 0.1}


@pytest.mark.parametrize("kind", ["TAN-SIP", "TPV"])
def test_a_distorted_frame_is_linear_about_the_lens(parts: dict, write: Callable, kind: str):
    """Its middle is where astropy says, with every term, and so is what is a few pixels off."""
    header = parts["SCI"][1]
    header.update(CTYPE1=f"RA---{kind}", CTYPE2=f"DEC--{kind}", CRPIX1=-700.0, CRPIX2=1200.0)
    header.update(SIP if kind == "TAN-SIP" else TPV)
    path = write(parts)
    observation = read_observation(path)
    assert any("WCS is distorted" in note for note in observation.notes)
    full = WCS(fits.getheader(path, "SCI"))
    matrix = local_partial_pixel_derivatives(full, 18, 15)
    matrix[0] *= np.cos(np.radians(full.pixel_to_world(18, 15).dec.deg))
    scale = 3600 * np.sqrt(abs(np.linalg.det(matrix)))
    assert observation.pixel_scale == pytest.approx(scale, rel=1e-5)
    lens = observation.cutout((20, 14), (12, 12))
    for found, middle in (
        (observation.plain_wcs, (18, 15)),
        (lens.wcs, (20.5, 14.5)),
        (lens.binned(2).wcs, (20.5, 14.5)),
    ):
        assert found.sip is None and list(found.wcs.ctype) == ["RA---TAN", "DEC--TAN"]
        own = np.subtract(found.wcs.crpix, 1)
        off = separation(found, own, full, middle)
        assert off < 1e-6 * scale
        size = np.sqrt(abs(np.linalg.det(found.pixel_scale_matrix))) * 3600 / scale
        for step in ((4, 0), (0, -4), (-3, 3)):
            there = separation(found, own + np.array(step) / size, full, np.add(middle, step))
            assert there < 2e-3 * scale


def separation(one: WCS, here: np.ndarray, other: WCS, there: np.ndarray) -> float:
    """Distance on the sky between a pixel of one frame and a pixel of another [arcsec]."""
    return one.pixel_to_world(*here).separation(other.pixel_to_world(*there)).arcsec


def test_a_distortion_that_moves_nothing_is_not_told(parts: dict, write: Callable):
    header = parts["SCI"][1]
    header.update(CTYPE1="RA---TAN-SIP", CTYPE2="DEC--TAN-SIP", A_ORDER=2, B_ORDER=2)
    header.update(A_2_0=1e-9, B_0_2=1e-9)
    observation = read_observation(write(parts))
    assert list(observation.wcs.wcs.ctype) == ["RA---TAN", "DEC--TAN"]
    assert not any("distorted" in note for note in observation.notes)


def test_a_scale_that_is_trusted_leaves_out_a_frame_that_is_not_square(
    parts: dict, write: Callable
):
    parts["SCI"][1]["CDELT1"] = 1.05
    options = ReadOptions(pixel_scale=0.05, trust_scale=True)
    observation = read_observation(write(parts), options)
    assert observation.pixel_scale == 0.05 and observation.wcs is None
    assert any("left out, --pixel-scale is trusted" in note for note in observation.notes)


def test_declination_may_come_first(parts: dict, write: Callable):
    strip(parts["SCI"][1])
    parts["SCI"][1].update(CTYPE1="DEC--TAN", CTYPE2="RA---TAN", CRVAL1=20.0, CRVAL2=10.0)
    parts["SCI"][1].update(CD1_1=1e-5, CD1_2=0.0, CD2_1=0.0, CD2_2=1e-5, CRPIX1=5.0, CRPIX2=9.0)
    wcs = read_observation(write(parts)).wcs
    assert wcs.wcs_pix2world(6.0, 9.0, 1)[0] == pytest.approx(20.00001, abs=1e-9)


def test_a_middle_that_is_not_on_the_sky_leaves_the_scale_of_the_header(
    parts: dict, write: Callable
):
    parts["SCI"][1].update(CTYPE1="RA---SIN", CTYPE2="DEC--SIN", CRPIX2=20.5 - 70 * 3600 / 0.05)
    assert read_observation(write(parts)).pixel_scale == pytest.approx(0.05)
