"""``lensrim reconstruct``: from a FITS observation to the product."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from .._command_line import parsed
from ..errors import printable
from ..inference.options import ReconstructOptions
from ..inference.reconstruct import reconstruct
from ..io import ReadOptions
from ..io.read import read_about
from ..io.staging import planned_files
from ..progress import Stages


@dataclass(frozen=True)
class Reconstruct:
    """Reconstruct the source galaxy and the lensing mass of one strong lens.

    Reads an image, its noise and its PSF, and writes maps (FITS), numbers (JSON), a picture (PNG)
    and the critical curves (DS9 regions). The lens is found in the frame and no start value is
    needed.

    Separate files in a folder (data.fits, noise_map.fits, psf.fits), whose headers are empty:
    $ lensrim reconstruct lens/ --pixel-scale 0.05

    Separate files by name, with a mask in which 1 means ignored:
    $ lensrim reconstruct image.fits --noise rms.fits --psf psf.fits --mask mask.fits
    --mask-sense ignored

    Neighbours left out, drawn as regions in DS9:
    $ lensrim reconstruct lens/ --pixel-scale 0.05 --ignore neighbours.reg

    One file with SCI, EXPTIME and PSF, its noise from background and exposure time:
    $ lensrim reconstruct lens.fits --data SCI --exposure EXPTIME --background 0.004 --psf PSF

    One multi-extension file, each part by the name of its extension:
    $ lensrim reconstruct euclid.fits --data VIS_BGSUB --noise VIS_RMS --psf VIS_PSF

    One lens of a mosaic, of which no more than its surroundings are read:
    $ lensrim reconstruct mosaic.fits --noise rms.fits --psf psf.fits --center 10412 7730

    Mass-sheet degeneracy: one source plane fixes the convergence only up to
    kappa -> lambda kappa + 1 - lambda, with the source scaled by lambda. The absolute slope of the
    mass and the size and flux of the source therefore lean on the prior; the Einstein radius, the
    angular structure and the relative structure of the source do not. lambda is what the fitted
    slope and those of galaxies let expect (SHEET = 1 - lambda in the header), or 1 with
    --mass-sheet none.
    """

    observation: Annotated[Path, tyro.conf.Positional]
    """FITS file, or folder that holds data.fits, noise_map.fits and psf.fits."""
    read: tyro.conf.OmitArgPrefixes[ReadOptions] = ReadOptions()
    fit: tyro.conf.OmitArgPrefixes[ReconstructOptions] = ReconstructOptions()
    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("results")
    """Folder of the product, made if it is missing; or its FITS file, as in out/lens.fits."""
    overwrite: bool = False
    """Replace an existing product."""
    quiet: bool = False
    """Print errors only."""


def parse(args: Sequence[str]) -> Reconstruct:
    """Parses the words after ``lensrim reconstruct``."""
    return parsed(Reconstruct, prog="lensrim reconstruct", args=args)


def run(options: Reconstruct) -> None:
    """Reads, reconstructs, writes, and prints the summary and the names of the files.

    Raises:
        InputError: If the observation cannot be used, or its product exists.
        OSError: If the product cannot be written.
    """
    shown = not options.quiet
    options.fit.check()
    with Stages({"reading": 1}, enabled=shown) as stages, stages("reading"):
        where = options.fit
        observation = read_about(
            options.observation, options.read, center=where.center, size=where.size
        )
    # an output that cannot be written is told before the minutes of work, not after
    planned_files(
        observation.name,
        options.output,
        overwrite=options.overwrite,
        inputs=observation.files,
    )
    result = reconstruct(observation, options.fit, quiet=options.quiet)
    with Stages({"plot and files": 1}, enabled=shown) as stages, stages("plot and files"):
        files = result.write(options.output, overwrite=options.overwrite)
    if shown:
        # the names of files and what headers hold are in them
        print(*(printable(line) for line in result.summary.split("\n")), sep="\n")
        print("Written:", *(printable(str(file)) for file in files), sep="\n  ")
