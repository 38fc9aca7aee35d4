"""Projections of simulated haloes, as lenses in units of their Einstein radius."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from ...errors import InputError
from ...lensing.cosmology import LensScales, lens_scales
from ..hydro.maps import HaloFolder, kappa_map
from ..hydro.particles import Array, Particles, random_rotation
from ..hydro.smoothing import with_reach
from .scaled import HaloView

PROJECTIONS = 3
"""Random directions from which a halo is seen, unless it is said."""
FEWEST = 30
"""Particles that make a circle's mass worth knowing."""


def halo_views(
    particles: Particles,
    *,
    name: str,
    projections: int = PROJECTIONS,
    z_source: float = 2.0,
    z_lens: float | None = None,
    cosmology: Any = "Planck18",
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Iterator[HaloView | str]:
    """Looks at a halo from random directions, as ``project_haloes`` does.

    Arguments:
        particles: The halo, with the distances of neighbours.
        name: Its name in its collection, on which the directions depend; that of the halo itself
            may be shared with others.
        projections, z_source, z_lens, cosmology, seed, device: See
            :func:`~lensrim.datasets.hydro.maps.project_haloes`.

    Returns:
        The projections; in place of one without an Einstein radius, the reason.

    Raises:
        InputError: If the redshifts are impossible.
    """
    z_lens = particles.redshift if z_lens is None else z_lens
    scales = lens_scales(z_lens, z_source, cosmology=cosmology)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])

    def generate() -> Iterator[HaloView | str]:
        for number in range(projections):
            rotation, _ = random_rotation(rng), rng.uniform()
            radius = np.hypot(*(particles.position @ row for row in rotation[:2]))
            theta_E = _theta_E_of(radius, particles.mass, scales)
            if theta_E is None:
                yield f"{name}#{number}: the mean convergence of no circle is 1"
                continue
            view = partial(
                kappa_map,
                particles,
                z_source=z_source,
                z_lens=z_lens,
                cosmology=cosmology,
                rotation=rotation,
                device=device,
                enabled=False,
            )
            yield HaloView(
                name=f"{name}#{number}",
                halo=particles.halo,
                theta_E=theta_E,
                kappa=lambda grid, view=view: view(grid).kappa,
                z_lens=z_lens,
                z_source=z_source,
                provenance=f"{particles.provenance}; {scales.cosmology}",
            )

    return generate()


@dataclass(frozen=True)
class SimulatedHaloes:
    """Creates the projections of a collection of haloes, as the source of a bank.

    Arguments:
        haloes: The collection.
        projections: Random directions of each.
        z_source, z_lens, cosmology, seed: See :func:`~lensrim.datasets.hydro.maps.project_haloes`.

    Raises:
        InputError: If there are no projections, or the seed is below 0.
    """

    haloes: HaloFolder
    projections: int = PROJECTIONS
    z_source: float = 2.0
    z_lens: float | None = None
    cosmology: str = "Planck18"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in {"projections": 1, "seed": 0}.items():
            if (found := getattr(self, name)) < least:
                raise InputError(f"{name}: must be {least} or more, found {found}; change it")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the haloes."""
        return self.haloes.names

    @property
    def halos(self) -> dict[str, str]:
        """The halo that each name shows, as the folder has it."""
        return self.haloes.halos

    def views(self, name: str) -> Iterator[HaloView | str]:
        """Reads a halo, and looks at it.

        Raises:
            InputError: If its files cannot be read, or the redshifts are impossible.
        """
        particles = self.haloes.load(name)
        if particles.reach is None:
            particles = with_reach(particles, enabled=False)
        yield from halo_views(
            particles,
            name=name,
            projections=self.projections,
            z_source=self.z_source,
            z_lens=self.z_lens,
            cosmology=self.cosmology,
            seed=self.seed,
        )

    def state(self, name: str) -> list[int]:
        """Returns the sizes of a halo's files, and when they were changed."""
        stats = [path.stat() for path in self.haloes.files(name)]
        return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]

    def recipe(self) -> dict[str, Any]:
        """Returns the settings, as JSON holds them."""
        names = ("projections", "z_source", "z_lens", "cosmology", "seed")
        return {"source": "particles", **{name: getattr(self, name) for name in names}}


def _theta_E_of(radius: Array, mass: Array, scales: LensScales) -> float | None:
    """Radius of the circle about the centre within which the mean convergence is 1 [arcsec].

    The particles are not smoothed: those that are fewer than ``FEWEST`` within a circle count for
    nothing.
    """
    order = np.argsort(radius)
    radius = radius[order][FEWEST:]
    within = np.cumsum(mass[order])[FEWEST:]
    above = np.flatnonzero(within >= np.pi * radius**2 * scales.sigma_critical_kpc)
    if not above.size:
        return None
    return float(radius[above[-1]]) / scales.kpc_per_arcsec_lens
