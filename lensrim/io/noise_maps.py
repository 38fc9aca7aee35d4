"""The noise of an observation: its map, or what it is made of, as the options say.

What kinds there are and what each means says :mod:`lensrim.io.noise`.
"""

import re

import numpy as np
from jaxtyping import Bool, Float64

from lensrim.errors import InputError
from lensrim.io import noise as noises
from lensrim.io.blank_sky import rescaled
from lensrim.io.layout import Layout
from lensrim.io.options import ReadOptions
from lensrim.io.planes import Plane

LARGEST_SKY = 12_000_000
"""Pixels of an image whose sky can be measured, which takes fifteen times its memory."""


def same_shape(plane: Plane | None, data: Plane) -> Plane | None:
    """Makes sure that a plane fits the image."""
    if plane is not None and plane.frame != data.frame:
        shapes = (f"{p.frame[0]} x {p.frame[1]}" for p in (plane, data))
        raise InputError(
            f"{plane.label}: must have as many rows x columns as the image, found {next(shapes)}"
            f" against {next(shapes)} in {data.label}: give planes that belong together"
        )
    return plane


def noise_of(
    layout: Layout, data: Plane, options: ReadOptions
) -> tuple[Plane | None, Float64[np.ndarray, "h w"], str, list[str]]:
    """Returns the noise's plane (if any; without pixels), sigma (NaN where there is none), its
    kind, and notes.
    """
    forced = options.noise_kind == "background+exposure"
    pieces = forced or options.background is not None or options.exposure is not None
    stated = options.noise_kind
    noise = None if pieces else layout.part("noise", options.noise, kind=stated)
    if noise is None and not pieces and stated is not None:
        # no longer ambiguous
        noise = layout.part("weight", None) if stated == "weight" else None
        if noise is None:
            raise InputError(
                f"{data.path}: no noise map that may hold {stated}, as --noise-kind says, the file"
                f" holds {layout.main.contents}: name it by --noise, or leave --noise-kind out"
            )
    noise = same_shape(noise, data)
    if noise is None:
        return _noise_from_pieces(layout, data, options)
    kind = noises.recognised(noise, separate=noise.path != data.path, stated=stated)
    noises.check_unit(noise, data, kind)
    sigma = noises.sigma_of(noise, kind)
    noises.check_positive(sigma, noise, data.label)
    return noise.bare, sigma, kind, [f"noise: {noise.short} read as {kind}"]


def _noise_from_pieces(
    layout: Layout, data: Plane, options: ReadOptions
) -> tuple[None, Float64[np.ndarray, "h w"], str, list[str]]:
    """Makes the noise from the rms of the background and the exposure time."""
    found = data.number("BKGRMS")
    background = options.background or (found[1] if found else None)
    forced = options.noise_kind == "background+exposure"
    asked = forced or options.background is not None or options.exposure is not None
    wanted = asked or background is not None
    exposure, source = _exposure(layout, data, options) if wanted else (None, "")
    if background is None or exposure is None:
        if not asked:
            weight = layout.part("weight", None)
            if weight is not None:
                noises.recognised(weight, separate=False)  # a weight map alone is refused
            raise InputError(
                f"{data.path}: no noise map, the file holds {layout.main.contents}: give --noise"
                f" (HDU or file){layout.beside('noise_map')}, or --background and --exposure"
                " (HDU, file, keyword of the header, or seconds: 800s)"
            )
        missing = background is None
        option, keyword = ("background", "BKGRMS") if missing else ("exposure", "EXPTIME")
        raise InputError(
            f"{data.label}: noise from background and exposure needs both, found no {keyword}:"
            f" give --{option}"
        )
    if background <= 0:
        raise InputError(
            f"{data.label}: BKGRMS must be positive, found {background:g}: give --background"
        )
    note = noises.check_rate(data, stated=forced)
    sigma = noises.sigma_from_exposure(data.array, background, exposure)
    noises.check_positive(sigma, None, source)
    notes = [f"noise: background {background:g} electron/s and exposure from {source}"]
    return None, sigma, "background+exposure", notes + ([note] if note else [])


def rescaled_as_asked(
    data: Plane,
    sigma: Float64[np.ndarray, "h w"],
    used: Bool[np.ndarray, "h w"],
    psf: Float64[np.ndarray, "n m"],
    options: ReadOptions,
) -> tuple[Float64[np.ndarray, "h w"], float, tuple[float, ...], list[str]]:
    """Returns sigma as ``--rescale-noise`` asks, its factor, its growth in means, and notes."""
    if options.rescale_noise != "sky":
        factor = float(options.rescale_noise)
        notes = [f"noise multiplied by {factor:g}"] if factor != 1 else []
        return sigma * factor, factor, (), notes
    if data.array.size > LARGEST_SKY:
        raise InputError(
            f"{data.label}: --rescale-noise sky needs an image of {LARGEST_SKY / 1e6:g} million"
            f" pixels or less, found {data.array.size / 1e6:.3g} million: cut the lens and some"
            " sky out of it first, or give a factor as in --rescale-noise 0.8"
        )
    # a Gaussian with the PSF's sum of squares
    width = 1 / np.sqrt(4 * np.pi * np.square(psf).sum())
    image = np.where(used, data.array, 0.0)
    sigma, found = rescaled(
        image, np.where(used, sigma, np.nan), used, width=float(width), label=data.label
    )
    return sigma, found.factor, found.growth, found.notes()


_KEYWORD = re.compile(r"(?!COMMENT|HISTORY)[A-Z][A-Z0-9_-]{0,7}")
"""What may be a keyword of a header."""


def _exposure(
    layout: Layout, data: Plane, options: ReadOptions
) -> tuple[Float64[np.ndarray, "h w"] | float | None, str]:
    """Returns the exposure time [s], a map or a number, and where it is from."""
    text = (options.exposure or "").strip()
    seconds = _number(text.removesuffix("s"))
    if seconds is not None and (text.endswith("s") or not text.isdecimal()):
        if not text.endswith("s"):
            raise InputError(f"--exposure {text}: an HDU, a file or seconds: write {text}s")
        if not 0 < seconds < float("inf"):
            raise InputError(f"--exposure: the time must be positive, found {text}")
        return seconds, "--exposure"
    name = "EXPTIME"
    is_keyword = bool(_KEYWORD.fullmatch(text)) and data.keyword(text) is not None
    if is_keyword and not layout.is_there("exposure", text):
        name = text
    else:
        plane = same_shape(layout.part("exposure", options.exposure), data)
        if plane is not None:
            return plane.array, plane.short
    keyword = data.number(name)
    if keyword and keyword[1] <= 0:
        raise InputError(
            f"{data.label}: {name} must be positive, found {keyword[1]:g}: give --exposure"
        )
    return (keyword[1], f"{name} of {data.short}") if keyword else (None, "")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
