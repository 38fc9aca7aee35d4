r"""Deflections of haloes on rings, with even steps in angle and in the logarithm of the radius.

All lengths are in units of the halo's Einstein radius, about its centre. On such rings the pixels
are as wide as their distance from the centre allows,

.. math:: r_i = r_0 e^{i \Delta} , \qquad \varphi_j = j \Delta , \qquad \Delta = 2 \pi / n \, ,

fine about the cusp and coarse in the outskirts, where a frame that holds the lens has coarse
pixels too: a map of all that a frame may show is 170 kB. To turn the halo adds to :math:`\varphi`,
to enlarge it adds to :math:`\ln r`: neither costs any accuracy. The components are those along the
radius and the angle, which are smooth where those along x and y are not.

The deflection is that of the convergence on nested square grids, :func:`levels`: a smooth window
divides it into a part that is on the fine grid alone and another that is on the coarse one, each
of which vanishes where its grid ends, and :class:`~lensrim.lensing.convergence.KappaToAlpha` does
the rest. The mass ends where the widest grid does.

What is not guaranteed: within the first ring, as beyond the last, the deflection is constant along
the radius, as that of an isothermal halo is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from ...grid import PixelGrid
from ...lensing.convergence import KappaToAlpha
from ...lensing.interpolation import weighted_sum

ANGLES = 192
"""Angles of a ring."""
STEP = 2 * math.pi / ANGLES
RINGS = 226
INNER = 0.01
"""Radius of the innermost ring [Einstein radii]."""
OUTER = INNER * math.exp((RINGS - 1) * STEP)
"""That of the outermost: 15.8."""

REACH = (1.0, 4.0, 16.0)
"""Half sides of the grids of :func:`levels`."""
SIDE = 256
FADE = (0.5, 0.85)
"""Where the part of a fine grid begins to fade and has ended, in units of its half side."""

CHUNK = 1 << 15
"""Positions at which a CPU computes at once."""

BEFORE, AFTER = 1, 2
"""Rings and angles around a map that is read by four in a row."""


def levels(unit: float = 1.0) -> tuple[PixelGrid, ...]:
    """Returns the grids on which the convergence of a halo is wanted, from the finest.

    Arguments:
        unit: Its Einstein radius, in the unit of the grids.
    """
    return tuple(PixelGrid((SIDE, SIDE), 2 * reach * unit / SIDE) for reach in REACH)


@cache
def _operators() -> tuple[KappaToAlpha, ...]:
    return tuple(KappaToAlpha(grid, subsample=1, dtype=torch.float64) for grid in levels())


@cache
def _windows() -> tuple[list[Tensor], list[Tensor]]:
    """Shares of the convergence on each grid: not on a finer one, and not on a coarser one."""
    grids = levels()
    outside = [torch.ones(SIDE, SIDE, dtype=torch.float64) for _ in grids]
    inside = [share.clone() for share in outside]
    for i in range(len(grids) - 1):
        for grid, shares, sign in ((grids[i], inside, 0), (grids[i + 1], outside, 1)):
            radius = torch.hypot(*grid.coordinates(dtype=torch.float64)) / REACH[i]
            t = ((radius - FADE[0]) / (FADE[1] - FADE[0])).clamp(0, 1)
            faded = t**3 * (10 - 15 * t + 6 * t**2)
            shares[i + sign] = faded if sign else 1 - faded
    return outside, inside


def nodes() -> tuple[Tensor, Tensor]:
    """Returns the radii (RINGS) and the angles (ANGLES) of the rings' points."""
    radius = INNER * torch.exp(STEP * torch.arange(RINGS, dtype=torch.float64))
    return radius, STEP * torch.arange(ANGLES, dtype=torch.float64)


def polar_deflection(kappa: Sequence[Tensor]) -> Tensor:
    """Computes the deflection on the rings.

    Arguments:
        kappa: Mean convergence of the pixels of each of :func:`levels`, with shape (H, W).

    Returns:
        The components along the radius and along the angle, with shape (2, RINGS, ANGLES).
    """
    radius, angle = nodes()
    cos, sin = angle.cos(), angle.sin()
    outside, inside = _windows()
    parts, start = [], 0
    for i, reach in enumerate(REACH):
        last = i == len(REACH) - 1
        end = RINGS if last else int((radius < 0.5 * (FADE[1] + 1) * reach).sum())
        x, y = (radius[start:end, None] * c for c in (cos, sin))
        alpha = torch.zeros(2, *x.shape, dtype=torch.float64)
        for j in range(i, len(REACH)):
            own = inside[j] if j == i else inside[j] * outside[j]
            part = (kappa[j].double() * own)[None, None]
            found = _operators()[j].at(part, x, y, outside=False)
            alpha += torch.stack(found)[:, 0, 0]
        along = alpha[0] * cos + alpha[1] * sin
        parts.append(torch.stack([along, alpha[1] * cos - alpha[0] * sin]))
        start = end
    return torch.cat(parts, 1)


