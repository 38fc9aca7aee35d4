"""What is understood of a FITS file, and what it lacks, without a reconstruction.

An observation is read piece by piece, so that what is missing is told all at once, where
:func:`~lensrim.io.read.read_observation` ends at the first. Nothing is computed but the width of
the PSF, and nothing is written.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from astropy.utils.exceptions import AstropyWarning

from ..errors import InputError
from ..lensing.fwhm import fwhm_of
from .fits import MOST, Files, FitsFile, quiet
from .layout import Layout, locate
from .masks import drawn_of, flags_of, mask_of
from .noise_maps import noise_of
from .observation import Observation
from .options import ReadOptions
from .planes import Plane
from .read import psf_of, read_observation, scale_of
from .wcs import placed
from .window import Window

T = TypeVar("T")


@dataclass(frozen=True)
class Part:
    """One HDU: its file and number, its name, what is in it, and what it is taken for ("")."""

    file: Path
    index: int
    name: str
    content: str
    role: str


@dataclass(frozen=True)
class Inspection:
    """Holds what is understood of an observation.

    Arguments:
        path: What was asked for.
        parts: The HDUs of all files that belong to it.
        observation: What is read; ``None`` where something is missing.
        lacks: What is missing or wrong, a line each.
        known: What is known of it, as pairs of a name and what to say.
    """

    path: Path
    parts: tuple[Part, ...]
    observation: Observation | None
    lacks: tuple[str, ...]
    known: tuple[tuple[str, str], ...]


def inspect(
    path: Path | str, options: ReadOptions = ReadOptions(), window: Window | None = None
) -> Inspection:
    """Looks at an observation.

    Arguments:
        path: As for :func:`~lensrim.io.read.read_observation`.
        options: Likewise.
        window: Likewise.

    Raises:
        InputError: If there is no such file, it is no FITS file, or an option is impossible.
    """
    options.check()
    path, lacks = Path(path), Lacks()
    with quiet(AstropyWarning), Files() as files:
        parts, known = _pieces(files, path, options, window, lacks)
    # the pieces are gone by now: they and the whole would take twice the memory
    read = None if lacks.lines else lacks.tried(lambda: read_observation(path, options, window))
    if read is not None:
        known += _observed(read)
    return Inspection(path, parts, read, tuple(lacks.lines), tuple(known))


class Lacks:
    """Collects what is missing, a line each."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def tried(self, do: Callable[[], T]) -> T | None:
        """Does it, or notes what is missing."""
        try:
            return do()
        except InputError as error:
            if str(error) not in self.lines:
                self.lines.append(str(error))
            return None


def _pieces(
    files: Files, path: Path, options: ReadOptions, window: Window | None, lacks: Lacks
) -> tuple[tuple[Part, ...], list[tuple[str, str]]]:
    """Reads piece by piece, and returns the HDUs and what is known."""
    tried = lacks.tried
    layout = tried(lambda: locate(files, path, options.data, window))
    if not files.paths:
        raise InputError(lacks.lines[0])
    roles: dict[str, str] = {}
    known: list[tuple[str, str]] = []
    data = tried(lambda: _with_data(layout)) if layout is not None else None
    if layout is not None and data is not None:
        known = _frame(data)
        noise = tried(lambda: noise_of(layout, data, options))
        psf = tried(lambda: psf_of(layout, data, options))
        mask = tried(lambda: mask_of(layout, data, options))
        dq = tried(lambda: flags_of(layout, data, options))
        tried(lambda: drawn_of(layout, data, options))
        roles[data.label] = "image"
        if noise is not None and noise[0] is not None:
            roles[noise[0].label] = f"noise ({noise[2]})"
        if psf is not None:
            roles[psf[0].label] = "PSF"
            known += _stamp(psf[0], psf[1])
        if mask is not None and mask[0] is not None:
            roles[mask[0].label] = "mask"
        if dq is not None and dq[0] is not None:
            roles[dq[0].label] = "data quality"
        if noise is not None and psf is not None and mask is not None:
            given = (noise[0], psf[0], mask[0])
            tried(lambda: scale_of(data, *given, options))
        elif psf is None or noise is None:  # tell of a missing scale, too
            stamp = None if psf is None else psf[0]
            tried(lambda: scale_of(data, None, stamp, None, options))
    return tuple(_parts(files, roles)), known


