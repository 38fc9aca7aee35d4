"""``lensrim simulate``: one mock observation with its truth."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from .._command_line import parsed
from ..datasets.presets import PLACES, Population, read_population
from ..errors import InputError
from ..evaluation.mock_files import mock_files, source_grid, write_mock
from ..evaluation.mocks import Mock, make_mock

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ZERO_POINT = 25.5
"""Magnitude of one electron per second, where no instrument says it."""


@dataclass(frozen=True)
class Simulate:
    """Write one mock observation of a strong lens, and its truth, as FITS files.

    The image is ray-traced with many rays per pixel, by code that no fit uses. A seed gives the
    same files again. lensrim reconstruct reads the observation without options.

    A lens as Euclid would see it, with a picture:
    $ lensrim simulate euclid --seed 3 --output lens.fits --figure

    Your own galaxies, PSFs and blank sky (folders of FITS files), at the resolution of Hubble:
    $ lensrim simulate slacs --galaxies stamps --psfs psfs --noise sky

    Your own haloes, from lensrim haloes:
    $ lensrim simulate euclid --haloes tng.safetensors

    A recipe (TOML) that begins with a preset and changes what it names:
    $ lensrim simulate recipe.toml --seed 7

    The presets are general, slacs, euclid, jwst, adam2023 and morningstar2019.
    """

    population: Annotated[str, tyro.conf.Positional] = "general"
    """A preset, or a recipe (*.toml)."""

    seed: int = 0
    """Which lens of the population, from 0."""

    output: Annotated[Path, tyro.conf.arg(aliases=["-o"])] = Path("mock.fits")
    """File of the observation, *.fits; the truth goes into *_truth.fits beside it."""

    shape: tuple[int, int] | None = None
    """Rows and columns of the image; the population's by default."""

    galaxies: str | None = None
    """Folder of FITS stamps of galaxies, or "learnt" for those of the packaged generator;
    synthetic ones by default."""

    psfs: str | None = None
    """Folder of FITS stamps of PSFs, used for half of the seeds; the population's own by default.
    They must be oversampled (FWHM of 3 of their pixels or more), and are brought to the
    population's width, unless a recipe's psf_stamp_scale says how large their pixels are."""

    noise: str | None = None
    """Folder of FITS images of blank sky, to cut the noise from; drawn by default."""

    haloes: str | None = None
    """File of haloes, from lensrim haloes, for the population's halo_share of the lenses; for all
    of them, where that is 0. By default those of the halo model."""

    figure: bool = False
    """Write a picture, *.png, too."""

    overwrite: bool = False
    """Replace existing files."""

    quiet: bool = False
    """Print errors only."""


def parse(args: Sequence[str]) -> Simulate:
    """Parses the words after ``lensrim simulate``."""
    return parsed(Simulate, prog="lensrim simulate", args=args)


def chosen(name: str, shape: tuple[int, int] | None, folders: dict[str, str | None]) -> Population:
    """Returns the population of the options: what they say wins over the recipe.

    Raises:
        InputError: If the preset or recipe cannot be used, or says the scale of PSF stamps where
            there are none.
    """
    population = read_population(name)
    given: dict = {key: value for key, value in folders.items() if value is not None}
    if "haloes" in given and population.system.halo_share == 0:
        given["system"] = replace(population.system, halo_share=1.0)
    population = replace(population, **given, **({} if shape is None else {"shape": shape}))
    if population.system.psf_stamp_scale and population.psfs is None:
        raise InputError(
            f"psf_stamp_scale: has no effect without stamps, found "
            f"{population.system.psf_stamp_scale:g}; name their folder with psfs or --psfs"
        )
    return population


def run(options: Simulate) -> None:
    """Simulates, writes, and prints what was written.

    Raises:
        InputError: If the recipe or a folder cannot be used, or a file exists.
    """
    if options.seed < 0:
        raise InputError(f"--seed: must be 0 or more, found {options.seed}")
    folders = {name: getattr(options, name) for name in PLACES}
    population = chosen(options.population, options.shape, folders)
    mock_files(options.output, picture=options.figure, overwrite=options.overwrite)
    try:
        mock = make_mock(
            options.seed,
            galaxies=population.galaxies,
            psfs=population.psfs,
            noises=population.noise,
            haloes=population.haloes,
            shape=population.shape,
            prior=population.system,
        )
    except RuntimeError as error:
        raise InputError(f"--shape: {error}; enlarge it") from error
    camera = population.system.instrument
    files = write_mock(
        mock,
        options.output,
        seed=options.seed,
        zero_point=ZERO_POINT if camera is None else camera.zero_point,
        figure=picture(mock) if options.figure else None,
        overwrite=options.overwrite,
    )
    if not options.quiet:
        truth, seen = mock.truth, mock.observation
        h, w = seen.grid.shape
        print(
            f"{w} x {h} pixels of {seen.pixel_scale:.4g} arcsec: theta_E {truth.theta_E:.3f} "
            f"arcsec (circle of mean kappa 1; smooth model {truth.macro_theta_E:.3f}), slope "
            f"{truth.gamma:.2f}, magnification {truth.magnification:.1f}, "
            f"S/N {truth.snr:.0f}"
        )
        print("Written:", *files, sep="\n  ")


def picture(mock: Mock) -> "Figure":
    """Draws the observation, its noise-free parts, the source and the convergence."""
    from ..plotting import contact_sheet

    seen, truth = mock.observation, mock.truth
    noise = float(seen.sigma.min())
    source = truth.source.on_grid(source_grid(seen.grid))
    panels = {
        "observation": (seen.image, noise),
        "arcs": (truth.arcs, noise),
        "lens light": (truth.lens_light, noise),
        "source": (source, 0.02 * float(source.max())),
        "κ": (truth.kappa, 0.1),
        "PSF": (seen.psf, 0.002 * float(seen.psf.max())),
    }
    heading = f"θ_E {truth.theta_E:.2f}″, S/N {truth.snr:.0f}"
    images, noises = zip(*panels.values(), strict=True)
    return contact_sheet(images, list(panels), noises=noises, heading=heading)
