"""Systems drawn from a population, many at once, as tensors: mass, source, light, PSF and noise.

All lengths are in pixels of the image.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..grid import PixelGrid
from ..lensing.mass import EPL, Multipole, Shear, Sum, flux_average
from ..lensing.subhalos import Subhalos
from .cosmos import Galaxy
from .priors import System
from .psfs import Psf, block_mean, fine_psf, native_psf

Map = NDArray[np.float64]

FINE = 0.2
"""Side of a pixel of the source [pixel of the image]."""


def lens_models(systems: Sequence[System]) -> tuple[Tensor, Sum]:
    """Returns the ellipsoids' parameters (B, 8) and the whole mass model, batched."""
    hosts = [s.lens.ellipsoid for s in systems]
    flat = [(1 - e.q) / (1 + e.q) for e in hosts]
    rows = [
        (
            math.log(e.theta_E),
            f * math.cos(2 * e.phi),
            f * math.sin(2 * e.phi),
            e.center_x,
            e.center_y,
            s.lens.gamma1,
            s.lens.gamma2,
            e.gamma,
        )
        for s, e, f in zip(systems, hosts, flat, strict=True)
    ]
    macro = torch.tensor(rows, dtype=torch.float64)
    log_theta, e1, e2, cx, cy, g1, g2, gamma = macro.float().unbind(-1)
    theta = log_theta.exp()
    parts: list = [EPL(theta, gamma, e1, e2, cx, cy, terms=12), Shear(g1, g2)]
    for m in (3, 4):
        waves = [[p for p in s.lens.multipoles if p.m == m] for s in systems]
        a, b = (
            torch.tensor([sum(p.amplitude * turn(m * p.phi) for p in w) for w in waves])
            for turn in (math.cos, math.sin)
        )
        parts.append(Multipole(m, a * theta, b * theta, cx, cy))
    most = max(1, max(len(s.lens.subhalos) for s in systems))
    halos = torch.zeros(len(systems), most, 4)
    halos[..., 1] = 1.0  # an empty place has no mass, but a radius
    for i, s in enumerate(systems):
        for j, h in enumerate(s.lens.subhalos):
            values = [h.theta_E, h.truncation, h.center_x, h.center_y]
            halos[i, j] = torch.tensor(values)
    parts.append(Subhalos(*halos.unbind(-1)))
    return macro, Sum(parts)


def convergence(mass: Sum, grid: PixelGrid, center: Tensor, *, core: int = 9) -> Tensor:
    """Averages the convergence of a batch over pixels, more finely about each centre.

    Subhalos between the edges' points come out right in total, not to the pixel.

    Arguments:
        mass: Mass model, its parameters of shape (B).
        grid: The pixels.
        center: The centres, with shape (B, 2).
        core: Odd side of the square of pixels about the centre [pixels].

    Returns:
        The maps, with shape (B, 1, H, W).
    """
    device = center.device
    kappa = flux_average(mass, grid, 2, torch.float32, device=device)
    (h, w), half = grid.shape, core // 2
    column, row = (
        c.round().long().clamp(half, n - 1 - half)
        for c, n in zip(grid.to_index(*center.unbind(1)), (w, h), strict=True)
    )
    for r, c in set(zip(row.tolist(), column.tolist(), strict=True)):
        patch = PixelGrid((core, core), grid.spacing, grid.from_index(c, r))
        here = (row == r) & (column == c)
        inner = flux_average(mass, patch, 24, torch.float32, device=device)[here]
        kappa[here, r - half : r + half + 1, c - half : c + half + 1] = inner
    return kappa[:, None].clamp(min=1e-4)


def place_galaxy(galaxy: Galaxy, system: System, n: int) -> Map:
    """Turns and scales a galaxy's stamp onto n x n pixels of ``FINE`` about its centre."""
    from scipy import ndimage

    place, image = system.placement, galaxy.image
    scale = place.half_light_radius / galaxy.half_light_radius * galaxy.pixel_scale / FINE
    # Coarser pixels first, where the stamp is finer than the map: no light is lost between points.
    factor = max(1, int(1 / scale))
    if factor > 1:
        side = -(-image.shape[0] // factor) * factor
        before = (side - image.shape[0]) // 2
        after = side - image.shape[0] - before
        image = block_mean(np.pad(image, (before, after)), factor)
        shift = (after - before) / 2 / factor
        scale *= factor
    else:
        shift = 0.0
    axis = np.arange(n) - (n - 1) / 2
    x, y = axis[None, :], axis[:, None]
    u = (np.cos(place.angle) * x + np.sin(place.angle) * y) / scale
    v = (np.cos(place.angle) * y - np.sin(place.angle) * x) / scale
    u = -u if place.flip else u
    middle = (image.shape[0] - 1) / 2 - shift
    return ndimage.map_coordinates(image, [v + middle, u + middle], order=1, cval=0.0)


def stamp(psf: Psf, side: int) -> Tensor:
    """Makes the effective stamp of a PSF, cut or padded to a side, with sum 1."""
    fine = native_psf(fine_psf(psf, oversample=5, max_radius=side // 2), 5)
    pad = (side - fine.shape[0]) // 2
    fine = np.pad(fine, max(pad, 0))
    return torch.from_numpy(fine / fine.sum())


def lens_light(systems: Sequence[System], grid: PixelGrid) -> Tensor:
    """Draws the light of the lens galaxies before the PSF, of any scale: (B, 1, H, W)."""
    x, y = grid.coordinates()
    maps = []
    for s in systems:
        light = s.lens_light
        if light is None:
            maps.append(torch.zeros_like(x))
            continue
        dx, dy = x - light.center_x, y - light.center_y
        c, d = math.cos(light.phi), math.sin(light.phi)
        r2 = light.q * (dx * c + dy * d) ** 2 + (dy * c - dx * d) ** 2 / light.q
        n = light.n_sersic
        radius = (r2 + 0.2).sqrt() / light.R_sersic
        maps.append(torch.exp(-(2 * n - 1 / 3) * (radius ** (1 / n) - 1)))
    return torch.stack(maps)[:, None]


def noise_maps(systems: Sequence[System], arcs: Tensor, light: Tensor) -> Tensor:
    """Standard deviations for arcs whose peak is 1: background, and photons of arcs and lens."""
    snr = torch.tensor([s.noise.snr for s in systems]).float()[:, None, None, None]
    share = torch.tensor([s.noise.poisson_share for s in systems])[:, None, None, None].float()
    photons = (arcs + light).clamp(min=0)
    top = photons.flatten(1).gather(1, arcs.flatten(1).argmax(1)[:, None])[..., None, None]
    alone = torch.tensor([s.noise.without_light for s in systems])[:, None, None, None]
    top = torch.where(alone, torch.ones_like(top), top)
    return ((1 - share) + share * photons / top).sqrt() / snr
