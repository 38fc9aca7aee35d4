r"""An answer in pixels: :math:`\kappa` map, source map, model image, with their errors.

What bends the rays, be it a macro-model or what a recurrent inference machine made of it, is a map
of pixel-averaged :math:`\kappa` and a deflection. Of the mass outside the map a shear
stands for what it can (the one that belongs to the map, found by least squares on the deflection
of the arcs); the rest of its deflection, a tenth of a pixel at the arcs of a typical frame, is
kept as a field beside the map. The source is then solved for once more through the forward model
:math:`F` itself: every mode of the source prior is drawn on the source's pixels and sent through
:math:`F`, so that MODEL is SOURCE seen through ALPHA to rounding, and mean and standard deviation
of the source follow from one exact linear-Gaussian posterior. Its prior has a mean where a source
is already known, and is then one of what that source lacks.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..grid import PixelGrid
from .frame import Array
from .inversion import Design, ImageData, Solution, assemble, solve
from .macro import MacroState
from .mass_sheet import InternalSheet
from .scene import Scene, image_data
from .source_modes import MODES, SourceModes
from .start import extent
from .view import Known, MassMaps, View, macro_maps, resample


@dataclass(frozen=True)
class Answer:
    """Holds maps and numbers of a stage.

    Arguments:
        kappa, alpha_x, alpha_y: Maps of the image plane; the deflection holds the shear [arcsec].
        gamma: External shear that belongs to the map.
        source, source_std: Maps of the source plane.
        source_grid: Grid of the source plane.
        arcs, lens_light: Models, convolved.
        sky: Constant sky.
        log_evidence, effective: Log-evidence and number of effective parameters.
        source_prior: Log strength, length, size and core of the prior that the source was solved
            for with (:mod:`~.source_modes`).
        sheet: The mass sheet that it has.
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
    source_prior: tuple[float, ...] = ()
    sheet: InternalSheet = InternalSheet()


def mass_maps_of(scene: Scene, state: MacroState) -> MassMaps:
    """Puts a macro-model on the pixels of a scene."""
    return macro_maps(state.p[0].cpu(), scene.frame.grid)


def maps_of(result: Answer) -> MassMaps:
    """Returns what bends the rays in an answer."""
    alpha = np.stack([result.alpha_x, result.alpha_y])
    return MassMaps(torch.from_numpy(result.kappa), torch.from_numpy(alpha))


def answer(
    scene: Scene,
    deflector: MassMaps,
    state: MacroState,
    *,
    source_fov: float | None = None,
    source_grid: PixelGrid | None = None,
    mean: Known | None = None,
    tune: int = 0,
) -> Answer:
    """Solves for the source, given what bends the rays, and puts all into maps.

    Arguments:
        scene: The observation.
        deflector: What bends the rays.
        state: The only candidate of the search, whose source prior is used.
        source_fov: Side of the source map [arcsec], about the mean of the traced arcs. If ``None``
            it is that which the source needs on a first, larger map, whose pixels may be too
            coarse for what is seen magnified, or that of the first, whichever has the higher
            evidence.
        source_grid: Of whose side along x and centre the source map is, in place of the above;
            its pixels are the scene's, in a square.
        mean: A source that the prior is about.
        tune: Rounds in which the source prior climbs the evidence first.
    """
    # A small solve in double precision: on the host, wherever the search was.
    host = torch.device("cpu")
    scene, state = replace(scene, device=host), state.to(host)
    if source_grid is not None:
        view = View.of(scene, deflector, source_grid.fov[0], source_grid.center)
        return _solved(scene, deflector, state, view, mean, tune)
    view = View.of(scene, deflector, source_fov or _side(scene, state))
    found = _solved(scene, deflector, state, view, mean, tune)
    if source_fov is not None:
        return found
    whole = view.grid.fov[0]
    share = float(extent(torch.from_numpy(found.source)[None, None]))
    view = View.of(scene, deflector, min(whole, share * whole + scene.frame.fwhm), view.center)
    other = _solved(scene, deflector, state, view, mean, tune)
    return max(found, other, key=lambda each: each.log_evidence)


