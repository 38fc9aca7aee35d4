r"""Convergence maps of haloes, and how they are brought to an Einstein radius.

Haloes are few, and their Einstein radii are what they are. A map may be stretched,
:math:`\kappa(\theta) \to \kappa(\theta / s)`: the convergence is a pure number and lensing knows
no scale, so the stretched map is that of a lens whose Einstein radius is :math:`s` times as large,
and whose shape, slope and substructure are the same in units of it. (It is not that of a heavier
halo, which has another share of dark matter within its Einstein radius.) The factor is measured on
the map, by the circle within which its mean is 1. Where the mean never reaches 1 there is no such
circle: ``theta_E`` is None, and to stretch the map is refused.

Adam et al. multiply the convergence instead, which is a lens with another critical density:
:func:`strengthened` does it.

Populations draw their lenses from such maps, in units of the Einstein radius
(:mod:`~lensrim.datasets.haloes.scaled`).

References:
    Adam, Perreault-Levasseur, Hezaveh & Welling 2023, ApJ 951, 6.
"""

from dataclasses import dataclass, replace

import numpy as np

from ...errors import InputError
from ...grid import PixelGrid
from ...lensing.einstein import effective_theta_E
from .particles import Array


@dataclass(frozen=True, eq=False)
class KappaMap:
    """Creates the convergence map of one projection of a halo.

    Arguments:
        kappa: Mean convergence of each pixel, with shape (H, W).
        pixel_scale: Side of a pixel [arcsec].
        theta_E: Radius of the circle within which the mean convergence is 1 [arcsec]; None if no
            circle in the frame has it.
        halo: Name of the halo. All its maps go to the same set:
            ``split([m.halo for m in maps])`` of :mod:`lensrim.datasets.splits`.
        rotation: How it was turned before it was projected along z, with shape (3, 3).
        z_lens, z_source: Redshifts.
        stretch: Factor by which angles were multiplied.
        strength: Factor by which the convergence was multiplied.
        provenance: Where it comes from, in words.
    """

    kappa: Array
    pixel_scale: float
    theta_E: float | None
    halo: str
    rotation: Array
    z_lens: float
    z_source: float
    stretch: float = 1.0
    strength: float = 1.0
    provenance: str = ""

    @property
    def grid(self) -> PixelGrid:
        """The pixels."""
        h, w = self.kappa.shape
        return PixelGrid((h, w), self.pixel_scale)


def einstein_radius(kappa: Array, grid: PixelGrid) -> float | None:
    """Radius of the circle within which the mean is 1 [arcsec]; None if no circle has it."""
    # Sorting the sub-pixels of a large map would take seconds and gain less than 1e-3.
    radius = effective_theta_E(kappa, grid, subsample=max(1, min(10, 256 // max(grid.shape))))
    return None if np.isnan(radius) else radius


def at_theta_E(kappa_map: KappaMap, theta_E: float) -> KappaMap:
    """Stretches a map to an Einstein radius: the same pixels, on another scale.

    The pixel scale changes; to have the same halo on given pixels, project it again with the
    returned ``stretch``, as :func:`project_haloes` does.

    Arguments:
        kappa_map: The map.
        theta_E: Its Einstein radius afterwards [arcsec].

    Raises:
        InputError: If the radius is not positive, or the map has no Einstein radius.
    """
    factor = _check_wanted(theta_E) / _known_radius(kappa_map)
    return replace(
        kappa_map,
        pixel_scale=kappa_map.pixel_scale * factor,
        theta_E=theta_E,
        stretch=kappa_map.stretch * factor,
    )


def strengthened(kappa_map: KappaMap, factor: float) -> KappaMap:
    """Multiplies the convergence, as a lower critical density would, on the same pixels.

    Arguments:
        kappa_map: The map, with or without an Einstein radius.
        factor: The factor on the convergence.

    Raises:
        InputError: If the factor is not positive.
    """
    if not 0 < factor < float("inf"):
        raise InputError(f"factor must be a positive number, got {factor}")
    kappa = kappa_map.kappa * factor
    return replace(
        kappa_map,
        kappa=kappa,
        theta_E=einstein_radius(kappa, kappa_map.grid),
        strength=kappa_map.strength * factor,
    )


def _check_wanted(theta_E: float) -> float:
    if not 0 < theta_E < float("inf"):
        raise InputError(f"theta_E must be a positive number of arcsec, got {theta_E}")
    return theta_E


def _known_radius(kappa_map: KappaMap) -> float:
    if kappa_map.theta_E is None:
        mean, peak = kappa_map.kappa.mean(), kappa_map.kappa.max()
        where = "reaches 1" if mean < 1 else "falls to 1 within the frame"
        raise InputError(
            f"{kappa_map.halo}: the mean convergence within a circle never {where} (mean of the"
            f" frame {mean:.3g}, highest pixel {peak:.3g}): leave this projection out, "
            + ("or use strengthened()" if mean < 1 else "or take a larger frame")
        )
    return kappa_map.theta_E
