r"""A parametric fit by lenstronomy, as its users make it.

The lens is an elliptical power law with shear, the source an elliptical Sersic profile, and the
light of the lens galaxy, where there is some, another one. A particle swarm looks for the numbers
in which the image is not linear; the amplitudes follow by least squares. Of a few swarms the best
is kept: one alone may end in a wrong minimum, a third off in its radius. Shapelets
:math:`n \le` ``n_max`` about the source's centre are added then, and a smaller swarm about the
best numbers and a simplex follow. Only the image tells the fit where to begin: a ring about the
middle of the frame.

Brightness there is per square arcsec, and here per pixel of the image. Rays are averaged over
pixels before the PSF, so that lenstronomy is given the kernel that belongs to averages
(:func:`lensrim.lensing.psf.native_kernel`). The number of effective parameters is that of all
parameters, which is too many for shapelets that no data reach.

References:
    Birrer & Amara 2018, Phys. Dark Universe 22, 189; Birrer+ 2021, JOSS 6, 3283.
"""

import contextlib
import importlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ...grid import PixelGrid
from ...inference.start import extent
from ...io.observation import Observation
from ...lensing.psf import native_kernel
from ..maps import Maps
from .components import Components, first_guess, with_shapelets
from .reference import Solved

RAYS = 2
"""Rays along each side of a pixel."""

FINE = 8
"""Samples along each side of a pixel, of which maps are the means."""


