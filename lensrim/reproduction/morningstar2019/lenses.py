r"""The lenses: isothermal ellipsoids with shear, whose seven numbers are known, or read off.

.. math:: y = M \, B A L s + \sigma n ,

with the rays of the lens, :math:`\beta = \theta - \alpha(\theta)`, exact at each of 2 x 2 points
of a pixel. The source is a map of as many pixels a side as the image, about the mean of the traced
arcs, with a side of ``REACH`` Einstein radii. Lengths are in pixels of the image, brightness in
units of the arcs' brightest pixel.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional as F

from ...datasets.galaxies.opening import Opened
from ...datasets.pairs.pairs import Pairs
from ...datasets.pairs.systems import FINE
from ...datasets.presets import PRESETS
from ...evaluation.problems.problem import generator, uniform
from ...grid import PixelGrid
from ...lensing.likelihood import pixels_of
from ...lensing.mass import SIE, Shear, Sum
from ...lensing.simulator import Simulator
from ...lensing.source import PixelatedSource

Draws = dict[str, Tensor]

REACH = 1.8
"""Side of the source's map in Einstein radii."""

NAMES = ("log_theta_E", "e1", "e2", "center_x", "center_y", "gamma1", "gamma2")


@dataclass(frozen=True)
class Lenses:
    """Creates the population.

    Arguments:
        shape: Pixels of a side of the image.
        pixel_scale: Side of a pixel [arcsec].
        theta_E: Range of the Einstein radius [arcsec] (log-uniform).
        masked: Share of the images in which a disc is hidden.
        disc: Range of its radius [pixel] (uniform).
        bad: Share of the pixels that are hidden besides, one by one.
        galaxies: Real galaxies, in place of clumpy ones.
    """

    shape: int = 48
    pixel_scale: float = 0.12
    theta_E: tuple[float, float] = (0.5, 1.5)
    masked: float = 0.5
    disc: tuple[float, float] = (2.0, 6.0)
    bad: float = 0.01
    galaxies: Mapping[str, tuple[Opened, tuple[str, ...]]] = field(default_factory=dict)

    def draw(self, batch: int, seed: int, purpose: int, index: int, which: str = "train") -> Draws:
        """Draws lenses, with their images, masks, and what is true of them.

        Arguments:
            batch: Number of lenses.
            seed, purpose, index: What decides on them.
            which: The set that real galaxies are from.

        Returns:
            ``image``, ``sigma``, ``mask``, ``arc``, ``clean`` (B, 1, H, W), ``psf`` (B, P, P),
            ``fwhm``, ``unit`` (B), ``lens`` (B, 7) in the order of :data:`NAMES`, ``fine``
            (B, 1, N, N), the true source, and ``origin`` (B, 2), where it stands.
        """
        population = PRESETS["morningstar2019"]
        system = replace(
            population.system,
            pixel_scale=(self.pixel_scale, self.pixel_scale),
            theta_E_arcsec=self.theta_E,
        )
        galaxies, names = self.galaxies.get(which, (None, None))
        pairs = Pairs(
            batch,
            galaxies=galaxies,
            names=names,
            shape=(self.shape, self.shape),
            prior=replace(replace(population, system=system).pair_prior, synthetic=0.0),
            seed=int(generator(seed, purpose).initial_seed() % 2**31),
        )
        found = pairs(index)
        rng = generator(seed, purpose, index)
        mask = found["mask"] * self.mask(batch, rng)
        unit = found["amplitude"][:, None, None, None]
        arc = found["arc"] * mask
        return {
            "image": found["image"] / unit * mask,
            "sigma": found["sigma"] / unit,
            "mask": mask,
            "arc": arc / arc.sum((1, 2, 3), keepdim=True),
            "clean": found["clean"] / unit,
            "psf": found["psf"],
            "fwhm": found["fwhm"],
            "lens": found["macro"][:, :7].float(),
            "fine": found["source"] / unit,
            "origin": found["origin"],
        }

    def mask(self, batch: int, rng: torch.Generator) -> Tensor:
        """Draws which pixels are used, with shape (B, 1, H, W)."""
        n = self.shape
        x, y = PixelGrid((n, n), 1.0).coordinates()
        place = (torch.rand(batch, 2, generator=rng) - 0.5) * n
        radius = uniform(batch, *self.disc, rng)
        there = torch.rand(batch, generator=rng) < self.masked
        away = torch.hypot(x - place[:, 0, None, None], y - place[:, 1, None, None])
        hidden = (away < radius[:, None, None]) & there[:, None, None]
        bad = torch.rand(batch, n, n, generator=rng) < self.bad
        return (~(hidden | bad)).float()[:, None]


