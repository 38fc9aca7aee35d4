r"""The search for the macro-model: stages from coarse to fine, from many candidates to one.

At first the noise is taken as larger than it is (by a fraction of the arcs' peak, added in
quadrature) and the source has few modes. Both are a strong regularisation: minima are then few
and wide. Each stage keeps the best candidates of the one before, and the last ones are compared
by the evidence at full resolution and with the true noise, each with the size of source that its
own arcs need.

From good candidates, such as those of a network (:mod:`lensrim.inference.guess`), a shorter way
leads to as good an answer: ``SHORT``, in which the best of them is climbed from, with each core,
and one of the two goes on, by the evidence of few modes and larger noise.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .ascent import MacroProblem, ray_coordinates
from .frame import Array
from .macro import FIELDS, MacroPrior, MacroState
from .scene import Scene, image_data
from .source_modes import SourceModes


@dataclass(frozen=True)
class Stage:
    """One stage of the search.

    Arguments:
        modes: Highest order of the source modes.
        steps: Levenberg-Marquardt steps.
        keep: Candidates that enter it, if there are as many; of given ones as many
            with each core, and of those that are drawn ``SHAPES`` of each bin of the radius.
        softening: Extra noise, relative to the peak of the arcs.
        hope: Loss of log-evidence in the stage before, against the best candidate, beyond which a
            candidate does not enter.
        free_slope: Whether the slope is fitted.
        free_core: Whether the core of the source's warp is fitted. A small one fits a bad lens
            with a cuspy source, and a large one misses a cuspy source: both are started from.
        subsample: Rays along each side of a pixel.
        coarse: Whether it sees the coarse scene, where there is one.
        on_rays: Whether the PSF acts on each ray, not on averages: slower, and right where the
            source is finer than two pixels (:mod:`lensrim.lensing.ray_psf`).
    """

    modes: int
    steps: int
    keep: int
    softening: float
    hope: float = np.inf
    free_slope: bool = False
    free_core: bool = True
    subsample: int = 2
    coarse: bool = False
    on_rays: bool = False


_FIRST = Stage(modes=7, steps=4, keep=30, softening=0.1, subsample=1, free_core=False, coarse=True)

STAGES = (
    _FIRST,
    replace(_FIRST, steps=8, keep=8, hope=500.0),
    Stage(modes=10, steps=8, keep=4, softening=0.03, hope=300.0, subsample=1, coarse=True),
    Stage(modes=14, steps=6, keep=2, softening=0.0, hope=200.0),
    Stage(modes=18, steps=8, keep=2, softening=0.0, hope=50.0, free_slope=True, on_rays=True),
)

SHORT = (
    replace(_FIRST, modes=10, steps=6, keep=2, softening=0.03),
    Stage(modes=14, steps=6, keep=1, softening=0.0, free_slope=True, on_rays=True),
)
"""From candidates that are good. A longer way, of eight candidates, four stages and 18 modes,
takes twice the time and ends with more evidence, but not with a better mass: log10 kappa was in
the mean 0.010 +- 0.005 worse on 57 validation mocks, and the slope's rms error 0.111 in the place
of 0.114 on 120 others. Now and then it finds a better minimum, or a worse one."""

RADII, DRAWS, SHAPES = 10, 16, 3
"""Bins of the Einstein radius, shapes that are drawn in each, and shapes that are kept of them."""

FLATTEST = 0.6
"""Largest modulus of the ellipticity of a start."""

PATIENCE = 1.0
"""Damping beyond which refused steps are tiny."""

CORES = (0.02, 0.1)
"""Cores of the source's warp that the search starts from, relative to the disc."""


def problem(scene: Scene, prior: MacroPrior, stage: Stage) -> MacroProblem:
    """Sets up one stage."""
    grid, k = scene.frame.grid, stage.subsample
    x, y = ray_coordinates(grid, k, device=scene.device)
    arc = scene.arc_light
    if not stage.free_slope:
        prior = replace(prior, slope=2.0, slope_width=0.0)
    return MacroProblem(
        image=image_data(scene, subsample=k, softening=stage.softening, on_rays=stage.on_rays),
        x=x,
        y=y,
        arc=scene.tensor((arc / arc.sum()).ravel()),
        modes=SourceModes(stage.modes),
        prior=prior,
        size=(2 * scene.frame.fwhm, 0.8 * min(grid.fov)),
        spacing=grid.spacing,
        free_core=stage.free_core,
    )


