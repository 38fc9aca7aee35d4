r"""The lenses: isothermal ellipsoids with shear, whose seven numbers are known, or read off.

.. math:: y = M \, B A L s + \sigma n ;

lengths are in pixels of the image, brightness in units of the arcs' brightest pixel.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...evaluation.problems.problem import generator, uniform
from ...grid import PixelGrid
from ...inference.batch_problem import image_of
from ...inference.inversion import ImageData
from ..lensed.lenses import Draws, Galaxies, lens_view, systems
from ..lensed.scene import Scene
from ..misfit import mean


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
    galaxies: Galaxies = field(default_factory=dict)

    def draw(self, batch: int, seed: int, purpose: int, index: int, which: str = "train") -> Draws:
        """Draws lenses, with their images, masks, and what is true of them.

        Arguments:
            batch: Number of lenses.
            seed, purpose, index: What decides on them.
            which: The set that real galaxies are from.

        Returns:
            ``image``, ``sigma``, ``mask``, ``arc``, ``clean`` (B, 1, H, W), ``psf`` (B, P, P),
            ``fwhm`` (B), ``lens`` (B, 7), ``fine`` (B, 1, N, N), the true source, and ``origin``
            (B, 2), where it stands.
        """
        found = systems(
            batch,
            index,
            shape=self.shape,
            pixel_scale=self.pixel_scale,
            theta_E=self.theta_E,
            galaxies=self.galaxies,
            which=which,
            seed=int(generator(seed, purpose).initial_seed() % 2**31),
        )
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
class Camera:
    """Holds what images say, see :class:`~lensrim.reproduction.lensed.scene.Data`.

    Arguments:
        draws: The images.
    """

    draws: Draws

    @property
    def precision(self) -> Tensor:
        return self.draws["mask"] / self.draws["sigma"].square()

    @property
    def information(self) -> Tensor:
        return self.precision

    @property
    def moment(self) -> Tensor:
        return self.draws["image"] * self.precision

    @property
    def noise(self) -> Tensor:
        return self.draws["sigma"].flatten(1).median(1).values

    @property
    def scale(self) -> Tensor:
        return self.noise.square()[:, None, None, None]

    @property
    def width(self) -> Tensor:
        return self.draws["fwhm"]

    @property
    def lit(self) -> Tensor:
        return self.draws["mask"] * (self.draws["clean"] > self.draws["sigma"])

    def normal(self, image: Tensor) -> Tensor:
        return image * self.precision

    def misfits(self, image: Tensor) -> dict[str, Tensor]:
        """Computes ``chi2`` of the used pixels, and ``chi2 arc`` of the lit ones, per pixel."""
        square = ((self.draws["image"] - image) / self.draws["sigma"]).square()
        return {"chi2": mean(square, self.draws["mask"]), "chi2 arc": mean(square, self.lit)}

    def whitened(self, subsample: int) -> ImageData:
        return image_of(self.draws, subsample=subsample)

    def columns(self, whitened: ImageData, images: Tensor) -> Tensor:
        return whitened.weighted(images.flatten(2))


def scene_of(draws: Draws, lens: Tensor) -> Scene:
    """Looks at images through lenses (B, 7), the true ones or others."""
    return Scene(draws, Camera(draws), lens_view(lens, draws["arc"], draws["psf"]))


def shown(draws: Draws) -> Tensor:
    """Returns the maps that a network reads lenses from: image, noise, mask, (B, 3, H, W)."""
    noise = -draws["sigma"].log10() - 1.5
    return torch.cat([draws["image"].clamp(-1, 2), noise, draws["mask"]], 1)
