r"""Haloes in units of their own Einstein radius, and how they are put before a source.

Lensing knows no scale: the deflection of a projection of a halo, in units of the radius within
which its mean convergence is 1, is that of a lens of any Einstein radius
(:mod:`~lensrim.datasets.hydro.projection` says what this is not). Turned, mirrored, enlarged and
with an external shear, one projection is as many lenses as are wanted.

A constant deflection is taken off: it is the place of the source. So the deflection is that of the
convergence up to a constant, and up to the mass that lies beyond the map.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from ...errors import InputError
from ...grid import PixelGrid
from ...lensing.mass import flux_average
from ..halos import Ellipsoid, Lens
from ..hydro.particles import Array
from .macro_fits import Macro, MacroFit, fit_macro
from .polar_maps import PolarDeflection, levels, nodes, padded, polar_deflection

HIGHEST = 32_767
"""Largest of the whole numbers in which a deflection is kept."""
TOLERANCE = 0.05
"""Error of the unit, which is to be the Einstein radius; beyond it all is done again."""


@dataclass(frozen=True, eq=False)
class HaloView:
    """Creates a projection of a halo, which is not yet on any pixels.

    Arguments:
        name: Name of the projection.
        halo: Name of the halo: all its projections go to the same set.
        theta_E: Radius of the circle about its centre within which the mean convergence is 1
            [arcsec], about.
        kappa: Puts the mean convergence on the pixels of a grid [arcsec] about its centre, to
            shape (H, W).
        z_lens, z_source: Redshifts.
        provenance: Where it comes from, in words.
    """

    name: str
    halo: str
    theta_E: float
    kappa: Callable[[PixelGrid], Array]
    z_lens: float
    z_source: float
    provenance: str = ""


@dataclass(frozen=True, eq=False)
class ScaledHalo:
    """Creates a projection of a halo in units of its Einstein radius, to a few per cent.

    Arguments:
        name, halo: Names of the projection and of the halo.
        rings: Deflection along the radius and the angle on the rings of :mod:`~.polar_maps`, in
            units of ``steps``, with shape (2, RINGS, ANGLES).
        steps: Those units [Einstein radii], of each component.
        macro: The smooth model that is most like it (:mod:`~.macro_fits`).
        rms: Root of the mean squared distance between its deflection and theirs [Einstein radii].
        theta_E: Einstein radius of the halo itself [arcsec].
        z_lens, z_source: Redshifts at which it has that.
        provenance: Where it comes from, in words.
    """

    name: str
    halo: str
    rings: NDArray[np.int16]
    steps: tuple[float, float]
    macro: Macro
    rms: float
    theta_E: float
    z_lens: float
    z_source: float
    provenance: str = ""

    @property
    def deflection(self) -> Array:
        """Deflection along the radius and the angle [Einstein radii]: (2, RINGS, ANGLES)."""
        return self.rings.astype(np.float64) * np.array(self.steps)[:, None, None]


@runtime_checkable
class ScaledHaloes(Protocol):
    """A collection of projections, loaded one by one."""

    @property
    def halos(self) -> Mapping[str, str]:
        """The halo that each projection shows, by the projection's name."""
        ...

    def load(self, name: str) -> ScaledHalo: ...


def scaled_halo(view: HaloView) -> ScaledHalo:
    """Puts a projection on pixels, and measures it.

    Raises:
        InputError: If its mean convergence does not fall through 1 where it is said to.
    """
    unit, radius = view.theta_E, 1.0
    for _ in range(4):
        unit = unit * radius
        alpha = polar_deflection([torch.from_numpy(view.kappa(grid)) for grid in levels(unit)])
        radius = _einstein_radius(alpha)
        if radius is None:
            raise InputError(
                f"{view.name}: the mean convergence within a circle must fall through 1 near "
                f"{view.theta_E:.3g} arcsec, found none where it does; leave this projection out"
            )
        if abs(radius - 1) < TOLERANCE:
            break
    fit = fit_macro(alpha)
    rings, steps = _rounded(_without(alpha, fit))
    return ScaledHalo(
        name=view.name,
        halo=view.halo,
        rings=rings,
        steps=steps,
        macro=fit.macro,
        rms=fit.rms,
        theta_E=unit * radius,
        z_lens=view.z_lens,
        z_source=view.z_source,
        provenance=view.provenance,
    )


def _einstein_radius(alpha: torch.Tensor) -> float | None:
    """The largest radius at which the mean deflection along it is the radius itself."""
    radius = nodes()[0].numpy()
    mean = alpha[0].mean(-1).numpy() / radius
    above = np.flatnonzero(mean >= 1)
    if not above.size or above[-1] == len(radius) - 1:
        return None
    pair = [above[-1] + 1, above[-1]]
    return float(np.exp(np.interp(0.0, np.log(mean[pair]), np.log(radius[pair]))))


