"""Haloes as a kind of mass of training pairs: from their rings to maps on the frame.

A batch carries the rings of its haloes, 170 kB each, unless its haloes are those of a bank
(:class:`~lensrim.datasets.haloes.bank.HaloBank`) that is given: then it carries their numbers in
it, and the rings are on the device, all of them, from the first batch on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from ..._weights import read_weights
from ...grid import PixelGrid
from ..haloes.bank import HaloBank
from ..haloes.polar_maps import PolarDeflection, padded
from ..systems import System
from .mass_fields import at_rays, from_flux, smooth_deflection
from .masses import Fields, Patches, add_near

CORE = 6
"""Pixels on each side of the centre that get exact values."""


@dataclass(frozen=True)
class HaloMasses:
    """Creates the kind of masses that takes the systems with a halo of a bank.

    Arguments:
        bank: Where the haloes are from, if all are from there, to be kept on the device.
    """

    bank: HaloBank | None = None

    def takes(self, system: System) -> bool:
        """Takes systems with a halo."""
        return system.halo is not None

    def numbers(self, systems: Sequence[System]) -> dict[str, Tensor]:
        """Collects ``place`` (n, 7), and ``rings`` (n, 2, RINGS, ANGLES) with their ``steps``
        (n, 2), or ``which`` (n) of the bank."""
        placed = [system.halo for system in systems if system.halo is not None]
        places = torch.tensor([each.place for each in placed], dtype=torch.float64)
        numbers = {"place": places}
        if self.bank is not None:
            rows = self.bank.rows
            return {
                **numbers,
                "which": torch.tensor([rows[p.halo.name]["number"] for p in placed]),
            }
        rings = torch.from_numpy(np.stack([p.halo.rings for p in placed]))
        steps = torch.tensor([p.halo.steps for p in placed], dtype=torch.float64)
        return {**numbers, "rings": rings, "steps": steps}

    def fields(self, numbers: Mapping[str, Tensor], grid: PixelGrid, rays: int) -> Fields:
        """Makes the maps."""
        place = numbers["place"]
        if self.bank is None:
            rings, steps = numbers["rings"], numbers["steps"]
        else:
            kept = _kept(self.bank, self.bank.changed, place.device)
            rings, steps = (values[numbers["which"]] for values in kept)
        maps = padded(rings.float() * steps.float()[..., None, None])
        mass = PolarDeflection(maps, *place.unbind(1))
        smooth = smooth_deflection(mass, grid, place.device)
        kappa, traced = from_flux(smooth)[:, None].contiguous(), at_rays(smooth, rays)
        everyone = torch.arange(len(place), device=place.device)
        patches = Patches(mass, place[:, 3:5].float(), everyone, CORE)
        add_near(patches, grid, rays, kappa, traced)
        alpha = traced[..., rays // 2 :: rays, rays // 2 :: rays]
        return Fields(kappa.clamp(min=1e-4), alpha.contiguous(), traced)


@lru_cache(maxsize=4)
def _kept(bank: HaloBank, changed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Reads the rings and the steps of a bank, once for each device."""
    tensors, _ = read_weights(bank.path, dtype=None, most=None)
    return tensors["rings"].to(device), tensors["steps"].to(device)
