"""Frames against astropy's own world coordinates."""

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from lensrim.grid import PixelGrid
from lensrim.io.frames import image_header, linear_header, position_angle, regions, sky_axes

GRID = PixelGrid((31, 40), 0.05, (0.1, -0.2))
SQUARE = np.array([[-0.3, -0.2], [0.3, -0.2], [0.3, 0.2], [-0.3, -0.2]])


def celestial(
    *, rotation: float = 0.0, flipped: bool = True, dec: float = 60.0, axes: str = "RA DEC"
) -> WCS:
    """A tangential frame, turned by ``rotation`` [deg]; ``flipped`` has East on the left."""
    angle, sign = np.radians(rotation), -1 if flipped else 1
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"] if axes == "RA DEC" else ["GLON-TAN", "GLAT-TAN"]
    wcs.wcs.crval, wcs.wcs.crpix = [150.0, dec], [18.0, 21.0]
    wcs.wcs.cd = (0.05 / 3600) * np.array(
        [[sign * np.cos(angle), -sign * np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    wcs.wcs.set()
    return wcs


@pytest.mark.parametrize("key", ["", "L"])
def test_linear_frame_agrees_with_the_grid(key: str) -> None:
    wcs = WCS(linear_header(GRID, key=key), key=key or " ")
    x, y = wcs.wcs_pix2world([0, 39, 12], [0, 30, 7], 0)
    np.testing.assert_allclose(
        (x, y), GRID.from_index(np.array([0, 39, 12]), np.array([0, 30, 7]))
    )
    assert list(wcs.wcs.cunit) == ["arcsec", "arcsec"]


@pytest.mark.parametrize("flipped", [True, False])
@pytest.mark.parametrize("axes", ["RA DEC", "GLON GLAT"])
def test_celestial_frame_survives_the_header(flipped: bool, axes: str) -> None:
    wcs = celestial(rotation=37.0, flipped=flipped, axes=axes)
    header = fits.Header.fromstring(image_header(GRID, wcs).tostring())
    again, pixels = WCS(header), ([0.0, 38.2], [29.0, 3.3])
    expected = wcs.wcs_pix2world(*pixels, 0)
    np.testing.assert_allclose(again.wcs_pix2world(*pixels, 0), expected, rtol=0, atol=1e-10)
    assert "CD1_1" in header
    assert "PC1_1" not in header
    assert "CDELT1" not in header
    assert WCS(header, key="L").wcs.cdelt == pytest.approx([0.05, 0.05])


def test_without_a_celestial_frame_the_linear_one_is_primary() -> None:
    header = image_header(GRID, None)
    assert header["CTYPE1"] == "LINEAR"
    assert "CTYPE1L" not in header
    assert image_header(GRID, WCS(linear_header(GRID))) == header


def test_north_is_up_and_east_is_left_on_the_usual_image() -> None:
    north, east = sky_axes(celestial(), GRID)
    np.testing.assert_allclose(north, [0, 1], atol=1e-4)
    np.testing.assert_allclose(east, [-1, 0], atol=1e-4)


@pytest.mark.parametrize("axes", ["RA DEC", "GLON GLAT"])
@pytest.mark.parametrize("flipped", [True, False])
@pytest.mark.parametrize("rotation", [0.0, 35.0, 200.0])
def test_position_angle_is_that_between_two_points(
    rotation: float, flipped: bool, axes: str
) -> None:
    wcs = celestial(rotation=rotation, flipped=flipped, axes=axes)
    phi, column, row = 0.7, 19.5, 15.0
    ends = wcs.pixel_to_world(
        column + np.array([0, np.cos(phi)]), row + np.array([0, np.sin(phi)])
    )
    expected = ends[0].icrs.position_angle(ends[1].icrs).deg % 180
    assert position_angle(phi, sky_axes(wcs, GRID)) == pytest.approx(expected, abs=0.01)


def test_regions_in_pixels_count_from_one() -> None:
    lines = regions((SQUARE,), GRID, None).splitlines()
    assert lines[2] == "image"
    column, row = GRID.to_index(-0.3, -0.2)
    assert lines[3].startswith(f"polygon({column + 1:.3f},{row + 1:.3f},")
    assert lines[3].count(",") == 5


def test_regions_on_the_sky_are_icrs_degrees() -> None:
    wcs = celestial(rotation=20.0, axes="GLON GLAT")
    lines = regions((SQUARE[:-1],), GRID, wcs).splitlines()
    assert lines[2] == "icrs"
    # an open curve is a chain of lines, since a polygon would close it
    assert [line.split("(")[0] for line in lines[3:]] == ["line", "line"]
    numbers = [float(n) for n in lines[3].removeprefix("line(").rstrip(")").split(",")]
    expected = wcs.pixel_to_world(*GRID.to_index(SQUARE[0, 0], SQUARE[0, 1])).icrs
    found = SkyCoord(numbers[0], numbers[1], unit="deg")
    assert found.separation(expected).arcsec < 1e-3
