"""Mock observations as files: what a user would have, and beside it the truth.

``<name>.fits`` holds ``SCI``, ``ERR`` and ``PSF`` with a made-up celestial frame (North up, East
left) and a zero point; ``lensrim reconstruct`` reads it without options. ``<name>_truth.fits``
holds the noise-free ``ARCS`` and ``LENS_LIGHT``, ``KAPPA``, ``ALPHA_X``, ``ALPHA_Y`` [arcsec] and
``SOURCE``, about the frame's centre, on pixels of ``PIXSCALE``; its primary header holds the
numbers. With contaminants, ``DQ`` of the observation is 1 where a pixel is not to be used, and the
truth holds ``NEIGHBOURS`` and ``COSMIC_RAYS``, ``TRUE_PSF`` where the ``PSF`` is another, and
``ERRSCALE``, the stated noise over the true one. Equal mocks give equal files.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from numpy.typing import NDArray

from ..errors import InputError
from ..grid import PixelGrid
from ..io.staging import write_together
from .mocks import Mock

if TYPE_CHECKING:
    from matplotlib.figure import Figure

UNIT = "electron/s"
SKY = (150.1, 2.2)
"""Where the mocks are said to be: right ascension and declination [deg]."""
SOURCE_FOV = 0.4
"""Field of view of the source's map, in units of the image's."""
FINER, MOST = 4, 768
"""Pixels of the source's map in the file along one of those of its picture, and of its side where
that is less: an answer's source has pixels of about a tenth of the image's where it is small, and
is compared with what is in the file."""


def mock_files(
    path: str | os.PathLike[str], *, picture: bool = False, overwrite: bool = False
) -> list[Path]:
    """Returns the files of a mock, observation, truth and picture, if they can be written.

    Raises:
        InputError: If the name does not end in ``.fits``, or a file exists.
    """
    path = Path(path)
    if path.suffix != ".fits":
        raise InputError(f"{path}: a mock must be written to a file *.fits; rename it")
    files = [path, path.with_name(f"{path.stem}_truth.fits"), path.with_suffix(".png")]
    files = files if picture else files[:2]
    for file in files:
        if file.exists() and not overwrite:
            raise InputError(
                f"{file}: a mock is not replaced unasked, found an existing file; choose another "
                "output or give --overwrite"
            )
    return files


def source_grid(grid: PixelGrid, *, finer: int = 1) -> PixelGrid:
    """Returns the pixels on which the source of an image is shown, about the same centre.

    Arguments:
        grid: The image.
        finer: Pixels along ``SOURCE_FOV`` of one of the image's, or fewer where it has many.
    """
    longest = max(grid.shape)
    side = longest * max(1, min(finer, MOST // longest))
    return PixelGrid((side, side), SOURCE_FOV * grid.spacing * longest / side)


def write_mock(
    mock: Mock,
    path: str | os.PathLike[str],
    *,
    seed: int,
    zero_point: float,
    figure: "Figure | None" = None,
    overwrite: bool = False,
) -> list[Path]:
    """Writes a mock observation and its truth, all files or none.

    Arguments:
        mock: What to write.
        path: The observation's file, ``*.fits``.
        seed: Seed that it was made with.
        zero_point: Magnitude (AB) of one electron per second.
        figure: A picture, for ``<name>.png``.
        overwrite: Whether existing files are replaced.

    Returns:
        The files.

    Raises:
        InputError: If a file exists, or cannot be written.
    """
    files = mock_files(path, picture=figure is not None, overwrite=overwrite)
    writers: list[Callable[[Path], object]] = [
        lambda file: _checked(_observation(mock, seed, zero_point)).writeto(file),
        lambda file: _checked(_truth(mock)).writeto(file),
    ]
    if figure is not None:
        writers.append(lambda file: figure.savefig(file, metadata={"Software": None}))
    write_together(dict(zip(files, writers, strict=True)))
    return files


def _image(values: NDArray[Any], name: str, frame: fits.Header | None = None) -> fits.ImageHDU:
    return fits.ImageHDU(values.astype(np.float32), header=frame, name=name)


def _checked(hdus: fits.HDUList) -> fits.HDUList:
    """Adds checksums, in whose comments astropy would write the time of day."""
    parts: list[Any] = list(hdus)
    for hdu in parts:
        hdu.add_checksum(when="checksum of the HDU")
    return hdus


def _frame(grid: PixelGrid) -> fits.Header:
    """Makes up a celestial frame about the middle of a grid."""
    wcs = WCS(naxis=2)
    h, w = grid.shape
    wcs.wcs.crpix = [(w + 1) / 2, (h + 1) / 2]
    wcs.wcs.crval = SKY
    wcs.wcs.cd = np.diag([-1.0, 1.0]) * grid.spacing / 3600
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.radesys = "ICRS"
    return wcs.to_header()


def _observation(mock: Mock, seed: int, zero_point: float) -> fits.HDUList:
    seen = mock.observation
    primary = fits.PrimaryHDU()
    primary.header["ORIGIN"] = "lensrim", "made by the simulator: no observation"
    primary.header["MOCKSEED"] = seed
    frame = _frame(seen.grid)
    image = _image(seen.image, "SCI", frame)
    noise = _image(seen.sigma, "ERR", frame)
    for hdu in (image, noise):
        hdu.header["BUNIT"] = UNIT
    image.header["MAGZERO"] = zero_point
    hdus = [primary, image, noise, _image(seen.psf, "PSF")]
    if mock.truth.neighbours is not None:
        flags = fits.ImageHDU((~seen.mask).astype(np.int16), header=frame, name="DQ")
        hdus.append(flags)
    return fits.HDUList(hdus)


def _truth(mock: Mock) -> fits.HDUList:
    truth, grid = mock.truth, mock.observation.grid
    host = truth.system.lens.ellipsoid
    primary = fits.PrimaryHDU()
    numbers = {
        "THETAE": (truth.theta_E, "[arcsec] circle of mean kappa 1"),
        "MACROTE": (truth.macro_theta_E, "[arcsec] ellipsoid, intermediate axis"),
        "SLOPE": (truth.gamma, "3-D slope"),
        "Q": (host.q, "axis ratio"),
        "PHI": (float(np.degrees(host.phi)), "[deg] from +x"),
        "GAMMA1": (truth.shear[0], "external shear"),
        "GAMMA2": (truth.shear[1], "external shear"),
        "MAGTOT": (truth.magnification, "magnification"),
        "SNR": (truth.snr, "peak of the arcs"),
    }
    if (spoilt := truth.system.contamination) is not None:
        numbers["ERRSCALE"] = spoilt.noise, "stated noise over the true one"
    for key, (value, comment) in numbers.items():
        primary.header[key] = round(value, 6), comment
    frame = _frame(grid)
    maps = {
        "ARCS": truth.arcs,
        "LENS_LIGHT": truth.lens_light,
        "KAPPA": truth.kappa,
        "ALPHA_X": truth.alpha_x,
        "ALPHA_Y": truth.alpha_y,
    }
    spoiled = {"NEIGHBOURS": truth.neighbours, "COSMIC_RAYS": truth.cosmic_rays}
    maps |= {name: values for name, values in spoiled.items() if values is not None}
    plane = source_grid(grid, finer=FINER)
    source = _image(truth.source.on_grid(plane), "SOURCE")
    source.header["PIXSCALE"] = plane.spacing
    true_psf = [] if truth.psf is None else [_image(truth.psf, "TRUE_PSF")]
    images = [_image(m, name, frame) for name, m in maps.items()]
    return fits.HDUList([primary, *images, source, *true_psf])
