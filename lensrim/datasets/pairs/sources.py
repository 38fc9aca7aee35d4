"""Sources of a batch on fine pixels: galaxies turned, mirrored, scaled and shifted, on the device.

What travels is numbers: of a clumpy galaxy the components, of a real one its stamp, already made
coarser by whole blocks as far as its scale allows. Nothing is kept from batch to batch: a
collection of any size may be drawn from, and the stamps of 16 galaxies are about a megabyte. A
clumpy galaxy is computed at the pixels themselves; a stamp is read bilinearly at 2 x 2 points of a
pixel, which no pixel of the stamp falls between.

A source may be two galaxies, which are added. All lengths are in pixels of the image.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..galaxies.clumpy import MOST, REACH, SCALES, SIZE, Clumpy
from ..psfs.kinds import block_mean
from ..systems import Companion, Placement, System
from .systems import FINE, Map

POINTS = 2
"""Points at which a stamp is read along each side of a fine pixel."""


def source_numbers(systems: Sequence[System], shifts: Map) -> dict[str, Tensor]:
    """Collects what the sources of a batch are made of.

    Arguments:
        systems: The systems, with lengths in pixels.
        shifts: Where the first galaxy of each stands from the middle of its map [fine pixel],
            with shape (B, 2).

    Returns:
        ``origin`` (B, 2), the middles of the maps, and what begins with ``clumpy_`` and
        ``stamp_``, of all galaxies of the kind; the ``row`` says to which sample each belongs.
    """
    origin = np.array([[s.placement.center_x, s.placement.center_y] for s in systems])
    origin = origin - FINE * shifts
    found: dict[str, Tensor] = {"origin": torch.from_numpy(origin).float()}
    parts = [(i, _first(s)) for i, s in enumerate(systems)]
    parts += [(i, s.companion) for i, s in enumerate(systems) if s.companion is not None]
    clumpy = [(i, p) for i, p in parts if isinstance(p.galaxy, Clumpy)]
    stamps = [(i, p) for i, p in parts if not isinstance(p.galaxy, Clumpy)]
    if clumpy:
        found |= _of_clumpy(clumpy, origin)
    if stamps:
        found |= _of_stamps(stamps, origin)
    return found


def source_maps(numbers: Mapping[str, Tensor], n: int) -> Tensor:
    """Puts sources on n x n pixels of ``FINE`` about their origins, with shape (B, 1, n, n).

    Arguments:
        numbers: From :func:`source_numbers`, on the device.
        n: Side of the maps.
    """
    origin = numbers["origin"]
    maps = origin.new_zeros(len(origin), n, n)
    if "clumpy_row" in numbers:
        maps.index_add_(0, numbers["clumpy_row"], _clumpy_maps(numbers, n))
    if "stamp_row" in numbers:
        maps.index_add_(0, numbers["stamp_row"], _stamp_maps(numbers, n))
    return maps[:, None]


def _first(system: System) -> Companion:
    return Companion(system.galaxy, system.placement, 1.0)


def _off(place: Placement, origin: Map) -> tuple[float, float]:
    """Where a galaxy stands from the middle of its map [fine pixel]."""
    return (place.center_x - origin[0]) / FINE, (place.center_y - origin[1]) / FINE


def _of_clumpy(parts: list[tuple[int, Companion]], origin: Map) -> dict[str, Tensor]:
    """Collects clumpy galaxies as they stand on the map, lengths in fine pixels."""
    rows = []
    clumps = np.zeros((len(parts), MOST, 4))
    clumps[..., 2] = 1.0  # an empty place has no light, but a width
    for k, (i, part) in enumerate(parts):
        galaxy, place = part.galaxy, part.placement
        assert isinstance(galaxy, Clumpy)
        scale = place.half_light_radius / galaxy.half_light_radius * galaxy.pixel_scale
        scale *= SIZE / SCALES / FINE  # of the disc
        sign = -1.0 if place.flip else 1.0
        x, y = _off(place, origin[i])
        weight = part.brightness / galaxy.peak
        phi = sign * galaxy.phi + place.angle
        rows.append(
            (x, y, scale, galaxy.q, math.cos(phi), math.sin(phi), galaxy.bulge_scale,
             galaxy.bulge, weight)
        )  # fmt: skip
        own = np.array(galaxy.clumps)
        u, v = galaxy.centers().T
        c, s = math.cos(place.angle), math.sin(place.angle)
        m = len(own)
        clumps[k, :m, 0] = x + scale * (c * sign * u - s * v)
        clumps[k, :m, 1] = y + scale * (s * sign * u + c * v)
        clumps[k, :m, 2] = scale * own[:, 2]
        clumps[k, :m, 3] = own[:, 3] * np.exp(-own[:, 0] / 2)
    return {
        "clumpy_row": torch.tensor([i for i, _ in parts]),
        "clumpy": torch.tensor(rows).float(),
        "clumps": torch.from_numpy(clumps).float(),
    }


def _clumpy_maps(numbers: Mapping[str, Tensor], n: int) -> Tensor:
    """Computes clumpy galaxies at the pixels, with shape (K, n, n)."""
    table, clumps = numbers["clumpy"], numbers["clumps"]
    axis = torch.arange(n, device=table.device, dtype=table.dtype) - (n - 1) / 2
    x0, y0, scale, q, cos, sin, bulge_scale, bulge, weight = table[..., None, None].unbind(1)
    x, y = (axis - x0) / scale, (axis[:, None] - y0) / scale
    major, minor = x * cos + y * sin, y * cos - x * sin
    # major² + (minor / q)² of the disc; the bulge's is q times it, but for the ratio's root
    a, b = major.square(), minor.square()
    image = torch.exp(-(a + b / q**2).sqrt())
    squared = (a * q + b / q) / bulge_scale**2
    image.addcmul_(bulge.expand_as(image), torch.exp(-(squared.clamp(min=1e-12) ** 0.35)))
    # Round clumps are products of a function of x and one of y.
    u, v, width, light = clumps.unbind(-1)
    along_x = torch.exp(-((axis - u[..., None]) / width[..., None]).square() / 2)
    along_y = torch.exp(-((axis - v[..., None]) / width[..., None]).square() / 2)
    image.baddbmm_((light[..., None] * along_y).mT, along_x)
    end = ((REACH - (a + b).sqrt()) / (0.2 * REACH)).clamp(0, 1).square()
    return image * end * weight


def _of_stamps(parts: list[tuple[int, Companion]], origin: Map) -> dict[str, Tensor]:
    """Collects stamps, in the middle of squares of one size, and how to read them."""
    images, rows = [], []
    for i, part in parts:
        galaxy, place = part.galaxy, part.placement
        assert not isinstance(galaxy, Clumpy)
        scale = place.half_light_radius / galaxy.half_light_radius * galaxy.pixel_scale / FINE
        image, middle, scale = coarser(galaxy.image, scale)
        images.append(image.astype(np.float32))
        c, s = math.cos(place.angle) / scale, math.sin(place.angle) / scale
        sign = -1.0 if place.flip else 1.0
        x, y = _off(place, origin[i])
        u = (sign * c, sign * s, middle - sign * (c * x + s * y))
        rows.append((*u, -s, c, middle - (c * y - s * x), part.brightness))
    side = max(len(image) for image in images)
    stamps = np.zeros((len(images), 1, side, side), np.float32)
    for stamp, image in zip(stamps, images, strict=True):
        stamp[0, : len(image), : len(image)] = image
    return {
        "stamp_row": torch.tensor([i for i, _ in parts]),
        "stamp": torch.tensor(rows).float(),
        "stamps": torch.from_numpy(stamps),
    }


def coarser(image: Map, scale: float) -> tuple[Map, float, float]:
    """Averages blocks of a stamp's pixels, so that no light falls between those of a map.

    Arguments:
        image: A square stamp.
        scale: Side of its pixels [pixel of the map].

    Returns:
        The stamp, the index of its middle along both axes, and the side of its pixels.
    """
    side, factor = image.shape[0], max(1, int(1 / scale))
    if factor == 1:
        return image, (side - 1) / 2, scale
    before = (-side % factor) // 2
    image = block_mean(np.pad(image, (before, -side % factor - before)), factor)
    return image, ((side - 1) / 2 + before - (factor - 1) / 2) / factor, scale * factor


def _stamp_maps(numbers: Mapping[str, Tensor], n: int) -> Tensor:
    """Reads stamps at the pixels, with shape (K, n, n)."""
    table, stamps = numbers["stamp"], numbers["stamps"]
    side = stamps.shape[-1]
    axis = torch.arange(POINTS * n, device=table.device, dtype=table.dtype)
    axis = (axis + 0.5) / POINTS - n / 2
    ux, uy, u0, vx, vy, v0, weight = table[..., None, None].unbind(1)
    # Outer edges at -1 and 1.
    u, v = (
        (x * axis + (y * axis[:, None] + (zero + 0.5))) * (2 / side) - 1
        for x, y, zero in ((ux, uy, u0), (vx, vy, v0))
    )
    seen = F.grid_sample(stamps, torch.stack([u, v], -1), align_corners=False)
    return F.avg_pool2d(seen, POINTS)[:, 0] * weight
