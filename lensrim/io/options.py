"""The options of reading: what to take for what, and what the file does not say."""

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np

from lensrim.errors import InputError
from lensrim.io.noise import NoiseKind
from lensrim.option_types import as_text, check_types

NAMING = ("data", "noise", "exposure", "psf", "mask", "ignore", "dq")
"""Options that may name a file."""


@dataclass(frozen=True)
class ReadOptions:
    """How to read an observation.

    Each of data, noise, exposure, psf, mask and dq is an HDU of the main file by name or number
    (VIS_PSF, or SCI,2 or 3), a file, or an HDU of a file (other.fits[PSF]); in Python also a
    number or a path. What is left out is looked for under its usual name. The values are
    checked when the observation is read.
    """

    data: str | None = None
    """The image: HDU, file or file[HDU]."""

    noise: str | None = None
    """The noise map: HDU, file or file[HDU]."""

    noise_kind: NoiseKind | None = None
    """What the noise map holds: sigma, variance, weight (1/sigma^2); or background+exposure."""

    background: float | None = None
    """Standard deviation of the background [electron/s], used with the exposure."""

    exposure: str | None = None
    """Exposure time: a map [s] as HDU, file or file[HDU], seconds as in 2000s, or a keyword of the
    data's header; EXPTIME of it if --background is given alone."""

    psf: str | None = None
    """The PSF: HDU, file or file[HDU]."""

    psf_kind: Literal["effective", "optical"] = "effective"
    """Whether the pixel response is in the PSF (effective: measured ones) or not (optical)."""

    psf_oversampling: int = 1
    """Number k of the PSF's pixels along a pixel of the image. Such a stamp holds the response of
    its own small pixels (effective) or none (optical), and is averaged over the image's. Of one
    that holds the image pixel's response already, give every k-th pixel, from the middle."""

    mask: str | None = None
    """A mask of 0 and 1: HDU, file or file[HDU]."""

    mask_sense: Literal["used", "ignored"] | None = None
    """What 1 means in the mask; used if not given, unless that leaves fewer than half of the
    pixels: it is then asked for."""

    ignore: str | None = None
    """A region file of DS9, as drawn about neighbours: pixels in its regions are ignored, besides
    those that a mask ignores."""

    dq: str | None = None
    """Data quality flags, 0 where good: HDU, file or file[HDU]."""

    pixel_scale: float | None = None
    """Pixel scale [arcsec]."""

    trust_scale: bool = False
    """Take --pixel-scale even where a header contradicts it or makes no sense."""

    zeropoint: float | None = None
    """Magnitude of one data unit."""

    rescale_noise: float | Literal["sky"] = 1.0
    """Factor on the standard deviations, for a map known to be wrong; or sky: as measured on blank
    sky, where it exists, and told apart for pixels that are binned. That noise is correlated, as
    in drizzled images, the fit sees by itself."""

    def __post_init__(self) -> None:
        for name in NAMING:
            object.__setattr__(self, name, as_text(getattr(self, name)))

    def given(self) -> tuple[str, ...]:
        """Returns the options that differ from their defaults, as ``name = value``."""
        return tuple(
            f"{f.name} = {getattr(self, f.name)}"
            for f in fields(self)
            if getattr(self, f.name) != f.default
        )

    def check(self) -> None:
        """Checks the values.

        Raises:
            InputError: If one is impossible, or two exclude each other.
        """
        check_types(self)
        for name in ("background", "pixel_scale", "rescale_noise", "psf_oversampling"):
            value = getattr(self, name)
            if value not in (None, "sky") and not 0 < value < float("inf"):
                raise InputError(f"--{name.replace('_', '-')}: must be positive, got {value}")
        if self.zeropoint is not None and not np.isfinite(self.zeropoint):
            raise InputError(f"--zeropoint: must be finite, got {self.zeropoint}")
        if self.trust_scale and self.pixel_scale is None:
            raise InputError(
                "--trust-scale: needs the scale to trust, found none: give --pixel-scale in arcsec"
            )
        others = [n for n in ("background", "exposure") if getattr(self, n) is not None]
        if others and self.noise_kind not in (None, "background+exposure"):
            raise InputError(
                f"--noise-kind {self.noise_kind} and --{others[0]}: the noise is given twice:"
                " leave one out"
            )
        if self.noise is not None:
            if self.noise_kind == "background+exposure":
                others.append("noise-kind background+exposure")
            if others:
                raise InputError(
                    f"--noise and --{others[0]}: the noise is given twice: leave one out"
                )
