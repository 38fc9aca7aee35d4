"""What bends the rays, and the source plane that is seen through it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..grid import PixelGrid
from ..lensing.beyond import shear_of_map
from ..lensing.mass import pixel_average
from ..lensing.simulator import Simulator
from ..lensing.source import PixelatedSource
from .ascent import MacroProblem, ray_coordinates
from .inversion import ImageData
from .macro import MacroPrior, MacroState, mass_model
from .scene import Scene
from .source_modes import TUNED, SourceModes

RAYS = 2
"""Rays along each side of a pixel, each convolved for itself: more of them change no answer."""


@dataclass(frozen=True)
class MassMaps:
    """Holds what bends the rays.

    Arguments:
        kappa: Convergence, averages over pixels, with shape (H, W).
        alpha: Whole deflection at the pixels' centres [arcsec], with shape (2, H, W).
    """

    kappa: Tensor
    alpha: Tensor


def macro_maps(p: Tensor, grid: PixelGrid) -> MassMaps:
    """Puts a macro-model of parameters (8) on pixels."""
    mass = mass_model(p)
    with torch.no_grad():
        alpha = torch.stack(mass.deflection(*grid.coordinates(dtype=torch.float64)))
        return MassMaps(pixel_average(mass, grid), alpha)


@dataclass(frozen=True)
class Known:
    """Holds a source that is already known: a machine's.

    Arguments:
        source: Its map, with shape (n, n).
        fov: Side of the map [arcsec].
        center: Middle of the map [arcsec].
    """

    source: Tensor
    fov: float
    center: tuple[float, float]


def are_finite(mass: MassMaps, known: Known) -> bool:
    """Whether an answer of a machine is one: a machine that diverged gives NaN."""
    maps = (mass.kappa, mass.alpha, known.source, torch.tensor([known.fov, *known.center]))
    return all(bool(each.isfinite().all()) for each in maps)


@dataclass(frozen=True)
class FixedRays(MacroProblem):
    """Creates a macro-model's problem whose deflection is given: only the source prior is tuned.

    Arguments:
        rays: Source positions [arcsec], with shape (1, k², H·W, 2).
        middle: Centre of the source's disc [arcsec], with shape (1, 2).
    """

    rays: Tensor | None = None
    middle: Tensor | None = None

    def trace(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the rays and the centre, whatever the parameters."""
        assert self.rays is not None and self.middle is not None
        return self.rays.expand(len(p), -1, -1, -1), self.middle.expand(len(p), -1)


@dataclass(frozen=True)
class View:
    """Holds a source plane, and how it is seen.

    Arguments:
        grid: The source's pixels, about zero.
        center: Where zero is [arcsec].
        simulator: The forward model.
        rays: Traced rays [arcsec], with shape (1, 2, kH, kW).
        gamma: Shear that belongs to the map, with shape (2).
        alpha: Whole deflection as the forward model has it [arcsec], with shape (2, H, W).
        arc: Weights of the arcs with sum 1, with shape (H, W).
    """

    grid: PixelGrid
    center: tuple[float, float]
    simulator: Simulator
    rays: Tensor
    gamma: Tensor
    alpha: Tensor
    arc: Tensor

    @classmethod
    def of(
        cls,
        scene: Scene,
        deflector: MassMaps,
        fov: float,
        center: tuple[float, float] | None = None,
        *,
        pixels: int | None = None,
    ) -> "View":
        """Sets the source plane up: by default about the mean of the traced arcs, and with as many
        pixels a side as the image has along its longer one."""
        frame, grid = scene.frame, scene.frame.grid
        n = pixels or max(grid.shape)
        source_grid = PixelGrid((n, n), fov / n)
        simulator = Simulator(
            grid,
            source_grid,
            torch.as_tensor(frame.psf, dtype=torch.float64),
            psf_kind=frame.psf_kind,
            psf_on_rays=True,
            subsample=RAYS,
            dtype=torch.float64,
        )
        arc = torch.from_numpy(scene.arc_light / scene.arc_light.sum())
        kappa = deflector.kappa[None, None]
        with torch.no_grad():
            gamma, beyond = shear_of_map(
                deflector.alpha[None], kappa, arc[None, None], simulator.kappa_to_alpha
            )
            rays = simulator.kappa_rays(kappa, gamma, beyond)
        center = center or traced_mean(deflector.alpha, arc, grid)
        return cls(source_grid, center, simulator, rays, gamma[0], deflector.alpha, arc)

    @classmethod
    def on(cls, scene: Scene, deflector: MassMaps, source_grid: PixelGrid) -> "View":
        """Sets up the source plane of a map with given pixels, square and in a square."""
        n = source_grid.shape[0]
        return cls.of(scene, deflector, source_grid.fov[0], source_grid.center, pixels=n)

    def see(self, sources: Tensor) -> Tensor:
        """Computes the images of sources (K, n, n), with shape (K, H, W)."""
        center = torch.tensor([self.center], dtype=torch.float64)
        images = []
        for chunk in sources.split(64):  # bounds the memory: a chunk shares its rays
            rays = self.rays.expand(len(chunk), -1, -1, -1)
            images.append(self.simulator.trace(chunk[:, None], rays, center)[:, 0])
        return torch.cat(images)

    def tuned(self, scene: Scene, image: ImageData, state: MacroState, rounds: int) -> MacroState:
        """Lets the source prior climb the evidence of an image; its disc is fitted to the arcs.

        The image is one of as many rays a pixel; their averages do for it, and are faster.
        """
        grid, k = scene.frame.grid, self.simulator.subsample
        (h, w) = grid.shape
        x, y = ray_coordinates(grid, k)
        rays = self.rays[0].reshape(2, h, k, w, k).permute(2, 4, 1, 3, 0).reshape(k * k, h * w, 2)
        fixed = FixedRays(
            image=image,
            x=x,
            y=y,
            arc=self.arc.ravel(),
            modes=SourceModes(TUNED),
            prior=MacroPrior((0.0, 0.0), 1.0, (1e-6, 1e6)),
            size=(2 * scene.frame.fwhm, 0.8 * min(grid.fov)),
            spacing=grid.spacing,
            rays=rays[None],
            middle=torch.tensor([self.center], dtype=torch.float64),
        )
        return fixed.tune(state, rounds=rounds)


def traced_mean(alpha: Tensor, arc: Tensor, grid: PixelGrid) -> tuple[float, float]:
    """Computes the mean of the arcs' light (H, W) in the source plane [arcsec]."""
    traced = torch.stack(grid.coordinates(dtype=torch.float64)) - alpha
    x, y = (traced * arc).sum((-2, -1)).tolist()
    return x, y


def resample(known: Known, grid: PixelGrid) -> Tensor:
    """Puts a known source on other pixels about the same place, with shape (n, n)."""
    n = known.source.shape[-1]
    own = PixelGrid((n, n), known.fov / n)
    if own.shape == grid.shape and abs(own.spacing / grid.spacing - 1) < 1e-9:
        return known.source
    x, y = grid.coordinates(dtype=known.source.dtype)
    return PixelatedSource(own)(known.source[None, None], torch.stack([x, y])[None])[0, 0]
