"""The contaminant of pairs: what spoils observations, in their batches."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from ...grid import PixelGrid
from ...lensing.psf import PSF
from ..contaminants import Contaminants, draw_contaminants
from ..contamination import Contamination
from ..systems import System
from .contamination import (
    ContaminationBatch,
    cosmic_rays,
    given_psfs,
    light_errors,
    neighbour_light,
    usable,
)
from .drawn import Stream
from .exposures import Exposure, smooth_fields

PREFIX = "contamination_"
"""What the names of the numbers begin with, among those of other contaminants."""

WAVE_LENGTH = 3.0
"""Correlation length of the structure that is left of the lens light [pixel]."""


@dataclass(frozen=True)
class Contaminated:
    """Creates the contaminant of pairs: all that :mod:`lensrim.datasets.contaminants` draws.

    Light that is left of the lens is known to the fit as a noise, not as what it is.

    Arguments:
        prior: The population, for systems that were drawn without contaminants.
    """

    prior: Contaminants

    def numbers(
        self, systems: Sequence[System], rng: np.random.Generator, shape: tuple[int, int]
    ) -> dict[str, Tensor]:
        """Collects the contaminants of systems in pixels, and the rows that have each kind."""
        each = [s.contamination or self._drawn(s, rng, shape) for s in systems]
        batch = ContaminationBatch.of(each, shape)
        rows = {
            "beside": [c is not None and bool(c.neighbours) for c in each],
            "crossed": [c is not None and bool(c.tracks) for c in each],
            "lit": [c is not None and c.light is not None for c in each],
            "misled": [c is not None and c.psf is not None for c in each],
        }
        lights = [s.lens_light for s in systems]
        sersic = [
            (1.0, 1.0, 0.0, 0.0) if s is None else (s.R_sersic, s.n_sersic, s.center_x, s.center_y)
            for s in lights
        ]
        noises = [s.noise for s in systems]
        levels = [(n.snr, n.poisson_share, float(n.without_light)) for n in noises]
        found = {f.name: getattr(batch, f.name) for f in fields(batch)}
        found |= {k: torch.tensor(np.flatnonzero(v), dtype=torch.long) for k, v in rows.items()}
        found |= {"sersic": torch.tensor(sersic).float(), "level": torch.tensor(levels).float()}
        return {PREFIX + name: value for name, value in found.items()}

    def _drawn(
        self, system: System, rng: np.random.Generator, shape: tuple[int, int]
    ) -> Contamination | None:
        host = system.lens.ellipsoid
        return draw_contaminants(
            rng,
            self.prior,
            shape=shape,
            theta_E=host.theta_E,
            fwhm=system.psf.fwhm,
            center=(host.center_x, host.center_y),
            lit=system.lens_light is not None,
        )

    def apply(self, numbers: Mapping[str, Tensor], exposure: Exposure, stream: Stream) -> Exposure:
        """Puts the contaminants into images, on their device."""
        own = {k.removeprefix(PREFIX): v for k, v in numbers.items() if k.startswith(PREFIX)}
        batch = ContaminationBatch(**{f.name: own[f.name] for f in fields(ContaminationBatch)})
        shape = (exposure.image.shape[-2], exposure.image.shape[-1])
        grid, image, sigma = PixelGrid(shape, 1.0), exposure.image, exposure.sigma
        floor = sigma.amin((1, 2, 3), keepdim=True)
        hidden, found = torch.zeros_like(image), torch.zeros_like(image)
        if len(row := own["beside"]):
            light, cover = neighbour_light(batch.rows(row), grid, exposure.true_psf[row])
            blur = PSF(exposure.true_psf[row], shape, subsample=1, trusted=True)
            light, cover = blur(light), blur(cover)
            noise = (_photon_noise(own["level"], exposure)[row] * light.clamp(min=0)).sqrt()
            image = image.index_add(0, row, light + noise * stream.normal(*light.shape))
            sigma = sigma.index_copy(0, row, torch.hypot(sigma[row], noise))
            hidden = hidden.index_copy(0, row, cover)
        if len(row := own["lit"]):
            some, light = batch.rows(row), exposure.light[row]
            waves = smooth_fields(torch.full_like(some.noise, WAVE_LENGTH), shape, stream)
            left = light_errors(some, light, own["sersic"][row], waves, grid)
            image = image.index_add(0, row, left * light)
            rest = some.light[:, :1, None, None] * light
            sigma = sigma.index_copy(0, row, torch.hypot(sigma[row], rest))
        if len(row := own["crossed"]):
            charge, seen = cosmic_rays(batch.rows(row), grid)
            image = image.index_add(0, row, charge * floor[row])
            found = found.index_copy(0, row, seen)
        used, held = usable(
            batch, grid, hidden=hidden, sigma=sigma, rays=found, center=exposure.center
        )
        psf = exposure.psf
        if len(row := own["misled"]):
            psf = psf.index_copy(0, row, given_psfs(batch.rows(row), psf[row]))
        return replace(
            exposure,
            image=image * held,
            sigma=sigma * batch.noise[:, None, None, None],
            mask=exposure.mask * used,
            psf=psf,
        )


def _photon_noise(levels: Tensor, exposure: Exposure) -> Tensor:
    """Returns the variance that light of a brightness of 1 adds, with shape (B, 1, 1, 1)."""
    snr, share, alone = levels[..., None, None, None].unbind(1)
    photons = (exposure.clean + exposure.light).clamp(min=0)
    brightest = exposure.clean.flatten(1).argmax(1)[:, None]
    top = photons.flatten(1).gather(1, brightest)[..., None, None]
    return share / (snr.square() * torch.where(alone > 0, torch.ones_like(top), top))