@dataclass(frozen=True)
class Parametric:
    """Creates a fit by lenstronomy.

    Arguments:
        name: What it is called.
        swarms: Number of first swarms.
        particles, iterations: Size of each.
        n_max: Highest order of the shapelets.
        refined: Iterations of the swarm with shapelets, with half of the particles.
        simplex: Iterations of the simplex at the end.
        seed: Seed of the swarms.
    """

    name: str = "lenstronomy"
    swarms: int = 3
    particles: int = 50
    iterations: int = 80
    n_max: int = 8
    refined: int = 20
    simplex: int = 200
    seed: int = 0

    def __call__(self, observation: Observation, lens_light: bool, /) -> Solved:
        """Fits an observation.

        Raises:
            ImportError: If lenstronomy is not installed.
        """
        band = _band(observation)
        plain = first_guess(observation, lens_light)
        with _quiet(self.seed):
            swarm = ["PSO", {"n_particles": self.particles, "n_iterations": self.iterations}]
            fits = [_fit(band, observation.mask, plain, [swarm]) for _ in range(self.swarms)]
            found, _ = max(fits, key=lambda fit: fit[1])
            rich = with_shapelets(replace(plain, numbers=found), self.n_max)
            swarm = {"n_particles": self.particles // 2, "n_iterations": self.refined}
            steps = [["PSO", {**swarm, "sigma_scale": 0.1}]]
            steps += [["SIMPLEX", {"n_iterations": self.simplex}]] if self.simplex else []
            found, _ = _fit(band, observation.mask, rich, steps)
            rich = replace(rich, numbers=found)
            return _solved(observation, band, rich)


@contextlib.contextmanager
def _quiet(seed: int) -> Iterator[None]:
    """Sets the seed of numpy's own random numbers, which the swarm takes, and drops what it says.

    The random numbers are those of before when it ends.
    """
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(seed)  # noqa: NPY002
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(state)  # noqa: NPY002


def _load(module: str) -> Any:
    """Imports a module of lenstronomy."""
    return importlib.import_module(f"lenstronomy.{module}")


def _band(seen: Observation) -> list[dict[str, Any]]:
    """Puts an observation into lenstronomy's terms: data, PSF, numerics."""
    grid = seen.grid
    x, y = grid.from_index(0, 0)
    psf = torch.as_tensor(seen.psf, dtype=torch.float64)
    data = {
        "image_data": seen.image,
        "noise_map": seen.sigma,
        "ra_at_xy_0": x,
        "dec_at_xy_0": y,
        "transform_pix2angle": np.eye(2) * grid.spacing,
    }
    kernel = native_kernel(psf, RAYS, psf_kind=seen.psf_kind).numpy()
    numerics = {"supersampling_factor": RAYS, "supersampling_convolution": False}
    return [data, {"psf_type": "PIXEL", "kernel_point_source": kernel}, numerics]


def _fit(
    band: list[dict[str, Any]], mask: np.ndarray, model: Components, steps: list[list[Any]]
) -> tuple[dict[str, list[dict[str, float]]], float]:
    """Runs a sequence of lenstronomy: the numbers it ends with, and their log-likelihood."""
    sequence = _load("Workflow.fitting_sequence").FittingSequence(
        {"multi_band_list": [band], "multi_band_type": "single-band"},
        model.profiles,
        {"joint_source_with_source": model.joined},
        {"image_likelihood_mask_list": [mask], "check_positive_flux": not model.joined},
        model.ranges(),
    )
    sequence.fit_sequence(steps)
    best = sequence.best_fit().items()
    found = {name: numbers for name, numbers in best if name in model.numbers}
    return found, float(sequence.best_fit_likelihood())


def _solved(seen: Observation, band: list[dict[str, Any]], model: Components) -> Solved:
    """Solves for the amplitudes, and puts all on pixels."""
    profiles = model.profiles
    lens = _load("LensModel.lens_model").LensModel(profiles["lens_model_list"])
    light = _load("LightModel.light_model").LightModel
    galaxy = light(profiles["source_light_model_list"])
    image = _load("ImSim.image_linear_solve").ImageLinearFit(
        _load("Data.imaging_data").ImageData(**band[0]),
        _load("Data.psf").PSF(**band[1]),
        lens_model_class=lens,
        source_model_class=galaxy,
        lens_light_model_class=light(profiles["lens_light_model_list"]),
        kwargs_numerics=band[2],
        likelihood_mask=seen.mask,
    )
    # writes the amplitudes into the numbers too
    *_, amplitudes = image.image_linear_solve(**model.numbers)
    mass, source = model.numbers["kwargs_lens"], model.numbers["kwargs_source"]
    arcs = image.source_surface_brightness(source, mass)
    rest = image.lens_surface_brightness(model.numbers["kwargs_lens_light"])

    def kappa(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return lens.kappa(x, y, mass)

    def brightness(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return galaxy.surface_brightness(x, y, source) * seen.grid.spacing**2

    grid = _source_grid(seen, brightness, (source[0]["center_x"], source[0]["center_y"]))
    x, y = (each.numpy() for each in seen.grid.coordinates(dtype=torch.float64))
    maps = Maps(
        arcs,
        _averages(kappa, seen.grid, FINE),
        tuple(lens.alpha(x, y, mass)),
        _averages(brightness, grid, 4),
        grid,
    )
    return Solved(maps, rest, float(model.free + len(amplitudes)))


def _averages(function: Any, grid: PixelGrid, fine: int) -> np.ndarray:
    """Averages a function of coordinates over pixels."""
    x, y = (each.numpy() for each in grid.coordinates(fine, dtype=torch.float64))
    (h, w), values = grid.shape, function(x.ravel(), y.ravel())
    return values.reshape(h, fine, w, fine).mean((1, 3))


def _source_grid(seen: Observation, brightness: Any, center: tuple[float, float]) -> PixelGrid:
    """Chooses the source's pixels as the chain does: as many as the image's, over its light."""
    n = max(seen.grid.shape)
    whole = 0.8 * min(seen.grid.fov)
    first = torch.from_numpy(_averages(brightness, PixelGrid((n, n), whole / n, center), 2))
    share = min(1.0, float(extent(first[None, None])) + 2 / n)
    return PixelGrid((n, n), whole * share / n, center)


PARAMETRIC = Parametric()
"""The fit."""
