"""What a template describes: galaxies and fields with their models, and the image of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lensrim.errors import InputError
from lensrim.io.observation import Observation
from lensrim.lensing.light import Light, PointSource
from lensrim.lensing.mass import Mass

Mode = Literal["MAP", "MOCK"]


@dataclass(frozen=True)
class Galaxy:
    """Creates a galaxy: a lens, a source, or both.

    Arguments:
        name: Name.
        redshift: Redshift, if it is known.
        mass: The models whose sum is its mass.
        light: The lights whose sum it is, before lensing; the images of a lensed
            :class:`~lensrim.lensing.light.PointSource` after it.
    """

    name: str
    redshift: float | None = None
    mass: Sequence[Mass] = ()
    light: Sequence[Light | PointSource] = ()


@dataclass(frozen=True)
class MassField:
    """Creates mass without light, such as an external shear.

    Arguments:
        name: Name.
        redshift: Redshift, if it is known.
        mass: The models whose sum it is.
    """

    name: str
    redshift: float | None = None
    mass: Sequence[Mass] = ()


@dataclass(frozen=True, eq=False)
class LensSystem:
    """Creates what a template holds.

    Arguments:
        entities: Galaxies and fields, lenses and sources.
        observation: The image.
        pixel_scale: Side of the pixel that surface brightness is per, where there is no
            observation to say it [arcsec].
        cosmology: A flat one of matter and a cosmological constant, as a name of astropy's or an
            object; none if ``None``. Of it a template holds ``H0`` and ``Om0``, no radiation.
        instrument: Name of the instrument.
        band: Name of the filter.
        mode: ``MAP`` for the best fit to an observation, ``MOCK`` for what one was made of.

    Raises:
        InputError: If the pixel scale is not positive.
    """

    entities: Sequence[Galaxy | MassField]
    observation: Observation | None = None
    pixel_scale: float = 1.0
    cosmology: Any = None
    instrument: str = ""
    band: str = ""
    mode: Mode = "MAP"

    def __post_init__(self) -> None:
        if not 0 < self.pixel_scale < float("inf"):
            raise InputError(f"pixel_scale must be positive [arcsec], found {self.pixel_scale}")