def padded(maps: Tensor) -> Tensor:
    """Continues maps (*, RINGS, ANGLES) by what the interpolation reads beyond their edges."""
    shape = maps.shape
    maps = F.pad(maps.reshape(-1, 1, *shape[-2:]), (BEFORE, AFTER, 0, 0), mode="circular")
    maps = F.pad(maps, (0, 0, BEFORE, AFTER), mode="replicate")
    return maps.reshape(*shape[:-2], *maps.shape[-2:])


@dataclass(frozen=True)
class PolarDeflection:
    r"""Creates the deflection of a batch of haloes from their maps on rings.

    .. math::
        \alpha(\theta) = s \, R \, \hat\alpha(R^{-1} (\theta - \theta_0) / s) + \Gamma \theta \, ,

    with :math:`R` the rotation, before which the halo is mirrored where it is said, and
    :math:`\Gamma` the external shear. Between the
    points the components are interpolated by Keys' cubic convolution.

    Arguments:
        maps: What :func:`padded` makes of :func:`polar_deflection`, with shape
            (B, 2, RINGS + 3, ANGLES + 3).
        scale: Length of the maps' unit [arcsec, or pixels], with shape (B).
        angle: Counter-clockwise rotation [rad], with shape (B).
        flip: 1 where x is mirrored before, else 0, with shape (B).
        center_x, center_y: Where the halo's centre is put, with shape (B).
        gamma1, gamma2: External shear about the origin, with shape (B).

    References:
        Keys 1981, IEEE Trans. ASSP 29, 1153.
    """

    maps: Tensor
    scale: Tensor
    angle: Tensor
    flip: Tensor
    center_x: Tensor
    center_y: Tensor
    gamma1: Tensor
    gamma2: Tensor

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha` at coordinates of shape (h, w) or (B, h, w), to (B, h, w)."""
        shape = (len(self.scale), *torch.broadcast_shapes(x.shape, y.shape)[-2:])
        x, y = (c.expand(shape).flatten(1) for c in (x, y))
        # on a CPU, what does not fit the cache costs twice as much
        per = CHUNK if x.device.type == "cpu" else x.shape[1]
        if per == x.shape[1] or shape[0] * x.shape[1] <= per:
            found = self._at(x, y, slice(None))
        else:
            found = x.new_empty(2, *x.shape)
            for k in range(shape[0]):
                own = slice(k, k + 1)
                for start in range(0, x.shape[1], per):
                    part = slice(start, start + per)
                    found[:, own, part] = self._at(x[own, part], y[own, part], own)
        return found[0].view(shape), found[1].view(shape)

    def _at(self, x: Tensor, y: Tensor, own: slice) -> Tensor:
        """Computes the deflection of some of the haloes at (b, P) coordinates, to (2, b, P)."""
        place = (self.scale, self.angle, self.flip, self.center_x, self.center_y)
        numbers = (values[own].to(x)[:, None] for values in (*place, self.gamma1, self.gamma2))
        scale, angle, flip, center_x, center_y, gamma1, gamma2 = numbers
        dx, dy, sign = (x - center_x) / scale, (y - center_y) / scale, 1 - 2 * flip
        radius, phi = torch.hypot(dx, dy), torch.atan2(dy, dx)
        turned = (1 - sign) / 2 * math.pi + sign * (phi - angle)
        ring = ((radius / INNER).clamp(min=1).log() / STEP).clamp(max=RINGS - 1.0)
        along, across = self._read(ring, torch.remainder(turned / STEP, ANGLES), own)
        along, across = scale * along, scale * sign * across
        cos, sin = phi.cos(), phi.sin()
        ax, ay = along * cos - across * sin, along * sin + across * cos
        return torch.stack([ax + gamma1 * x + gamma2 * y, ay + gamma2 * x - gamma1 * y])

    def _read(self, ring: Tensor, column: Tensor, own: slice) -> list[Tensor]:
        """Interpolates both maps at fractional indices, with shape (b, P)."""
        i, j = ring.floor().clamp(max=RINGS - 1), column.floor().clamp(max=ANGLES - 1)
        over_rings, over_angles = _keys(ring - i), _keys(column - j)
        maps = self.maps[own]
        width, size = maps.shape[-1], maps[0, 0].numel()
        # one index for both maps, and for all of the 4 x 4 points, which are views of them
        offset = 2 * size * torch.arange(len(ring), device=ring.device)[:, None]
        first = ((i * width + j).long() + offset).flatten()
        flat, last = maps.flatten(), 3 * width + 3
        components = []
        for both in (flat, flat[size:]):
            rows = [
                [
                    both.narrow(0, row * width + n, len(both) - last).index_select(0, first)
                    for n in range(4)
                ]
                for row in range(4)
            ]
            lines = [weighted_sum(row, over_angles) for row in rows]
            components.append(weighted_sum(lines, over_rings).view_as(ring))
        return components


def _keys(t: Tensor) -> list[Tensor]:
    """Weights of the points -1, 0, 1, 2 at the fraction t (B, P) between the middle two."""
    s = 1 - t
    weights = (
        -0.5 * t * s**2,
        (1.5 * t - 2.5) * t**2 + 1,
        (1.5 * s - 2.5) * s**2 + 1,
        -0.5 * s * t**2,
    )
    return [w.flatten() for w in weights]
