"""Reads a template and the FITS files beside it."""

import os
from collections.abc import Callable, Mapping
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any, get_args

import astropy.cosmology
import numpy as np
from jaxtyping import Float64

from lensrim.errors import InputError
from lensrim.grid import PixelGrid
from lensrim.io.fits import LARGEST, Files
from lensrim.io.masks import used_pixels
from lensrim.io.noise import sigma_from_exposure
from lensrim.io.observation import Observation
from lensrim.io.planes import Plane
from lensrim.io.psf import on_image_pixels
from lensrim.io.wcs import TOLERANCE, celestial
from lensrim.lensing.psf import gaussian_psf

from .conventions import RHO_C_UNIT
from .grids import SQUARE, Pixels, has_file, read_pixels
from .node import POSITIVE, Node, Range, read_json
from .profiles import LIGHT, LISTS, MASS, Units, check, moved, read_light, read_mass
from .system import Galaxy, LensSystem, MassField, Mode

Map = Float64[np.ndarray, "h w"]
NO_PSF = np.ones((1, 1))
WIDEST = 400
"""FWHM [pixel] of a Gaussian PSF: its stamp takes twenty times the square of it."""


def read_coolest(path: str | os.PathLike[str]) -> LensSystem:
    """Reads a template.

    Maps come in double precision, on the CPU. An observation is returned if the template names
    the file of its image; ``wcs`` is that of this file's header. If this image is not centred on
    the template's origin, all that is read is moved so that the image is centred on ours.

    Arguments:
        path: The JSON file.

    Raises:
        InputError: If the file or one that it names is missing or damaged, if something in it is
            missing or out of range, or is a profile or a kind of noise that lensrim lacks.
    """
    root = read_json(Path(path))
    standard = root.get("standard")
    if standard and standard.value != "COOLEST":
        standard.refuse("must be COOLEST", "give a template of it")
    mode = root["mode"]
    if mode.text() not in get_args(Mode):
        mode.refuse(f"must be one of {', '.join(get_args(Mode))}", "give a template of a lens")
    instrument = root["instrument"]
    side = _positive(instrument["pixel_size"])
    with Files() as files:
        observation, middle = _observation(root, files, side)
        reader = _Reader(root, files, Units(1.0, side**-2), middle)
        return LensSystem(
            entities=[reader.entity(node) for node in root["lensing_entities"]],
            observation=observation,
            pixel_scale=side,
            cosmology=_cosmology(root.get("cosmology")),
            instrument=_text(instrument, "name"),
            band=_text(instrument, "band"),
            mode=mode.value,
        )