def _without(alpha: torch.Tensor, fit: MacroFit) -> torch.Tensor:
    """Takes the constant off."""
    (ax, ay), angle = fit.constant, nodes()[1]
    cos, sin = angle.cos(), angle.sin()
    return alpha - torch.stack([ax * cos + ay * sin, ay * cos - ax * sin])[:, None]


def _rounded(alpha: torch.Tensor) -> tuple[NDArray[np.int16], tuple[float, float]]:
    """Rounds a deflection to whole numbers of a unit."""
    highest = alpha.abs().amax((1, 2)).clamp(min=1e-9)
    steps = highest / HIGHEST
    rings = (alpha / steps[:, None, None]).round().to(torch.int16).numpy()
    return rings, (float(steps[0]), float(steps[1]))


@dataclass(frozen=True, eq=False)
class PlacedHalo:
    """Creates a halo as a lens: mirrored, turned, enlarged, put somewhere, and sheared.

    Arguments:
        halo: The projection.
        scale: Length of its unit [arcsec].
        angle: Counter-clockwise rotation [rad].
        flip: Whether x is mirrored, before the rotation.
        center_x, center_y: Where its centre is put [arcsec].
        gamma1, gamma2: External shear besides.
    """

    halo: ScaledHalo
    scale: float
    angle: float
    flip: bool
    center_x: float
    center_y: float
    gamma1: float = 0.0
    gamma2: float = 0.0

    @property
    def place(self) -> tuple[float, ...]:
        """The seven numbers of :class:`~.polar_maps.PolarDeflection`, in its order."""
        numbers = (self.scale, self.angle, float(self.flip), self.center_x, self.center_y)
        return (*numbers, self.gamma1, self.gamma2)

    @property
    def lens(self) -> Lens:
        """The smooth model that is most like it, with all shear."""
        macro = self.halo.macro
        turn = complex(math.cos(self.angle), math.sin(self.angle))
        center = complex(macro.center_x, macro.center_y)
        shape, shear = complex(macro.e1, macro.e2), complex(macro.gamma1, macro.gamma2)
        if self.flip:
            center, shape, shear = -center.conjugate(), shape.conjugate(), shear.conjugate()
        center, shape, shear = turn * center * self.scale, turn**2 * shape, turn**2 * shear
        flat = abs(shape)
        pole = complex(self.center_x, self.center_y)
        # the shear of the halo is about its own centre: elsewhere it is that and a constant
        return Lens(
            Ellipsoid(
                theta_E=macro.theta_E * self.scale,
                gamma=macro.gamma,
                q=(1 - flat) / (1 + flat),
                phi=math.atan2(shape.imag, shape.real) / 2 % math.pi,
                center_x=(pole + center).real,
                center_y=(pole + center).imag,
            ),
            gamma1=shear.real + self.gamma1,
            gamma2=shear.imag + self.gamma2,
        )


def place_halo(
    halo: ScaledHalo, *, theta_E: float, angle: float, flip: bool, like: Lens
) -> PlacedHalo:
    """Makes a lens of a halo.

    Arguments:
        halo: The projection.
        theta_E: Einstein radius of its smooth model, on the intermediate axis [arcsec].
        angle, flip: See :class:`PlacedHalo`.
        like: Lens whose centre its smooth model gets, and whose shear is added.
    """
    scale = theta_E / halo.macro.theta_E
    placed = PlacedHalo(halo, scale, angle, flip, 0.0, 0.0, like.gamma1, like.gamma2)
    own, host = placed.lens.ellipsoid, like.ellipsoid
    return PlacedHalo(
        halo,
        scale,
        angle,
        flip,
        host.center_x - own.center_x,
        host.center_y - own.center_y,
        like.gamma1,
        like.gamma2,
    )


def polar_deflections(placed: Sequence[PlacedHalo]) -> PolarDeflection:
    """Puts haloes together in a batch, in their units of length."""
    maps = torch.from_numpy(np.stack([each.halo.deflection for each in placed]))
    places = torch.tensor([each.place for each in placed], dtype=torch.float64)
    return PolarDeflection(padded(maps.float()), *places.unbind(1))


def scaled_kappa(halo: ScaledHalo, grid: PixelGrid) -> Array:
    """Averages the convergence of a halo over the pixels of a grid [Einstein radii], to (H, W)."""
    mass = polar_deflections([PlacedHalo(halo, 1.0, 0.0, False, 0.0, 0.0)])
    return flux_average(mass, grid, 4, torch.float64)[0].numpy()
