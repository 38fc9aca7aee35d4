"""Writes a template: the JSON file, and a FITS file for each of its maps."""

import json
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import astropy.cosmology
import numpy as np
from astropy.coordinates import SkyCoord

from lensrim.errors import InputError
from lensrim.grid import PixelGrid
from lensrim.io.observation import Observation
from lensrim.io.staging import write_together
from lensrim.io.wcs import placed
from lensrim.lensing import light, mass
from lensrim.lensing.cosmology import find_cosmology

from .conventions import RHO_C_UNIT
from .grids import Pixels, grid_entry, no_grid_entry
from .node import ANY, POSITIVE, Range, in_words
from .profiles import (
    LIGHT,
    MASS,
    Units,
    Values,
    check,
    moved,
    undeflected,
    write_light,
    write_mass,
)
from .system import Galaxy, LensSystem, MassField

NO_PRIOR = {"type": None}
NO_POSTERIOR = {"mean": None, "median": None, "percentile_16th": None, "percentile_84th": None}


def write_coolest(
    system: LensSystem, path: str | os.PathLike[str], *, overwrite: bool = False
) -> list[Path]:
    """Writes a template, with its FITS files beside it: all of them or none.

    Arguments:
        system: What to write.
        path: The JSON file; the others have its name with the part's added. A missing folder is
            made.
        overwrite: Whether existing files are replaced, and those maps removed that only the
            template replaced had.

    Returns:
        The files written, the JSON file first.

    Raises:
        InputError: If a profile has no counterpart in COOLEST or its parameters are outside of the
            range there, one is batched, shears and sheets have no common centre, a number is not
            finite, the cosmology is another than a flat one of matter and a cosmological constant,
            or the files exist or cannot be written.
    """
    path = Path(path)
    if path.suffix != ".json" or path.stem.endswith("_pyAPI"):
        raise InputError(
            f"{path}: the name of a template must end in .json, and not in _pyAPI.json, which the"
            " coolest package takes for a pickle: choose another"
        )
    writer = _Writer(path.stem, system)
    text = json.dumps(writer.template(), indent=2, allow_nan=False, ensure_ascii=False)
    try:
        content = (text + "\n").encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{path}: every text must be one of Unicode, found {text[error.start]!r}: rename"
            " what has it"
        ) from None
    writers: dict[Path, Any] = {path: lambda file: file.write_bytes(content)}
    for name, pixels in writer.maps.items():
        writers[path.parent / name] = pixels.write
    for file in writers:
        if os.path.lexists(file) and not (overwrite and file.is_file()):
            raise InputError(
                f"{file}: a file is not replaced unasked, found an existing one; choose another"
                " name or give overwrite=True"
            )
    write_together(writers, stale=_maps_of(path) if overwrite else ())
    return list(writers)


def _maps_of(path: Path) -> tuple[Path, ...]:
    """Returns the maps that an existing template names, of those named in our way."""
    part = r"(image|noise|mask|psf|\d+-(galaxy|massfield)-(mass|light)-\d+)"
    ours = re.compile(rf"{re.escape(path.stem)}_{part}\.fits")
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
        return tuple(
            file
            for file in path.parent.iterdir()
            if ours.fullmatch(file.name) and f'"{file.name}"' in text and file.is_file()
        )
    except OSError:  # there is none
        return ()


