"""What a template describes: galaxies and fields with their models, and the image of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, nan
from typing import Any, Literal, get_args

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
        redshift: Redshift, if it is known; any scalar, kept as a float.
        mass: The models whose sum is its mass.
        light: The lights whose sum it is, before lensing; the images of a lensed
            :class:`~lensrim.lensing.light.PointSource` after it.

    Raises:
        InputError: If the name is no text, the redshift no number of at least 0, or mass and light
            are no lists of models.
    """

    name: str
    redshift: float | None = None
    mass: Sequence[Mass] = ()
    light: Sequence[Light | PointSource] = ()

    def __post_init__(self) -> None:
        _check_entity(self)
        _check_list(f"light of {self.name!r}", self.light, Light | PointSource, "lights")


@dataclass(frozen=True)
class MassField:
    """Creates mass without light, such as an external shear.

    Arguments:
        name: Name.
        redshift: Redshift, if it is known; any scalar, kept as a float.
        mass: The models whose sum it is.

    Raises:
        InputError: As for a :class:`Galaxy`.
    """

    name: str
    redshift: float | None = None
    mass: Sequence[Mass] = ()

    def __post_init__(self) -> None:
        _check_entity(self)


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
        InputError: If the pixel scale is not positive, the mode is another, a name is no text, the
            entities are no list of them, or the observation is none.
    """

    entities: Sequence[Galaxy | MassField]
    observation: Observation | None = None
    pixel_scale: float = 1.0
    cosmology: Any = None
    instrument: str = ""
    band: str = ""
    mode: Mode = "MAP"

    def __post_init__(self) -> None:
        _check_list("entities", self.entities, Galaxy | MassField, "a Galaxy or MassField each")
        if not isinstance(self.observation, Observation | None):
            raise InputError(
                f"observation must be an Observation, found {self.observation!r}: read one"
            )
        scale = _scalar("pixel_scale", self.pixel_scale)
        if scale == 0:
            raise InputError(f"pixel_scale must be positive [arcsec], found {self.pixel_scale}")
        object.__setattr__(self, "pixel_scale", scale)
        _check_text("instrument", self.instrument)
        _check_text("band", self.band)
        if self.mode not in get_args(Mode):
            raise InputError(
                f"mode must be one of {', '.join(get_args(Mode))}, found {self.mode!r}: name one"
            )


def _check_entity(entity: Galaxy | MassField) -> None:
    _check_text("name", entity.name)
    if entity.redshift is not None:
        redshift = _scalar(f"redshift of {entity.name!r}", entity.redshift)
        object.__setattr__(entity, "redshift", redshift)
    _check_list(f"mass of {entity.name!r}", entity.mass, Mass, "mass models")


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise InputError(f"{name} must be a text, found {value!r}: give one")


def _check_list(name: str, values: Any, kind: Any, content: str) -> None:
    if not isinstance(values, Sequence) or not all(isinstance(v, kind) for v in values):
        raise InputError(f"{name} must be a list of {content}, found {values!r:.60}: make it one")


def _scalar(name: str, value: Any) -> float:
    """Turns a scalar of any library into a float."""
    try:
        number = nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError, RuntimeError, OverflowError):
        number = nan
    if not 0 <= number < inf:
        raise InputError(f"{name} must be a number of at least 0, found {value!r}: correct it")
    return number
