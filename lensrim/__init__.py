"""Maps of the source galaxy and of the lensing mass from images of strong gravitational lenses.

The names below are loaded at their first use, so that ``import lensrim`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import InputError
    from .grid import PixelGrid
    from .inference.options import ReconstructOptions
    from .inference.reconstruct import Reconstruction, reconstruct
    from .io.observation import Observation
    from .io.options import ReadOptions
    from .io.read import read_observation

__version__ = "0.8.0"
__all__ = [
    "reconstruct",
    "Reconstruction",
    "ReconstructOptions",
    "ReadOptions",
    "InputError",
    "read_observation",
    "Observation",
    "PixelGrid",
    "citation",
]

_HOMES = {
    "reconstruct": ".inference.reconstruct",
    "Reconstruction": ".inference.reconstruct",
    "ReconstructOptions": ".inference.options",
    "ReadOptions": ".io.options",
    "InputError": ".errors",
    "read_observation": ".io.read",
    "Observation": ".io.observation",
    "PixelGrid": ".grid",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name], __name__), name)
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def citation() -> str:
    """Returns the BibTeX entry to cite this version with."""
    return f"""@software{{lensrim,
  title   = {{lensrim: maps of the source galaxy and of the lensing mass from images of strong
             gravitational lenses}},
  author  = {{{{the lensrim developers}}}},
  version = {{{__version__}}},
  license = {{MIT}},
}}"""
