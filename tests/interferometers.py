"""Interferometers and the noise of their visibilities, which several tests share."""

import math

import pytest
import torch
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.cosmology import ARCSEC
from lensrim.lensing.mass import SIE, pixel_average
from lensrim.lensing.noise import VisibilityNoise
from lensrim.lensing.nufft import Direct
from lensrim.lensing.simulator import Simulator
from lensrim.lensing.visibilities import Interferometer, gaussian_beam

GRID = PixelGrid((16, 19), 0.2)
SIM = Simulator(GRID, PixelGrid((9, 10), 0.15), dtype=torch.float64)
BEAM = gaussian_beam(GRID, 4.0)
N = 60


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


UV = (uniform(2, N, 2, seed=1) - 0.5) / (GRID.spacing * ARCSEC)
SIGMA, MASK = 0.3 + uniform(2, N, seed=2), uniform(2, N, seed=3) > 0.2
SHARED = Interferometer(GRID, UV[0], beam=BEAM, transform=Direct(), dtype=torch.float64)
OWN = Interferometer(GRID, UV, beam=BEAM, transform=Direct(), dtype=torch.float64)
CASES = {
    "shared": VisibilityNoise(SHARED, SIGMA[0]),
    "shared, masked": VisibilityNoise(SHARED, SIGMA, MASK),
    "own, masked": VisibilityNoise(OWN, SIGMA, MASK),
    "own, one sigma": VisibilityNoise(OWN, SIGMA[0], MASK[1]),
}
EVERY = pytest.mark.parametrize("noise", CASES.values(), ids=CASES.keys())


def truth(batch: int = 2) -> dict[str, Tensor]:
    kappa = pixel_average(SIE(1.0, 0.1, 0.05, 0.03), GRID)
    return {
        "source": uniform(1, 1, 9, 10).expand(batch, 1, 9, 10).clone(),
        "log_kappa": kappa.log10().expand(batch, 1, *GRID.shape).clone(),
        "shear": 0.05 * uniform(batch, 2, seed=4),
    }


def guess() -> dict[str, Tensor]:
    x = truth()
    return {
        "source": 0.8 * x["source"] + 0.1,
        "log_kappa": x["log_kappa"] + 0.02,
        "shear": x["shear"] - 0.01,
    }


def draw(noise: VisibilityNoise, model: Tensor, seed: int = 0) -> Tensor:
    return noise.sample(model, generator=torch.Generator().manual_seed(seed))


def energy(
    model: Tensor, y: Tensor, uv: Tensor, sigma: Tensor, *, grid: PixelGrid = GRID, k: int = 2
) -> Tensor:
    """Half of chi2, summed over a batch, by the definition: one wave for each baseline (N, 2)."""
    x, y_ = (each.flatten() for each in grid.coordinates(dtype=torch.float64))
    u, v = (uv.double() * ARCSEC).unsqueeze(-1).unbind(-2)
    waves = torch.exp(-2j * math.pi * (u * x + v * y_))
    half = math.pi * grid.spacing * uv.double() * ARCSEC / k
    response = ((k * half).sin() / (k * half.sin())).prod(-1)
    seen = model.flatten(1).to(waves.dtype) @ waves.mT / response
    return 0.5 * ((y - seen).abs() / sigma).square().sum()
