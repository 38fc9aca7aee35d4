r"""Clumpy galaxies, as numbers: an inclined exponential disc, a bulge, and clumps in the disc.

With the coordinates :math:`a, b` along the disc's axes, in units of its scale length,

.. math::
    I = e^{-|(a, \, b / q)|} + B \, e^{-(|(a \sqrt q, \, b / \sqrt q)| / s)^{0.7}}
    + \sum_i A_i e^{-r_i / 2} \, e^{-[(a - r_i \cos t_i)^2 + (b - q \, r_i \sin t_i)^2] / 2 w_i^2}
    \, ,

which falls to zero between 0.8 and 1 of the radius :data:`REACH`. A galaxy is drawn once and may
be seen on any pixels: :meth:`Clumpy.stamp` makes the stamp that mocks take for a real galaxy's,
:mod:`lensrim.datasets.pairs.sources` many at once for training pairs.
"""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from .stamps import Galaxy, half_light_radius

Map = NDArray[np.float64]

SIZE = 101
"""Side of a stamp [pixels]."""

SCALES = 14
"""Scale lengths of the disc along the side of a stamp."""

REACH = SCALES * (SIZE - 1) / (2 * SIZE)
"""Radius at which a galaxy ends [scale lengths]."""

MOST = 12
"""Clumps of a galaxy, at most."""


@dataclass(frozen=True)
class Clumpy:
    """Creates a clumpy galaxy. Lengths are in scale lengths of its disc where nothing is said.

    Arguments:
        q: Axis ratio of the disc; the bulge's is its root.
        phi: Position angle of the major axis [rad].
        bulge_scale: Scale :math:`s` of the bulge.
        bulge: Its brightness :math:`B`.
        clumps: Of each clump :math:`r_i`, :math:`t_i` [rad], :math:`w_i` and :math:`A_i`.
        half_light_radius: Radius about the centre that holds half of the light [arcsec].
        peak: Brightness of the brightest of the centres of disc and clumps.
        pixel_scale: Side of a pixel of its stamp [arcsec].
        name: Name.
    """

    q: float
    phi: float
    bulge_scale: float
    bulge: float
    clumps: tuple[tuple[float, float, float, float], ...]
    half_light_radius: float = 0.0
    peak: float = 1.0
    pixel_scale: float = 0.03
    name: str = "synthetic"

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Clumpy":
        """Draws a galaxy; its half-light radius is right to about 1 per cent."""
        shape = rng.uniform(0.3, 1.0), rng.uniform(0, np.pi)
        scale = rng.uniform(0.2, 0.5)
        bulge = rng.uniform(0, 3)
        clumps = []
        for _ in range(int(rng.integers(2, MOST + 1))):
            distance, angle = rng.gamma(2.0, 1.0), rng.uniform(0, 2 * np.pi)
            width = rng.uniform(0.12, 0.4)
            clumps.append((distance, angle, width, rng.uniform(0.1, 1.0)))
        galaxy = cls(*shape, scale, bulge, tuple(clumps))
        radius, peak = galaxy._measured()
        arcsec = SIZE / SCALES * galaxy.pixel_scale
        return replace(galaxy, half_light_radius=radius * arcsec, peak=peak)

    @property
    def image(self) -> Map:
        """Its stamp, as that of a real galaxy; made when it is asked for."""
        return _image(self)

    def stamp(self, size: int = SIZE) -> Map:
        """Computes the brightness on pixels relative to the brightest, with shape (size, size)."""
        half, scale = (size - 1) / 2, size / SCALES
        y, x = np.mgrid[-half : half + 1, -half : half + 1]
        image = self._brightness(x, y, scale)
        radius = np.hypot(x, y)
        image = image * np.clip((half - radius) / (0.2 * half), 0, 1) ** 2
        return image / image.max()

    def _brightness(self, x: Map, y: Map, scale: float = 1.0) -> Map:
        """Computes the brightness without the end, for a scale length of ``scale``."""
        q, phi = self.q, self.phi
        major, minor = x * np.cos(phi) + y * np.sin(phi), y * np.cos(phi) - x * np.sin(phi)
        disc = np.exp(-np.hypot(major, minor / q) / scale)
        bulge_q = np.sqrt(q)
        bulge_scale = scale * self.bulge_scale
        bulge = np.exp(-((np.hypot(major * bulge_q, minor / bulge_q) / bulge_scale) ** 0.7))
        image = disc + self.bulge * bulge
        for distance, angle, width, brightness in self.clumps:
            radius, width = scale * distance, scale * width
            u, v = radius * np.cos(angle), radius * np.sin(angle) * q
            clump = np.exp(-((major - u) ** 2 + (minor - v) ** 2) / (2 * width**2))
            image = image + brightness * np.exp(-radius / (2 * scale)) * clump
        return image

    def centers(self) -> NDArray[np.float64]:
        """Returns the places of the clumps along x and y, with shape (n, 2)."""
        distance, angle = np.array(self.clumps).T[:2]
        major, minor = distance * np.cos(angle), distance * np.sin(angle) * self.q
        c, s = np.cos(self.phi), np.sin(self.phi)
        return np.stack([major * c - minor * s, major * s + minor * c], 1)

    def _measured(self) -> tuple[float, float]:
        """Measures the half-light radius [scale lengths], on rings, and the peak."""
        x, y = _rings()
        places = np.concatenate([[[0.0, 0.0]], self.centers()]).T
        light = self._brightness(np.append(x, places[0]), np.append(y, places[1]))
        profile = light[: x.size].reshape(RINGS, -1).mean(1) * _WEIGHT
        inside = np.concatenate([[0.0], np.cumsum(profile)])
        radius = float(np.interp(0.5 * inside[-1], inside, _EDGES))
        return radius, float(light[x.size :].max())


RINGS, ANGLES = 32, 20
"""Rings on which the light is measured, and points on each."""

_EDGES = REACH * (np.arange(RINGS + 1) / RINGS) ** 1.5
_MIDDLE = np.sqrt((_EDGES[1:] ** 2 + _EDGES[:-1] ** 2) / 2)
_WEIGHT = np.diff(_EDGES**2) * np.clip((REACH - _MIDDLE) / (0.2 * REACH), 0, 1) ** 2


@lru_cache(maxsize=1)
def _rings() -> tuple[Map, Map]:
    """Returns points on rings, ring after ring, each turned against the one before."""
    turn = 2 * np.pi * (np.arange(ANGLES)[None] + 0.5 * (np.arange(RINGS)[:, None] % 2)) / ANGLES
    return (_MIDDLE[:, None] * np.cos(turn)).ravel(), (_MIDDLE[:, None] * np.sin(turn)).ravel()


@lru_cache(maxsize=16)
def _image(galaxy: Clumpy) -> Map:
    return galaxy.stamp()


def synthetic_galaxy(rng: np.random.Generator, *, size: int = SIZE) -> Galaxy:
    """Draws a clumpy galaxy and its stamp.

    Arguments:
        rng: Source of random numbers.
        size: Side of the stamp [pixels]; the disc's scale length is a fourteenth of it.

    Returns:
        The galaxy, on stamp pixels of 0.03 arcsec.
    """
    drawn = Clumpy.draw(rng)
    image = drawn.stamp(size)
    return Galaxy(drawn.name, image, 0.03, half_light_radius(image) * 0.03)
