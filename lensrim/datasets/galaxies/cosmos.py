"""Galaxies of the Hubble surveys in the layout of GalSim (COSMOS, AEGIS).

A folder holds a catalogue ``real_galaxy_catalog*.fits``, whose rows tell the file and the HDU of
the image of each galaxy and of its point spread function, the pixel scale and the noise; beside
it, ``*_selection.fits`` and ``*_fits.fits`` tell, row by row, how good stamps and parametric fits
are. The columns and the rules are those of GalSim's ``RealGalaxyCatalog`` and ``COSMOSCatalog``
(Rowe et al. 2015, Astron. Comput. 10, 121; Mandelbaum et al. 2012, MNRAS 420, 1518; the stamps:
Mandelbaum et al. 2019, doi:10.5281/zenodo.3242143). GalSim itself is not needed.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...lensing.psf import measure_fwhm
from .many_images import read_image
from .remembered import Remembered
from .stamps import THOROUGH, Cleaning, Galaxy, Stamp, galaxy_of

Exclusion = Literal["none", "bad_stamp", "bad_fits", "marginal"]
"""What is left out: nothing, suspect stamps, failed fits, or both and doubtful ones besides."""

REMEMBERED = 512
"""Galaxies that are kept in memory; at most about 200 MB."""


class GalSimCatalogue:
    """Creates a collection of galaxies from a catalogue in the layout of GalSim.

    The catalogue is read at once, images when they are asked for. The name of a galaxy is its
    IDENT; the sample of COSMOS to magnitude 23.5 and that to 25.2 call a galaxy the same.

    Arguments:
        path: The catalogue, or a folder that holds one.
        sample: The catalogue of a folder, by what follows ``real_galaxy_catalog_``, such as
            ``25.2``; not needed where there is only one.
        exclusion: Which galaxies are left out, GalSim's ``exclusion_level``.
        names: Names to be kept; all by default.
        cleaning: How stamps are cleaned. COSMOS shows its galaxies with much noise: it is removed
            by default.

    Raises:
        InputError: If there is no such catalogue, or it lacks a column or a file that is needed.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        sample: str | None = None,
        exclusion: str = "marginal",
        names: Iterable[str] | None = None,
        cleaning: Cleaning = THOROUGH,
    ):
        if exclusion not in get_args(Exclusion):
            raise InputError(
                f"exclusion: must be one of {', '.join(get_args(Exclusion))}, found {exclusion!r}"
            )
        self.path = find_catalogue(path, sample)
        self.cleaning = cleaning
        self._rows = _Table(self.path, ("ident", "gal_filename", "gal_hdu", "pixel_scale"))
        kept = np.flatnonzero(selected(self.path, self._rows, exclusion))
        ident = self._rows["ident"]
        self._row = {str(ident[k]).strip(): int(k) for k in kept}
        if len(self._row) < len(kept):
            raise InputError(
                f"{self.path}: IDENT must be unique, found {len(kept)} rows of "
                f"{len(self._row)} galaxies; leave the others out"
            )
        if names is not None:
            self._row = {name: self._row[name] for name in names if name in self._row}
        if not self._row:
            raise InputError(
                f"{self.path}: expected galaxies, found none of {len(ident)} that pass "
                f"exclusion={exclusion!r}; exclude fewer"
            )
        self.load = Remembered(self._load, REMEMBERED)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the galaxies."""
        return tuple(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def stamp(self, name: str) -> Stamp:
        """Reads one stamp, and the width of its point spread function.

        Raises:
            InputError: If a file is missing or damaged, or has no such HDU.
        """
        row = self._row[name]
        scale = float(self._rows["pixel_scale"][row])
        image = self._image("gal", row)
        width = None
        if "psf_filename" in self._rows:
            width = measure_fwhm(np.nan_to_num(self._image("psf", row))) * scale
        noise = None
        if "noise_variance" in self._rows:
            variance = float(self._rows["noise_variance"][row])
            noise = np.sqrt(variance) if 0 < variance < np.inf else None
        return Stamp(image, scale, psf_fwhm=width, noise=noise)

    def _image(self, kind: str, row: int) -> NDArray[np.float64]:
        file = str(self._rows[f"{kind}_filename"][row]).strip()
        return read_image(self.path.parent / file, int(self._rows[f"{kind}_hdu"][row]))

    def _load(self, name: str) -> Galaxy:
        """Makes one galaxy; the public ``load`` remembers the last :data:`REMEMBERED`.

        Raises:
            InputError: If a file is missing or damaged, or the stamp shows no object.
        """
        try:
            return galaxy_of(name, self.stamp(name), self.cleaning)
        except InputError:
            raise
        except ValueError as error:
            raise InputError(f"{self.path}: galaxy {name}: {error}; leave it out") from error


def find_catalogue(path: str | Path, sample: str | None = None) -> Path:
    """Returns the catalogue of galaxies that a folder holds.

    Arguments:
        path: The catalogue itself, or the folder.
        sample: Which, by what follows ``real_galaxy_catalog_``.

    Raises:
        InputError: If there is none, or several.
    """
    path = Path(path)
    if path.is_file():
        return path
    found = catalogues(path)
    if sample is not None:
        found = [p for p in found if p.stem.removeprefix("real_galaxy_catalog_") == sample]
    if len(found) != 1:
        which = "" if sample is None else f" of sample {sample!r}"
        named = ", ".join(p.name for p in found) or "none"
        raise InputError(
            f"{path}: expected one catalogue real_galaxy_catalog*.fits{which}, found {named}; "
            "give another folder, or the catalogue itself"
        )
    return found[0]


def catalogues(folder: str | Path) -> list[Path]:
    """Lists the catalogues of galaxies in a folder, without the tables that stand beside them."""
    found = sorted(Path(folder).glob("real_galaxy_catalog*.fits"))
    return [path for path in found if not path.stem.endswith(("_selection", "_fits"))]


class _Table:
    """Columns of the first table of a FITS file, by name in lower case."""

    def __init__(self, path: Path, needed: Iterable[str] = ()):
        from astropy.io import fits

        try:
            with fits.open(path, memmap=False) as hdus:
                table: Any = hdus[1]
                data = table.data
                columns = {name.lower(): np.array(data[name]) for name in data.columns.names}
        except (OSError, IndexError, AttributeError, TypeError, ValueError) as error:
            raise InputError(f"{path}: must be a FITS table, {error}; fetch it again") from error
        self.path, self._columns = path, columns
        for name in needed:
            self[name]

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def __getitem__(self, name: str) -> NDArray[Any]:
        if name not in self._columns:
            raise InputError(
                f"{self.path}: must have the column {name.upper()}, found "
                f"{', '.join(self._columns)}; give a catalogue in the layout of GalSim"
            )
        return self._columns[name]


def selected(path: Path, rows: "_Table", exclusion: str) -> NDArray[np.bool_]:
    """Applies GalSim's rules: which rows of a catalogue are kept.

    ``bad_stamp`` keeps stamps with a S/N of 12 or more (20 for the sample 23.5) and without a mask
    that touches the galaxy (nearer than 11 pixels, and bright beside it: 0.8 of the peak; 0.2 for
    23.5), and with positive light; ``bad_fits`` those with a Sersic or a bulge + disc fit;
    ``marginal`` needs both fits, no sign of a wrong sky (index above 5 and radius above 1 arcsec),
    and a magnitude within 0.8 of the catalogue's.

    Arguments:
        path: The catalogue; the tables of stamps and fits stand beside it.
        rows: Its columns.
        exclusion: The rule.

    Raises:
        InputError: If a table or column that the rule needs is missing, or of another length.
    """
    count = len(rows["ident"])
    good = np.ones(count, dtype=bool)

    def beside(what: str) -> _Table:
        file = path.with_name(f"{path.stem}_{what}.fits")
        if not file.exists():
            raise InputError(
                f"{file}: needed for exclusion={exclusion!r}, no such file; fetch it, or take "
                "exclusion='none'"
            )
        table = _Table(file)
        if (found := len(table["ident"])) != count:
            raise InputError(
                f"{file}: must have the {count} rows of {path.name}, found {found}; fetch it again"
            )
        return table

    if exclusion in ("bad_stamp", "marginal"):
        ratio, least = (0.2, 20.0) if "23.5" in path.name else (0.8, 12.0)
        stamps = beside("selection")
        peak = np.where(
            stamps["peak_image_pixel_count"] == 0, 1e-5, stamps["peak_image_pixel_count"]
        )
        apart = stamps["min_mask_dist_pixels"] > 11
        faint = stamps["average_mask_adjacent_pixel_count"] / peak < ratio
        good &= (stamps["sn_ellip_gauss"] >= least) & (apart | faint) & (rows["stamp_flux"] > 0)
        if exclusion == "marginal":
            good &= np.abs(stamps["dmag"]) < 0.8
    if exclusion in ("bad_fits", "marginal"):
        fits = beside("fits")
        status = fits["fit_status"]
        sersic, bulge = ((status[:, k] > 0) & (status[:, k] < 5) for k in (4, 0))
        good &= sersic | bulge
        if exclusion == "marginal":
            index, radius = fits["sersicfit"][:, 2], fits["hlr"][:, 0]
            good &= sersic & bulge & ((index < 5) | (radius < 1))
    return good
