"""The scenes that are timed, the same numbers for this package and its peers."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ...grid import PixelGrid
from ...lensing.mass import SIE, pixel_average
from ...lensing.psf import gaussian_psf

SPACING, SOURCE_FOV, FWHM, STAMP = 0.05, 3.0, 0.15, 21
EDGE = STAMP // 2
"""Pixels at the frame's edge that are not compared: some peers convolve what lies beyond it."""
SIGMA = 0.1
"""Standard deviation of the noise."""

LENS = {"theta_E": 1.2, "e1": 0.1, "e2": 0.05, "center_x": 0.02, "center_y": -0.03}
SHEAR = {"gamma1": 0.04, "gamma2": -0.02}
GALAXY = {
    "amp": 2.0,
    "R_sersic": 0.3,
    "n_sersic": 1.5,
    "e1": 0.1,
    "e2": -0.15,
    "center_x": 0.05,
    "center_y": 0.08,
}
"""An isothermal ellipsoid with shear, and the galaxy behind it."""


def polar(e1: float, e2: float) -> tuple[float, float]:
    """Returns the axis ratio and the position angle in [0, pi) of an ellipticity."""
    size = math.hypot(e1, e2)
    return (1 - size) / (1 + size), math.atan2(e2, e1) / 2 % math.pi


@dataclass(frozen=True)
class PixelScene:
    """Holds maps of the mass and the source, one ray per pixel, on one device.

    Arguments:
        n: Pixels along each side of the image and of the source.
        batch: Number of lenses.
        device: Where the maps are.
    """

    n: int = 128
    batch: int = 1
    device: torch.device = torch.device("cpu")

    @property
    def image_grid(self) -> PixelGrid:
        """Grid of the image and of the convergence, of the same extent for every number."""
        return PixelGrid((self.n, self.n), 128 * SPACING / self.n)

    @property
    def source_grid(self) -> PixelGrid:
        """Grid of the source."""
        return PixelGrid((self.n, self.n), SOURCE_FOV / self.n)

    def psf(self) -> Tensor:
        """Returns a stamp of 21 pixels in double precision, on the host."""
        return gaussian_psf(FWHM, SPACING, STAMP)

    def kappa(self) -> Tensor:
        """Returns maps of the convergence, each lens a little heavier than the last."""
        kappa = pixel_average(SIE(**LENS), self.image_grid).float()
        heavier = 1 + 0.1 * torch.arange(self.batch) / self.batch
        return (kappa * heavier[:, None, None, None]).to(self.device)

    def source(self) -> Tensor:
        """Returns galaxies that end within their maps."""
        x, y = self.source_grid.coordinates()
        blobs = [((0.0, 0.0), 0.2, 1.0), ((0.2, 0.1), 0.08, 0.5), ((-0.1, 0.25), 0.05, 0.5)]
        maps = [
            a * torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * s**2))
            for (cx, cy), s, a in blobs
        ]
        galaxy = torch.stack(maps).sum(0).float()
        return galaxy.expand(self.batch, 1, -1, -1).contiguous().to(self.device)

    def data(self) -> Tensor:
        """Returns images that the likelihood is of; noise alone, which is as good as any."""
        generator = torch.Generator().manual_seed(0)
        return torch.randn(self.batch, 1, self.n, self.n, generator=generator).to(self.device)


@dataclass(frozen=True)
class SubhaloScene:
    """Holds truncated haloes, drawn with masses over two decades, on one device.

    Arguments:
        count: Number of haloes.
        device: Where they are.
    """

    count: int = 10_000
    device: torch.device = torch.device("cpu")
    grid: PixelGrid = PixelGrid((128, 128), SPACING)

    def parameters(self) -> dict[str, Tensor]:
        """Returns kappa_s, r_s, r_t and the centres, each with shape (count)."""
        generator = torch.Generator().manual_seed(0)
        u = torch.rand(5, self.count, generator=generator, dtype=torch.float64)
        r_s = 0.01 * 10 ** u[0]
        drawn = {
            "kappa_s": 0.05 + 0.2 * u[1],
            "r_s": r_s,
            "r_t": r_s * (1 + 9 * u[2]),
            "center_x": (u[3] - 0.5) * self.grid.fov[0],
            "center_y": (u[4] - 0.5) * self.grid.fov[1],
        }
        return {name: value.float().to(self.device) for name, value in drawn.items()}
