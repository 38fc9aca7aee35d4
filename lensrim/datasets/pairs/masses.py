"""Lensing masses of a batch: from systems to numbers, and from numbers to maps on the device.

A kind of mass is an object with the methods of :class:`Masses`. :class:`~.pairs.Pairs` has a
sequence of them, and each system belongs to the first that takes it: a batch may mix kinds. What
a kind reads besides the numbers, such as a bank of maps, is its own; it keeps it by device, not by
batch.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ...grid import PixelGrid
from ...lensing.mass import EPL, Multipole, Shear, Sum
from ...lensing.mass.base import Deflector
from ...lensing.subhalos import Subhalos
from ..systems import System
from .mass_fields import Patch, at_rays, from_flux, wider

CORE, AROUND = 7, 4
"""Pixels on each side of the centre of a galaxy, and of a subhalo, that get exact values."""

AT_ONCE = 1 << 17
"""Pairs of a subhalo and a pixel that a CPU holds at once: they stay in its cache."""


@dataclass(frozen=True)
class Fields:
    """Holds the maps of n masses on a frame. All lengths are in pixels.

    Arguments:
        kappa: Mean convergence of each pixel, with shape (n, 1, H, W).
        alpha: Deflection at the pixels' centres, external shear included, (n, 2, H, W).
        traced: Deflection at the rays, (n, 2, k H, k W).
    """

    kappa: Tensor
    alpha: Tensor
    traced: Tensor


@runtime_checkable
class Masses(Protocol):
    """What a kind of mass can do."""

    def takes(self, system: System) -> bool:
        """Whether a system's mass is of this kind."""
        ...

    def numbers(self, systems: Sequence[System]) -> dict[str, Tensor]:
        """Collects what its systems, with lengths in pixels, are made of; on the CPU."""
        ...

    def fields(self, numbers: Mapping[str, Tensor], grid: PixelGrid, rays: int) -> Fields:
        """Makes the maps of as many masses as there were systems, where the numbers are.

        The number of rays along a pixel is odd, so that one meets its centre.
        """
        ...


def macro_of(systems: Sequence[System]) -> Tensor:
    """Returns the ellipsoids' parameters, of any kind of mass, in double precision: (B, 8)."""
    rows = []
    for system in systems:
        host, lens = system.lens.ellipsoid, system.lens
        flat = (1 - host.q) / (1 + host.q)
        rows.append(
            (
                math.log(host.theta_E),
                flat * math.cos(2 * host.phi),
                flat * math.sin(2 * host.phi),
                host.center_x,
                host.center_y,
                lens.gamma1,
                lens.gamma2,
                host.gamma,
            )
        )
    return torch.tensor(rows, dtype=torch.float64)


