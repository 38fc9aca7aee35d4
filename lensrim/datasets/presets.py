"""Populations of lenses by name, and recipes (TOML) that change them.

A recipe begins with a preset and overrides what it names; every field of the population may stand
in it, and nothing else. ``instrument`` and ``theta_E_arcsec`` may be ``"none"``, where the preset
has them::

    preset = "slacs"
    shape = [80, 80]
    theta_E_arcsec = [0.8, 1.4]
    snr = [20.0, 60.0]

    [instrument]                # changes the preset's; instrument = "hst_wfc3" takes another whole
    name = "hst_wfc3"           # without it, all numbers of an instrument of your own
    exposure = 300.0

    [lens]
    slope_std = 0.1

    [contaminants]              # neighbours, cosmic rays, wrong PSFs; the presets have some
    neighbours = 0.5

    [psf_changes]               # jitter and warps
    jittered = 0.0

    [pairs]                     # of training pairs only
    rough = 0.0

``galaxies``, ``psfs`` and ``noise`` name folders of FITS files, relative to the recipe's own: real
galaxies, PSFs and blank sky, in place of the synthetic ones that are the default of all. In place
of a folder of galaxies, ``galaxies = "learnt"`` takes those that the packaged generator draws, and
a file (``*.safetensors``), those of one that ``lensrim generator`` trained. Where
stamps show the same galaxy, ``[duplicates]`` says which, as ``[data.duplicates]`` of a training's
recipe does (``file``, ``folders``, ``digits``), so that they go into one set. ``haloes`` names a
file that ``lensrim haloes`` wrote, for the share ``halo_share`` of the lenses; without one, they
are those of the halo model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from .._toml import recipe_of
from ..errors import InputError
from .contaminants import NONE, Contaminants
from .galaxies.learnt import beside, is_learnt, weights_of
from .halos import LensPrior
from .instruments import EUCLID_VIS, HST_ACS, JWST_NIRCAM
from .overrides import FOLDERS, PLACES, override
from .pairs.pairs import PairPrior
from .priors import SystemPrior
from .psfs.changes import PsfChanges
from .splits import Duplicates


@dataclass(frozen=True)
class Population:
    """Creates a population of lenses, and the frame in which they are seen.

    Arguments:
        system: Lens, source, light, and the instrument.
        shape: Shape of the frame (H, W).
        pairs: What training pairs have besides; its own ``system`` is not used.
        galaxies, psfs, noise: Folders of real galaxies, PSFs and blank sky; synthetic ones where
            there is none.
        duplicates: Pairs of names of galaxies that show the same one, for the sets.
        haloes: File of haloes, for the system's share of them; those of the halo model by default.
    """

    system: SystemPrior = field(default_factory=SystemPrior)
    shape: tuple[int, int] = (64, 64)
    pairs: PairPrior = field(default_factory=PairPrior)
    galaxies: str | None = None
    psfs: str | None = None
    noise: str | None = None
    duplicates: tuple[tuple[str, str], ...] = ()
    haloes: str | None = None

    def __post_init__(self) -> None:
        if min(self.shape) < 16:
            raise InputError(f"shape: must be 16 pixels or more, found {self.shape}; enlarge it")
        for name in FOLDERS:
            folder = getattr(self, name)
            if name == "galaxies" and folder is not None and is_learnt(folder):
                weights_of(folder)
            elif folder is not None and not Path(folder).is_dir():
                raise InputError(f"{name}: must be a folder of FITS files, found {folder!r}")
        if self.haloes is not None and not Path(self.haloes).is_file():
            raise InputError(
                f"haloes: must be a file that lensrim haloes wrote, found {self.haloes!r}"
            )
        if self.haloes is not None and self.system.halo_share == 0:
            raise InputError(
                "haloes: have no effect where halo_share is 0; set it to the share of the lenses "
                "that are to be haloes"
            )

    @property
    def pair_prior(self) -> PairPrior:
        """The population of training pairs."""
        return replace(self.pairs, system=self.system)


HST = Contaminants(
    neighbours=0.7,
    neighbours_max=2,
    neighbour_stars=0.15,
    cosmic_rays=0.3,
    bad_pixels=0.3,
    bad_columns=0.03,
    gaps=0.02,
    saturated=0.05,
    light_errors=1.0,
    psf_errors=0.8,
    noise_errors=0.8,
)
"""Contaminants of Hubble's drizzled images, whose tracks are mostly gone: chosen by us."""