def draw(
    prior: MacroPrior, light: Array, *, amplitude: float, size: float, seed: int = 0
) -> MacroState:
    """Draws candidates from the prior: ``DRAWS`` shapes in each of ``RADII`` bins of the radius.

    Arguments:
        prior: Prior of the parameters.
        light: Ellipticity (e1, e2) of the lens light, zero where there is none. Mass is likely to
            follow it, so half of the shapes are drawn about it.
        amplitude: Brightness of the source.
        size: Diameter of the source disc [arcsec].
        seed: Seed of the draws.

    Returns:
        The candidates, bin after bin. The first of a bin is round and not sheared.
    """
    from scipy.stats import norm, qmc

    sobol = qmc.Sobol(5, seed=seed)  # pyright: ignore[reportCallIssue]
    sobol = sobol.random(1 << (RADII * DRAWS - 1).bit_length())
    unit = sobol[: RADII * DRAWS].reshape(RADII, DRAWS, 5)
    normal = torch.from_numpy(norm.ppf(unit[..., 1:].clip(0.02, 0.98)))
    low, high = (float(np.log(t)) for t in prior.theta_E)
    p = prior.mean(normal).repeat(RADII, DRAWS, 1)
    bins = np.arange(RADII)[:, None] + unit[..., 0]
    p[..., 0] = torch.from_numpy(low + bins / RADII * (high - low))
    p[..., 1:3] = 0.75 * prior.ellipticity_width * normal[..., :2]
    p[:, ::2, 1:3] += torch.from_numpy(light)
    p[..., 5:7] = 0.75 * prior.shear_width * normal[..., 2:]
    flat = p[..., 1:3].norm(dim=-1, keepdim=True).clamp(min=1e-12)
    p[..., 1:3] *= (FLATTEST / flat).clamp(max=1)
    p[:, 0, 1:3] = p[:, 0, 5:7] = 0.0
    p[..., 7] = 2.0
    # in pairs, so that shapes about the light and about zero (every other one) get both cores
    cores = torch.tensor(CORES, dtype=p.dtype).repeat_interleave(2)
    cores = cores.repeat(RADII * DRAWS // len(cores))
    return unclimbed(p.reshape(-1, 8), cores, amplitude=amplitude, size=size)


def unclimbed(p: Tensor, cores: Tensor, *, amplitude: float, size: float) -> MacroState:
    """Gives parameters a first source prior.

    Arguments:
        p: Parameters, with shape (B, 8).
        cores: Cores of the source's warp, relative to the disc, with shape (B).
        amplitude: Brightness of the source.
        size: Diameter of the source disc [arcsec].
    """
    first = [np.log(amplitude), np.log(0.1), np.log(size), 0.0]
    hyper = torch.tensor(first, dtype=p.dtype).repeat(len(p), 1)
    hyper[:, 3] = cores.to(p).log()
    zeros = torch.zeros(len(p), dtype=p.dtype)
    return MacroState(p, hyper, zeros, zeros + 0.1)


def best_of_bins(current: MacroProblem, state: MacroState) -> MacroState:
    """Keeps the ``SHAPES`` best shapes of every bin of the radius, their source prior tuned."""
    kept = []
    for i in range(0, len(state.p), DRAWS):
        tuned = current.tune(state.select(slice(i, i + DRAWS)), rounds=4)
        kept.append(tuned.select(tuned.value.argsort(descending=True)[:SHAPES]))
    return joined(kept)


def best_of_starts(current: MacroProblem, state: MacroState, kept: int) -> MacroState:
    """Keeps the best candidates of each core that differ, ``kept`` of it, source prior tuned."""
    tuned, count = current.tune(state, rounds=4), len(state.p) // len(CORES)
    parts = (slice(i * count, (i + 1) * count) for i in range(len(CORES)))
    return joined([distinct(tuned.select(part), kept, np.inf) for part in parts])


def joined(states: Sequence[MacroState]) -> MacroState:
    """Puts candidates after each other."""
    return MacroState(*(torch.cat([getattr(s, f) for s in states]) for f in FIELDS))


def distinct(state: MacroState, keep: int, hope: float) -> MacroState:
    """Keeps the best candidates that differ, unless their loss of log-evidence is beyond ``hope``.

    Two are the same if they differ by less than 2 % in Einstein radius and less than 0.03 in
    shape, or by less than 2 % in Einstein radius and less than 1 in log-evidence.
    """
    chosen: list[int] = []
    shape = state.p[:, [1, 2, 5, 6]]
    for i in state.value.argsort(descending=True).tolist():
        near = (state.p[chosen, 0] - state.p[i, 0]).abs() < 0.02
        alike = (shape[chosen] - shape[i]).abs().amax(-1) < 0.03
        equal = (state.value[chosen] - state.value[i]).abs() < 1
        hopeless = bool(chosen) and float(state.value[chosen[0]] - state.value[i]) > hope
        if not (hopeless or bool((near & (alike | equal)).any())):
            chosen.append(i)
        if len(chosen) == keep:
            break
    return state.select(chosen)


def search(
    scene: Scene,
    prior: MacroPrior,
    *,
    coarse: Scene | None = None,
    stages: tuple[Stage, ...] = STAGES,
    starts: Tensor | None = None,
    seed: int = 0,
    report: Callable[[str], None] = lambda _: None,
) -> tuple[MacroProblem, MacroState]:
    """Finds the macro-model.

    Arguments:
        scene: The observation.
        prior: Prior of the parameters.
        coarse: The same on larger pixels, for the first stages.
        stages: What to do.
        starts: Parameters to start from, with shape (N, 8); candidates that are drawn from the
            prior by default.
        seed: Seed of the candidates that are drawn.
        report: Called with a line after every stage.

    Returns:
        The last stage's problem and its candidates, the one of the highest evidence first. Beside
        it are only such as differ from it and were not far below it before the last stage.
    """
    first = {"amplitude": scene.arc_light.max(), "size": 0.3 * min(scene.frame.grid.fov)}
    if starts is None:
        state = draw(prior, scene.light.ellipticity.mean(0), **first, seed=seed)
    else:
        cores = torch.tensor(CORES, dtype=torch.float64).repeat_interleave(len(starts))
        state = unclimbed(starts.repeat(len(CORES), 1), cores, **first)
    state = state.to(scene.device)
    current = None
    for i, stage in enumerate(stages):
        current = problem(coarse if coarse and stage.coarse else scene, prior, stage)
        if i:
            state = distinct(state, stage.keep, stage.hope)
        elif starts is None:
            state = best_of_bins(current, state)
        else:
            state = best_of_starts(current, state, max(1, stage.keep // len(CORES)))
        state = climb_anew(current, state, stage.steps)
        report(describe(stage, state))
    assert current is not None
    return current, state.select(state.value.argsort(descending=True))


def climb_anew(
    current: MacroProblem, state: MacroState, steps: int, *, rounds: int = 6
) -> MacroState:
    """Climbs in another problem than before: the source prior first, and with little damping."""
    state = replace(state, damping=torch.full_like(state.damping, 0.03))
    return climb(current, current.tune(state, rounds=rounds), steps)


def climb(
    current: MacroProblem, state: MacroState, steps: int, *, tolerance: float = 0.1
) -> MacroState:
    """Climbs; a candidate rests when it gains less than ``tolerance`` in two steps.

    One whose steps were both refused goes on, with shorter ones, until they are tiny.
    """
    active = torch.arange(len(state.p), device=state.p.device)
    for _ in range(0, steps, 2):
        before = state.select(active)
        moved = current.step(current.step(before))
        refused = (moved.p == before.p).all(-1) & (moved.damping < PATIENCE)
        moved = current.tune(moved, rounds=2, step=0.25)
        state = state.replace_at(active, moved)
        active = active[refused | ((moved.value - before.value).abs() >= tolerance)]
        if not len(active):
            break
    return state


def describe(stage: Stage, state: MacroState) -> str:
    """Puts a stage's candidates on a line."""
    pairs = zip(state.p[:, 0].exp().tolist(), state.value.tolist(), strict=True)
    radii = " ".join(f"{t:.3f}({v:.0f})" for t, v in pairs)
    return f"{stage.modes} modes: {radii}"
