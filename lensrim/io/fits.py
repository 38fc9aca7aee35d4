"""FITS files opened with errors that a user can act on.

A reference is an HDU of the main file (``"VIS_PSF"``, ``"SCI,2"``, ``"3"``), a file
(``"noise_map.fits.gz"``), or an HDU of a file (``"other.fits[PSF]"``). What astropy would only
warn of (a truncated file) is an error here; what it warns of besides does not concern the result
and is kept from the user. Pixels come out as double precision in the machine's byte order, scaled
(BSCALE, BZERO) and with BLANK as NaN.
"""

import io
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from astropy.io import fits
from jaxtyping import Float64

from lensrim.errors import InputError
from lensrim.io.headers import CARD, MOST_CARDS, MOST_HDUS, check_header
from lensrim.io.planes import Entry, Plane
from lensrim.io.stream import is_file, is_folder, one_line, open_stream, peek
from lensrim.io.tiles import check_section, check_tiles
from lensrim.io.window import Window

LARGEST = 25_000_000
"""Pixels that an image may have: 5000 x 5000, 200 MB in double precision. With its noise, mask and
flags it then takes less than 2 GiB of memory, as of each no more is kept than is needed; a lens
covers a thousandth of it."""

MOST = 30
"""Items of a list in a message."""


@contextmanager
def quiet(category: type[Warning] = Warning) -> Iterator[None]:
    """Keeps warnings about a file's contents from the user."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield


def listed(items: Iterable[str]) -> str:
    """Joins items for a message: of many, the first :data:`MOST`."""
    items = list(items)
    more = [f"and {len(items) - MOST} more"] if len(items) > MOST else []
    return ", ".join([*items[:MOST], *more])


class FitsFile:
    """Opens a FITS file, plain or gzip-compressed, and lists its HDUs.

    Arguments:
        path: The file.
        held: Bytes of other files of the observation that are held in memory.
        cards: Cards of their headers.

    Raises:
        InputError: If the file is missing, empty, unreadable, truncated or not FITS, or takes too
            much memory with the others.
    """

    def __init__(self, path: Path, held: int = 0, cards: int = 0):
        self.path = path
        self.handle, size = open_stream(path, held)
        self.held = held + (size if isinstance(self.handle, io.BytesIO) else 0)
        self.cards = cards
        try:
            with quiet():
                check_header(self.handle, 0, path)
                self.handle.seek(0)
                self._list: Any = fits.open(self.handle, memmap=False, lazy_load_hdus=True)
                self.hdus: list[Any] = list(self._headers())
                self._check_length(size)
                self.entries = _entries(self.hdus)
        except InputError:
            self.handle.close()
            raise
        except Exception as error:  # a damaged header makes astropy fail in a dozen ways
            start = peek(self.handle, 0, 6)
            self.handle.close()
            if start == b"SIMPLE":
                raise InputError(
                    f"{path}: the FITS file is truncated or damaged ({one_line(error)}):"
                    " fetch or write it again"
                ) from None
            raise InputError(
                f"{path}: not a FITS file (plain or gzip), it begins with {start!r}:"
                " give a FITS file"
            ) from None

    def _headers(self) -> Iterator[Any]:
        """Reads header after header, each when it is known to be sane."""
        for number in range(MOST_HDUS):
            try:
                hdu = self._list[number]
            except IndexError:
                return
            yield hdu
            info = hdu.fileinfo()
            self.cards += (info["datLoc"] - info["hdrLoc"]) // CARD
            if self.cards > MOST_CARDS:
                raise InputError(
                    f"{self.path}: the headers of an observation must have {MOST_CARDS} cards or"
                    " less together, found more: take out those HDUs that are not of the lens"
                )
            end = info["datLoc"] + info["datSpan"]
            if peek(self.handle, end, 8) != b"XTENSION":
                return
            check_header(self.handle, end, self.path)
        raise InputError(
            f"{self.path}: a file must have {MOST_HDUS} HDUs or less, found more: take out those"
            " of the lens"
        )

    def _check_length(self, size: int) -> None:
        """Compares the length of the file with what the headers announce."""
        end = 0
        for hdu in self.hdus:
            info = hdu.fileinfo()
            # The padding of the last block carries nothing, and some writers leave it out.
            plain = type(hdu) in (fits.PrimaryHDU, fits.ImageHDU)  # compressed ones are tables
            needed = info["datLoc"] + (hdu.size if plain else info["datSpan"])
            end = info["datLoc"] + info["datSpan"]
            if size < needed:
                raise InputError(
                    f"{self.path}[{hdu.name or 0}]: the file is truncated, {needed} bytes are"
                    f" needed and it has {size}: fetch or write it again"
                )
        if peek(self.handle, end, 8) == b"XTENSION":
            raise InputError(
                f"{self.path}: the file is truncated or damaged after HDU {len(self.hdus) - 1}:"
                " fetch or write it again"
            )

    @property
    def contents(self) -> str:
        """The HDUs in words, for messages."""
        return listed(
            f"{e.index} {e.name or '(no name)'} "
            + ("x".join(map(str, e.shape)) if e.shape else "(no image)")
            for e in self.entries
        )

    def find(self, key: str) -> Entry | None:
        """Returns the HDU called ``NAME`` or ``NAME,EXTVER`` or with this number, or None.

        Raises:
            InputError: If several HDUs have the name.
        """
        key = key.strip()
        if key.isdecimal():
            return self.entries[int(key)] if int(key) < len(self.entries) else None
        name, _, version = key.upper().partition(",")
        found = [e for e in self.entries if e.name == name.strip() and e.name]
        if version:
            found = [e for e in found if str(e.version) == version.strip()]
        if name == "PRIMARY" and not found:
            found = self.entries[:1]
        if len(found) > 1:
            choice = listed(f"{name},{e.version} (number {e.index})" for e in found)
            raise InputError(
                f"{self.path}: {len(found)} HDUs are called {name}: choose one of {choice}"
            )
        return found[0] if found else None

    def entry(self, key: str) -> Entry:
        """Returns the HDU with this name or number.

        Raises:
            InputError: If there is none.
        """
        found = self.find(key)
        if found is None:
            raise InputError(f"{self.path}: no HDU {key!r}: the file holds {self.contents}")
        return found

    def plane(self, entry: Entry, window: Window | None = None) -> Plane:
        """Reads an image.

        Arguments:
            entry: Its HDU.
            window: What is read of it if it has more than :data:`LARGEST` pixels.

        Raises:
            InputError: If the HDU holds no 2-D image, or its pixels cannot be read, or the middle
                of the window is not in it.
        """
        label = f"{self.path}[{entry}]"
        if not entry.is_image:
            found = f"shape {entry.shape}" if entry.shape else "no image"
            advice = (
                "cut one plane out of the cube" if len(entry.shape) > 2 else "name another HDU"
            )
            raise InputError(
                f"{label}: a 2-D image is needed, found {found}: {advice}; the file holds"
                f" {self.contents}"
            )
        frame = (entry.shape[-2], entry.shape[-1])
        part = (slice(0, frame[0]), slice(0, frame[1]))
        if window is None or prod(frame) <= LARGEST:
            array = self.pixels(entry).reshape(frame)
        else:
            part = window.within(frame)
            array = self._section(entry, part)
        header, primary = self.hdus[entry.index].header, self.hdus[0].header
        corner = (part[1].start, part[0].start)
        return Plane(array, header, primary, label, entry.name, self.path, corner, frame)

    def pixels(self, entry: Entry, most: int | None = None) -> Float64[np.ndarray, "*n"]:
        """Reads the pixels of an HDU, whatever their dimensions.

        Arguments:
            entry: The HDU.
            most: Number of pixels that it may have, :data:`LARGEST` by default.

        Raises:
            InputError: If there are none, or more than they may be, or they cannot be read.
        """
        number = prod(entry.shape) if entry.shape else 0
        self._check_size(entry, entry.shape, most)
        hdu = self.hdus[entry.index]
        with self._reading(entry):
            check_tiles(hdu, self.handle, entry.index, number)
            data = np.array(hdu.data, dtype=np.float64, order="C").reshape(entry.shape)
            # astropy keeps what it read, which is read once here
            del hdu.data
        return data

    def _section(self, entry: Entry, part: tuple[slice, slice]) -> Float64[np.ndarray, "h w"]:
        """Reads rows and columns of an image, and no more of it than they need."""
        shape = tuple(piece.stop - piece.start for piece in part)
        self._check_size(entry, shape)
        hdu, planes = self.hdus[entry.index], len(entry.shape) - 2
        with self._reading(entry):
            check_section(hdu, self.handle, entry.index, part, LARGEST)
            pixels = hdu.section[(*(0 for _ in range(planes)), *part)]
            data = np.array(pixels, dtype=np.float64, order="C").reshape(shape)
        return data

    def _check_size(self, entry: Entry, shape: tuple[int, ...], most: int | None = None) -> None:
        """Makes sure that what is read of an image can be held."""
        most = LARGEST if most is None else most
        if not 0 < (prod(shape) if shape else 0) <= most:
            raise InputError(
                f"{self.path}[{entry}]: an image must have 1 to {most / 1e6:g} million pixels,"
                f" found {'x'.join(map(str, shape)) or 'none'}: cut the lens out of it first, or"
                " give its pixel by --center"
            )

    @contextmanager
    def _reading(self, entry: Entry) -> Iterator[None]:
        """Turns what a damaged HDU makes astropy raise, a dozen things, into one line."""
        try:
            with quiet(), np.errstate(all="ignore"):
                yield
        except Exception as error:
            raise InputError(
                f"{self.path}[{entry}]: the pixels cannot be read ({one_line(error)}): fetch or"
                " write the file again"
            ) from None

    def close(self) -> None:
        """Closes the file."""
        with quiet():
            self._list.close()
        self.handle.close()


class Files:
    """Keeps the files of one observation open, each opened once, until the ``with`` block ends."""

    def __init__(self):
        self._open: dict[Path, FitsFile] = {}

    def __enter__(self) -> "Files":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for file in self._open.values():
            file.close()

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that were opened."""
        return tuple(self._open)

    def open(self, path: Path) -> FitsFile:
        """Returns the opened file."""
        try:
            key = path.resolve()
        except (OSError, ValueError, RuntimeError):  # no file can have this name
            key = path
        if key not in self._open:
            last = next(reversed(self._open.values()), None)
            self._open[key] = FitsFile(path, last.held, last.cards) if last else FitsFile(path)
        return self._open[key]


def split_reference(reference: str) -> tuple[str, str | None]:
    """Splits ``path[HDU]``; the HDU is None without a bracket, or if it is part of a name."""
    match = re.fullmatch(r"(.+)\[([^\[\]]+)\]", reference)
    here = Path(reference)
    if match is None or is_file(here) or is_folder(here):
        return reference, None
    return match[1], match[2]


def _entries(hdus: Iterable[Any]) -> list[Entry]:
    """Describes the HDUs of a file."""
    entries = [_entry(i, hdu) for i, hdu in enumerate(hdus)]
    names = Counter(e.name for e in entries)
    versions = Counter((e.name, e.version) for e in entries)
    return [
        replace(e, namesakes=names[e.name] > 1, twins=versions[e.name, e.version] > 1)
        for e in entries
    ]


def _entry(index: int, hdu: Any) -> Entry:
    """Describes an HDU without reading its pixels."""
    name = str(hdu.header.get("EXTNAME", "")).strip().upper()
    shape = tuple(int(n) for n in hdu.shape) if hdu.is_image and hdu.header.get("NAXIS", 0) else ()
    return Entry(index, name, int(hdu.ver), shape)
