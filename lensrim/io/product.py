"""The product of a reconstruction: maps (FITS), numbers (JSON), regions (DS9), picture (PNG).

A product is there as a whole or not at all. Equal input gives equal files except for the keywords
``DATE`` and ``SECONDS`` and the seconds among the numbers of the stages; the primary header holds
these two, and therefore carries ``DATASUM`` but no ``CHECKSUM``. What is not guaranteed: maps are
stored in single precision, and a number that is not finite is null in the JSON and absent from the
FITS header, which cannot hold it.
"""

import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy import ndarray

from ..grid import PixelGrid
from .cards import ascii_only, card, plain
from .frames import image_header, linear_header, regions, with_samples
from .staging import planned_files, write_together

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATA_UNIT = "data"
CONTENT = {
    "DATA": (DATA_UNIT, "image as fitted, per image pixel"),
    "SIGMA": (DATA_UNIT, "standard deviation of the noise"),
    "MASK": ("", "1 = used, 0 = ignored"),
    "PSF": ("", "point spread function, sum 1"),
    "LENS_LIGHT": (DATA_UNIT, "model of the lens galaxy, PSF included"),
    "SKY": (DATA_UNIT, "model of the sky"),
    "MODEL": (DATA_UNIT, "model of the arcs, PSF included"),
    "RESIDUAL": ("", "(DATA - LENS_LIGHT - SKY - MODEL) / SIGMA"),
    "KAPPA": ("", "convergence, averaged over each pixel"),
    "ALPHA_X": ("arcsec", "deflection along columns"),
    "ALPHA_Y": ("arcsec", "deflection along rows"),
    "MAGNIFICATION": ("", "signed magnification"),
    "SOURCE": (DATA_UNIT, "surface brightness, per native image pixel area"),
    "KAPPA_STD": ("", "error of KAPPA: half of a 68 % interval"),
    "SOURCE_STD": (DATA_UNIT, "error of SOURCE: half of a 68 % interval"),
    "SAMPLES_KAPPA": ("", "samples of KAPPA"),
    "SAMPLES_ALPHA_X": ("arcsec", "samples of ALPHA_X, in the gauge of SOURCE"),
    "SAMPLES_ALPHA_Y": ("arcsec", "samples of ALPHA_Y, in the gauge of SOURCE"),
    "SAMPLES_SOURCE": (DATA_UNIT, "samples of SOURCE"),
}
"""Unit and meaning of each extension, in the order of the file."""
PARAMETERS = "SAMPLES_PARAMETERS"
"""The table of the numbers of the samples, a row for each."""
MASS_SHEET = (
    "Mass-sheet degeneracy: one source plane fixes the convergence only up to "
    "kappa -> lambda kappa + 1 - lambda with the source scaled by lambda. Absolute slope of the "
    "mass, source size and source flux lean on the prior; Einstein radius, angular structure and "
    "relative source structure do not. SHEET is 1 - lambda."
)
_NO_TEXT = re.compile("[\ud800-\udfff]")
"""What stands in Python's names of files for bytes that are no UTF-8, which no text can hold."""
STRUCTURE = {"SIMPLE", "BITPIX", "NAXIS", "EXTEND", "DATE", "DATASUM", "COMMENT", "HISTORY", ""}
"""Keywords of the primary header that are not told as the product's numbers."""


