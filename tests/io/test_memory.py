"""Memory: never more than 2 GB, whatever a file asks for."""

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from lensrim.errors import InputError
from lensrim.io import (
    ReadOptions,
    noise_maps,
    product,
    product_reading,
    psf,
    read_observation,
    stream,
)
from lensrim.io import fits as fits_files
from lensrim.io.coolest import read_coolest
from lensrim.io.fits import LARGEST
from lensrim.io.product_reading import read_product

from . import corpus
from .templates import edit, full_template, setting

MOST = 2 * 2**20
"""kB."""

PEAK = """
import re, sys
from pathlib import Path
{}
print(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
"""
"""In a process of its own, and not by getrusage, which knows the peak of the parent, too."""

READ = "from lensrim.io import read_observation as r; assert r(sys.argv[1]).shape[0] == {}"
INFO = "from lensrim.cli import main; assert main(['info', sys.argv[1]]) == 0"


def peak_of(code: str, path: Path) -> int:
    """Returns the most memory [kB] that a process takes which does this with a file."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("the peak of a process is known on Linux only")
    done = subprocess.run(
        [sys.executable, "-c", PEAK.format(code), str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return int(done.stdout.split()[-1])


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """All planes as large as they may be, plain in double precision, and packed in single."""
    folder, side = tmp_path_factory.mktemp("large"), int(LARGEST**0.5)
    made = {"plain": folder / "large.fits", "gzip": folder / "large.fits.gz"}
    for (form, path), dtype in zip(made.items(), (np.float64, np.float32), strict=True):
        with path.open("wb") if form == "plain" else gzip.open(path, "wb", 1) as file:
            file.write(corpus.as_bytes([fits.PrimaryHDU()]))
            for name in ("SCI", "ERR", "MASK", "DQ"):
                pixels = np.full((side, side), float(name != "DQ"), dtype)
                if name == "SCI":
                    pixels[1, 1] = 2
                header = fits.Header({"PIXSCALE": 0.05})
                hdu = fits.ImageHDU(pixels, header, name=name)
                file.write(hdu.header.tostring().encode())
                file.write(pixels.astype(pixels.dtype.newbyteorder(">")).tobytes())
                file.write(bytes(-pixels.nbytes % corpus.BLOCK))
            stamp = fits.ImageHDU(np.pad([[1.0]], 3), name="PSF")
            file.write(corpus.as_bytes([fits.PrimaryHDU(), stamp])[corpus.BLOCK :])
    return made


@pytest.mark.slow
@pytest.mark.parametrize("form", ["plain", "gzip"])
@pytest.mark.parametrize("code", [READ.format(int(LARGEST**0.5)), INFO], ids=["read", "info"])
def test_the_memory_of_the_largest_observation(
    large: dict[str, Path], form: str, code: str
) -> None:
    peak = peak_of(code, large[form])
    # a program that reconstructs has loaded 300 MB of libraries before
    assert peak < MOST - 300 * 2**10, f"{peak / 2**20:.2f} GB"


def refused(path: Path, message: str, **options: Any) -> None:
    with pytest.raises(InputError, match=message):
        read_observation(path, ReadOptions(**options))


def test_gzip_files_of_one_observation_are_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    hdus = dict(zip(("data", "noise_map", "psf"), corpus.planes()[1:], strict=True))
    for name, hdu in hdus.items():
        content = corpus.as_bytes([fits.PrimaryHDU(hdu.data, hdu.header)])
        (tmp_path / f"{name}.fits.gz").write_bytes(gzip.compress(content))
        sizes.append(len(content))
    monkeypatch.setattr(stream, "UNPACKED", sum(sizes))
    assert read_observation(tmp_path).shape == corpus.SHAPE
    monkeypatch.setattr(stream, "UNPACKED", sum(sizes) - 1)
    refused(tmp_path, r"psf.fits.gz: a gzip file with those beside it must unpack to 0 MB or less")


def test_headers_of_one_observation_are_counted_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "a.fits", tmp_path / "psf.fits"
    path.write_bytes(corpus.as_bytes(corpus.planes()))
    fits.PrimaryHDU(corpus.planes()[3].data).writeto(other)
    cards = corpus.BLOCK // corpus.CARD
    monkeypatch.setattr(fits_files, "MOST_CARDS", 5 * cards)
    assert read_observation(path, ReadOptions(psf=str(other))).shape == corpus.SHAPE
    monkeypatch.setattr(fits_files, "MOST_CARDS", 5 * cards - 1)
    message = r"the headers of an observation must have 179 cards or less together, found more"
    refused(path, rf"psf.fits: {message}", psf=str(other))


def test_packed_tiles_with_a_hole(tmp_path: Path) -> None:
    """As many bytes as a gigabyte of tiles, which the file system does not store."""
    path, hdus = tmp_path / "a.fits", corpus.planes()
    science = fits.CompImageHDU(corpus.image().astype(np.int32), hdus[1].header, name="SCI")
    content = corpus.as_bytes([hdus[0], *hdus[2:], science])
    start = corpus.headers(content)[-1]
    path.write_bytes(corpus.with_card(content, start, "PCOUNT", str(2**30)))
    os.truncate(path, len(content) + 2**30)
    refused(path, r"\(packed tiles must take 4 MB or less, found 1024: unpack the file")


def test_sky_of_a_large_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(corpus.as_bytes(corpus.planes()))
    monkeypatch.setattr(noise_maps, "LARGEST_SKY", corpus.image().size - 1)
    message = r"--rescale-noise sky needs an image of 0.000179 million pixels or less, found .*cut"
    refused(path, message, rescale_noise="sky")
    assert read_observation(path, ReadOptions(rescale_noise=0.8)).noise_factor == 0.8


def test_a_large_psf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(corpus.as_bytes(corpus.planes()))
    monkeypatch.setattr(psf, "LARGEST", 24)
    refused(path, r"\[PSF\]: the PSF must have 2.4e-05 million pixels or less, found 5 x 5: cut")


@pytest.fixture
def maps(tmp_path: Path) -> Path:
    """Maps of a product, and its JSON file."""
    names = ("DATA", "SOURCE", "PSF", "KAPPA")
    hdus = [fits.ImageHDU(np.zeros((8, 8), np.uint8), name=name) for name in names]
    column = fits.Column(name="q", format="8D", array=np.ones((4, 8)))
    table = fits.BinTableHDU.from_columns([column], name=product.PARAMETERS)
    fits.HDUList([fits.PrimaryHDU(), *hdus, table]).writeto(tmp_path / "p.fits")
    (tmp_path / "p.json").write_text(json.dumps({"options": ["x" * 100]}))
    return tmp_path / "p.fits"


@pytest.mark.parametrize(
    ("name", "most", "message"),
    [
        ("LARGEST", 4 * 64 + 8 * 256 - 1, r"a product must hold 0.\d+ million numbers or less"),
        ("LARGEST_JSON", 100, r"p.json: the numbers of a product must take 0 MB or less, found 0"),
    ],
)
def test_a_product_of_many_numbers(
    maps: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int, message: str
) -> None:
    monkeypatch.setattr(product_reading, name, most)
    with pytest.raises(InputError, match=message):
        read_product(maps)


@pytest.mark.parametrize(
    ("change", "limits", "message"),
    [
        (
            lambda t: t["lensing_entities"].append(t["lensing_entities"][0]),
            {"reading.LARGEST": 2 * 63 - 1},
            r"pixels: all maps together must have 0.000125 million pixels or less",
        ),
        (lambda t: t, {"node.LARGEST": 99}, "a template must take 0 MB or less"),
        (
            setting("instrument", "psf", value={"type": "GaussianPSF", "fwhm": 1e6}),
            {},
            "psf.fwhm: must be 400 pixels or less, found 1000000.0: correct it",
        ),
    ],
    ids=["maps", "text", "psf"],
)
def test_a_template_that_asks_for_much(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable,
    limits: dict[str, int],
    message: str,
) -> None:
    path = edit(full_template(tmp_path), change)
    for name, most in limits.items():
        monkeypatch.setattr(f"lensrim.io.coolest.{name}", most)
    with pytest.raises(InputError, match=message):
        read_coolest(path)