class _Reader:
    """Reads the entities of one template, relative to the middle of its image."""

    def __init__(
        self, root: Node, files: Files, units: Units, middle: tuple[float, float]
    ) -> None:
        self.root, self.files, self.units = root, files, units
        self.x, self.y = middle
        self.pixels = 0

    def entity(self, node: Node) -> Galaxy | MassField:
        kind, redshift = node["type"], node.get("redshift")
        z = redshift.number(POSITIVE) if redshift else None
        mass = [self._profile(n, MASS, read_mass) for n in node["mass_model"]]
        if kind.text() == "MassField":
            return MassField(node["name"].text(), z, mass)
        if kind.text() != "Galaxy":
            kind.refuse("must be Galaxy or MassField", "correct it")
        read = partial(read_light, units=self.units)
        light = [self._profile(n, LIGHT, read) for n in node["light_model"]]
        return Galaxy(node["name"].text(), z, mass, light)

    def _profile(
        self,
        node: Node,
        known: Mapping[str, Mapping[str, Range]],
        make: Callable[[str, Mapping[str, Any]], Any],
    ) -> Any:
        kind, name = node["type"], node["type"].text()
        if name not in known:
            kind.refuse(
                f"must be a profile that lensrim has too ({', '.join(known)})",
                "leave it out, or put a map in its place",
            )
        if name == "NFW":
            self._check_density(node)
        parameters = node["parameters"]
        values = {key: self._value(parameters[key], key, r) for key, r in known[name].items()}
        try:
            check(values)
            # What has no place is about the origin.
            return make(
                name, moved({"center_x": 0.0, "center_y": 0.0, **values}, -self.x, -self.y)
            )
        except ValueError as error:
            raise InputError(f"{node.file}: {node.place}: {error}") from None

    def _value(self, node: Node, name: str, allowed: Range) -> Any:
        if name == "pixels":
            plane, grid = read_pixels(node, self.files)
            self.pixels += plane.array.size
            if self.pixels > LARGEST:
                node.refuse(
                    f"all maps together must have {LARGEST / 1e6:g} million pixels or less",
                    "give smaller ones",
                )
            if bad := int((~np.isfinite(plane.array)).sum()):
                raise InputError(
                    f"{plane.label}: a map must be finite, found {bad} pixels that are not: mend"
                    " it"
                )
            return Pixels(plane.array, grid)
        value = node["point_estimate"]["value"]
        return value.numbers(allowed) if name in LISTS else value.number(allowed)

    def _check_density(self, node: Node) -> None:
        """Makes sure that the unit of an NFW's density is known: COOLEST has none."""
        meta = self.root.get("meta")
        unit = meta.get("unit_of_rho_c") if meta else None
        if unit is None or unit.value != RHO_C_UNIT:
            found = "none" if unit is None else repr(unit.value)
            raise InputError(
                f"{node.file}: {node.place}: the unit of rho_c, which COOLEST leaves open, must be"
                f" stated in meta.unit_of_rho_c as {RHO_C_UNIT!r}, found {found}: convert it"
            )


def _observation(
    root: Node, files: Files, side: float
) -> tuple[Observation | None, tuple[float, float]]:
    """Returns the observation, if there is one, and the middle of its image."""
    node = root["observation"]
    if not has_file(node["pixels"]):
        return None, (0.0, 0.0)
    data, grid = read_pixels(node["pixels"], files)
    if abs(grid.spacing / side - 1) > SQUARE:
        root["instrument"]["pixel_size"].refuse(
            f"must be the pixel of the image, {grid.spacing:g} arcsec", "correct one of them"
        )
    # The rounding of a field of view is no shift.
    x, y = (c if abs(c) > SQUARE * side else 0.0 for c in grid.center)
    meta, zeropoint = root.get("meta"), node.get("mag_zero_point")
    stated = meta.get("psf_kind") if meta else None
    kind = stated.text() if stated else "effective"
    if stated and kind not in ("effective", "optical"):
        stated.refuse("must be effective or optical", "correct it")
    sigma, noise_kind = _sigma(node["noise"], data, files)
    mask = _mask(root.get("likelihoods"), data, files)
    used, sigma, notes = used_pixels(data, sigma, mask, None)
    psf, psf_kind, psf_notes = _psf(root["instrument"]["psf"], files, side, kind)
    wcs, scale, wcs_notes = celestial(data)
    if scale is not None and abs(scale.value / side - 1) > TOLERANCE:
        wcs, wcs_notes = None, [f"{data.short}: WCS left out, its scale is not the template's"]
    observation = Observation(
        image=data.array,
        sigma=sigma,
        psf=psf,
        mask=used,
        pixel_scale=side,
        psf_kind=psf_kind,  # type: ignore[arg-type]
        noise_kind=noise_kind,
        wcs=wcs,
        unit=data.unit,
        zeropoint=zeropoint.number() if zeropoint else None,
        name=root.file.stem,
        notes=(*wcs_notes, *psf_notes, *notes),
        files=(root.file, *files.paths),
        options=(f"observation = {root.file}",),
    )
    return observation, (x, y)


