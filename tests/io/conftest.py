"""Observations written as FITS files, each test changing one thing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from . import corpus

SHAPE = (31, 37)
SCALE = 0.05


def gaussian(shape: tuple[int, int], width: float, x: float = 0.0, y: float = 0.0) -> np.ndarray:
    """A Gaussian about the middle of a frame, off by ``(x, y)`` pixels; its sum is 1."""
    rows, columns = (np.arange(n) - (n - 1) / 2 for n in shape)
    profile = np.exp(-((columns - x) ** 2 + (rows[:, None] - y) ** 2) / (2 * width**2))
    return profile / profile.sum()


def celestial_header(scale: float = SCALE, angle: float = 30.0) -> fits.Header:
    """A tangential WCS, rotated, East to the left."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.1, 2.2]
    wcs.wcs.crpix = [12.0, 20.5]
    c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    wcs.wcs.cd = scale / 3600 * np.array([[-c, s], [s, c]])
    return wcs.to_header()


@pytest.fixture
def parts() -> dict[str, tuple[np.ndarray | None, dict]]:
    """The HDUs of a good observation: EXTNAME to pixels and keywords."""
    image = gaussian(SHAPE, 4.0) * 500
    return {
        "SCI": (image, {"BUNIT": "electron/s", **celestial_header()}),
        "ERR": (np.full(SHAPE, 0.1), {}),
        "PSF": (gaussian((11, 11), 1.2), {}),
    }


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes HDUs to a file in the temporary folder."""

    def write(parts: dict, name: str = "obs.fits", *, primary: dict | None = None) -> Path:
        hdus = [fits.PrimaryHDU(header=fits.Header(primary or {}))]
        for extname, (pixels, keywords) in parts.items():
            header = fits.Header(keywords)
            hdus.append(fits.ImageHDU(pixels, header, name=extname.split(",")[0]))
            if "," in extname:
                hdus[-1].ver = int(extname.split(",")[1])
        path = tmp_path / name
        fits.HDUList(hdus).writeto(path)
        return path

    return write


@pytest.fixture
def write_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes images without keywords to one file each, in a folder."""

    def write(images: dict[str, np.ndarray], name: str = "lens") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file, pixels in images.items():
            fits.PrimaryHDU(pixels).writeto(folder / file)
        return folder

    return write


@dataclass
class Tried:
    """Counts the broken and odd files and options that were tried, for the end of the run."""

    read: int = 0
    refused: int = 0

    def count(self, *, read: int = 0, refused: int = 0) -> None:
        self.read += read
        self.refused += refused

    def add(self, found: "corpus.Found") -> None:
        self.count(read=found.read, refused=found.refused)


TRIED = pytest.StashKey[Tried]()


@pytest.fixture
def tried(pytestconfig: pytest.Config) -> Tried:
    """The count of the run."""
    return pytestconfig.stash.setdefault(TRIED, Tried())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Prints the count."""
    found = config.stash.get(TRIED, None)
    if found is not None:
        terminalreporter.write_line(
            f"bad input: {found.read + found.refused} files and options tried, {found.refused}"
            f" refused in one line, {found.read} read"
        )
