r"""The macro-model's answer in pixels: :math:`\kappa` map, source map, model image, with their
errors.

The macro-model becomes a map of pixel-averaged :math:`\kappa`. Of the mass outside the map a shear
stands for what it can (the one that belongs to the map, found by least squares on the deflection
of the arcs); the rest of its deflection, a tenth of a pixel at the arcs of a typical frame, is
kept as a field beside the map. The source is then solved for once more through the forward model
:math:`F` itself: every mode of the source prior is drawn on the source's pixels and sent through
:math:`F`, so that MODEL is SOURCE seen through ALPHA to rounding, and mean and standard deviation
of the source follow from one exact linear-Gaussian posterior.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..grid import PixelGrid
from ..lensing.beyond import part_shear
from ..lensing.mass import Mass, Shear, pixel_average
from ..lensing.simulator import Simulator
from .ascent import MacroProblem
from .inversion import Solution, SourceModes, assemble, solve
from .lens_light import Array
from .macro import MacroState, mass_model
from .search import Scene, image_data

MODES = 22
"""Highest order of the source modes in the final solve."""


@dataclass(frozen=True)
class Answer:
    """Holds maps and numbers of the final stage.

    Arguments:
        kappa, alpha_x, alpha_y: Maps of the image plane; the deflection holds the shear [arcsec].
        gamma: External shear that belongs to the map.
        source, source_std: Maps of the source plane.
        source_grid: Grid of the source plane.
        arcs, lens_light: Models, convolved.
        sky: Constant sky.
        log_evidence, effective: Log-evidence and number of effective parameters.
    """

    kappa: Array
    alpha_x: Array
    alpha_y: Array
    gamma: tuple[float, float]
    source: Array
    source_std: Array
    source_grid: PixelGrid
    arcs: Array
    lens_light: Array
    sky: float
    log_evidence: float
    effective: float


def answer(
    scene: Scene, problem: MacroProblem, state: MacroState, *, source_fov: float | None = None
) -> Answer:
    """Turns a macro-model into maps.

    Arguments:
        scene: The observation.
        problem: The last stage of the search.
        state: Its only candidate.
        source_fov: Side of the source map [arcsec]; 0.4 of the image's, or more where the traced
            arcs need it, if ``None``.
    """
    # One small solve in double precision: on the host, wherever the search was.
    _, center = problem.trace(state.p)
    center, host = center.cpu(), torch.device("cpu")
    scene, state = replace(scene, device=host), state.to(host)
    frame, grid = scene.frame, scene.frame.grid
    mass = mass_model(state.p[0])
    kappa = pixel_average(mass, grid)
    size = float(state.hyper[0, 2].exp())
    fov = source_fov or max(0.4 * max(grid.fov), min(size, 0.8 * min(grid.fov)))
    n = max(grid.shape)
    source_grid = PixelGrid((n, n), fov / n, (float(center[0, 0]), float(center[0, 1])))
    simulator = Simulator(
        grid,
        source_grid,
        torch.as_tensor(frame.psf, dtype=torch.float64),
        psf_kind=frame.psf_kind,
        dtype=torch.float64,
    )
    gamma, beyond = _beyond_the_map(scene, simulator, kappa, mass)
    with torch.no_grad():
        rays = simulator.kappa_rays(kappa[None, None], gamma[None], beyond[None])
        modes = SourceModes(MODES)
        basis = _draw(modes, state, source_grid)
        solution, images = _solve(scene, simulator, rays, modes, basis, state)
    k = len(modes)
    z = solution.mean[0, :k]
    source = torch.einsum("k,kij->ij", z, basis)
    whitened = basis.reshape(k, -1) * solution.scale[0, :k, None]
    padded = torch.cat(
        [whitened, whitened.new_zeros(solution.scale.shape[1] - k, whitened.shape[1])]
    )
    half = torch.linalg.solve_triangular(solution.factor[0], padded, upper=False)
    std = half.square().sum(0).sqrt().reshape(n, n)
    lens_light, sky = _lights(scene, solution.mean[0, k:].numpy())
    with torch.no_grad():
        alpha = torch.cat(simulator.kappa_to_alpha(kappa[None, None]), 1)[0]
        tide = Shear(gamma[0], gamma[1]).deflection(*grid.coordinates(dtype=torch.float64))
        alpha_x, alpha_y = alpha + torch.stack(tide) + beyond
        arcs = torch.einsum("k,kij->ij", z, images)
    return Answer(
        kappa=kappa.numpy(),
        alpha_x=alpha_x.numpy(),
        alpha_y=alpha_y.numpy(),
        gamma=(float(gamma[0]), float(gamma[1])),
        source=source.numpy(),
        source_std=std.numpy(),
        source_grid=source_grid,
        arcs=arcs.numpy(),
        lens_light=lens_light,
        sky=sky,
        log_evidence=float(solution.log_evidence[0]),
        effective=float(solution.effective[0]),
    )


def _beyond_the_map(
    scene: Scene, simulator: Simulator, kappa: Tensor, mass: Mass
) -> tuple[Tensor, Tensor]:
    """Finds what the map's deflection lacks: a shear (2), and the rest (2, H, W) [arcsec]."""
    grid = scene.frame.grid
    with torch.no_grad():
        missing = torch.stack(mass.deflection(*grid.coordinates(dtype=torch.float64)))
        missing = missing - simulator.kappa_to_alpha.maps(kappa[None, None])[0]
    gamma, rest = part_shear(missing[None], grid, torch.from_numpy(scene.arc_light)[None, None])
    return gamma[0], rest[0]


def _draw(modes: SourceModes, state: MacroState, grid: PixelGrid) -> Tensor:
    """Draws every mode on the pixels of the source, with shape (K, n, n)."""
    x, y = torch.broadcast_tensors(*grid.coordinates(dtype=torch.float64))
    middle, size = torch.tensor(grid.center, dtype=x.dtype), state.hyper[0, 2].exp()
    position = (torch.stack([x, y], dim=-1) - middle) / size
    return modes.draw(position.reshape(1, 1, -1, 2), state.hyper[:1, 3].exp())[0].reshape(
        len(modes), *grid.shape
    )


def _solve(scene, simulator, rays, modes, basis, state) -> tuple[Solution, Tensor]:
    data = image_data(scene)
    images = []
    for chunk in basis.split(64):  # bounds the memory: rays are shared by the modes of a chunk
        images.append(simulator.trace(chunk[:, None], rays.expand(len(chunk), -1, -1, -1))[:, 0])
    maps = torch.cat(images)
    columns = (maps.reshape(len(maps), -1)[:, data.used] * data.weight).T
    return solve(assemble(data, columns[None]), modes, state.hyper), maps


def _lights(scene: Scene, amplitudes: Array) -> tuple[Array, float]:
    """Adds the change of the templates to the expectation they were given."""
    light = scene.light
    total = light.amplitudes + amplitudes * scene.template_spread
    return np.tensordot(total[:-1], light.templates[:-1], 1), float(total[-1])
