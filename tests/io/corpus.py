"""Broken and odd FITS files, some thousand of them, and what becomes of each.

Run as a program it examines all in one process, whose memory is limited, and prints what it
found, as JSON::

    python tests/io/corpus.py FOLDER

All begin with one small observation: primary HDU, SCI, ERR and PSF.
"""

import gzip
import io
import json
import resource
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits

from lensrim.errors import InputError
from lensrim.io import Observation, read_observation

BLOCK, CARD = 2880, 80
SHAPE = (12, 15)
MEMORY = 2 * 2**30
"""Bytes of addresses that the program may take beyond those with which it began."""

VALUES = (
    *("-1", "0", "1", "2", "3", "7", "16", "999", "1000", "50000", "1000000", "99999999999"),
    *("9223372036854775808", "1" + 40 * "0", "1.5", "1E400", "NaN", "-0.0", "T", "F", "''"),
    *("'SCI     '", "'PSF     '", "'IMAGE   '", "'BINTABLE'", "'\x1b[31m'", "'unclosed", ""),
    *("((1, 2), 3)", "(1.0, 2.0)", "= = =", "/ nothing", "'a''b'", "\xb5\xdf", 70 * "9"),
)
"""What takes the place of a value, as it stands in the card."""

PIXELS = (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-45, 1e38, 3e-310, 1e300, -1e308)