EUCLID = replace(HST, cosmic_rays=0.2, cosmic_rays_max=2, psf_width=(0.003, 0.02), psf_shift=0.05)
"""Of Euclid's stacks, with a better known PSF."""

JWST = replace(
    HST, cosmic_rays=0.1, cosmic_rays_max=1, neighbours=0.9, neighbours_max=1, bad_pixels=0.5
)
"""Of Webb's deep images, in which there is always something beside."""

PRESETS = {
    "general": Population(),
    "slacs": Population(
        SystemPrior(
            theta_E_arcsec=(0.7, 1.8),
            instrument=HST_ACS,
            snr=(10.0, 60.0),
            light_share=1.0,
            light_brightness=(3.0, 30.0),
            halo_share=0.5,
            light_radius=(0.8, 2.2),
            psf_changes=PsfChanges(jittered=0.3, warped=0.5),
            contaminants=HST,
        ),
        shape=(100, 100),
    ),
    "euclid": Population(
        SystemPrior(
            theta_E_arcsec=(0.5, 2.0),
            instrument=EUCLID_VIS,
            snr=(5.0, 50.0),
            light_share=1.0,
            light_brightness=(2.0, 30.0),
            light_radius=(0.6, 2.0),
            psf_changes=PsfChanges(jittered=0.3, warped=0.5),
            contaminants=EUCLID,
        ),
        shape=(72, 72),
    ),
    "jwst": Population(
        SystemPrior(
            theta_E_arcsec=(0.4, 1.2),
            instrument=JWST_NIRCAM,
            snr=(10.0, 100.0),
            light_share=1.0,
            light_brightness=(1.0, 20.0),
            light_radius=(0.6, 2.0),
            psf_changes=PsfChanges(jittered=0.3, warped=0.5),
            contaminants=JWST,
        ),
        shape=(128, 128),
    ),
    "adam2023": Population(
        SystemPrior(
            pixel_scale=(0.06, 0.06),
            theta_E_arcsec=(0.5, 2.5),
            psf_fwhm=(1.0, 5.0),
            snr=(28.0, 1000.0),
            peak=(1.0, 1.0),
            light_share=0.0,
            halo_share=1.0,
        ),
        shape=(128, 128),
        pairs=PairPrior(contaminants=NONE, mixed=0.0),
    ),
    "morningstar2019": Population(
        SystemPrior(
            pixel_scale=(0.05, 0.05),
            theta_E_arcsec=(0.5, 2.0),
            lens=LensPrior(slope_mean=2.0, slope_std=0.0, multipole_std=0.0, subhalos_max=0),
            light_share=0.0,
        ),
        shape=(128, 128),
        pairs=PairPrior(rough=0.0, contaminants=NONE, mixed=0.0),
    ),
}
"""The populations by name.

``general``: that of :func:`lensrim.evaluation.mocks.make_mock`, of any instrument.

``slacs``: Hubble images of nearby massive ellipticals. Slopes 2.08 +- 0.16 (Auger et al. 2010, ApJ
724, 511); the range of the Einstein radii is about that of Bolton et al. 2008, ApJ 682, 964; S/N,
brightness of the lens and contaminants are chosen by us, its effective radius is one to two
Einstein radii, as there. Half of the masses are power laws with multipoles and subhalos, the other
half haloes of the halo model.

``euclid``: lenses of the wide survey, many below 1 arcsec (Walmsley et al. 2025,
arXiv:2503.15324); all ranges are chosen by us.

``jwst``: lenses like those of COSMOS-Web, most below 1 arcsec (COWLS III, 2025); all ranges are
chosen by us.

``adam2023``: the frame (128 pixels on 7.68 arcsec), the Einstein radii, the widths of the PSF
(0.06 to 0.3 arcsec) and the noise (0.001 to 0.035 of the peak) of Adam et al. 2023, ApJ 951, 6,
and of the scripts of its public code, Censai; corrected: with external shear, the source's size in
Einstein radii, uniform widths (theirs crowd at 0.07 arcsec). The masses are haloes, of the halo
model where those of IllustrisTNG are not there; ``haloes`` names them where they are.

``morningstar2019``: the kind of Morningstar et al. 2019, ApJ 883, 14: isothermal ellipsoids with
shear, no lens light. We could not look up their ranges: all are chosen by us.
"""


