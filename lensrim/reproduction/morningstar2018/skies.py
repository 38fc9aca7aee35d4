r"""The observations: lenses as an interferometer sees them.

.. math:: y_k = \int A \, L s \, e^{-2 \pi i (u_k x + v_k y)} + \eta_k + i \eta_k' ,

with the rays of the lens exact at 2 x 2 points of a pixel and a source that is finer than the
map of it that is sought. Brightness is in units of what the peak of the dirty image suggests, and
noise such that this peak exceeds the noise of the dirty image by the drawn factor. What the
visibilities say of images is kept as a dirty image and a dirty beam
(:mod:`lensrim.lensing.gridded`), which loses nothing.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ...datasets.pairs.systems import FINE
from ...evaluation.problems.problem import generator, log_uniform
from ...grid import PixelGrid
from ...inference.inversion import ImageData
from ...lensing.cosmology import ARCSEC
from ...lensing.gridded import Gridded, beam_covariance
from ...lensing.nufft import Nufft, Transform
from ...lensing.simulator import Simulator
from ...lensing.visibilities import Interferometer, gaussian_beam
from ..lensed.lenses import Draws, Galaxies, lens_view, mass_of, systems
from ..lensed.scene import Scene, Sky
from .coverage import Array

WIDTH = math.sqrt(8 * math.log(2))
"""Width at half the maximum of a Gaussian of standard deviation 1."""

FAINT = 0.3
"""Share of the dirty image's peak below which a pixel does not count as an arc."""

JITTER = 1e-6
"""What is added to the diagonal of the normal matrix, relative, so that it has a root: between
the baselines it is singular."""