def product_numbers(path: Path) -> list[tuple[str, Any, str]] | None:
    """Returns keyword, value and meaning of the numbers of a product, ``None`` for other files.

    Raises:
        InputError: If the file is missing, or is no FITS file.
    """
    with Files() as files, quiet():
        file = files.open(path)
        names = {entry.name for entry in file.entries}
        header = file.hdus[0].header
        if not {"DATA", "SOURCE", "KAPPA"} <= names or "QUALITY" not in header:
            return None
        structure = {"SIMPLE", "BITPIX", "NAXIS", "EXTEND", "DATASUM", "COMMENT", "HISTORY", ""}
        return [
            (c.keyword, c.value, c.comment) for c in header.cards if c.keyword not in structure
        ]


def _with_data(layout: Layout) -> Plane:
    """Reads the image, which must hold numbers."""
    data = layout.data
    if not np.isfinite(data.array).any():
        raise InputError(f"{data.label}: the image must hold data, found only NaN")
    return data


def _parts(files: Files, roles: dict[str, str]) -> Iterable[Part]:
    """Lists the HDUs of the files, of each the first :data:`MOST`."""
    for path in files.paths:
        file = files.open(path)
        for entry in file.entries[:MOST]:
            label = f"{file.path}[{entry}]"
            yield Part(
                path, entry.index, entry.name, _content(file, entry.index), roles.get(label, "")
            )
        if len(file.entries) > MOST:
            yield Part(path, MOST, "", f"and {len(file.entries) - MOST} more", "")


def _content(file: FitsFile, index: int) -> str:
    """Says what an HDU holds."""
    entry, hdu = file.entries[index], file.hdus[index]
    if entry.shape:
        return f"{' x '.join(map(str, entry.shape))} {_type(hdu)}"
    return "no data" if hdu.is_image else "table"


def _type(hdu: Any) -> str:
    """Returns the type of the pixels, as FITS names it."""
    bits = {8: "bytes", 16: "int16", 32: "int32", 64: "int64", -32: "float32", -64: "float64"}
    scaled = " scaled" if hdu.header.get("BSCALE", 1) != 1 or hdu.header.get("BZERO", 0) else ""
    return bits.get(hdu.header.get("BITPIX"), "numbers") + scaled


def _frame(data: Plane) -> list[tuple[str, str]]:
    rows, columns = data.frame
    lost = int((~np.isfinite(data.array)).sum())
    unit = data.unit or "not stated (no BUNIT)"
    empty = f", {lost} of them NaN or infinite" if lost else ""
    return [("image", f"{columns} x {rows} pixels (columns x rows){empty}"), ("unit", unit)]


def _stamp(plane: Plane, used: np.ndarray) -> list[tuple[str, str]]:
    rows, columns = plane.array.shape
    return [
        (
            "PSF",
            f"{columns} x {rows} pixels, sum {plane.array.sum():.4g}, FWHM"
            f" {fwhm_of(used):.2f} pixels of the image",
        )
    ]


def _sky_position(read: Observation) -> str:
    """Says whether the middle of a frame has a place on the sky."""
    (h, w), wcs = read.shape, read.wcs
    if wcs is None:
        return "none (no celestial WCS)"
    known = placed(wcs, (w - 1) / 2, (h - 1) / 2)
    return "in the WCS" if known else "none (the WCS gives scale and orientation only)"


def _observed(read: Observation) -> list[tuple[str, str]]:
    """Says what is known of an observation that can be read."""
    (h, w), scale = read.shape, read.pixel_scale
    used = read.mask
    ratio = (read.image / read.sigma)[used]
    point = "not known (--zeropoint)" if read.zeropoint is None else f"{read.zeropoint:.4f} mag"
    return [
        ("pixel scale", f"{scale:.5g} arcsec, the frame {w * scale:.2f} x {h * scale:.2f} arcsec"),
        ("sky position", _sky_position(read)),
        ("noise", f"{read.noise_kind}, median {np.median(read.sigma[used]):.4g}"),
        ("brightest pixel", f"{ratio.max():.1f} times its noise"),
        ("PSF kind", f"{read.psf_kind} (--psf-kind)"),
        ("used pixels", f"{used.sum()} of {used.size}"),
        ("zero point", point),
        *(("note", note) for note in read.notes),
    ]
