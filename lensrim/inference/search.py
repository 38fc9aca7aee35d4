r"""The search for the macro-model: stages from coarse to fine, from many candidates to one.

At first the noise is taken as larger than it is (by a fraction of the arcs' peak, added in
quadrature) and the source has few modes. Both are a strong regularisation: minima are then few
and wide. Each stage keeps the best candidates of the one before, and the last ones are compared
by the evidence at full resolution and with the true noise.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from .inversion import ImageData, SourceModes
from .lens_light import Array, Frame, LensLight
from .macro import MacroPrior, MacroProblem, MacroState


@dataclass(frozen=True)
class Stage:
    """One stage of the search.

    Arguments:
        modes: Highest order of the source modes.
        steps: Levenberg-Marquardt steps.
        keep: Candidates that enter it.
        softening: Extra noise, relative to the peak of the arcs.
        free_slope: Whether the slope is fitted.
        subsample: Rays along each side of a pixel.
        coarse: Whether it sees the coarse scene, where there is one.
    """

    modes: int
    steps: int
    keep: int
    softening: float
    free_slope: bool = False
    subsample: int = 2
    coarse: bool = False


STAGES = (
    Stage(modes=7, steps=8, keep=10, softening=0.1, subsample=1, coarse=True),
    Stage(modes=10, steps=6, keep=4, softening=0.03, subsample=1, coarse=True),
    Stage(modes=14, steps=6, keep=2, softening=0.0),
    Stage(modes=18, steps=8, keep=1, softening=0.0, free_slope=True),
)


@dataclass(frozen=True)
class Scene:
    """Holds what the search needs to know of an observation.

    Arguments:
        frame: The image; its mask leaves out neighbours.
        light: Lens light and sky.
        arcs: Mask of the arcs, with shape (H, W).
        noise_scale: Factor on the noise, measured on the sky.
        neighbours: Mask of the neighbours, with shape (H, W).
    """

    frame: Frame
    light: LensLight
    arcs: NDArray[np.bool_]
    noise_scale: float
    neighbours: NDArray[np.bool_]

    @property
    def arc_light(self) -> Array:
        """Image less lens light and sky inside the arc mask, never negative."""
        arcs = self.frame.image - self.light.image - self.light.sky
        return np.where(self.arcs & self.frame.mask, arcs, 0.0).clip(0.0)

    @property
    def template_spread(self) -> Array:
        """Prior standard deviations of the amplitudes of lens light and sky, with shape (Q)."""
        spread = np.abs(self.light.amplitudes) / 3
        spread[-1] = np.median(self.frame.sigma) * self.noise_scale / 2
        return spread


def image_data(scene: Scene, *, subsample: int = 2, softening: float = 0.0) -> ImageData:
    """Prepares the image for the inversion; lens light and sky become templates with a prior.

    A Gaussian may change by a third of its amplitude, the sky by half the noise of a pixel.
    """
    frame, light = scene.frame, scene.light
    sigma = frame.sigma * scene.noise_scale
    sigma = np.hypot(sigma, softening * scene.arc_light.max())
    used = np.flatnonzero(frame.mask)
    weight = 1 / sigma.ravel()[used]
    spread, free = scene.template_spread, light.free
    templates = (
        light.templates[free].reshape(free.sum(), -1)[:, used] * spread[free, None] * weight
    )
    expected = (light.image + light.sky).ravel()[used]
    data = (frame.image.ravel()[used] - expected) * weight
    return ImageData(
        data=torch.from_numpy(data),
        weight=torch.from_numpy(weight),
        used=torch.from_numpy(used),
        shape=frame.grid.shape,
        subsample=subsample,
        psf=frame.operator(subsample),
        templates=torch.from_numpy(np.ascontiguousarray(templates.T)),
    )


def problem(scene: Scene, prior: MacroPrior, stage: Stage) -> MacroProblem:
    """Sets up one stage."""
    grid, k = scene.frame.grid, stage.subsample
    (h, w), (x, y) = grid.shape, grid.coordinates(k, dtype=torch.float64)
    x, y = (c.reshape(h, k, w, k).permute(1, 3, 0, 2).reshape(k * k, h * w) for c in (x, y))
    arc = scene.arc_light
    if not stage.free_slope:
        prior = replace(prior, slope=2.0, slope_width=0.0)
    return MacroProblem(
        image=image_data(scene, subsample=k, softening=stage.softening),
        x=x,
        y=y,
        arc=torch.from_numpy((arc / arc.sum()).ravel()),
        modes=SourceModes(stage.modes),
        prior=prior,
        size=(2 * scene.frame.fwhm, 0.8 * min(grid.fov)),
    )


def starts(prior: MacroPrior, count: int, amplitude: float, size: float) -> MacroState:
    """Spreads candidates over the range of Einstein radii, round and unsheared."""
    p = prior.mean().repeat(count, 1)
    low, high = (float(np.log(t)) for t in prior.theta_E)
    p[:, 0] = low + (torch.arange(count, dtype=p.dtype) + 0.5) / count * (high - low)
    p[:, 7] = 2.0
    hyper = torch.tensor(
        [np.log(amplitude), np.log(0.1), np.log(size), np.log(0.03)], dtype=p.dtype
    )
    zeros = torch.zeros(count, dtype=p.dtype)
    return MacroState(p, hyper.repeat(count, 1), zeros, zeros + 0.1)


def distinct(state: MacroState, keep: int) -> MacroState:
    """Keeps the best candidates that differ by 2 % in Einstein radius or 0.03 in shape."""
    chosen: list[int] = []
    scale = torch.tensor([0.02, 0.03, 0.03, 1e3, 1e3, 0.03, 0.03, 1e3], dtype=state.p.dtype)
    for i in state.value.argsort(descending=True).tolist():
        gaps = [float(((state.p[i] - state.p[j]).abs() / scale).max()) for j in chosen]
        if all(gap > 1 for gap in gaps):
            chosen.append(i)
        if len(chosen) == keep:
            break
    return state.select(torch.tensor(chosen))


def search(
    scene: Scene,
    prior: MacroPrior,
    *,
    coarse: Scene | None = None,
    stages: tuple[Stage, ...] = STAGES,
    seed: int = 0,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[MacroProblem, MacroState]:
    """Finds the macro-model.

    Arguments:
        scene: The observation.
        prior: Prior of the parameters.
        coarse: The same on larger pixels, for the first stages.
        stages: What to do.
        seed: Moves the starting radii by up to half of their spacing; 0 leaves them.
        report: Called with a line after every stage.

    Returns:
        The last stage's problem and its only candidate.
    """
    state = starts(prior, stages[0].keep, scene.arc_light.max(), 0.3 * min(scene.frame.grid.fov))
    if seed:
        gap = (state.p[1, 0] - state.p[0, 0]).item()
        shift = np.random.default_rng(seed).uniform(-0.5, 0.5, len(state.p)) * gap
        state.p[:, 0] += torch.from_numpy(shift)
    current = None
    for stage in stages:
        state = distinct(state, stage.keep)
        current = problem(coarse if coarse and stage.coarse else scene, prior, stage)
        state = replace(state, damping=torch.full_like(state.damping, 0.03))
        state = climb(current, current.tune(state, rounds=6), stage.steps)
        report(describe(stage, state))
    assert current is not None
    return current, state.select(state.value.argmax()[None])


def climb(
    current: MacroProblem, state: MacroState, steps: int, *, tolerance: float = 0.1
) -> MacroState:
    """Climbs until no candidate gains more than ``tolerance`` in two steps."""
    for i in range(steps):
        before = state.value
        state = current.step(state)
        if i % 2 == 1:
            state = current.tune(state, rounds=2, step=0.25)
            if bool(((state.value - before).abs() < tolerance).all()):
                break
    return state


def describe(stage: Stage, state: MacroState) -> str:
    """Puts a stage's candidates on a line."""
    radii = " ".join(
        f"{t:.3f}({v:.0f})" for t, v in zip(state.p[:, 0].exp(), state.value, strict=True)
    )
    return f"{stage.modes} modes: {radii}"
