"""Collections of galaxies, by the kind of folder they are in."""

from pathlib import Path

from .cosmos import GalSimCatalogue, catalogues
from .galaxy_folder import GalaxyFolder
from .stamps import Cleaning

Collection = GalaxyFolder | GalSimCatalogue
"""What opens: galaxies by name, and the stamps they are made of."""


def open_galaxies(path: str | Path, *, cleaning: Cleaning | None = None) -> Collection:
    """Opens a folder of galaxies: a catalogue in the layout of GalSim, or a folder of stamps.

    Arguments:
        path: The folder; it is a catalogue's where it holds a ``real_galaxy_catalog*.fits``.
        cleaning: How stamps are cleaned, in place of the way that is the kind's own.

    Raises:
        InputError: If there is no such folder, or it holds no galaxies.
    """
    own = {} if cleaning is None else {"cleaning": cleaning}
    return GalSimCatalogue(path, **own) if catalogues(path) else GalaxyFolder(path, **own)
