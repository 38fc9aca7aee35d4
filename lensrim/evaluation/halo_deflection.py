r"""Deflection of a halo's rings by cubic splines, in double precision.

It shares no line with what renders training pairs: the components along the radius and the angle
are interpolated by :class:`scipy.interpolate.RectBivariateSpline` in the logarithm of the radius
and the angle, which is continued periodically.
"""

import numpy as np
from numpy.typing import NDArray

from ..datasets.haloes.polar_maps import ANGLES, INNER, RINGS, STEP
from ..datasets.haloes.scaled import PlacedHalo

Map = NDArray[np.float64]

AROUND = 8
"""Angles by which the rings are continued, on either side."""


def halo_deflection(placed: PlacedHalo, x: Map, y: Map, *, shear: bool = True) -> tuple[Map, Map]:
    """Computes the deflection of a halo.

    Arguments:
        placed: The halo.
        x, y: Coordinates [arcsec], with any shape.
        shear: Whether the external shear, which is centred on the origin, is included.

    Returns:
        The components along x and y [arcsec], each with the shape of the coordinates.
    """
    from scipy.interpolate import RectBivariateSpline

    z = ((x - placed.center_x) + 1j * (y - placed.center_y)) / placed.scale
    own = z * np.exp(-1j * placed.angle)
    own = -own.conj() if placed.flip else own
    ring = np.log(np.clip(np.abs(own), INNER, INNER * np.exp((RINGS - 1) * STEP)))
    column = np.angle(own) % (2 * np.pi)
    angles = STEP * np.arange(-AROUND, ANGLES + AROUND)
    rings = np.log(INNER) + STEP * np.arange(RINGS)
    parts = []
    for values in placed.halo.deflection:
        around = np.concatenate([values[:, -AROUND:], values, values[:, :AROUND]], axis=1)
        spline = RectBivariateSpline(rings, angles, around)
        parts.append(spline.ev(ring.ravel(), column.ravel()).reshape(ring.shape))
    alpha = (parts[0] + 1j * parts[1]) * np.exp(1j * np.angle(own))
    alpha = -alpha.conj() if placed.flip else alpha
    alpha = placed.scale * alpha * np.exp(1j * placed.angle)
    if shear:
        alpha = alpha + (placed.gamma1 + 1j * placed.gamma2) * (x - 1j * y)
    return alpha.real, alpha.imag
