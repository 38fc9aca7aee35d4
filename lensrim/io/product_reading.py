"""Products read back: the maps, numbers and samples of :mod:`lensrim.io.product`."""

import json
import os
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from astropy.wcs import WCS
from numpy import ndarray

from ..errors import InputError
from .fits import Files, FitsFile, quiet
from .frames import read_grid
from .product import PARAMETERS, STRUCTURE, Product
from .stream import is_file, one_line, open_stream

LARGEST = 160_000_000
"""Numbers that a product may hold to be read, in all maps and samples: 1.3 GB."""
LARGEST_JSON = 2**24
"""Bytes of its JSON file."""


def read_product(path: str | os.PathLike[str]) -> Product:
    """Reads a product, with stages, options and curves if its JSON file is beside it.

    Arguments:
        path: The FITS file of the product.

    Raises:
        InputError: If the file is missing, damaged, or is not a product.
    """
    path = Path(path)
    with Files() as files, quiet():
        file = files.open(path)
        absent = [key for key in ("DATA", "SOURCE", "PSF") if file.find(key) is None]
        if absent:
            raise InputError(
                f"{path}: a product must hold HDU {absent[0]}, it does not; give another"
            )
        images = [e for e in file.entries[1:] if e.name != PARAMETERS]
        _check_size(file, [prod(e.shape) for e in images if e.shape])
        maps = {e.name: file.pixels(e, LARGEST) for e in images}
        headers = {e.name: file.hdus[e.index].header for e in images}
        primary, table = file.hdus[0].header, file.find(PARAMETERS)
        try:
            samples = _read_samples(file.hdus[table.index]) if table is not None else {}
            return _product(path, primary, maps, headers, samples)
        except InputError:
            raise
        except Exception as error:  # a damaged header makes astropy fail in a dozen ways
            raise InputError(
                f"{path}: a product must be as lensrim wrote it, found another ({one_line(error)})"
                "; give another"
            ) from error


def _check_size(file: FitsFile, pixels: list[int]) -> None:
    """Makes sure that all maps and the table can be held."""
    table = file.find(PARAMETERS)
    # a column may hold bits, each of which becomes a number
    numbers = sum(pixels) + (8 * file.hdus[table.index].size if table is not None else 0)
    if numbers > LARGEST:
        raise InputError(
            f"{file.path}: a product must hold {LARGEST / 1e6:g} million numbers or less, found"
            f" {numbers / 1e6:.3g} million; cut it, or open it with astropy"
        )


def _read_samples(hdu: Any) -> dict[str, tuple[ndarray, str]]:
    """Reads the numbers of the samples."""
    return {
        column.name: (np.array(hdu.data[column.name], dtype=np.float64), column.unit or "")
        for column in hdu.columns
    }


def _text_of(path: Path) -> bytes:
    """Reads the JSON file, and no more than it may hold."""
    handle, size = open_stream(path)
    with handle:
        if size > LARGEST_JSON:
            raise InputError(
                f"{path}: the numbers of a product must take {LARGEST_JSON >> 20} MB or less, "
                f"found {size >> 20} MB; move the file away"
            )
        return handle.read()


def _product(
    path: Path,
    primary: Any,
    maps: Mapping[str, ndarray],
    headers: Mapping[str, Any],
    samples: Mapping[str, tuple[ndarray, str]],
) -> Product:
    """Makes a product of what is in its files."""
    beside = path.with_suffix(".json")
    numbers = json.loads(_text_of(beside)) if is_file(beside) else {}
    data = headers["DATA"]
    wcs = WCS(data)
    arrays = {k: v != 0 if k == "MASK" else v for k, v in maps.items()}
    psf = arrays.pop("PSF")
    return Product(
        name=primary["OBJECT"],
        header={
            card.keyword: (card.value, card.comment)
            for card in primary.cards
            if card.keyword not in STRUCTURE | {"OBJECT"}
        },
        image_maps={k: v for k, v in arrays.items() if "SOURCE" not in k},
        source_maps={k: v for k, v in arrays.items() if "SOURCE" in k},
        psf=psf,
        image_grid=read_grid(data),
        source_grid=read_grid(headers["SOURCE"]),
        wcs=wcs if wcs.has_celestial else None,
        unit=data.get("BUNIT") or None,
        stages=numbers.get("stages", {}),
        history=tuple(numbers.get("options", primary.get("HISTORY", ()))),
        critical_curves=tuple(np.array(c) for c in numbers.get("critical_curves", ())),
        caustics=tuple(np.array(c) for c in numbers.get("caustics", ())),
        samples=samples,
    )
