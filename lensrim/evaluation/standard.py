"""The standard mocks: frozen by seed and recipe, of three settings, from what no training saw.

A mock is a function of its number and its set, ``test`` or ``validation``, and of nothing else; it
needs no file. The number decides the design, in turn, so that any run of 24 holds every
combination of setting, lens light, kind of mass and kind of galaxy once:

- setting: ``hst`` (0.05 arcsec), ``euclid`` (0.1 arcsec), ``jwst`` (0.03 and 0.06 arcsec);
- with the light of the lens galaxy or without it;
- mass: an elliptical power law with shear and multipoles, of slope 2.08 +- 0.16 and without
  subhaloes; or a halo of the halo model (:mod:`lensrim.datasets.halo_model`) with its subhaloes,
  those along the line of sight, and shear;
- galaxy: synthetic (:mod:`lensrim.datasets.galaxies.clumpy`), or drawn by the packaged generator
  (:mod:`lensrim.datasets.galaxies.learnt`); the user's own in place of both.

All else is drawn: the signal over noise of the arcs' brightest pixel log-uniform in 10 to 200, the
Einstein radius log-uniform in 6 to 22 pixels, the PSF a telescope's pupil with its aberrations, of
which 30 per cent have jitter and 50 per cent a warp. Noise is white; exposures are as long as the
signal over noise wants, so that photons make 10 to 70 per cent of the variance in that pixel.
Frames have 64 x 64 pixels. They are rendered by :mod:`~.rendering`, which shares nothing with the
simulator that fits.

What no training saw: random numbers, haloes and learnt galaxies have seeds of their own
(:data:`KEYS`, :data:`HALO_KEYS`), other ones in each set, while trainings draw theirs from the
seeds of their recipes and learnt galaxies from the seed 0. Each mock has a halo and a galaxy of
its own. So a training knows one of them only if somebody gives it that very seed. Galaxies of the
user are divided by name, as trainings divide theirs; where stamps show the same galaxy, a recipe
has to say so.

Not in them: wrong PSFs and noise maps, neighbours, real galaxies, and correlated noise, but for
what is asked for besides.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from ..datasets.galaxies.learnt import LearntGalaxies
from ..datasets.galaxies.opening import open_galaxies
from ..datasets.haloes.modelled import ModelHaloes
from ..datasets.halos import LensPrior
from ..datasets.instruments import EUCLID_VIS, HST_ACS, JWST_NIRCAM, Instrument
from ..datasets.noise import Noise
from ..datasets.priors import SystemPrior, draw_system
from ..datasets.psfs.changes import PsfChanges
from ..datasets.psfs.kinds import read_psf_stamps
from ..datasets.ranges import log_uniform
from ..datasets.splits import split as split_names
from ..datasets.systems import Galaxies, System
from ..errors import InputError
from .mocks import Map, Mock, fitting_mock

Split = Literal["test", "validation"]

KEYS: dict[str, int] = {"test": 20_261_127, "validation": 20_261_128}
"""Seeds of the sets: of their random numbers, and of their learnt galaxies."""

HALO_KEYS: dict[str, int] = {"test": 20_261_129, "validation": 20_261_130}
"""Seeds of the haloes of the sets: halo i of a seed and mock i of the same would begin alike."""

SIDE = 64
"""Side of the mocks [pixels]."""

OVERSAMPLE = 7
"""Rays along each side of a pixel."""

MOST = 20_000
"""Mocks of a set, at most."""

CHOICE = 4
"""Learnt galaxies to one mock: the first that its stamp resolves is taken."""

POISSON = (0.1, 0.7)
"""Range of the share of photons in the variance of the arcs' brightest pixel (uniform)."""

PEAK = (0.1, 10.0)
"""Range of the brightness of that pixel [electron/s] (log-uniform)."""

JWST_LONG = replace(
    JWST_NIRCAM,
    pixel_scale=0.06,
    detector_scale=0.063,
    psf_fwhm=(0.09, 0.105),
    pupil=replace(JWST_NIRCAM.pupil, band=(2.42, 3.13)) if JWST_NIRCAM.pupil else None,
)
"""Webb, NIRCam's long channel: scale and band of F277W, the rest that of the short one."""

SETTINGS: dict[str, tuple[Instrument, ...]] = {
    "hst": (HST_ACS,),
    "euclid": (EUCLID_VIS,),
    "jwst": (JWST_NIRCAM, JWST_LONG),
}
"""Instruments of the settings, which are taken in turn."""

DESIGNS = 2**3 * len(SETTINGS)
"""Combinations of setting, lens light, mass and galaxy, which come in turn."""