class _Writer:
    """Builds the JSON, and collects the maps that belong to it by the names of their files."""

    def __init__(self, stem: str, system: LensSystem) -> None:
        self.stem, self.system, self.seen = stem, system, system.observation
        self.side = float(self.seen.pixel_scale if self.seen else system.pixel_scale)
        self.origin = _common_center(system)
        binning = self.seen.bin if self.seen else 1
        self.units = Units(float(binning**2), binning**2 / self.side**2)
        self.maps: dict[str, Pixels] = {}

    def template(self) -> dict[str, Any]:
        meta: dict[str, Any] = {"unit_of_rho_c": RHO_C_UNIT}
        if self.seen:
            meta |= {"unit_of_data": self.seen.unit, "psf_kind": self.seen.psf_kind}
        return {
            "standard": "COOLEST",
            "mode": self.system.mode,
            "coordinates_origin": _on_sky(self.seen, self.origin),
            "lensing_entities": [self._entity(i, e) for i, e in enumerate(self.system.entities)],
            **self._image(),
            "cosmology": _cosmology(self.system.cosmology),
            "meta": meta,
        }

    def _entity(self, index: int, entity: Galaxy | MassField) -> dict[str, Any]:
        where = f"entity {entity.name!r}"
        kind = type(entity).__name__
        content = {
            "type": kind,
            "name": entity.name,
            "redshift": entity.redshift,
            "mass_model": [
                self._profile(m, write_mass, MASS, f"{index}-{kind.lower()}-mass-{j}", where)
                for j, m in enumerate(_flat(entity.mass))
            ],
        }
        if isinstance(entity, Galaxy):
            write = partial(write_light, units=self.units)
            content["light_model"] = [
                self._profile(m, write, LIGHT, f"{index}-{kind.lower()}-light-{j}", where)
                for j, m in enumerate(_flat(entity.light))
            ]
        return content

    def _profile(
        self,
        model: Any,
        write: Callable[[Any], tuple[str, Values]],
        known: Mapping[str, Mapping[str, Range]],
        label: str,
        where: str,
    ) -> dict[str, Any]:
        place = f"{where}: {type(model).__name__}"
        try:
            name, values = write(model)
            check(values)
        except ValueError as error:
            raise InputError(f"{place}: {error}") from None
        x, y = self.origin
        parameters = {}
        for key, value in moved(values, -x, -y).items():
            entry = self._parameter(value, known[name][key], label, f"{place}: {key}")
            parameters[key] = {"id": f"{label}-{name}-{key}", **entry}
        return {"id": f"{label}-{name}", "type": name, "parameters": parameters}

    def _parameter(self, value: Any, allowed: Range, label: str, where: str) -> dict[str, Any]:
        if isinstance(value, Pixels):
            return self._map(label, value, where)
        if isinstance(value, list):
            value = [_number(v, where, allowed) for v in value]
        else:
            value = _number(value, where, allowed)
        entry = {"point_estimate": {"value": value}, "fixed": False}
        return {**entry, "prior": NO_PRIOR, "posterior_stats": NO_POSTERIOR}

    def _image(self) -> dict[str, Any]:
        """Returns the sections of the observation, the instrument and the likelihood."""
        noise: dict[str, Any] = {"type": None}
        psf: dict[str, Any] = {"type": None, "description": None}
        likelihoods, pixels, zeropoint = None, no_grid_entry(), None
        if seen := self.seen:
            per, wcs, unit = self.units.pixel, seen.plain_wcs, seen.unit
            grid = replace(seen.grid, center=(-self.origin[0], -self.origin[1]))
            if seen.zeropoint is not None:
                zeropoint = _number(seen.zeropoint, "zeropoint", ANY)
            pixels = self._map("image", Pixels(per * seen.image, grid, wcs, unit))
            sigma = self._map("noise", Pixels(per * seen.sigma, grid, wcs, unit))
            mask = self._map("mask", Pixels(seen.mask.astype(np.uint8), grid, wcs))
            stamp = self._map("psf", Pixels(seen.psf, PixelGrid(seen.psf.shape, self.side)))
            noise = {"type": "NoiseMap", "noise_map": sigma}
            psf |= {"type": "PixelatedPSF", "pixels": stamp}
            likelihoods = [{"type": "ImagingDataLikelihood", "mask": mask}]
        return {
            "observation": {
                "pixels": pixels,
                "noise": noise,
                "exposure_time": None,
                "mag_zero_point": zeropoint,
                "mag_sky_brightness": None,
            },
            "instrument": {
                "name": self.system.instrument,
                "band": self.system.band,
                "pixel_size": self.side,
                "readout_noise": 0.0,
                "psf": psf,
            },
            "likelihoods": likelihoods,
        }

    def _map(self, part: str, pixels: Pixels, where: str | None = None) -> dict[str, Any]:
        if bad := int((~np.isfinite(pixels.array)).sum()):
            raise InputError(
                f"{where or part}: a map must be finite, found {bad} pixels that are not: mend it"
            )
        name = f"{self.stem}_{part}.fits"
        self.maps[name] = pixels
        return grid_entry(pixels.grid, name)


def _flat(models: Sequence[Any]) -> Iterator[Any]:
    """Takes sums apart."""
    for model in models:
        if isinstance(model, mass.Sum | light.Sum):
            yield from _flat(model.components)
        else:
            yield model


def _common_center(system: LensSystem) -> tuple[float, float]:
    """Returns the origin of the template: COOLEST's shears and sheets have their centre there."""
    masses = [m for entity in system.entities for m in _flat(entity.mass)]
    centers = {c for m in masses if (c := undeflected(m)) is not None} or {(0.0, 0.0)}
    found = " and ".join(f"({x:g}, {y:g})" for x, y in sorted(centers))
    if len(centers) > 1:
        raise InputError(
            f"COOLEST's shears and sheets have one centre, found {found}: move them to one"
        )
    if system.observation is None and centers != {(0.0, 0.0)}:
        raise InputError(
            "COOLEST's shears and sheets are centred on the origin, which without an image is"
            f" (0, 0), found {found}: move them there"
        )
    (x, y), name = centers.pop(), "the centre of shears and sheets"
    return _number(x, name, ANY), _number(y, name, ANY)


def _number(value: Any, where: str, allowed: Range) -> float:
    if not math.isfinite(value) or not allowed[0] <= value <= allowed[1]:
        raise InputError(
            f"{where} must be {in_words(allowed)}, found {value:g}: COOLEST holds no other"
        )
    # The order of shapelets is an index, which other codes want whole.
    return value if isinstance(value, int) else float(value)


def _on_sky(seen: Observation | None, origin: tuple[float, float]) -> dict[str, str]:
    """Returns the place of the origin on the sky, or of nothing."""
    nowhere = {"ra": "0h0m0.0s", "dec": "0d0m0.0s"}
    if seen is None or seen.wcs is None:
        return nowhere
    column, row = seen.grid.to_index(*origin)
    if not placed(seen.wcs, column, row):
        return nowhere
    sky: Any = seen.wcs.pixel_to_world(column, row)
    place: Any = SkyCoord(sky).icrs
    ra, dec = place.to_string("hmsdms", precision=6).split()
    return {"ra": ra, "dec": dec}


def _cosmology(cosmology: Any) -> dict[str, Any] | None:
    if cosmology is None:
        return None
    model = find_cosmology(cosmology)
    if not isinstance(model, astropy.cosmology.FlatLambdaCDM):
        raise InputError(
            "cosmology must be a flat one of matter and a cosmological constant (FlatLambdaCDM),"
            f" found a {type(model).__name__}: COOLEST holds no other"
        )
    flat: Any = model
    numbers = {"H0": flat.H0.value, "Om0": flat.Om0}
    numbers = {key: _number(v, f"cosmology: {key}", POSITIVE) for key, v in numbers.items()}
    return {**numbers, "astropy_name": "FlatLambdaCDM"}