@dataclass(frozen=True)
class Product:
    """Creates the product of a reconstruction, of plain arrays and numbers.

    Arguments:
        name: Name of the observation, the stem of the files.
        header: Value and comment of each keyword of the primary header.
        image_maps: Maps of the image plane by the names of their extensions, each with shape
            :math:`(H, W)`, samples with a leading dimension.
        source_maps: Maps of the source plane, each with shape :math:`(n, n)`.
        psf: Point spread function.
        image_grid: Grid of the image plane.
        source_grid: Grid of the source plane; its centre is the offset of the source.
        wcs: Celestial frame of the image, if it is known.
        unit: Unit of the data, if it is known.
        stages: Numbers of each stage of the fit.
        history: Options, one line each.
        critical_curves: Critical curves, each :math:`(n, 2)` coordinates [arcsec].
        caustics: Their images in the source plane.
        neighbours: Whether a pixel is masked because another galaxy is there, with shape
            :math:`(H, W)`.
        samples: Numbers of the samples and their units, by name, each with shape :math:`(N)`;
            ``DATA_UNIT`` stands for that of the data.

    Raises:
        ValueError: If a map does not have its grid's shape, a keyword is not one of FITS, or there
            are not as many numbers as samples.
    """

    name: str
    header: Mapping[str, tuple[Any, str]]
    image_maps: Mapping[str, ndarray]
    source_maps: Mapping[str, ndarray]
    psf: ndarray
    image_grid: PixelGrid
    source_grid: PixelGrid
    wcs: WCS | None = None
    unit: str | None = None
    stages: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    critical_curves: tuple[ndarray, ...] = ()
    caustics: tuple[ndarray, ...] = ()
    neighbours: ndarray | None = None
    samples: Mapping[str, tuple[ndarray, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for maps, grid in [
            (self.image_maps, self.image_grid),
            (self.source_maps, self.source_grid),
        ]:
            for key, values in maps.items():
                if values.shape[-2:] != tuple(grid.shape):
                    raise ValueError(f"{key} must have the shape {grid.shape}, got {values.shape}")
        for key in self.header:
            if not (key.isascii() and len(key) <= 8 and key == key.upper()):
                raise ValueError(f"a keyword has at most 8 upper-case characters, got {key!r}")
        shapes = {np.shape(values) for values, _ in self.samples.values()}
        shapes |= {
            values.shape[:1]
            for maps in (self.image_maps, self.source_maps)
            for values in maps.values()
            if values.ndim == 3 and self.samples
        }
        if len(shapes) > 1:
            raise ValueError(f"samples must be equally many everywhere, got shapes {shapes}")

    def value(self, key: str) -> Any:
        """Returns the value of a keyword of the primary header, ``None`` where there is none."""
        return self.header[key][0] if key in self.header else None


def write_product(
    product: Product,
    path: str | os.PathLike[str],
    *,
    figure: "Figure | None" = None,
    overwrite: bool = False,
    inputs: Iterable[Path] = (),
) -> list[Path]:
    """Writes all files of a product, or none.

    Arguments:
        product: What to write.
        path: As for :func:`planned_files`; a missing folder is made.
        figure: The picture; no PNG without it.
        overwrite: Whether an existing product is replaced, as a whole.
        inputs: Files that were read, which are never replaced.

    Returns:
        The files written.

    Raises:
        InputError: If the product exists already, cannot be written, or would replace an input.
    """
    files = planned_files(product.name, path, overwrite=overwrite, inputs=inputs)
    writers: dict[str, Callable[[Path], object]] = {
        ".fits": lambda file: _write_fits(product, file),
        ".json": lambda file: file.write_text(_to_json(product), encoding="utf-8"),
        ".reg": lambda file: file.write_text(
            regions(product.critical_curves, product.image_grid, product.wcs), encoding="ascii"
        ),
    }
    if figure is not None:
        # the library's version in the file would differ between equal pictures
        writers[".png"] = lambda file: figure.savefig(file, metadata={"Software": None})
    write_together(
        {files[suffix]: write for suffix, write in writers.items()}, stale=tuple(files.values())
    )
    return [files[suffix] for suffix in writers]


def _write_fits(product: Product, file: Path) -> None:
    # maps are per native pixel of the image, which binning makes larger
    native = product.image_grid.spacing / (product.value("BIN") or 1)
    area = (product.source_grid.spacing / native) ** 2
    psf_grid = PixelGrid(product.psf.shape, product.image_grid.spacing)
    # made once for all maps, each of which takes a copy
    image = image_header(product.image_grid, product.wcs)
    source = linear_header(product.source_grid)
    maps = {
        **{k: (v, image) for k, v in product.image_maps.items()},
        "PSF": (product.psf, linear_header(psf_grid)),
        **{k: (v, source) for k, v in product.source_maps.items()},
    }
    hdus: list[Any] = [fits.PrimaryHDU(header=_primary_header(product))]
    for key in [*(k for k in CONTENT if k in maps), *(k for k in maps if k not in CONTENT)]:
        values, frame = maps[key]
        kind, meaning = CONTENT.get(key, ("", ""))
        values = (values != 0).astype(np.uint8) if key == "MASK" else values.astype(np.float32)
        frame = frame if values.ndim == 2 else with_samples(frame)
        hdu = fits.ImageHDU(values, header=frame, name=key)
        unit = product.unit or "" if kind == DATA_UNIT else kind
        hdu.header["BUNIT"] = ascii_only(unit)[:68], "" if unit else "dimensionless or unknown"
        hdu.header["COMMENT"] = f"{key}: {meaning}"
        if key in product.source_maps:
            hdu.header["AREARAT"] = area, "flux = sum(SOURCE) * AREARAT"
        hdus.append(hdu)
    if product.samples:
        hdus.append(_sample_table(product))
    hdulist = fits.HDUList(hdus)
    hdulist.update_extend()
    hdus[0].add_datasum(when="data unit checksum")
    for hdu in hdus[1:]:
        # the default comment is the time of day
        hdu.add_checksum(when="checksum of the HDU")
    # A sixth of the time would go into looking for what cards made as above cannot have.
    hdulist.writeto(file, output_verify="ignore")


def _sample_table(product: Product) -> fits.BinTableHDU:
    def unit_of(unit: str) -> str:
        return ascii_only(product.unit or "" if unit == DATA_UNIT else unit)[:68]

    columns = [
        fits.Column(name=name, format="D", unit=unit_of(unit) or None, array=values)
        for name, (values, unit) in product.samples.items()
    ]
    return fits.BinTableHDU.from_columns(columns, name=PARAMETERS)


def _primary_header(product: Product) -> fits.Header:
    header = fits.Header()
    header["OBJECT"] = card(ascii_only(product.name), "name of the observation")
    for key, (value, comment) in product.header.items():
        value = plain(value)
        if value is not None:
            header[key] = card(ascii_only(value) if isinstance(value, str) else value, comment)
    header["DATE"] = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S"), "UTC of writing"
    for line in wrap(MASS_SHEET, 72):
        header["COMMENT"] = line
    for line in product.history:
        header["HISTORY"] = ascii_only(line)
    return header


def _to_json(product: Product) -> str:
    def grid(g: PixelGrid) -> dict[str, Any]:
        return {"shape": g.shape, "spacing": g.spacing, "center": g.center}

    content = {
        "name": product.name,
        "numbers": {key: value for key, (value, _) in product.header.items()},
        "comments": {key: comment for key, (_, comment) in product.header.items()},
        "unit": product.unit,
        "image_grid": grid(product.image_grid),
        "source_grid": grid(product.source_grid),
        "stages": product.stages,
        "options": product.history,
        "critical_curves": [c.round(6) for c in product.critical_curves],
        "caustics": [c.round(6) for c in product.caustics],
    }
    entries = []
    for key, value in content.items():
        # a curve would fill a thousand lines
        indent = None if key in {"critical_curves", "caustics"} else 2
        text = json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)
        entries.append(f'"{key}": ' + _NO_TEXT.sub(_written_out, text))
    return "{\n" + ",\n".join(entries) + "\n}\n"


def _written_out(found: re.Match[str]) -> str:
    """Writes out in JSON, as in the FITS header, a byte of a file's name that is no UTF-8."""
    return rf"\\u{ord(found[0]):x}"
