"""The FITS files of a folder, and what they are called."""

from pathlib import Path

ENDINGS = (".fits", ".fits.gz")


def fits_files(folder: str | Path, *, below: bool = False) -> list[Path]:
    """Lists the FITS files in a folder, sorted; those in the folders below it, too, if asked."""
    found = (Path(folder).rglob if below else Path(folder).glob)("*")
    return sorted(path for path in found if path.name.endswith(ENDINGS))


def without_ending(path: str | Path) -> str:
    """Returns a path without the ending of a FITS file, which may be within it, too."""
    return str(path).removesuffix(".gz").removesuffix(".fits")