def _same_shape(node: Node, data: Plane, files: Files) -> Map:
    """Reads a map with the image's pixels."""
    plane, _ = read_pixels(node, files)
    if plane.array.shape != data.array.shape:
        raise InputError(
            f"{plane.label}: must have the shape of {data.label}, {data.array.shape}, found"
            f" {plane.array.shape}: give maps that belong together"
        )
    return plane.array


def _sigma(node: Node, data: Plane, files: Files) -> tuple[Map, str]:
    """Returns the noise, NaN where there is none, and its kind."""
    kind = node["type"]
    match kind.text():
        case "NoiseMap":
            sigma = _same_shape(node["noise_map"], data, files)
            return np.where(sigma > 0, sigma, np.nan), "sigma"
        case "UniformGaussianNoise":
            return np.full_like(data.array, _positive(node["std_dev"])), "sigma"
        case "DrizzledNoise":
            exposure = _same_shape(node["wht_map"], data, files)
            background = _positive(node["background_rms"])
            return sigma_from_exposure(data.array, background, exposure), "background+exposure"
    kind.refuse(
        "must be NoiseMap, UniformGaussianNoise or DrizzledNoise", "make a noise map of it"
    )


def _mask(node: Node | None, data: Plane, files: Files) -> np.ndarray | None:
    """Returns the mask of the likelihood of the image, True where used, or None without one."""
    for likelihood in node or ():
        mask = likelihood.get("mask")
        if likelihood["type"].text() == "ImagingDataLikelihood" and mask and has_file(mask):
            array = _same_shape(mask, data, files)
            if not np.isin(array, (0, 1)).all():
                mask.refuse("a mask must hold 0 (ignored) and 1 (used) only", "correct the file")
            return array == 1
    return None


def _psf(node: Node, files: Files, side: float, kind: str) -> tuple[np.ndarray, str, list[str]]:
    """Returns the PSF on the image's pixels, whether the response of these is in it, and notes."""
    stated = node.get("type")
    match stated.text() if stated else None:
        case None:
            return NO_PSF, kind, []
        case "GaussianPSF":
            # in pixels; to 5 sigma, and at least to the neighbours
            fwhm = _positive(node["fwhm"])
            if fwhm > WIDEST:
                node["fwhm"].refuse(f"must be {WIDEST} pixels or less", "correct it")
            stamp = gaussian_psf(fwhm * side, side, 2 * ceil(2.2 * fwhm) + 1)
            return stamp.numpy(), kind, []
        case "PixelatedPSF":
            plane, grid = read_pixels(node["pixels"], files)
            factor = _finer(plane, grid, side)
            psf, notes = on_image_pixels(plane, factor, kind=kind)
            return psf, kind if factor == 1 else "effective", notes
    node["type"].refuse("must be GaussianPSF or PixelatedPSF", "make a stamp of it")


def _finer(plane: Plane, grid: PixelGrid, side: float) -> int:
    """Returns how many pixels of a PSF go into one of the image."""
    factor = round(side / grid.spacing)
    if factor < 1 or abs(factor * grid.spacing / side - 1) > 1e-3:
        raise InputError(
            f"{plane.label}: a pixel of the PSF must go a whole number of times into one of the"
            f" image, {side:g} arcsec, found {grid.spacing:g}: correct its field of view"
        )
    return factor


def _cosmology(node: Node | None) -> Any:
    if node is None:
        return None
    name = node.get("astropy_name")
    if name and name.text() != "FlatLambdaCDM":
        name.refuse("must be FlatLambdaCDM", "leave the cosmology out, and name it to lensrim")
    make: Any = astropy.cosmology.FlatLambdaCDM
    return make(_positive(node["H0"]), node["Om0"].number(POSITIVE))


def _positive(node: Node) -> float:
    value = node.number()
    if value <= 0:
        node.refuse("must be positive", "correct it")
    return value


def _text(node: Node, key: str) -> str:
    found = node.get(key)
    return found.text() if found else ""