STRUCTURE = (
    *("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "PCOUNT", "GCOUNT"),
    *("GROUPS", "EXTEND", "BSCALE", "BZERO", "BLANK", "EXTNAME", "EXTVER", "TFIELDS", "END"),
)
MEANING = (
    *("PIXSCALE", "MAGZERO", "BUNIT", "BKGRMS", "EXPTIME", "CTYPE1", "CTYPE2", "CD1_1", "CDELT1"),
    *("CRPIX1", "CRVAL2", "CUNIT1", "WCSAXES", "PV1_1", "A_ORDER", "LONPOLE", "PHOTFLAM"),
)


@dataclass(frozen=True)
class Case:
    """A file: its name, and its bytes when they are asked for."""

    name: str
    content: Callable[[], bytes]


@dataclass(frozen=True)
class Found:
    """What became of the cases: how many there were, were read and were refused, and the faults.

    A fault is a traceback, a warning, a message that is not one printable line, or a file written.
    """

    cases: int
    read: int
    refused: int
    faults: list[str]
    peak: float = 0.0  # MB of memory, of the process


def image() -> np.ndarray:
    """The pixels of SCI."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (1000 * np.exp(-((x - 7) ** 2 + (y - 6) ** 2) / 8)).round()


def planes() -> list[Any]:
    """The HDUs of the observation."""
    y, x = np.mgrid[-2:3, -2:3]
    science = fits.Header({"PIXSCALE": 0.05, "BUNIT": "electron/s", "MAGZERO": 25.5})
    return [
        fits.PrimaryHDU(),
        fits.ImageHDU(image().astype(np.float32), science, name="SCI"),
        fits.ImageHDU(np.full(SHAPE, 2, dtype=np.int16), name="ERR"),
        fits.ImageHDU(np.exp(-(x**2 + y**2) / 2.0), name="PSF"),
    ]


def as_bytes(hdus: list[Any]) -> bytes:
    """Writes HDUs, whatever they hold."""
    stream = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(hdus).writeto(stream, output_verify="ignore")
    return stream.getvalue()


def headers(content: bytes) -> list[int]:
    """Returns where the headers begin."""
    with fits.open(io.BytesIO(content)) as hdus:
        return [hdu.fileinfo()["hdrLoc"] for hdu in hdus]


def with_card(content: bytes, start: int, keyword: str, value: str) -> bytes:
    """Sets the card of a keyword in the header at ``start``, or puts one before END."""
    line = f"{keyword:<8}= {value:>20}" if keyword != "END" else f"END{value}"
    line = line.encode("latin-1")[:CARD].ljust(CARD)
    block = content[start : start + BLOCK]
    cards = [block[i : i + CARD] for i in range(0, BLOCK, CARD)]
    names = [card[:8].strip() for card in cards]
    if keyword.encode() in names:
        cards[names.index(keyword.encode())] = line
    else:
        end = names.index(b"END")
        cards[end : end + 2] = [line, cards[end]]
    return content[:start] + b"".join(cards) + content[start + BLOCK :]


def truncated(content: bytes) -> Iterator[Case]:
    """Cut at the boundary of each block, beside it, and within it; plain and compressed."""
    for block in range(0, len(content), BLOCK):
        for add in (0, 1, 79, 80, 1440, 2879):
            cut = content[: block + add]
            yield Case(f"cut at {block + add}", lambda cut=cut: cut)
            yield Case(f"cut at {block + add}, gz", lambda cut=cut: gzip.compress(cut))
    packed = gzip.compress(content)
    for end in range(0, len(packed), 37):
        yield Case(f"gz cut at {end}", lambda end=end: packed[:end])


def with_cards(content: bytes) -> Iterator[Case]:
    """With each value in each card of each header, and each card left out or twice."""
    for number, start in enumerate(headers(content)):
        for keyword in STRUCTURE + MEANING:
            for value in VALUES:
                yield Case(
                    f"HDU {number} {keyword} = {value}",
                    lambda a=(start, keyword, value): with_card(content, *a),
                )
        for i in range(start, start + BLOCK, CARD):
            rest = content[start:i] + content[i + CARD : start + BLOCK]
            less = content[:start] + rest + b" " * CARD + content[start + BLOCK :]
            yield Case(f"HDU {number} without card {i}", lambda less=less: less)
            twice = content[:i] + content[i : i + CARD] + content[i:-CARD]
            yield Case(f"HDU {number} with card {i} twice", lambda twice=twice: twice)


def with_pixels() -> Iterator[Case]:
    """With odd numbers in one pixel, or all, of each plane."""

    def changed(plane: int, value: float, all_of_it: bool, dtype: str) -> bytes:
        hdus = planes()
        with np.errstate(over="ignore"):
            data = hdus[plane].data.astype(dtype)
            data[... if all_of_it else (2, 2)] = value
        hdus[plane].data = data
        return as_bytes(hdus)

    for plane in (1, 2, 3):
        for value in PIXELS:
            for all_of_it in (False, True):
                for dtype in (">f4", "<f8"):
                    yield Case(
                        f"plane {plane} {dtype} {'all' if all_of_it else 'one'} {value}",
                        lambda a=(plane, value, all_of_it, dtype): changed(*a),
                    )


def with_shapes() -> Iterator[Case]:
    """With planes of other shapes, tables and cubes among them."""
    table = fits.BinTableHDU.from_columns([fits.Column(name="a", format="D", array=np.ones(3))])
    text = fits.TableHDU.from_columns([fits.Column(name="a", format="F8.3", array=np.ones(3))])
    shapes = [(0, 15), (12, 0), (1, 1), (2, 12, 15), (1, 12, 15), (1, 1, 12, 15), (180,), (0,)]
    for plane in (1, 2, 3):
        for shape in shapes:
            hdus = planes()
            hdus[plane].data = np.ones(shape, dtype=np.float32)
            yield Case(f"plane {plane} of shape {shape}", lambda hdus=hdus: as_bytes(hdus))
        for kind in (table, text):
            hdus = planes()
            new = kind.copy()
            new.header["EXTNAME"] = hdus[plane].header["EXTNAME"]
            hdus[plane] = new
            yield Case(f"plane {plane} is {type(kind).__name__}", lambda hdus=hdus: as_bytes(hdus))
        yield Case(f"plane {plane} twice", lambda p=plane: as_bytes([*planes(), planes()[p]]))
        yield Case(
            f"plane {plane} missing",
            lambda p=plane: as_bytes([h for i, h in enumerate(planes()) if i != p]),
        )
    content = as_bytes(planes()[:2])
    yield Case("3000 HDUs", lambda: content + 3000 * content[BLOCK:])


def others(content: bytes) -> Iterator[Case]:
    """Files that are none of FITS, or more than one."""
    random = np.random.default_rng(0)
    starts = [b"BZh9", b"\xfd7zXZ", b"PK\x03\x04", b"\x1f\x9d", b"\x89HDF\r\n", b"\x80\x04\x95"]
    texts = [b"", b"\n", b"SIMPLE", b"SIMPLE  =", b"<html>", b"{}", b"\x00" * BLOCK]
    for start in [*starts, *texts]:
        garbage = start + random.bytes(3000)
        yield Case(f"begins with {start[:9]!r}", lambda garbage=garbage: garbage)
        yield Case(f"only {start[:9]!r}", lambda start=start: start)
    yield Case("garbage after", lambda: content + random.bytes(5000))
    yield Case("another file after", lambda: content + content)
    yield Case("garbage before", lambda: b"garbage" + content)
    yield Case("gz twice", lambda: gzip.compress(gzip.compress(content)))
    yield Case("gz, then garbage", lambda: gzip.compress(content) + b"garbage")
    yield Case("gz in two parts", lambda: gzip.compress(content[:5000]) + gzip.compress(b""))
    blanks = b"".join(b"CONTINUE  'more&'".ljust(CARD) for _ in range(20_000))
    yield Case("no END, long", lambda: content[:BLOCK] + blanks)


def flipped(content: bytes, count: int) -> Iterator[Case]:
    """With a few bytes that are others, most of them in headers."""

    def flip(seed: int) -> bytes:
        random = np.random.default_rng(seed)
        changed = bytearray(content)
        for _ in range(random.integers(1, 6)):
            start = random.choice(headers(content)) if random.random() < 0.8 else 0
            reach = 800 if random.random() < 0.8 else len(content) - start
            changed[start + random.integers(reach)] = random.integers(32, 127)
        return bytes(changed)

    for seed in range(count):
        yield Case(f"{count} flipped, {seed}", lambda seed=seed: flip(seed))


def compressed(kind: str, count: int) -> Iterator[Case]:
    """Tile-compressed images whose bytes are others."""
    hdus = planes()
    data = image().astype(np.int32)
    hdus[1] = fits.CompImageHDU(data, hdus[1].header, name="SCI", compression_type=kind)
    yield from flipped(as_bytes(hdus), count)


def cases(flips: int = 2000) -> Iterator[Case]:
    """All of them."""
    content = as_bytes(planes())
    yield from truncated(content)
    yield from with_cards(content)
    yield from with_pixels()
    yield from with_shapes()
    yield from others(content)
    yield from flipped(content, flips)
    for kind in ("GZIP_1", "GZIP_2", "RICE_1"):
        for case in compressed(kind, flips // 4):
            yield Case(f"{kind} {case.name}", case.content)


def fault_of(path: Path, what: Callable[[Path], object]) -> str | None:
    """Does something with a file; returns what is wrong with it, "" if the file was refused."""
    before = sorted(path.parent.iterdir())
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            made = what(path)
        said = (*made.notes, made.unit or "") if isinstance(made, Observation) else ()
        outcome = None if all(line.isprintable() for line in said) else f"says {said}"
    except InputError as error:
        message = str(error)
        good = message.isprintable() and len(message) < 2000 and path.name in message
        outcome = "" if good and "allocate" not in message else f"message {message[:300]!r}"
    except Exception as error:
        lines = traceback.format_exception(error)
        outcome = f"{type(error).__name__}: {error} at {''.join(lines[-2:-1]).strip()[-200:]}"
    if sorted(path.parent.iterdir()) != before:
        outcome = f"files written ({outcome})"
    return outcome


def examine(
    some: Iterator[Case], folder: Path, what: Callable[[Path], object] = read_observation
) -> Found:
    """Does something with each of the files, in an empty folder."""
    outcomes, faults = [], []
    path = folder / "case.fits"
    for case in some:
        path.write_bytes(case.content())
        outcomes.append(fault_of(path, what))
        if outcomes[-1]:
            faults.append(f"{case.name}: {outcomes[-1]}")
    path.unlink(missing_ok=True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Found(len(outcomes), outcomes.count(None), outcomes.count(""), faults, peak)


def main(folder: Path) -> None:
    """Examines all, in limited memory, and prints what was found as JSON."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(json.dumps(asdict(examine(cases(), folder))))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
