r"""Lenses, isothermal ellipsoids with shear, and how they show a source.

The rays of a lens, :math:`\beta = \theta - \alpha(\theta)`, are exact at each of 2 x 2 points of a
pixel. The source is a map of as many pixels a side as the image, about the mean of the traced
arcs, with a side of ``REACH`` Einstein radii. Lengths are in pixels of the image.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ...datasets.galaxies.opening import Opened, open_galaxies
from ...datasets.pairs.pairs import Pairs
from ...datasets.pairs.systems import FINE
from ...datasets.presets import PRESETS
from ...datasets.splits import split
from ...grid import PixelGrid
from ...lensing.likelihood import pixels_of
from ...lensing.mass import SIE, Shear, Sum
from ...lensing.simulator import Simulator
from ...lensing.source import PixelatedSource

Draws = dict[str, Tensor]

Galaxies = Mapping[str, tuple[Opened, tuple[str, ...]]]
"""Real galaxies and which of them belong to a set, by its name."""

REACH = 1.8
"""Side of the source's map in Einstein radii."""

NAMES = ("log_theta_E", "e1", "e2", "center_x", "center_y", "gamma1", "gamma2")


def galaxies_of(data: Path | None) -> Galaxies:
    """Opens the user's galaxies and splits them by galaxy; none without a folder.

    Raises:
        InputError: If the folder holds none.
    """
    if data is None:
        return {}
    galaxies = open_galaxies(data)
    return {name: (galaxies, names) for name, names in split(galaxies.names).items()}


def systems(
    batch: int,
    index: int,
    *,
    shape: int,
    pixel_scale: float,
    theta_E: tuple[float, float],
    galaxies: Galaxies,
    which: str,
    seed: int,
) -> Draws:
    """Draws lenses and sources, as camera images, see :mod:`lensrim.datasets.pairs.pairs`.

    Arguments:
        batch: Number of lenses.
        index: Number of the batch.
        shape: Pixels of a side of the image.
        pixel_scale: Side of a pixel [arcsec].
        theta_E: Range of the Einstein radius [arcsec] (log-uniform).
        galaxies: Real galaxies, in place of clumpy ones.
        which: The set that real galaxies are from.
        seed: Seed of the sequence.
    """
    population = PRESETS["morningstar2019"]
    system = replace(
        population.system, pixel_scale=(pixel_scale, pixel_scale), theta_E_arcsec=theta_E
    )
    opened, names = galaxies.get(which, (None, None))
    pairs = Pairs(
        batch,
        galaxies=opened,
        names=names,
        shape=(shape, shape),
        prior=replace(replace(population, system=system).pair_prior, synthetic=0.0),
        seed=seed,
    )
    return pairs(index)


@dataclass(frozen=True)
class LensView:
    """Holds what a lens makes of sources: rays in units of the source's map.

    Arguments:
        simulator: Applies rays, pixels and PSF.
        rays: Where they land, with shape (B, 2, kH, kW); the map's edges are at one half.
        center: Centre of the map [pixel], with shape (B, 2).
        side: Its side [pixel], with shape (B).
    """

    simulator: Simulator
    rays: Tensor
    center: Tensor
    side: Tensor

    def __call__(self, source: Tensor) -> Tensor:
        """Computes the image of a source."""
        return self.simulator.trace(source, self.rays)

    def adjoint(self, image: Tensor) -> Tensor:
        """Applies the transpose."""
        return self.simulator.trace_adjoint(image, self.rays)

    def spread(self, image: Tensor) -> Tensor:
        """Adds pixels up where a source is seen by them, the PSF left out."""
        return self.simulator.spread(image, self.rays)

    def truth(self, draws: Draws) -> Tensor:
        """Puts the true sources on the maps, with shape (B, 1, n, n)."""
        n, fine = self.simulator.source_grid.shape[0], draws["fine"]
        reader = PixelatedSource(PixelGrid((fine.shape[-1], fine.shape[-1]), FINE))
        x, y = PixelGrid((n, n), 1 / n).coordinates(2, device=fine.device)
        places = torch.stack([x, y]) * self.side[:, None, None, None]
        places = places + self.center[..., None, None]
        return F.avg_pool2d(reader(fine, places, center=draws["origin"]), 2)


def lens_view(lens: Tensor, arc: Tensor, psf: Tensor | None = None) -> LensView:
    """Traces the rays of lenses.

    Arguments:
        lens: Their numbers, in the order of :data:`NAMES`, with shape (B, 7).
        arc: Weights of the arcs that centre the source's map, with shape (B, 1, n, n).
        psf: PSF, with shape (B, P, P); none if ``None``.
    """
    n = arc.shape[-1]
    simulator = Simulator(
        PixelGrid((n, n), 1.0), PixelGrid((n, n), 1 / n), psf, device=lens.device
    )
    rays = simulator.rays(mass_of(lens))
    center = (pixels_of(rays, simulator.subsample) * arc).sum((-2, -1))
    side = REACH * lens[:, 0].exp()
    return LensView(
        simulator, (rays - center[..., None, None]) / side[:, None, None, None], center, side
    )


def mass_of(lens: Tensor) -> Sum:
    """Returns the mass models of numbers (B, 7)."""
    log_theta, e1, e2, cx, cy, g1, g2 = lens.unbind(-1)
    return Sum((SIE(log_theta.exp(), e1, e2, cx, cy), Shear(g1, g2)))