@dataclass(frozen=True)
class AnalyticMasses:
    """Creates the kind of :mod:`lensrim.datasets.halos`: closed forms, which any system has."""

    def takes(self, system: System) -> bool:
        """Takes any system."""
        return True

    def numbers(self, systems: Sequence[System]) -> dict[str, Tensor]:
        """Collects ``macro`` (n, 8), ``waves`` (n, 2, 2), and the ``halos`` (N, 4) with their
        ``owner`` (N)."""
        waves = np.zeros((len(systems), 2, 2))
        for i, system in enumerate(systems):
            for wave in system.lens.multipoles:
                turn, size = wave.m * wave.phi, wave.amplitude * system.lens.ellipsoid.theta_E
                waves[i, wave.m - 3] += size * math.cos(turn), size * math.sin(turn)
        owner = [i for i, s in enumerate(systems) for _ in s.lens.subhalos]
        halos = [
            (h.theta_E, h.truncation, h.center_x, h.center_y)
            for s in systems
            for h in s.lens.subhalos
        ]
        return {
            "macro": macro_of(systems),
            "waves": torch.from_numpy(waves).float(),
            "owner": torch.tensor(owner, dtype=torch.long),
            "halos": torch.tensor(halos).float().reshape(-1, 4),
        }

    def fields(self, numbers: Mapping[str, Tensor], grid: PixelGrid, rays: int) -> Fields:
        """Makes the maps."""
        halos, owner = numbers["halos"], numbers["owner"]
        galaxy = Patch(CORE, rays)
        frame, size = wider(grid).coordinates(device=halos.device), len(numbers["macro"])
        middle = galaxy.middle(numbers["macro"][:, 3:5].float(), grid)
        # One call for all places: a model has many small operations.
        places = [
            torch.cat([f.reshape(1, -1).expand(size, -1), near], 1)[:, None]
            for f, near in zip(frame, galaxy.places(middle), strict=True)
        ]
        whole = torch.stack(host_of(numbers).deflection(*places), 1)[:, :, 0]
        smooth = whole[..., : frame[0].numel()].unflatten(-1, frame[0].shape).contiguous()
        if len(halos):
            _add_far(smooth, halos, owner, grid)
        kappa, traced = from_flux(smooth)[:, None].contiguous(), at_rays(smooth, rays)
        everyone = torch.arange(size, device=halos.device)
        galaxy.add(whole[..., frame[0].numel() :], middle, everyone, grid, kappa, traced)
        if len(halos):
            single = Subhalos(*halos[..., None].unbind(1))
            patches = Patches(single, halos[:, 2:], owner, AROUND, inner=1, nodes=12)
            add_near(patches, grid, rays, kappa, traced)
        alpha = traced[..., rays // 2 :: rays, rays // 2 :: rays]
        return Fields(kappa.clamp(min=1e-4), alpha.contiguous(), traced)


def host_of(numbers: Mapping[str, Tensor]) -> Sum:
    """Creates the mass model without subhalos, of shape (n)."""
    log_theta, e1, e2, cx, cy, g1, g2, gamma = numbers["macro"].float().unbind(-1)
    parts: list = [EPL(log_theta.exp(), gamma, e1, e2, cx, cy, terms=12), Shear(g1, g2)]
    for m, wave in zip((3, 4), numbers["waves"].unbind(1), strict=True):
        parts.append(Multipole(m, wave[:, 0], wave[:, 1], cx, cy))
    return Sum(parts)


@dataclass(frozen=True)
class Patches:
    """Holds centres of mass with exact values about them.

    Arguments:
        mass: What deflects, of N samples.
        center: The centres, with shape (N, 2).
        owner: The frame of each, with shape (N).
        half: Pixels on each side.
        inner, nodes: See :class:`~.mass_fields.Patch`.
    """

    mass: Deflector
    center: Tensor
    owner: Tensor
    half: int
    inner: int = 2
    nodes: int = 24


def add_near(patches: Patches, grid: PixelGrid, rays: int, kappa: Tensor, traced: Tensor) -> None:
    """Adds what exact values differ by about centres, in place, to maps as of :class:`Fields`."""
    square = Patch(patches.half, rays, patches.inner, patches.nodes)
    middle = square.middle(patches.center, grid)
    x, y = square.places(middle)
    values = torch.stack(patches.mass.deflection(x[:, None], y[:, None]), 1)[:, :, 0]
    square.add(values, middle, patches.owner, grid, kappa, traced)


def _add_far(smooth: Tensor, halos: Tensor, owner: Tensor, grid: PixelGrid) -> None:
    """Adds the deflection of subhalos at the pixels' centres of the wider frame."""
    frame = wider(grid)
    x, y = frame.coordinates(device=smooth.device)
    x, y = x[0], y[:, 0]
    per = len(halos) if smooth.device.type != "cpu" else max(1, AT_ONCE // (len(x) * len(y)))
    for part, rows in zip(halos.split(per), owner.split(per), strict=True):
        b, t, cx, cy = part[..., None, None].unbind(1)
        dx, dy = x - cx, y[:, None] - cy
        r2 = dx.square() + (dy.square() + 1e-12)
        r = r2.sqrt()
        # r + t - hypot(r, t) without cancellation
        scale = (r2 + t.square()).sqrt_().add_(r).add_(t).mul_(r).reciprocal_().mul_(2 * b * t)
        smooth[:, 0].index_add_(0, rows, scale * dx)
        smooth[:, 1].index_add_(0, rows, scale * dy)