@dataclass(frozen=True)
class Skies:
    """Creates the population.

    Arguments:
        shape: Pixels of a side of the image.
        pixel_scale: Side of a pixel [arcsec].
        theta_E: Range of the Einstein radius [arcsec] (log-uniform).
        snr: Range of the peak of the dirty image over its noise (log-uniform).
        array: The array and how it is used.
        transform: How visibilities are computed.
        galaxies: Real galaxies, in place of clumpy ones.
    """

    shape: int = 48
    pixel_scale: float = 0.12
    theta_E: tuple[float, float] = (0.5, 1.5)
    snr: tuple[float, float] = (10.0, 200.0)
    array: Array = field(default_factory=Array)
    transform: Transform = field(default_factory=Nufft)
    galaxies: Galaxies = field(default_factory=dict)

    def draw(self, batch: int, seed: int, purpose: int, index: int, which: str = "train") -> Draws:
        """Draws lenses, with what is observed of them, and what is true.

        Arguments:
            batch: Number of lenses.
            seed, purpose, index: What decides on them.
            which: The set that real galaxies are from.

        Returns:
            ``image``, the dirty image in units of brightness, ``arc``, ``clean`` and ``primary``,
            the primary beam (B, 1, n, n); ``moment``, ``transfer``, ``weight``, ``energy``, see
            :class:`~lensrim.lensing.gridded.Gridded`; ``spread``, the covariance of the dirty
            beam's middle [pixel²] (B, 2, 2); ``count``, real numbers that were observed (B);
            ``lens`` (B, 7), ``fine`` (B, 1, N, N) and ``origin`` (B, 2), the true source.
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
        lens = found["macro"][:, :7].float()
        clean = self.image(lens, found["source"], found["origin"])
        peak = clean.amax((1, 2, 3), keepdim=True)
        rng = generator(seed, purpose, index)
        cycles = self.array.observe(batch, rng)
        seen = self.interferometer(cycles)
        ideal = seen(clean / peak)
        ones = torch.ones(1, cycles.shape[1])
        dirty = seen.adjoint(ideal) / cycles.shape[1]
        snr = log_uniform(batch, *self.snr, rng)
        # The noise of the dirty image is that of a visibility over the root of their number.
        sigma = dirty.amax((1, 2, 3)) / snr * math.sqrt(cycles.shape[1])
        noise = torch.randn(batch, cycles.shape[1], 2, generator=rng) * sigma[:, None, None]
        data = ideal + torch.view_as_complex(noise)
        spread = beam_covariance(cycles, ones.expand(batch, -1))
        unit = (seen.adjoint(data) / cycles.shape[1]).amax((1, 2, 3)) / area(spread)
        weight = (unit / sigma).square()[:, None] * ones
        grid = Gridded.of(seen, weight, data / unit[:, None])
        beam = area(spread)[:, None, None, None]
        image = grid.moment / (grid.weight[:, None, None, None] * beam)
        arc = (image - FAINT * image.amax((1, 2, 3), keepdim=True)).clamp(min=0)
        bright = unit[:, None, None, None] * peak
        return {
            "image": image,
            "arc": arc / arc.sum((1, 2, 3), keepdim=True),
            "clean": clean / bright,
            "primary": grid.beam.expand(batch, 1, -1, -1),
            "moment": grid.moment,
            "transfer": grid.transfer,
            "weight": grid.weight,
            "energy": grid.energy,
            "spread": spread,
            "count": torch.full((batch,), 2.0 * cycles.shape[1]),
            "lens": lens,
            "fine": found["source"] / bright,
            "origin": found["origin"],
        }

    def image(self, lens: Tensor, fine: Tensor, origin: Tensor) -> Tensor:
        """Traces sources through lenses: the sky, averaged over pixels."""
        size = fine.shape[-1]
        grid = PixelGrid((self.shape, self.shape), 1.0)
        simulator = Simulator(grid, PixelGrid((size, size), FINE))
        return simulator.trace(fine, simulator.rays(mass_of(lens)), origin)

    def interferometer(self, cycles: Tensor) -> Interferometer:
        """Makes the operator of baselines (B, N, 2) [cycles per pixel]."""
        grid = PixelGrid((self.shape, self.shape), self.pixel_scale)
        beam = gaussian_beam(grid, self.array.primary)
        uv = cycles.double() / (self.pixel_scale * ARCSEC)
        uv = uv.clamp(-0.5 / (self.pixel_scale * ARCSEC), 0.5 / (self.pixel_scale * ARCSEC))
        return Interferometer(grid, uv, beam=beam, transform=self.transform, dtype=torch.float32)


def area(spread: Tensor) -> Tensor:
    """Computes the area of Gaussians of covariances (B, 2, 2), with a peak of 1, (B)."""
    return 2 * math.pi * spread.det().sqrt()


@dataclass(frozen=True)
class Correlator:
    """Holds what visibilities say, see :class:`~lensrim.reproduction.lensed.scene.Data`.

    Arguments:
        draws: The observations.
    """

    draws: Draws

    @property
    def gridded(self) -> Gridded:
        """The likelihood of images."""
        names = ("moment", "transfer", "primary", "weight", "energy")
        return Gridded(*(self.draws[name] for name in names))

    @property
    def area(self) -> Tensor:
        """Area of the synthesized beam [pixel], with shape (B, 1, 1, 1)."""
        return area(self.draws["spread"])[:, None, None, None]

    @property
    def moment(self) -> Tensor:
        return self.draws["moment"]

    @property
    def precision(self) -> Tensor:
        return self.gridded.precision

    @property
    def information(self) -> Tensor:
        return self.precision * self.area

    @property
    def scale(self) -> Tensor:
        return 1 / (self.draws["weight"][:, None, None, None] * self.area)

    @property
    def noise(self) -> Tensor:
        return self.draws["weight"].rsqrt() / self.area.flatten()

    @property
    def width(self) -> Tensor:
        return WIDTH * self.draws["spread"].det() ** 0.25

    @property
    def lit(self) -> Tensor:
        return (self.draws["clean"] > self.noise[:, None, None, None]).float()

    def normal(self, image: Tensor) -> Tensor:
        return self.gridded.normal(image)

    def misfits(self, image: Tensor) -> dict[str, Tensor]:
        """Computes ``chi2``, for each real number that was observed."""
        return {"chi2": self.gridded.chi2(image) / self.draws["count"]}

    def whitened(self, subsample: int) -> ImageData:
        r"""Makes as many data of white noise as there are pixels, :math:`L^{-1} m`, which know of
        images :math:`L^T F`; :math:`N = L L^T`."""
        matrix = self.gridded.matrix().double()
        diagonal = matrix.diagonal(dim1=-2, dim2=-1)
        diagonal += JITTER * matrix.shape[-1] * diagonal.mean(-1, keepdim=True)
        root = torch.linalg.cholesky(matrix)
        moment = self.moment.double().flatten(1)[..., None]
        data = torch.linalg.solve_triangular(root, moment, upper=False)[..., 0]
        return ImageData(
            data=data,
            weight=torch.ones_like(data),
            shape=(self.moment.shape[-2], self.moment.shape[-1]),
            subsample=subsample,
            psf=Baselines(root.float()),
            templates=data.new_zeros(*data.shape, 0),
        )

    def columns(self, whitened: ImageData, images: Tensor) -> Tensor:
        return whitened.blur_means(images.flatten(2))


@dataclass(frozen=True)
class Baselines:
    """Holds the root of the normal matrix, in the place of a PSF.

    Arguments:
        transfer: The root :math:`L`, with shape (B, HW, HW).
    """

    transfer: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """Type of the root."""
        return self.transfer.dtype

    def __call__(self, image: Tensor) -> Tensor:
        """Applies its transpose to maps (B, C, H, W)."""
        return (image.flatten(2) @ self.transfer).reshape(image.shape)


def sky_scene(draws: Draws) -> Scene:
    """Looks for the sky itself."""
    side = torch.full_like(draws["weight"], draws["image"].shape[-1])
    return Scene(draws, Correlator(draws), Sky(side))


def lens_scene(draws: Draws, lens: Tensor) -> Scene:
    """Looks for sources through lenses (B, 7), the true ones or others."""
    return Scene(draws, Correlator(draws), lens_view(lens, draws["arc"]))


def shown(draws: Draws, image: Tensor) -> Tensor:
    """Returns what a network reads lenses from: images and their noise, (B, 2, n, n)."""
    noise = -Correlator(draws).noise.log10() - 1.5
    return torch.cat([image.clamp(-1, 3), noise[:, None, None, None].expand_as(image)], 1)
