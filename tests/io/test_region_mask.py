"""Masks that are drawn in DS9."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import regions
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from lensrim.errors import InputError
from lensrim.io import ReadOptions, read_observation
from lensrim.io.inspection import inspect
from lensrim.io.read import read_about
from lensrim.io.region_mask import _version
from lensrim.io.window import Window

SHAPE = (31, 37)
Y, X = np.mgrid[: SHAPE[0], : SHAPE[1]]
HEADER = """# Region file format: DS9 version 4.1
global color=green dashlist=8 3 width=1 font="helvetica 10 normal roman" select=1 include=1
"""


def read(path: Path, drawn: str, name: str = "drawn.reg", **options):
    """Reads with a region file that lies beside the observation."""
    (path.parent / name).write_text(drawn)
    return read_observation(path, ReadOptions(ignore=str(path.parent / name), **options))


def test_pixels_in_regions_are_ignored(parts: dict, write: Callable):
    # DS9 counts pixels from 1, and the angle from the x axis
    drawn = HEADER + "image\ncircle(11,21,4.1) # color=red text={star}\nbox(30,10,6,3,90)\n"
    drawn += "-circle(11,21,1.5)\npoint(3,3)\n# text(4,4) text={north}\n"
    observation = read(write(parts), drawn)
    far = np.hypot(X - 10, Y - 20)
    inside = (far < 4.1) & (far >= 1.5) | (np.abs(X - 29) < 1.5) & (np.abs(Y - 9) < 3)
    np.testing.assert_array_equal(observation.mask, ~inside)
    assert inside.sum() == 55
    assert "ignore: 55 pixels in 3 regions of drawn.reg" in observation.notes
    assert observation.files[-1].name == "drawn.reg"


def test_regions_are_ignored_besides_a_mask(parts: dict, write: Callable):
    mask = np.ones(SHAPE, dtype=np.uint8)
    mask[:4] = 0
    parts["MASK"] = (mask, {})
    observation = read(write(parts), "image\npolygon(5.5,2.5,9.5,2.5,9.5,6.5,5.5,6.5)\n")
    inside = (X > 4.5) & (X < 8.5) & (Y > 1.5) & (Y < 5.5)
    np.testing.assert_array_equal(observation.mask, (mask == 1) & ~inside)
    assert observation.notes[-1] == "156 of 1147 pixels ignored: mask 148, regions 8"
    with pytest.raises(InputError, match="no pixel is left to use"):
        read(write(parts, "other.fits"), "image\ncircle(20,20,100)")


@pytest.mark.parametrize("frame", ["fk5", "icrs", "galactic"])
def test_regions_on_the_sky_are_put_on_the_image(parts: dict, write: Callable, frame: str):
    path = write(parts)
    wcs = WCS(parts["SCI"][1])
    place = SkyCoord(wcs.pixel_to_world(12, 8)).transform_to(frame)
    lon, lat = place.spherical.lon.deg, place.spherical.lat.deg
    observation = read(path, f'{frame}\ncircle({lon:.9f},{lat:.9f},0.205")\n')
    np.testing.assert_array_equal(observation.mask, np.hypot(X - 12, Y - 8) >= 4.1)


@pytest.mark.parametrize("shape", ['ellipse({},0.5",0.2",50)', 'box({},1",0.3",50)'])
@pytest.mark.parametrize("old", [False, True], ids=["as it is", "before 0.12"])
def test_shapes_with_an_angle_are_mirrored_with_the_sky(
    parts: dict, write: Callable, monkeypatch: pytest.MonkeyPatch, shape: str, old: bool
):
    """They hold the same places on the sky whether East is to the left or to the right."""
    middle = parts["SCI"][1]["CRPIX1"]
    drawn = "icrs; " + shape.format("150.1,2.2") + "\n"
    left = read(write(parts, "left.fits"), drawn).mask
    header = fits.Header(parts["SCI"][1])
    wcs = WCS(header)
    flipped = wcs.deepcopy()
    flipped.wcs.pc = wcs.wcs.pc @ np.diag([-1.0, 1.0])
    parts["SCI"] = (parts["SCI"][0], {"BUNIT": "electron/s", **flipped.to_header()})
    if old and _version() >= (0, 12):
        kind = regions.EllipseSkyRegion if "ellipse" in shape else regions.RectangleSkyRegion
        new = kind.to_pixel

        def before(self, wcs):
            found = new(self, wcs)
            return found.copy(angle=2 * self.angle - 180 * units.deg + found.angle)

        monkeypatch.setattr(kind, "to_pixel", before)
        monkeypatch.setattr("lensrim.io.region_mask._version", lambda: (0, 11))
    right = read(write(parts, "right.fits"), drawn).mask
    own = [(x, y) for y, x in np.argwhere(~left)]
    mirrored = {(round(2 * (middle - 1)) - x, y) for x, y in own}
    assert {(x, y) for y, x in np.argwhere(~right)} == mirrored
    assert len(own) > 20


def test_regions_are_of_the_file_where_a_part_of_it_is_read(
    parts: dict, write: Callable, monkeypatch
):
    monkeypatch.setattr("lensrim.io.fits.LARGEST", 600)
    monkeypatch.setattr("lensrim.io.read.Window", lambda center, side=16: Window(center, side))
    path = write(parts)
    (path.parent / "drawn.reg").write_text("image\ncircle(21,19,3.1)\ncircle(2,2,1)\n")
    options = ReadOptions(ignore="drawn.reg")
    observation = read_about(path, options, center=(20, 15))
    assert observation.shape == (16, 16)
    x, y = observation.corner
    far = np.hypot(X - 20, Y - 18)[y : y + 16, x : x + 16]
    np.testing.assert_array_equal(observation.mask, far >= 3.1)
    # a file about a whole mosaic may have none near a lens
    (path.parent / "drawn.reg").write_text("image\ncircle(2,2,1)\n")
    assert read_about(path, options, center=(20, 15)).mask.all()


def test_a_wcs_that_cannot_be_read_is_told_to_regions_on_the_sky(parts: dict, write: Callable):
    parts["SCI"][1]["CTYPE1"] = "RA---XYZ"
    path = write(parts)
    with pytest.raises(InputError, match=r"the WCS, which regions on the sky need, cannot be"):
        read(path, 'icrs\ncircle(150.1,2.2,0.3")\n', pixel_scale=0.05)


def test_regions_on_the_sky_need_no_square_pixels(parts: dict, write: Callable):
    parts["SCI"][1]["CDELT1"] = 1.05
    path, header = write(parts), parts["SCI"][1]
    place = WCS(header).all_pix2world([[20, 14]], 0)[0]
    region = f'icrs\ncircle({place[0]:.9f},{place[1]:.9f},0.15")\n'
    seen = read(path, region, pixel_scale=0.05, trust_scale=True)
    ignored = np.argwhere(~seen.mask)
    assert len(ignored) > 9 and np.hypot(*(ignored.mean(0) - (14, 20))) < 0.7


def test_distortion_moves_regions_on_the_sky(parts: dict, write: Callable):
    header = parts["SCI"][1]
    header |= {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP"}
    # one that keeps the pixels square
    header |= {"A_ORDER": 2, "B_ORDER": 2, "A_2_0": 0.005, "A_0_2": -0.005, "B_1_1": 0.01}
    path = write(parts)
    place = WCS(header).all_pix2world([[34, 20]], 0)[0]
    observation = read(path, f'icrs\ncircle({place[0]:.9f},{place[1]:.9f},0.105")\n')
    ignored = np.argwhere(~observation.mask)
    assert np.hypot(*(ignored.mean(0) - (20, 34))) < 0.7
    assert np.hypot(*(WCS(header).wcs_world2pix([place], 0)[0] - (34, 20))) > 2


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        ("image\n", "must have regions with an area .* found none among 0: draw some"),
        ("image\npoint(3,4)\nline(1,2,3,4)\n", "must have regions with an area .* among 2"),
        ("image\n-circle(9,9,4)\n", r"not excluded \(without a minus\), found none among 1"),
        ("image\ncircle(9,9,4)\npolygon(nan,1,5,5,1,5)\n", "cannot be put on .*: check its"),
        ("image\ncircle(9,9,1e300)\n", "cannot be put on .*: check its coordinates"),
        ('icrs\nellipse(330,-2,2",1",0)\n', "cannot be put on .*: check its coordinates"),
        ("image\ncircle(300,300,5)\n", "hold no pixel of .*: check their coordinates"),
        ("image\ncircle(a,b,c)\n", "could not convert string to float"),
        ("circle(3,4,5)\n", "A coordinate frame was not found"),
        ("physical\ncircle(3,4,5)\n", "not supported .*in image, fk5 or icrs coordinates"),
        (
            "image\npanda(1,2,3,4,5,6,7,8)\n",
            "not supported .*circles, ellipses, boxes",
        ),
        ("my neighbours\n", "not a region file that can be used"),
        ("\x00\xff", "not a region file that can be used"),
        ("", r"the file is empty"),
        ('icrs\ncircle(150.1d,2.3d,1")\n', "hold no pixel of .*: check their coordinates"),
        ('icrs\ncircle(330d,-2d,1")\n', "cannot be put on .*: check its coordinates"),
    ],
)
def test_what_cannot_be_used_is_said(parts: dict, write: Callable, drawn: str, said: str):
    with pytest.raises(InputError, match=said) as error:
        read(write(parts), drawn)
    assert "\n" not in str(error.value) and "drawn.reg" in str(error.value)


def test_a_region_file_must_be_there(parts: dict, write: Callable, tmp_path: Path):
    path = write(parts)
    with pytest.raises(InputError, match=r"--ignore none\.reg: no such file, here or in"):
        read_observation(path, ReadOptions(ignore="none.reg"))
    (path.parent / "long.reg").write_text("image\n" + "circle(3,4,5)\n" * 5_000)
    with pytest.raises(InputError, match="must have 64 kB or less"):
        read_observation(path, ReadOptions(ignore="long.reg"))


def test_what_would_take_long_is_refused(parts: dict, write: Callable, monkeypatch):
    monkeypatch.setattr("lensrim.io.region_mask.MOST", 10_000)
    path = write(parts)
    read(path, "image\npolygon(5,5,20,5,20,20,5,20)\n")
    for drawn in ("circle(15,15,12)\n" * 6, "polygon(5,5" + ",20,5,20,20,5,20" * 30 + ")\n"):
        with pytest.raises(InputError, match=r"million pixels of .* draw smaller or plainer ones"):
            read(path, "image\n" + drawn)


def test_a_region_file_is_no_mask(parts: dict, write: Callable):
    with pytest.raises(InputError, match="found the name of a region file: give it by --ignore"):
        read_observation(write(parts), ReadOptions(mask="drawn.reg"))


def test_the_sky_needs_celestial_coordinates(parts: dict, write: Callable):
    for key in ("CTYPE1", "CTYPE2"):
        del parts["SCI"][1][key]
    with pytest.raises(InputError, match="has no celestial WCS: save them in image coordinates"):
        read(write(parts), 'fk5\ncircle(150,2,1")\n', pixel_scale=0.05)


def test_info_tells_of_drawn_masks(parts: dict, write: Callable):
    path = write(parts)
    (path.parent / "drawn.reg").write_text("image\ncircle(21,19,3.1)\n")
    found = inspect(path, ReadOptions(ignore="drawn.reg"))
    assert not found.lacks
    assert ("note", "ignore: 29 pixels in 1 region of drawn.reg") in found.known
    (path.parent / "drawn.reg").write_text("physical\ncircle(21,19,3.1)\n")
    (lack,) = inspect(path, ReadOptions(ignore="drawn.reg")).lacks
    assert "drawn.reg" in lack
