r"""Which baselines an array like ALMA observes with: Earth-rotation synthesis.

Antennas at :math:`(E, N)` [m] on level ground at the latitude :math:`\phi` make for a source at
declination :math:`\delta` and hour angle :math:`H` the baselines

.. math:: \begin{pmatrix} u \\ v \end{pmatrix} = \frac{1}{\lambda}
          \begin{pmatrix} \sin H & \cos H & 0 \\
          -\sin\delta \cos H & \sin\delta \sin H & \cos\delta \end{pmatrix}
          \begin{pmatrix} -N \sin\phi \\ E \\ N \cos\phi \end{pmatrix} .

Antennas are scattered about the middle, and ever thinner outward, as in ALMA's extended
configurations; no published list of pads is used. Declination, hour angles and the resolution are
drawn, too.

References:
    Thompson, Moran & Swenson 2017, Interferometry and Synthesis in Radio Astronomy, chapter 4.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...evaluation.problems.problem import log_uniform, uniform

LATITUDE = math.radians(-23.03)
"""Of ALMA."""

DISH = 12.0
"""Diameter of an antenna [m]."""


@dataclass(frozen=True)
class Array:
    """Creates an array and how it is used.

    Arguments:
        antennas: Number of antennas.
        times: Integrations, evenly over the hour angles.
        hours: Range of the length of an observation [h] (uniform).
        declination: Range of the declination [deg] (uniform).
        resolution: Range of the width of the synthesized beam at half its maximum [pixel]
            (uniform).
        wavelength: Wavelength [m].
        spread: Range of the antennas' distances from the middle (log-uniform), relative.
    """

    antennas: int = 40
    times: int = 4
    hours: tuple[float, float] = (0.5, 3.0)
    declination: tuple[float, float] = (-60.0, 15.0)
    resolution: tuple[float, float] = (2.2, 4.0)
    wavelength: float = 8.7e-4
    spread: tuple[float, float] = (0.06, 1.0)

    @property
    def baselines(self) -> int:
        """Number of visibilities."""
        return self.antennas * (self.antennas - 1) // 2 * self.times

    @property
    def primary(self) -> float:
        r"""Width of the primary beam at half its maximum [arcsec], :math:`1.13 \lambda / D`."""
        return math.degrees(1.13 * self.wavelength / DISH) * 3600

    def observe(self, batch: int, rng: torch.Generator) -> Tensor:
        """Draws arrays and observations.

        Returns:
            Baselines [cycles per pixel], those that the pixels cannot hold shortened to half a
            cycle, with shape (B, N, 2).
        """
        radius = log_uniform(batch * self.antennas, *self.spread, rng)
        angle = uniform(batch * self.antennas, 0.0, 2 * math.pi, rng)
        east, north = (
            (radius * f(angle)).reshape(batch, 1, self.antennas) for f in (torch.cos, torch.sin)
        )
        declination = uniform(batch, *self.declination, rng).deg2rad()[:, None, None]
        length = uniform(batch, *self.hours, rng)
        middle = uniform(batch, -2.0, 2.0, rng)
        steps = torch.linspace(-0.5, 0.5, self.times)
        hour = (middle[:, None] + length[:, None] * steps) * (math.pi / 12)
        u, v = projected(east, north, declination, hour[..., None])
        i, j = torch.triu_indices(self.antennas, self.antennas, 1)
        uv = torch.stack([u[..., i] - u[..., j], v[..., i] - v[..., j]], -1).flatten(1, 2)
        return sized(uv, uniform(batch, *self.resolution, rng))


def projected(
    east: Tensor, north: Tensor, declination: Tensor, hour: Tensor
) -> tuple[Tensor, Tensor]:
    """Projects places on the ground onto the plane across the line of sight, in their unit.

    Arguments:
        east, north: Places.
        declination, hour: Declination and hour angle of the source [rad], of shapes that
            broadcast.
    """
    x, z = -north * math.sin(LATITUDE), north * math.cos(LATITUDE)
    u = x * hour.sin() + east * hour.cos()
    v = declination.sin() * (east * hour.sin() - x * hour.cos()) + declination.cos() * z
    return u, v


def sized(uv: Tensor, width: Tensor) -> Tensor:
    """Scales baselines (B, N, 2) so that the dirty beam's middle has a width (B) [pixel]."""
    determinant = (uv.mT @ uv / uv.shape[1]).det()
    sigma = determinant ** (-1 / 4) / (2 * math.pi)
    factor = math.sqrt(8 * math.log(2)) * sigma / width
    return (uv * factor[:, None, None]).clamp(-0.5, 0.5)
