"""Collections of galaxies, by the kind of folder they are in, or by what draws them."""

from pathlib import Path

from .cosmos import GalSimCatalogue, catalogues
from .folder import GalaxyFolder
from .learnt import LearntGalaxies, is_learnt
from .stamps import THOROUGH, Cleaning

Collection = GalaxyFolder | GalSimCatalogue
"""What a folder opens: galaxies by name, and the stamps they are made of."""

Opened = Collection | LearntGalaxies
"""What opens: galaxies by name."""


def open_galaxies(path: str | Path, *, cleaning: Cleaning | None = None) -> Opened:
    """Opens galaxies: a catalogue in the layout of GalSim, a folder of stamps, or a generator.

    Arguments:
        path: The folder; it is a catalogue's where it holds a ``real_galaxy_catalog*.fits``. Or
            ``learnt``, or a file of weights: see :mod:`lensrim.datasets.galaxies.learnt`.
        cleaning: How stamps are cleaned, in place of the way that is the kind's own; those of a
            generator need none.

    Raises:
        InputError: If there is no such folder, or it holds no galaxies.
    """
    if is_learnt(path):
        return LearntGalaxies(path)
    if catalogues(path):
        return GalSimCatalogue(path, cleaning=cleaning or THOROUGH)
    return GalaxyFolder(path, cleaning=cleaning or Cleaning())