@dataclass(frozen=True)
class Design:
    """Holds what the number of a mock decides.

    Arguments:
        setting: Key of :data:`SETTINGS`.
        instrument: What the image is taken with.
        light: Whether there is light of the lens galaxy.
        halo: Whether the mass is a halo's, not a power law.
        learnt: Whether the galaxy is a learnt one, not a synthetic one.
    """

    setting: str
    instrument: Instrument
    light: bool
    halo: bool
    learnt: bool

    @classmethod
    def of(cls, index: int) -> "Design":
        """Returns the design of a mock.

        Raises:
            InputError: If the number is below 0, or too large.
        """
        if not 0 <= index < MOST:
            raise InputError(
                f"index: the standard mocks have numbers from 0 to {MOST - 1}, found {index}; "
                "take another"
            )
        setting = tuple(SETTINGS)[index % len(SETTINGS)]
        block = index // len(SETTINGS)
        light, halo, learnt = (bool(block >> bit & 1) for bit in range(3))
        # Parity: half of each kind, and half of each pair of kinds, have one instrument.
        kinds = SETTINGS[setting]
        return cls(setting, kinds[(light + halo + learnt) % len(kinds)], light, halo, learnt)

    @property
    def prior(self) -> SystemPrior:
        """The population of the mocks of this design."""
        return SystemPrior(
            instrument=self.instrument,
            lens=LensPrior(subhalos_max=0),
            light_share=float(self.light),
            halo_share=float(self.halo),
            psf_changes=PsfChanges(jittered=0.3, warped=0.5),
        )


def standard_mock(
    index: int,
    *,
    split: Split = "test",
    galaxies: Galaxies | str | Path | None = None,
    names: Sequence[str] | None = None,
    psfs: dict[str, tuple[Map, float]] | str | Path | None = None,
    noise_length: float = 0.0,
) -> Mock:
    """Makes a standard mock.

    Arguments:
        index: Its number, 0 or more.
        split: Its set.
        galaxies: Galaxies in place of the synthetic and the learnt ones, or a folder of stamps.
        names: Names of those to draw from; by default, those of the set by the hash of their
            names.
        psfs: PSF stamps from :func:`lensrim.datasets.psfs.read_psf_stamps`, or a folder of them,
            which are used for half of the mocks, in place of the pupils'.
        noise_length: Standard deviation of the Gaussian that correlates the noise of neighbouring
            pixels [pixel]; white by default.

    Returns:
        The observation and its truth.

    Raises:
        InputError: If there is no such number, or no galaxy for the set.
    """
    design, key = Design.of(index), KEYS[split]
    if isinstance(galaxies, (str, Path)):
        galaxies = open_galaxies(galaxies)
    if isinstance(psfs, (str, Path)):
        psfs = read_psf_stamps(psfs)
    if galaxies is not None:
        names = names_of(galaxies, split) if names is None else names
    elif design.learnt:
        galaxies = _learnt(key)
        names = galaxies.names[CHOICE * index : CHOICE * (index + 1)]
    haloes = ModelHaloes(count=index + 1, seed=HALO_KEYS[split])

    def drawn(rng: np.random.Generator) -> System:
        system = draw_system(
            rng,
            galaxies=galaxies,
            names=names,
            psfs=psfs,
            haloes=haloes,
            projections=haloes.names[index:],
            shape=(SIDE, SIDE),
            prior=design.prior,
        )
        # One exposure of the instrument would be swamped by photons where S/N is high.
        share, peak = float(rng.uniform(*POISSON)), log_uniform(rng, *PEAK)
        noise = Noise(system.noise.snr, share, peak, correlation=noise_length)
        return replace(system, noise=noise)

    return fitting_mock(
        drawn,
        [key, index],
        shape=(SIDE, SIDE),
        oversample=OVERSAMPLE,
        name=f"standard{index:04d}" if split == "test" else f"validation{index:04d}",
    )


def names_of(galaxies: Galaxies, split: Split) -> tuple[str, ...]:
    """Returns the names of the galaxies of a set, which the hash of each decides.

    Raises:
        InputError: If there is none.
    """
    names = split_names(galaxies.names)[split]
    if not names:
        raise InputError(
            f"galaxies: must be some in the {split} set, a tenth by the hash of their names, "
            f"found none of {len(galaxies.names)}; give more of them"
        )
    return names


@lru_cache(maxsize=2)
def _learnt(key: int) -> LearntGalaxies:
    return LearntGalaxies(count=CHOICE * MOST, seed=key)
