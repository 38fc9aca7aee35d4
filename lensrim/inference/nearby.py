r"""Lenses like one that was reconstructed: drawn around the answer by learnt generators.

The source and :math:`\log_{10} \kappa` of an answer are encoded, each in the frame of its
generator; latent vectors are drawn around theirs, and *what decoding them changes* is added to the
answer:

.. math:: x_n = x + D(\mu(x) + \sigma \epsilon_n) - D(\mu(x)) \, ,

so that what a generator cannot express stays, and the samples go to the answer itself as
:math:`\sigma \to 0`. (Adam et al. take :math:`D(\mu(x) + \sigma \epsilon)` alone.) Each is then
observed as the image was, with its PSF, noise and mask, by the machine's own forward model, and
becomes a batch of one training pair, with its truth and a start as the training makes them.

Beyond the frame of the masses the change is that at its edge, along the radius; where the image is
smaller than that frame, :math:`\kappa` goes on as :math:`1 / r`. All lengths are in pixels of the
image. All is computed on the CPU.

The package has a generator of sources, but none of masses: what we trained on 2000 of our smooth
analytic maps (24 latent numbers, 7 minutes of one core) was left with 0.056 of their scatter, as
many principal components with 0.053. ``lensrim generator`` trains one from ``[masses]``.

References:
    Adam, Perreault-Levasseur, Hezaveh & Welling 2023, ApJ 951, 6.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..datasets.arcs import arc_weights
from ..datasets.galaxies.generative import VAE
from ..datasets.pairs.systems import FINE
from ..errors import InputError
from ..grid import PixelGrid
from ..lensing.convergence import KappaToAlpha
from ..lensing.einstein import effective_theta_E
from ..lensing.likelihood import State, rays_of, simulate
from ..lensing.mass import Shear
from ..lensing.source import PixelatedSource
from .learnt import prepare, setting_of, simulator_of, with_start
from .start import Start, source_grid

RADIUS = 0.1
"""Half-light radius of a source in the frame of its generator [side of the frame]."""

FAINT = 0.02
"""Brightness relative to the peak below which a source is not measured: it may be noise."""


@dataclass(frozen=True)
class Neighbourhood:
    """Creates the sampler.

    Arguments:
        sources: Generator of sources.
        masses: Generator of maps of log10 kappa.
        reach: Half of the side of its frame [Einstein radius].
        source_spread, mass_spread: Standard deviations in the latent vectors, whose own is about
            1. The code of Adam et al. has 0.5 for both.

    Raises:
        InputError: If a spread is negative, or the reach not above 1.
    """

    sources: VAE
    masses: VAE
    reach: float = 3.0
    source_spread: float = 0.5
    mass_spread: float = 0.5

    def __post_init__(self) -> None:
        for name in ("source_spread", "mass_spread"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name}: must be 0 or more, found {getattr(self, name)}")
        if not self.reach > 1:
            raise InputError(f"reach: must be above 1 Einstein radius, found {self.reach}")

    def pairs(
        self,
        batch: Mapping[str, Tensor],
        start: Start,
        state: State,
        n: int,
        *,
        seed: int = 0,
    ) -> Iterator[dict[str, Tensor]]:
        """Draws training pairs around an answer, one by one.

        Arguments:
            batch: The observation, a batch of one: ``image``, ``sigma``, ``mask``, ``psf``,
                ``fwhm``, ``lit``, ``arc`` and ``amplitude`` of
                :mod:`lensrim.datasets.pairs.pairs`.
            start: The start from which the machine went.
            state: Its answer: ``source``, ``log_kappa`` and ``shear``.
            n: Number of pairs.
            seed: Seed of all that is drawn.

        Yields:
            Prepared batches of one, with their truth, as the loss of the training takes them.
        """
        generator = torch.Generator().manual_seed(seed)
        state = {name: value.detach().cpu().float() for name, value in state.items()}
        prepared = prepare(batch, start)
        for number in range(n):
            like = self.states(state, start, 1, generator)
            yield with_start(_observed(batch, prepared, start, state, like, generator), number)

    def states(
        self, state: State, start: Start, n: int, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """Draws states around that of one lens.

        Arguments:
            state: ``source`` (1, 1, n, n), ``log_kappa`` (1, 1, H, W) and ``shear`` (1, 2).
            start: The start from which it was reached.
            n: Number of states.
            generator: Source of random numbers, on the CPU.
        """
        return {
            "source": self._sources(state["source"], n, generator),
            "log_kappa": self._masses(state["log_kappa"], start.p, n, generator),
            "shear": state["shear"].expand(n, -1),
        }

    def _sources(self, source: Tensor, n: int, generator: torch.Generator) -> Tensor:
        center, side = light_frame(source)
        frame = _points(self.sources.config.side) * side + center
        seen = F.grid_sample(source.clamp(min=0), frame[None], align_corners=False)
        peak = seen.amax().clamp(min=1e-9)
        change = _change(self.sources, seen / peak, self.source_spread, n, generator) * peak
        back = (_points(source.shape[-1]) - center) / side
        back = back[None].expand(n, -1, -1, -1)
        return (source + F.grid_sample(change, back, align_corners=False)).clamp(min=0)

    def _masses(self, maps: Tensor, p: Tensor, n: int, generator: torch.Generator) -> Tensor:
        h, w = maps.shape[-2:]
        center, half = p[0, 3:5].float(), maps.new_tensor([w, h]) / 2
        theta_E = _theta_E(maps) or float(p[0, 0].exp())
        frame = _points(self.masses.config.side) * (self.reach * theta_E)
        seen, beyond = _along_radius(maps, frame, center, half)
        seen = seen - beyond.log10()
        change = _change(self.masses, seen, self.mass_spread, n, generator)
        x, y = PixelGrid((h, w), 1.0).coordinates()
        points = torch.stack(torch.broadcast_tensors(x, y), -1) - center
        size = maps.new_tensor([self.reach * theta_E] * 2)
        changed, _ = _along_radius(change, points, torch.zeros(2), size)
        return maps + changed


def _change(vae: VAE, images: Tensor, spread: float, n: int, generator: torch.Generator) -> Tensor:
    """Draws what moves in the latent space change in an image: (n, 1, S, S)."""
    same = torch.Generator()  # at spread 0 nothing is random
    before = vae.near(images, 1, 0.0, same)[0]
    return vae.near(images, n, spread, generator)[0] - before


def _points(side: int) -> Tensor:
    """Centres of the pixels of a square from -1 to 1, x and y: (S, S, 2)."""
    axis = (2 * torch.arange(side) + 1) / side - 1
    return torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)


def _along_radius(
    maps: Tensor, points: Tensor, center: Tensor, half: Tensor
) -> tuple[Tensor, Tensor]:
    """Reads maps at points; beyond their edge, at the edge on the way to the centre.

    Arguments:
        maps: Maps (B, 1, H, W).
        points: Points from the centre, x and y (h, w, 2).
        center: The centre from the middle of the maps.
        half: Half of the sides of the maps, x and y.

    Returns:
        The values (B, 1, h, w), and how many times further out than read the points are (h, w).
    """
    size = maps.new_tensor([maps.shape[-1], maps.shape[-2]])
    # to the centres of the outermost pixels, as seen from the centre in each direction
    room = half * (1 - 1 / size) - torch.sign(points) * center
    beyond = (points.abs() / room).amax(-1).clamp(min=1)
    places = (points / beyond[..., None] + center) / half
    grid = places[None].expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, mode="bicubic", align_corners=False), beyond


def light_frame(source: Tensor) -> tuple[Tensor, float]:
    """Finds the frame of a generator of sources on a source map (1, 1, n, n).

    Returns:
        Its centre, x and y, and half of its side, in halves of the map's side.
    """
    n = source.shape[-1]
    light = (source[0, 0] - FAINT * source.amax()).clamp(min=0)
    points = _points(n)
    total = light.sum().clamp(min=1e-12)
    center = (light[..., None] * points).sum((0, 1)) / total
    radius, order = (points - center).norm(dim=-1).flatten().sort()
    held = light.flatten()[order].cumsum(0) / total
    half = radius[min(int((held < 0.5).sum()), n * n - 1)]
    # a frame's side is twice its half side; at least a few pixels, that it can be read
    return center, max(float(half) / (2 * RADIUS), 8 / n)


def _theta_E(log_kappa: Tensor) -> float | None:
    kappa = (10 ** log_kappa[0, 0].double()).numpy()
    radius = effective_theta_E(kappa, PixelGrid(kappa.shape, 1.0), subsample=4)
    return radius if radius > 0 else None


def _observed(
    batch: Mapping[str, Tensor],
    prepared: Mapping[str, Tensor],
    start: Start,
    state: State,
    like: State,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """Observes a state as the image was, in the form of the training's raw batches."""
    simulator, setting = simulator_of(prepared), setting_of(prepared)
    unit = batch["amplitude"].float()[:, None, None, None]
    shape = (batch["image"].shape[-2], batch["image"].shape[-1])
    grid = PixelGrid(shape, 1.0)
    with torch.no_grad():
        clean = simulate(simulator, like, setting) * unit
        _, center = rays_of(simulator, like, setting)
    assert center is not None
    origin = center * start.fov[:, None]
    white = torch.randn(clean.shape, generator=generator)
    image = clean + batch["sigma"] * white
    kappa = 10 ** like["log_kappa"]
    tide = torch.stack(Shear(*like["shear"].unbind(1)).deflection(*grid.coordinates()), 1)
    alpha = KappaToAlpha(grid).maps(kappa) + tide + start.beyond
    macro = start.p.clone()
    before, now = _theta_E(state["log_kappa"]), _theta_E(like["log_kappa"])
    if before and now:
        macro[:, 0] += torch.tensor(now / before, dtype=macro.dtype).log()
    arc, amplitude = arc_weights(
        image,
        batch["sigma"],
        batch["mask"],
        batch["psf"],
        center=macro[:, 3:5].float(),
        hole=1.5 * batch["fwhm"] * batch["lit"],
    )
    return {
        **{name: batch[name] for name in ("sigma", "mask", "psf", "fwhm", "lit")},
        "image": image,
        "arc": arc,
        "amplitude": amplitude,
        "clean": clean,
        "macro": macro,
        "kappa": kappa,
        "alpha": alpha,
        "source": _fine(like["source"] * unit, start.fov, shape),
        "origin": origin,
    }


def _fine(source: Tensor, fov: Tensor, shape: tuple[int, int]) -> Tensor:
    """Puts a source map of side ``fov`` on the pixels of training sources."""
    n = round(0.55 * max(shape) / FINE)
    places = torch.stack(PixelGrid((n, n), FINE).coordinates())[None] / fov[:, None, None, None]
    return PixelatedSource(source_grid((source.shape[-1], source.shape[-1])))(source, places)