def read_population(name: str) -> Population:
    """Returns a preset by name, or reads a recipe.

    Arguments:
        name: A key of :data:`PRESETS`, or a TOML file.

    Raises:
        InputError: If there is no such preset or file, or the recipe has a key or value that it
            cannot have.
    """
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    if path.suffix != ".toml":
        raise InputError(
            f"{name}: must be a preset ({', '.join(PRESETS)}) or a recipe (*.toml), found neither"
        )
    return recipe_of(path, _placed)


def _placed(content: dict[str, Any], folder: Path) -> Population:
    """Makes the population of a recipe's tables, whose paths are relative to its folder."""
    for place in PLACES:
        if isinstance(content.get(place), str):
            content[place] = beside(content[place], folder)
    same = _duplicates(content.pop("duplicates", None), folder)
    return replace(population_of(content), duplicates=same)


def _duplicates(table: Any, folder: Path) -> tuple[tuple[str, str], ...]:
    """Reads what a recipe's table of duplicates names.

    Raises:
        InputError: If the table has other keys or values, or the file cannot be used.
    """
    if table is None:
        return ()
    kinds = {"file": str, "folders": Mapping, "digits": Mapping}
    good = isinstance(table, Mapping) and {"file", "folders"} <= {*table} <= {*kinds}
    if not good or not all(isinstance(table[name], kinds[name]) for name in table):
        raise InputError(
            "duplicates: must be a table with 'file', a table 'folders' and, where numbers are "
            f"padded, a table 'digits', found {table!r}"
        )
    return Duplicates(**table).beside(folder).pairs()


def population_of(content: Mapping[str, Any]) -> Population:
    """Makes a population of the content of a recipe.

    Raises:
        InputError: If a key is unknown, or a value is not of its field's type or range.
    """
    content = dict(content)
    preset = content.pop("preset", "general")
    if not isinstance(preset, str) or preset not in PRESETS:
        raise InputError(f"preset: must be one of {', '.join(PRESETS)}, found {preset!r}")
    base = PRESETS[preset]
    own = {f.name for f in fields(Population)} - {"system", "duplicates"}
    rest = {name: value for name, value in content.items() if name in own}
    system = {name: value for name, value in content.items() if name not in own}
    known = sorted(own | {f.name for f in fields(SystemPrior)} | {"preset"})
    if unknown := sorted(set(content) - set(known)):
        raise InputError(
            f"a recipe may have {', '.join(known)}, found {', '.join(unknown)}; remove or rename "
            "them"
        )
    if isinstance(rest.get("pairs"), Mapping) and "system" in rest["pairs"]:
        raise InputError("pairs: must not hold 'system', whose fields stand at the top; move them")
    prior = override(base.system, system)
    if idle := [name for name in BY_INSTRUMENT if prior.instrument and name in system]:
        raise InputError(
            f"{idle[0]}: has no effect beside the instrument's own; set it under [instrument], or "
            'take none, with instrument = "none"'
        )
    if prior.theta_E_arcsec and "theta_E" in system:
        raise InputError(
            "theta_E: has no effect beside theta_E_arcsec; set that, or take none, with "
            'theta_E_arcsec = "none"'
        )
    return override(replace(base, system=prior), rest)


BY_INSTRUMENT = ("pixel_scale", "psf_fwhm", "peak")
"""Fields of a population in whose place an instrument has its own."""
