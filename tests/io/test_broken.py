"""Broken, odd and hostile files: a right answer or one clear line, and nothing else ever.

What is tried by the thousand is in :mod:`corpus`; here is a sample of it (all with ``-m slow``),
what needs a right answer, and what is meant to exhaust time or memory.
"""

import gzip
import json
import os
import resource
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lensrim.cli import main
from lensrim.errors import InputError
from lensrim.io import ReadOptions, read_observation, stream
from lensrim.io import fits as fits_files
from lensrim.io.inspection import inspect
from lensrim.io.noise import NoiseKind
from lensrim.io.product_reading import read_product

from . import corpus
from .conftest import Tried


def few(step: int, first: int = 0):
    """Returns every so many of the cases."""
    return islice(corpus.cases(flips=120), first, None, step)


@pytest.mark.parametrize(
    ("what", "step", "first"),
    [(read_observation, 59, 0), (inspect, 311, 7), (read_product, 401, 11)],
    ids=["read", "inspect", "product"],
)
def test_some_files(tmp_path: Path, tried: Tried, what: Callable, step: int, first: int) -> None:
    found = corpus.examine(few(step, first), tmp_path, what)
    tried.add(found)
    assert found.cases > 10
    assert found.faults == []


@pytest.mark.slow
def test_all_files_in_limited_memory(tmp_path: Path, tried: Tried) -> None:
    done = subprocess.run(
        [sys.executable, corpus.__file__, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = corpus.Found(**json.loads(done.stdout))
    tried.add(found)
    assert found.faults == []
    assert found.read > 1000 < found.refused
    assert found.peak < corpus.MEMORY / 2**20


def changed(change: Callable[[list[Any]], None]) -> list[Any]:
    hdus = corpus.planes()
    change(hdus)
    return hdus


def packed(kind: str) -> list[Any]:
    def change(hdus: list[Any]) -> None:
        pixels = corpus.image().astype(np.int16 if kind == "PLIO_1" else np.int32)
        header = hdus[1].header
        hdus[1] = fits.CompImageHDU(pixels, header, name="SCI", compression_type=kind)

    return changed(change)


def put(index: int, **cards: Any) -> list[Any]:
    return changed(lambda hdus: hdus[index].header.update(cards))


RIGHT = {
    "as it is": corpus.as_bytes(corpus.planes()),
    "unsigned": corpus.as_bytes(
        changed(lambda h: setattr(h[1], "data", corpus.image().astype(np.uint16)))
    ),
    "int64": corpus.as_bytes(changed(lambda h: setattr(h[1], "data", corpus.image().astype(int)))),
    "little-endian": corpus.as_bytes(
        changed(lambda h: setattr(h[1], "data", corpus.image().astype("<f8")))
    ),
    "big-endian": corpus.as_bytes(
        changed(lambda h: setattr(h[1], "data", corpus.image().astype(">f8")))
    ),
    "axes of length 1": corpus.as_bytes(
        changed(lambda h: setattr(h[1], "data", corpus.image()[None, None].astype(np.float32)))
    ),
    **{kind: corpus.as_bytes(packed(kind)) for kind in ("GZIP_1", "GZIP_2", "RICE_1", "PLIO_1")},
    "no padding at the end": corpus.as_bytes(corpus.planes())[: -(corpus.BLOCK - 200)],
    "garbage after": corpus.as_bytes(corpus.planes()) + b"garbage" * 1_000_000,
    "gz": gzip.compress(corpus.as_bytes(corpus.planes())),
    "gz in parts": b"".join(
        gzip.compress(corpus.as_bytes(corpus.planes())[i : i + 4000])
        for i in range(0, len(corpus.as_bytes(corpus.planes())), 4000)
    ),
    "a table beside": corpus.as_bytes(
        [
            *corpus.planes(),
            fits.BinTableHDU.from_columns([fits.Column(name="a", format="D", array=np.ones(3))]),
        ]
    ),
    "long texts and keywords": corpus.as_bytes(
        put(1, COMMENT="x" * 500, LONG="it's " * 60, **{"HIERARCH a very long keyword": 1})
    ),
    "name in small letters": corpus.as_bytes(put(1, EXTNAME="sci")),
}


@pytest.mark.parametrize("content", RIGHT.values(), ids=RIGHT)
def test_right_answers(tmp_path: Path, content: bytes, tried: Tried) -> None:
    (tmp_path / "case.fits").write_bytes(content)
    found = read_observation(tmp_path / "case.fits")
    tried.count(read=1)
    np.testing.assert_allclose(found.image, corpus.image(), rtol=1e-6)
    assert found.mask.all() and found.pixel_scale == 0.05 and found.zeropoint == 25.5
    assert (found.sigma == 2).all() and found.image.dtype == np.float64


@pytest.mark.parametrize(("dtype", "bscale", "bzero"), [("i2", 0.5, 100.0), ("i4", 0.01, -7.0)])
def test_scaled_integers_and_blanks(
    tmp_path: Path, dtype: str, bscale: float, bzero: float
) -> None:
    content = bytearray(corpus.as_bytes(corpus.planes()))
    start, end = corpus.headers(bytes(content))[1:3]
    raw = ((corpus.image() - bzero) / bscale).round().astype(">" + dtype)
    raw[3, 4] = -999
    stored = fits.ImageHDU(raw, name="SCI", header=corpus.planes()[1].header)
    made = corpus.as_bytes([fits.PrimaryHDU(), stored])[corpus.BLOCK :]
    for keyword, value in {"BSCALE": bscale, "BZERO": bzero, "BLANK": -999}.items():
        made = corpus.with_card(made, 0, keyword, str(value))
    (tmp_path / "case.fits").write_bytes(bytes(content[:start]) + made + bytes(content[end:]))
    found = read_observation(tmp_path / "case.fits")
    truth = np.where(found.mask, corpus.image(), 0)
    np.testing.assert_allclose(found.image, truth, atol=bscale / 2 + 1e-9)
    assert not found.mask[3, 4] and (~found.mask).sum() == 1
    assert any("1 of 180 pixels ignored: NaN or infinite 1" in note for note in found.notes)


def refused(path: Path, message: str, megabytes: float = 200.0, **options: Any) -> None:
    """Reads in vain, in memory that the file does not decide."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=message):
        read_observation(path, ReadOptions(**options))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1024 * megabytes


def test_a_gzip_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert stream.UNPACKED == 2**29
    monkeypatch.setattr(stream, "UNPACKED", 2**25)
    path, zeros = tmp_path / "bomb.fits.gz", gzip.compress(bytes(2**23), compresslevel=1)
    path.write_bytes(gzip.compress(corpus.as_bytes(corpus.planes())) + zeros * 50)  # to 400 MB
    refused(path, "must unpack to 32 MB or less, found more: unpack it")


def test_what_a_gzip_file_may_unpack_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, content = tmp_path / "a.fits", corpus.as_bytes(corpus.planes())
    path.write_bytes(gzip.compress(content))
    monkeypatch.setattr(stream, "UNPACKED", len(content))
    assert read_observation(path).shape == corpus.SHAPE
    monkeypatch.setattr(stream, "UNPACKED", len(content) - 1)
    refused(path, "must unpack to")


def test_a_bomb_in_a_tile(tmp_path: Path) -> None:
    honest = fits.CompImageHDU(corpus.image().astype(np.int32), compression_type="GZIP_1")
    honest.writeto(tmp_path / "honest.fits")
    packing = zlib.compressobj(level=1, wbits=31)
    bomb = b"".join(packing.compress(bytes(2**24)) for _ in range(8)) + packing.flush()
    with fits.open(tmp_path / "honest.fits", disable_image_compression=True) as hdus:
        kept = {k: v for k, v in hdus[1].header.items() if k.startswith("Z")}
    tile = np.array([np.frombuffer(bomb, np.uint8)], dtype=object)
    column = fits.Column(name="COMPRESSED_DATA", format=f"1PB({len(bomb)})", array=tile)
    table = fits.BinTableHDU.from_columns([column])
    table.header.update(kept | {"ZTILE1": corpus.SHAPE[1], "ZTILE2": corpus.SHAPE[0]})
    table.header["EXTNAME"] = "SCI"
    fits.HDUList([corpus.planes()[0], table, *corpus.planes()[2:]]).writeto(tmp_path / "b.fits")
    refused(tmp_path / "b.fits", r"\(a tile of it unpacks to", megabytes=50)


@pytest.mark.parametrize("axes", [(60_000, 60_000), (5001, 5000)])
def test_a_large_image_in_a_file_of_its_size(tmp_path: Path, axes: tuple[int, int]) -> None:
    """As large as it says, but of holes: it takes no room on the disk."""
    content = corpus.as_bytes(corpus.planes())
    start = corpus.headers(content)[1]
    for n, size in enumerate(axes, start=1):
        content = corpus.with_card(content, start, f"NAXIS{n}", str(size))
    path = tmp_path / "large.fits"
    path.write_bytes(content[: 2 * corpus.BLOCK])
    os.truncate(path, 2 * corpus.BLOCK + 4 * axes[0] * axes[1] // corpus.BLOCK * corpus.BLOCK)
    os.truncate(path, os.path.getsize(path) + corpus.BLOCK)
    refused(
        path, r"\[SCI\]: an image must have 1 to 25 million pixels, found .*: cut the lens out"
    )


@pytest.mark.parametrize("keyword", ["NAXIS", "TFIELDS", "ZNAXIS"])
@pytest.mark.parametrize("hdu", [0, 1, 3])
def test_counts_that_would_take_years(tmp_path: Path, keyword: str, hdu: int) -> None:
    content = corpus.as_bytes(corpus.planes())
    start = corpus.headers(content)[hdu]
    (tmp_path / "a.fits").write_bytes(corpus.with_card(content, start, keyword, str(10**18)))
    refused(tmp_path / "a.fits", rf"{keyword} must be 999 or less, found 1e\+18 in the header at")


@pytest.mark.parametrize("keyword", ["WCSAXES", "A_ORDER", "BP_ORDER"])
def test_world_coordinates_that_would_take_years(tmp_path: Path, keyword: str) -> None:
    hdus = corpus.planes()
    hdus[1].header.update({"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", keyword: 50_000})
    (tmp_path / "a.fits").write_bytes(corpus.as_bytes(hdus))
    found = read_observation(tmp_path / "a.fits")
    assert any(f"WCS left out, it cannot be read ({keyword} is 50000)" in n for n in found.notes)


def test_a_header_without_an_end(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    path.write_bytes(corpus.as_bytes(corpus.planes())[: 4 * corpus.CARD])
    with path.open("ab") as file:
        file.write(b" " * 4_000_000)
    refused(path, "a header must end within 36000 cards, that at byte 0 does not")


def test_many_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fits_files.MOST_HDUS == 1000
    monkeypatch.setattr(fits_files, "MOST_HDUS", 51)
    content = corpus.as_bytes(corpus.planes()[:2])
    path = tmp_path / "a.fits"
    path.write_bytes(content + 49 * content[corpus.BLOCK :])
    refused(path, r"50 HDUs may be the image: .*SCI,1, and 20 more$")
    path.write_bytes(content + 51 * content[corpus.BLOCK :])
    refused(path, "a file must have 51 HDUs or less, found more")


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.fits")
    refused(
        tmp_path / "pipe.fits", "must be a regular file, found a pipe: save"
    )  # and is not read
    refused(Path("/dev/zero"), "must be a regular file, found a device")
    refused(tmp_path / ("x" * 5000), r"cannot be opened \(File name too long\): check the path")
    refused(Path("a\0b.fits"), r"cannot be opened \(embedded null byte\): check the path")


@pytest.mark.parametrize("option", ["noise", "psf", "mask", "ignore", "dq", "exposure", "data"])
@pytest.mark.parametrize("name", ["x" * 5000, "a\0b", "a\0b[SCI]", "..", "/", "[", "[SCI]", ""])
def test_names_that_no_file_can_have(tmp_path: Path, option: str, name: str) -> None:
    path = tmp_path / "case.fits"
    path.write_bytes(corpus.as_bytes(corpus.planes()))
    refused(path, "no such file|no HDU|file holds", **{option: name})


def test_numbers_beyond_squares(tmp_path: Path) -> None:
    for factor in (1e300, 3e-310):
        hdus = corpus.planes()
        hdus[3].data = hdus[3].data * factor
        (tmp_path / "a.fits").write_bytes(corpus.as_bytes(hdus))
        found = read_observation(tmp_path / "a.fits")
        np.testing.assert_allclose(found.psf, corpus.planes()[3].data / 6.1687, rtol=1e-4)


TEXTS = st.one_of(st.none(), st.text(max_size=12), st.sampled_from(["SCI", "1", "ERR", "PSF,1"]))
NUMBERS = st.one_of(st.none(), st.floats(), st.floats(0.01, 10))
OPTIONS = st.builds(
    ReadOptions,
    **{f.name: TEXTS for f in fields(ReadOptions) if f.type == str | None},
    noise_kind=st.one_of(st.none(), st.sampled_from(get_args(NoiseKind))),
    psf_kind=st.sampled_from(["effective", "optical"]),
    psf_oversampling=st.integers(-2, 12),
    mask_sense=st.sampled_from([None, "used", "ignored"]),
    background=NUMBERS,
    pixel_scale=NUMBERS,
    zeropoint=NUMBERS,
    rescale_noise=st.floats(),
    trust_scale=st.booleans(),
)
VALUES = st.one_of(
    st.integers(-(10**20), 10**20),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
    st.sampled_from(["RA---TAN", "DEC--TAN", "RA---TAN-SIP", "deg", "electron/s", "MJy/sr"]),
)
HEADERS = st.dictionaries(st.sampled_from(corpus.MEANING), VALUES, max_size=8)
RELAXED = settings(
    max_examples=30,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def outcome(path: Path, options: ReadOptions, tried: Tried) -> None:
    """Reads, or is refused in a printable line."""
    fault = corpus.fault_of(path, lambda p: read_observation(p, options))
    tried.count(read=fault is None, refused=fault is not None)
    # an option is refused by its own name, without that of the file
    assert not fault or (fault.startswith("message '--") and "\\n" not in fault), fault


@RELAXED
@given(options=OPTIONS)
def test_any_options(tmp_path: Path, tried: Tried, options: ReadOptions) -> None:
    path = tmp_path / "case.fits"
    path.write_bytes(corpus.as_bytes(corpus.planes()))
    outcome(path, options, tried)


@RELAXED
@given(cards=HEADERS)
def test_any_headers(tmp_path: Path, tried: Tried, cards: dict[str, Any]) -> None:
    path = tmp_path / "case.fits"
    path.write_bytes(corpus.as_bytes(put(1, **cards)))
    outcome(path, ReadOptions(), tried)


@pytest.mark.parametrize("command", ["info", "reconstruct"])
def test_the_commands_refuse_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture, tried: Tried, command: str
) -> None:
    """Those of the cases that cannot be read; the others would be fitted."""
    path, shown = tmp_path / "case.fits", 0
    for case in few(503, first=3):
        path.write_bytes(case.content())
        if corpus.fault_of(path, read_observation) is None:
            continue
        status = main([command, str(path)])
        lines = capsys.readouterr()
        assert "Traceback" not in lines.out + lines.err, case.name
        if command == "info" and status == 1:
            assert "lacks: " in lines.out
        else:
            assert status == 2
            assert lines.err.startswith("lensrim: error: ") and lines.err.count("\n") == 1
        assert list(tmp_path.iterdir()) == [path]
        shown += 1
        tried.count(refused=1)
    assert shown > 3
