"""Everything that a mock observation is made of, as plain numbers.

A :class:`System` holds a lens, a galaxy and where it stands, a point spread function, the light of
the lens galaxy and the noise level. It says nothing of how these become an image: any simulator
may render it. All lengths are in arcsec.
"""

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from .contamination import Contamination
from .galaxies.clumpy import Clumpy
from .galaxies.stamps import Galaxy
from .haloes.scaled import PlacedHalo
from .halos import Lens
from .noise import Noise
from .psfs.kinds import Psf


@runtime_checkable
class Galaxies(Protocol):
    """A collection of galaxies that are loaded by name."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def load(self, name: str) -> Galaxy: ...


@dataclass(frozen=True)
class Placement:
    """Creates the place of a galaxy in the source plane.

    Arguments:
        center_x, center_y: Centre [arcsec].
        angle: Counter-clockwise rotation of the stamp [rad].
        flip: Whether the stamp is mirrored (before the rotation).
        half_light_radius: Radius to which the galaxy is scaled [arcsec].
    """

    center_x: float
    center_y: float
    angle: float
    flip: bool
    half_light_radius: float


AnyGalaxy = Galaxy | Clumpy
"""A galaxy: a stamp, or numbers that make one."""


@dataclass(frozen=True)
class Companion:
    """Creates a second galaxy, whose light is added to the first's.

    Arguments:
        galaxy: The galaxy.
        placement: Where it stands.
        brightness: Its peak relative to the first's.
    """

    galaxy: AnyGalaxy
    placement: Placement
    brightness: float


@dataclass(frozen=True)
class SersicLight:
    """Creates the light of a lens galaxy.

    Arguments:
        R_sersic: Effective radius, product average [arcsec].
        n_sersic: Sersic index.
        q: Axis ratio.
        phi: Position angle of the major axis, counter-clockwise from +x [rad].
        center_x, center_y: Centre [arcsec].
        brightness: Peak, after the PSF, relative to that of the arcs.
    """

    R_sersic: float
    n_sersic: float
    q: float
    phi: float
    center_x: float
    center_y: float
    brightness: float


@dataclass(frozen=True)
class System:
    """Creates a complete description of a mock observation.

    Arguments:
        pixel_scale: Side of a pixel [arcsec].
        lens, galaxy, placement, psf, noise: Its parts.
        lens_light: Light of the lens galaxy, if there is any.
        companion: A second galaxy of the source, if there is one.
        halo: The mass itself, where it is that of a halo; ``lens`` is then the smooth model that
            is most like it.
        contamination: What spoils the observation, in pixels, if anything does.
    """

    pixel_scale: float
    lens: Lens
    galaxy: AnyGalaxy
    placement: Placement
    psf: Psf
    noise: Noise
    lens_light: SersicLight | None = None
    companion: Companion | None = None
    halo: PlacedHalo | None = None
    contamination: Contamination | None = None

    @property
    def mass(self) -> Lens | PlacedHalo:
        """What deflects the light."""
        return self.lens if self.halo is None else self.halo

    def in_pixels(self) -> "System":
        """Returns the same system with the pixel's side as the unit of all lengths."""
        unit = self.pixel_scale
        if unit == 1:
            return self

        def scaled(part: Any, *names: str) -> Any:
            return replace(part, **{name: getattr(part, name) / unit for name in names})

        center = ("center_x", "center_y")
        halos = tuple(scaled(h, "theta_E", "truncation", *center) for h in self.lens.subhalos)
        host = scaled(self.lens.ellipsoid, "theta_E", *center)
        light, second = self.lens_light, self.companion
        if second is not None:
            place = scaled(second.placement, "half_light_radius", *center)
            second = replace(second, placement=place)
        return replace(
            self,
            pixel_scale=1.0,
            lens=replace(self.lens, ellipsoid=host, subhalos=halos),
            placement=scaled(self.placement, "half_light_radius", *center),
            lens_light=None if light is None else scaled(light, "R_sersic", *center),
            companion=second,
            halo=None if self.halo is None else scaled(self.halo, "scale", *center),
        )