@dataclass(frozen=True)
class View:
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


def view_of(draws: Draws, lens: Tensor) -> View:
    """Traces the rays of lenses (B, 7), the true ones or others."""
    n, device = draws["image"].shape[-1], lens.device
    simulator = Simulator(
        PixelGrid((n, n), 1.0), PixelGrid((n, n), 1 / n), draws["psf"], device=device
    )
    rays = simulator.rays(mass_of(lens))
    center = (pixels_of(rays, simulator.subsample) * draws["arc"]).sum((-2, -1))
    side = REACH * lens[:, 0].exp()
    return View(
        simulator, (rays - center[..., None, None]) / side[:, None, None, None], center, side
    )


def mass_of(lens: Tensor) -> Sum:
    """Returns the mass models of numbers (B, 7)."""
    log_theta, e1, e2, cx, cy, g1, g2 = lens.unbind(-1)
    return Sum((SIE(log_theta.exp(), e1, e2, cx, cy), Shear(g1, g2)))


def source_on(draws: Draws, view: View) -> Tensor:
    """Puts the true sources on the maps of a view, with shape (B, 1, n, n)."""
    n, fine = draws["image"].shape[-1], draws["fine"]
    reader = PixelatedSource(PixelGrid((fine.shape[-1], fine.shape[-1]), FINE))
    x, y = PixelGrid((n, n), 1 / n).coordinates(2, device=fine.device)
    places = torch.stack([x, y]) * view.side[:, None, None, None] + view.center[..., None, None]
    return F.avg_pool2d(reader(fine, places, center=draws["origin"]), 2)


def described(draws: Draws, view: View) -> Tensor:
    """Describes observations by numbers of order 1, with shape (B, 3): noise, PSF and lens."""
    noise = draws["sigma"].flatten(1).median(1).values
    numbers = [-noise.log10() - 1.5, draws["fwhm"] / 2 - 1, (view.side / 14).log()]
    return torch.stack(numbers, 1)


def errors(draws: Draws, view: View, source: Tensor) -> dict[str, Tensor]:
    r"""Measures sources on the maps of a view.

    Returns:
        By name, with shape (B): ``relative L2`` and ``RMSE`` (of the peak) of the source; ``chi2``
        of the used pixels, and ``chi2 arc`` of those of them where the arcs exceed the noise, per
        pixel; and ``D``, the misfit there without the noise.
    """
    truth, model = source_on(draws, view), view(source)
    off = (source - truth).flatten(1)
    square = ((draws["image"] - model) / draws["sigma"]).square() * draws["mask"]
    bare = ((draws["clean"] - model) / draws["sigma"]).square()
    arc = draws["mask"] * (draws["clean"] > draws["sigma"])

    def mean(maps: Tensor, weight: Tensor) -> Tensor:
        return (maps * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)).clamp(min=1)

    return {
        "relative L2": off.norm(dim=1) / truth.flatten(1).norm(dim=1),
        "RMSE": off.square().mean(1).sqrt() / truth.amax((1, 2, 3)),
        "chi2": mean(square, draws["mask"]),
        "chi2 arc": mean(square, arc),
        "D": mean(bare, arc),
    }
