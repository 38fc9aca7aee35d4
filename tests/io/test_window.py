"""The part of a mosaic that is read: what a cut-out of the whole would hold, and no more of it."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from lensrim.cli import main
from lensrim.errors import InputError
from lensrim.inference.framing import cut
from lensrim.io import ReadOptions, read_observation
from lensrim.io import fits as fits_files
from lensrim.io.inspection import inspect
from lensrim.io.observation import Observation
from lensrim.io.read import read_about
from lensrim.io.window import Window

from . import corpus
from .conftest import celestial_header, gaussian

SHAPE = (130, 170)
RNG = np.random.default_rng(3)
LIGHT = 1000 + 100 * RNG.normal(size=SHAPE)
FLAGS = (RNG.random(SHAPE) < 0.05).astype(np.int16)


def hdus(image: Any) -> list[Any]:
    """A mosaic: the image in one of several forms, its noise, flags and PSF."""
    image.header.update(celestial_header())
    image.name = "SCI"
    return [
        fits.PrimaryHDU(),
        image,
        fits.ImageHDU(np.hypot(LIGHT, 5).astype(np.float32), name="ERR"),
        fits.ImageHDU(FLAGS, name="DQ"),
        fits.ImageHDU(gaussian((11, 11), 1.2), name="PSF"),
    ]


def scaled() -> fits.ImageHDU:
    """Integers with BSCALE, BZERO and BLANK."""
    image = fits.ImageHDU(LIGHT.round().astype(np.int32))
    image.scale("int16", bscale=0.5, bzero=800)
    image.header["BLANK"] = -3
    return image


FORMS = {
    "float32": lambda: fits.ImageHDU(LIGHT.astype(np.float32)),
    "unsigned": lambda: fits.ImageHDU(LIGHT.round().astype(np.uint16)),
    "scaled": scaled,
    "axes of length 1": lambda: fits.ImageHDU(LIGHT[None, None]),
    "tiles of rows": lambda: fits.CompImageHDU(LIGHT.round().astype(np.int32)),
    "square tiles": lambda: fits.CompImageHDU(
        LIGHT.round().astype(np.int32), compression_type="GZIP_1", tile_shape=(32, 48)
    ),
}


def small(monkeypatch: pytest.MonkeyPatch, most: int = 20_000) -> None:
    """Lets the images above be too large to be read."""
    monkeypatch.setattr(fits_files, "LARGEST", most)


def same(one: Observation, other: Observation) -> None:
    for name in ("image", "sigma", "mask", "psf"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert one.corner == other.corner
    sky = [each.wcs.pixel_to_world_values(3.0, 4.0) for each in (one, other)]  # pyright: ignore
    np.testing.assert_allclose(*sky, rtol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("center", [(85.0, 60.0), (84.5, 60.2), (4.0, 128.0)])
def test_a_window_is_a_part_of_the_whole(
    form: str, center: tuple[float, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mosaic.fits"
    fits.HDUList(hdus(FORMS[form]())).writeto(path)
    options = ReadOptions(dq="DQ")
    whole = read_observation(path, options)
    small(monkeypatch)
    part = read_observation(path, options, Window(center, 31))
    x0, y0 = part.corner
    (h, w), x = part.shape, center[0]
    assert (h, w) == (31, 31) or center == (4.0, 128.0)
    assert abs(x0 + (w - 1) / 2 - x) <= 0.5 or x0 == 0
    middle = (x0 + (w - 1) / 2, y0 + (h - 1) / 2)
    same(part, whole.cutout(middle, (h, w)))
    note = f"mosaic.fits[SCI]: {w} x {h} of 170 x 130 pixels read, from pixel ({x0}, {y0})"
    assert note in part.notes
    assert not any("pixels read" in note for note in whole.notes)


def test_one_cut_out_whichever_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mosaic.fits"
    fits.HDUList(hdus(FORMS["float32"]())).writeto(path)
    center, size, wide = (90.0, 70.0), 1.0, 4.0  # arcsec
    whole = read_observation(path)
    small(monkeypatch)
    # the wide one needs more than the window that is tried first
    monkeypatch.setattr("lensrim.io.read.Window", lambda center, side=24: Window(center, side))
    narrow, wider = (read_about(path, center=center, size=side) for side in (size, wide))
    assert [each.shape for each in (whole, narrow, wider)] == [SHAPE, (24, 24), (82, 82)]
    for part, side in ((narrow, size), (wider, wide)):
        (found, notes), (expected, said) = (
            cut(each, center=center, size=side, bin=1, lens_light=True) for each in (part, whole)
        )
        same(found, expected)
        assert notes == said == [f"cut out to {side:.2f} arcsec about pixel (90, 70)"]


def test_a_cut_out_that_is_too_large_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mosaic.fits"
    fits.HDUList(hdus(FORMS["float32"]())).writeto(path)
    small(monkeypatch)
    monkeypatch.setattr("lensrim.io.read.Window", lambda center, side=24: Window(center, side))
    monkeypatch.setattr("lensrim.io.read.LARGEST", 1000)
    with pytest.raises(
        InputError, match=r"--size: must be at most 2 arcsec .* found 4; give less"
    ):
        read_about(path, center=(90.0, 70.0), size=4.0)


def test_a_psf_may_be_larger_than_the_window(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mosaic.fits"
    parts = hdus(FORMS["float32"]())
    parts[-1] = fits.ImageHDU(gaussian((31, 31), 1.2), name="PSF")
    fits.HDUList(parts).writeto(path)
    small(monkeypatch)
    found = read_observation(path, window=Window((3.0, 4.0), 24))
    assert found.psf.shape == (31, 31) and max(found.shape) < 31


@pytest.mark.parametrize("center", [(-1.0, 3.0), (170.0, 3.0), (3.0, float("nan"))])
def test_a_middle_outside_is_told(
    center: tuple[float, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mosaic.fits"
    fits.HDUList(hdus(FORMS["float32"]())).writeto(path)
    small(monkeypatch)
    message = r"--center: must lie in the frame of 170 x 130 pixels, found .*: give the pixel ind"
    with pytest.raises(InputError, match=message):
        read_about(path, center=center)
    assert any("--center" in lack for lack in inspect(path, window=Window(center)).lacks)


def test_planes_that_do_not_belong_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mosaic.fits"
    planes = hdus(FORMS["float32"]())
    planes[2].data = planes[2].data[:-1]
    fits.HDUList(planes).writeto(path)
    small(monkeypatch)
    with pytest.raises(InputError, match=r"found 129 x 170 against 130 x 170 in .*\[SCI\]"):
        read_observation(path, window=Window((85.0, 60.0), 31))


def test_tiles_that_cover_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, window = tmp_path / "mosaic.fits", Window((85.0, 60.0), 31)
    fits.HDUList(hdus(FORMS["tiles of rows"]())).writeto(path)
    small(monkeypatch, 31 * 170 - 1)
    with pytest.raises(InputError, match=r"have 5269 pixels or less, found 5270: unpack the file"):
        read_observation(path, window=window)
    small(monkeypatch)
    monkeypatch.setattr("lensrim.io.tiles.UNPACKED", 2**10)
    with pytest.raises(InputError, match=r"packed tiles must take 0 MB or less, found"):
        read_observation(path, window=window)


def test_a_large_psf_is_not_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mosaic.fits"
    planes = hdus(FORMS["float32"]())
    planes[4].data = np.ones((141, 145))
    fits.HDUList(planes).writeto(path)
    small(monkeypatch)
    with pytest.raises(InputError, match=r"\[PSF\]: an image must have 1 to 0.02 million pixels"):
        read_observation(path, window=Window((85.0, 60.0), 31))


def gigapixels(path: Path, lens: tuple[int, int]) -> None:
    """Writes 60 000 x 60 000 pixels with their noise, of holes but about a lens."""
    side, (x, y) = 60_000, lens
    stamp = (1000 * gaussian((41, 41), 3.0)).astype(">f4")
    psf = corpus.as_bytes(corpus.planes())[corpus.headers(corpus.as_bytes(corpus.planes()))[3] :]
    with path.open("wb") as file:
        file.write(corpus.as_bytes([fits.PrimaryHDU()]))
        for name, level in (("SCI", stamp), ("ERR", np.full((41, 41), 0.1, ">f4"))):
            header = fits.ImageHDU(np.zeros((1, 1), np.float32), name=name).header
            header["NAXIS1"] = header["NAXIS2"] = side
            header["PIXSCALE"] = 0.05
            file.write(header.tostring().encode())
            start = file.tell()
            for row, values in enumerate(level, start=y - 20):
                file.seek(start + 4 * (row * side + x - 20))
                file.write(values.tobytes())
            file.seek(start + -(-4 * side * side // corpus.BLOCK) * corpus.BLOCK)
        file.write(psf)


PEAK = """
import resource, sys
from lensrim.cli import main
main(["info", sys.argv[1], "--center", "0", "0"])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
main(["info", sys.argv[1], "--center", "43210", "23456"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
"""In a process of its own: the peak of one that has done other things before says nothing."""


def test_info_of_a_lens_in_gigapixels(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    path = tmp_path / "mosaic.fits"
    gigapixels(path, (43_210, 23_456))
    assert os.path.getsize(path) > 28e9 and 512 * os.stat(path).st_blocks < 1e7
    assert main(["info", str(path), "--center", "43210", "23456"]) == 0
    shown = capsys.readouterr().out
    grown = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True)
    assert int(grown.stdout.splitlines()[-1]) < 100 * 1024, grown.stderr
    for what in (
        "image:           60000 x 60000 pixels (columns x rows)",
        "the frame 12.80 x 12.80 arcsec",
        "used pixels:     1681 of 65536",
        "256 x 256 of 60000 x 60000 pixels read, from pixel (43082, 23328)",
        "lensrim reconstruct with this --center:",
    ):
        assert what in shown, what
    assert "lacks" not in shown
    assert main(["info", str(path)]) == 1
    assert "cut the lens out of it first, or give its pixel by --center" in capsys.readouterr().out
