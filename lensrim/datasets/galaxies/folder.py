"""Folders of FITS stamps of galaxies.

A stamp's own keywords tell its pixel scale (``PIXSCALE`` [arcsec], or a WCS) and the width of its
point spread function (``PSFFWHM`` [arcsec]). A stamp that :func:`write_galaxy` wrote is a galaxy
already: it says so (``CLEANED``), and is taken as it is.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..._weights import replacing
from ...errors import InputError
from ..fits_files import fits_files, without_ending
from .remembered import Remembered
from .stamps import Cleaning, Galaxy, Stamp, galaxy_of, half_light_radius

SCALE = 0.05
"""Pixel scale [arcsec] of stamps that tell none; it only gives the galaxies an absolute size."""


class GalaxyFolder:
    """Creates a collection of galaxies from a folder, read one by one when asked for.

    Arguments:
        root: Folder searched, with its subfolders, for ``*.fits`` and ``*.fits.gz``.
        pixel_scale: Side of a pixel [arcsec], of all stamps or by the name of their subfolder; by
            default what their headers say, and 0.05 where they say nothing. It only gives the
            galaxies an absolute size.
        psf_fwhm: Width of the point spread function [arcsec], of all stamps or by the name of
            their subfolder; by default what their headers say.
        names: Names to be kept; all by default.
        cleaning: How stamps are cleaned.

    Raises:
        InputError: If the folder does not exist or holds no stamp.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        pixel_scale: float | Mapping[str, float] | None = None,
        psf_fwhm: float | Mapping[str, float] | None = None,
        names: Iterable[str] | None = None,
        cleaning: Cleaning = Cleaning(),
    ):
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(
                f"{self.root}: galaxies must be a folder of FITS stamps; no such folder"
            )
        paths: dict[str, Path] = {}
        for path in fits_files(self.root, below=True):
            name = without_ending(path.relative_to(self.root))
            if name in paths:
                raise InputError(
                    f"{path}: galaxies must have names of their own, found {paths[name]}, too; "
                    "rename one, or leave it out"
                )
            paths[name] = path
        kept = paths if names is None else [name for name in names if name in paths]
        self._paths = {name: paths[name] for name in kept}
        self._pixel_scale = pixel_scale
        self._psf_fwhm = psf_fwhm
        self.cleaning = cleaning
        if not self._paths:
            raise InputError(f"{self.root}: expected FITS stamps (*.fits, *.fits.gz), found none")
        self.load = Remembered(self._load)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the galaxies: their paths below the folder, without the extension."""
        return tuple(self._paths)

    def __len__(self) -> int:
        return len(self._paths)

    def stamp(self, name: str) -> Stamp:
        """Reads one stamp as it is.

        Raises:
            InputError: If the file is not FITS, or holds no two-dimensional image.
        """
        return self._read(name)[0]

    def _load(self, name: str) -> Galaxy:
        """Reads one galaxy; the public ``load`` remembers it.

        Raises:
            InputError: If the file is not FITS, or holds no two-dimensional image or no object.
        """
        stamp, header = self._read(name)
        if header.get("CLEANED") is True:
            return _written(name, stamp, header)
        try:
            return galaxy_of(name, stamp, self.cleaning)
        except ValueError as error:
            raise InputError(
                f"{self._paths[name]}: {error}; leave this file out of the folder"
            ) from error

    def _read(self, name: str) -> tuple[Stamp, Any]:
        """Reads the first image of a file, and its header."""
        from astropy.io import fits

        path = self._paths[name]
        try:
            with fits.open(path) as hdus:
                all_of_them: list[Any] = list(hdus)
                data = [(getattr(hdu, "data", None), hdu.header) for hdu in all_of_them]
        except (OSError, TypeError, ValueError, fits.VerifyError) as error:
            raise InputError(f"{path}: a galaxy stamp must be a FITS file: {error}") from error
        images = [each for each in data if each[0] is not None and each[0].ndim == 2]
        if not images:
            raise InputError(f"{path}: a galaxy stamp must be a two-dimensional image, found none")
        image, header = images[0]
        scale = _of(self._pixel_scale, name) or _own_scale(header) or SCALE
        width = _of(self._psf_fwhm, name) or _positive(header.get("PSFFWHM"))
        return Stamp(np.asarray(image, dtype=np.float64), scale, psf_fwhm=width), header


def _of(given: float | Mapping[str, float] | None, name: str) -> float | None:
    """A number for all, or that of the subfolder, if it has one."""
    return given.get(name.split("/")[0]) if isinstance(given, Mapping) else given


def _positive(value: Any) -> float | None:
    """A keyword's value, if it is a number that can be a length."""
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < np.inf
    return float(value) if good else None


def _own_scale(header: Any) -> float | None:
    """Pixel scale that a header tells [arcsec]: that of its WCS, or of its keyword."""
    from astropy.wcs import WCS
    from astropy.wcs.utils import proj_plane_pixel_scales

    stated = _positive(header.get("PIXSCALE")) or _positive(header.get("PIXELSCL"))
    if stated is not None or "CTYPE1" not in header:
        return stated
    try:
        wcs = WCS(header, naxis=2)
        sides = proj_plane_pixel_scales(wcs) if wcs.has_celestial else np.array([np.nan])
    except ValueError:
        return None
    return _positive(3600 * float(np.sqrt(np.prod(sides))))


def _written(name: str, stamp: Stamp, header: Any) -> Galaxy:
    """The galaxy that :func:`write_galaxy` wrote."""
    radius = half_light_radius(stamp.image) * stamp.pixel_scale
    flux, snr, noise = (_positive(header.get(key)) for key in ("FLUX", "SNR", "SKYNOISE"))
    scale, width = stamp.pixel_scale, stamp.psf_fwhm
    return Galaxy(name, stamp.image, scale, radius, width, flux, noise or 0.0, snr)


def _ascii(name: str) -> str:
    """Writes what FITS has no letters for by their numbers."""
    return name.encode("ascii", "backslashreplace").decode()


def write_galaxy(path: Path, galaxy: Galaxy, *, provenance: Mapping[str, str | float]) -> None:
    """Writes a galaxy as a stamp that :class:`GalaxyFolder` takes as it is.

    Arguments:
        path: File, ``*.fits``; its folder must exist. A file that is there is replaced whole.
        galaxy: The galaxy; its image is stored in single precision.
        provenance: Further keywords of up to eight characters.
    """
    from astropy.io import fits

    hdu = fits.PrimaryHDU(galaxy.image.astype(np.float32))
    cards: dict[str, tuple[Any, str]] = {
        "CLEANED": (True, "galaxy on zeros, relative to its peak"),
        "OBJECT": (_ascii(galaxy.name), "name of the stamp"),
        "PIXSCALE": (galaxy.pixel_scale, "[arcsec] side of a pixel"),
        "HLR": (galaxy.half_light_radius, "[arcsec] half-light radius"),
        "PSFFWHM": (galaxy.psf_fwhm, "[arcsec] width of the PSF in the image"),
        "FLUX": (galaxy.flux, "light, in the unit of the stamp"),
        "SNR": (galaxy.snr, "light over its error from the sky"),
        "SKYNOISE": (galaxy.noise, "noise of the sky that is left, in a pixel"),
    }
    for key, (value, comment) in cards.items():
        if value is not None and (isinstance(value, str | bool) or np.isfinite(value)):
            hdu.header[key] = (value, comment)
    for key, value in provenance.items():
        hdu.header[key] = value
    with replacing(path) as file:
        hdu.writeto(file)