@dataclass(frozen=True)
class SourceSystem:
    """Holds the linear-Gaussian problem of a source on pixels, and its posterior.

    Arguments:
        view: The source plane, and how it is seen.
        image: The image, less what is seen of the mean of the source's prior.
        basis: The source's modes on its pixels, with shape (K, n, n).
        seen: Their images, PSF-convolved, with shape (K, H, W).
        design: The normal equations.
        solution: The posterior.
        state: The candidate of the search, with the source prior that was used.
        expected, expected_seen: Mean of the prior, with shape (n, n), and its image, (H, W).
    """

    view: View
    image: ImageData
    basis: Tensor
    seen: Tensor
    design: Design
    solution: Solution
    state: MacroState
    expected: Tensor
    expected_seen: Tensor

    @classmethod
    def of(
        cls,
        scene: Scene,
        state: MacroState,
        view: View,
        mean: Known | None = None,
        tune: int = 0,
    ) -> "SourceSystem":
        """Draws and images every mode, and solves."""
        with torch.no_grad():
            expected = torch.zeros(*view.grid.shape, dtype=torch.float64)
            if mean is not None:
                expected = resample(mean, view.grid)
            image = image_data(scene, subsample=view.simulator.subsample)
            there = view.see(expected[None])[0]
            image = replace(image, data=image.data - there.flatten() * image.weight)
            if tune:
                state = view.tuned(scene, image, state, tune)
            modes = SourceModes(MODES)
            core, size = state.hyper[:1, 2:].exp().flip(1).unbind(1)
            basis = modes.on_pixels(view.grid, 1 / size, core)[0]
            seen = view.see(basis)
            system = assemble(image, image.weighted(seen.reshape(1, len(seen), -1)))
            solution = solve(system, modes, state.hyper)
        return cls(view, image, basis, seen, system, solution, state, expected, there)


def _solved(
    scene: Scene,
    deflector: MassMaps,
    state: MacroState,
    view: View,
    mean: Known | None,
    tune: int,
) -> Answer:
    """Solves on one source plane."""
    system = SourceSystem.of(scene, state, view, mean, tune)
    solution, k = system.solution, len(system.basis)
    z = solution.mean[0, :k]
    lens_light, sky = scene.lights(solution.mean[0, k:].numpy())
    alpha_x, alpha_y = view.alpha
    return Answer(
        kappa=deflector.kappa.numpy(),
        alpha_x=alpha_x.numpy(),
        alpha_y=alpha_y.numpy(),
        gamma=(float(view.gamma[0]), float(view.gamma[1])),
        source=(system.expected + torch.einsum("k,kij->ij", z, system.basis)).numpy(),
        source_std=whitened(solution, system.basis).square().sum(0).sqrt().numpy(),
        source_grid=replace(view.grid, center=view.center),
        arcs=(system.expected_seen + torch.einsum("k,kij->ij", z, system.seen)).numpy(),
        lens_light=lens_light,
        sky=sky,
        log_evidence=float(solution.log_evidence[0]),
        effective=float(solution.effective[0]),
        source_prior=tuple(system.state.hyper[0].tolist()),
    )


def with_source(scene: Scene, deflector: MassMaps, solved: Answer, known: Known) -> Answer:
    """Returns an answer with a known source in place of the one that was solved for.

    Lens light, sky and errors stay those of the solved one; its evidence is not known. The known
    source is taken to be about the same place: its own centre is not looked at.
    """
    grid = solved.source_grid
    view = View.of(scene, deflector, grid.fov[0], grid.center)
    source = resample(known, view.grid)
    with torch.no_grad():
        arcs = view.see(source[None])[0]
    return replace(solved, source=source.numpy(), arcs=arcs.numpy(), log_evidence=float("nan"))


def _side(scene: Scene, state: MacroState) -> float:
    """Side of a source map that misses nothing [arcsec]: 0.4 of the image's or the whole disc."""
    size, fov = float(state.hyper[0, 2].exp()), scene.frame.grid.fov
    return max(0.4 * max(fov), min(size, 0.8 * min(fov)))


def whitened(solution: Solution, basis: Tensor) -> Tensor:
    """Returns the whitened modes (K + Q, n, n) of a source with basis (K, n, n).

    The squares of what a standard normal vector makes of them average to the source's variance.
    """
    k, total = len(basis), solution.scale.shape[1]
    modes = basis.reshape(k, -1) * solution.scale[0, :k, None]
    padded = torch.cat([modes, modes.new_zeros(total - k, modes.shape[1])])
    half = torch.linalg.solve_triangular(solution.factor[0], padded, upper=False)
    return half.reshape(total, *basis.shape[1:])
