r"""An answer in pixels: :math:`\kappa` map, source map, model image, with their errors.

What bends the rays, be it a macro-model or what a recurrent inference machine made of it, is a map
of pixel-averaged :math:`\kappa` and a deflection. Of the mass outside the map a shear
stands for what it can (the one that belongs to the map, found by least squares on the deflection
of the arcs); the rest of its deflection, a tenth of a pixel at the arcs of a typical frame, is
kept as a field beside the map. The source is then solved for once more through the forward model
:math:`F` itself: every mode of the source prior is drawn on the source's pixels and sent through
:math:`F`, so that MODEL is SOURCE seen through ALPHA to rounding, and mean and standard deviation
of the source follow from one exact linear-Gaussian posterior. What is reported is solved for once
more, under a prior that follows the light of that source (:func:`adapted`, :mod:`~.envelope`).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..grid import PixelGrid
from .envelope import Envelope, weight_of
from .frame import Array
from .macro import MacroState
from .mass_sheet import InternalSheet
from .scene import Scene, image_data
from .source_modes import FINER, FULL, MODES, SourceModes
from .source_system import SourceSystem, preferred, whitened
from .start import extent
from .view import Known, MassMaps, View, macro_maps, resample

COARSE, MOST = 0.35, 260
"""Side of a source map's pixels, in those of the image, from which pixels of half of it are tried,
and how many pixels a side there may be at most, of which the modes take 2 GB. Of 48 validation
mocks seven have such a map, and on three of them, whose sources have wide wings and a cusp that
the larger pixels miss, the source error falls by 6 to 57 %."""

RISE = 3.0
"""Rise of the arcs' χ² at which a prior that follows the light is not kept [its standard
deviations]. Not the evidence: of 32 validation mocks it was lower with that prior on seven, of
which five have a source that is nearer the truth."""


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
        log_evidence: Log-evidence under the source prior: that of the prior that follows the light
            knows the data already, and is not comparable.
        effective: Number of effective parameters.
        source_prior: Log strength, length, size and core of the prior that the source was solved
            for with (:mod:`~.source_modes`).
        modes: Highest order of the source's modes.
        envelope: What follows the light of that source, and the prior with it, under which it was
            solved for once more; none if ``None``.
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
    modes: int = MODES
    envelope: Envelope | None = None
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
    tune: int = 0,
    most: int = MOST,
) -> Answer:
    """Solves for the source, given what bends the rays, and puts all into maps.

    Arguments:
        scene: The observation.
        deflector: What bends the rays.
        state: The only candidate of the search, whose source prior is used.
        source_fov: Side of the source map [arcsec], about the mean of the traced arcs. If ``None``
            it is that which the source needs on a first, larger map, whose pixels may be too
            coarse for what is seen magnified, or that of the first, whichever has the higher
            evidence. Where it is large, its pixels are halved if the evidence asks for it
            (:data:`COARSE`).
        source_grid: The source map's pixels, square and in a square, in place of the above.
        tune: Rounds in which the source prior climbs the evidence first.
        most: Pixels a side that a source map with halved pixels may have.
    """
    # A small solve in double precision: on the host, wherever the search was.
    host = torch.device("cpu")
    scene, state = replace(scene, device=host), state.to(host)
    if source_grid is not None:
        found = _solved(scene, state, View.on(scene, deflector, source_grid), tune)
        return _told(scene, deflector, found)
    view = View.of(scene, deflector, source_fov or _side(scene, state))
    found = _solved(scene, state, view, tune)
    if source_fov is None:
        whole = view.grid.fov[0]
        share = float(extent(found.source[None, None]))
        view = View.of(scene, deflector, min(whole, share * whole + scene.frame.fwhm), view.center)
        found = preferred(found, _solved(scene, state, view, tune))
    n, spacing = found.source_grid.shape[0], found.source_grid.spacing
    if spacing >= COARSE * scene.frame.grid.spacing and 2 * n <= most:
        grid = replace(found.source_grid, shape=(2 * n, 2 * n), spacing=spacing / 2)
        finer = _solved(scene, state, View.on(scene, deflector, grid), tune)
        found = preferred(found, finer)
    return _told(scene, deflector, found)


def _solved(scene: Scene, state: MacroState, view: View, tune: int) -> SourceSystem:
    """Solves on one source plane."""
    if tune:
        with torch.no_grad():
            image = image_data(scene, subsample=view.simulator.subsample)
            state = view.tuned(scene, image, state, tune)
    return SourceSystem.of(scene, state.hyper, view)


def adapted(scene: Scene, result: Answer) -> Answer:
    """Solves for the source of an answer without a mass sheet once more, under a prior that
    follows its light (:mod:`~.envelope`), and with more modes where the image may tell of them.

    Arguments:
        scene: The observation.
        result: The answer.

    Returns:
        The new one; without an envelope where χ² of the arcs would rise by more than ``RISE``.
    """
    scene = replace(scene, device=torch.device("cpu"))
    grid, hyper = result.source_grid, torch.tensor([result.source_prior], dtype=torch.float64)
    view = View.on(scene, maps_of(result), grid)
    if result.effective > FULL * len(SourceModes(result.modes)):
        result = _finer(scene, result, hyper, view)
    weight = weight_of(result.source, result.source_std, view.grid, hyper, scene.frame.fwhm)
    first = Envelope(weight, *result.source_prior[:2])
    system = SourceSystem.of(scene, hyper, view, result.modes, first).climbed()
    found = _told(scene, maps_of(result), system, result.source_prior)
    pixels = int((scene.arcs & scene.frame.mask).sum())
    # parameters that are no longer free leave so much more of correlated noise
    rise = pixels * (arc_chi2(scene, found) - arc_chi2(scene, result)) / scene.growth**2
    if not rise <= RISE * math.sqrt(2 * pixels):
        return result
    envelope = Envelope(weight, *system.hyper[0, :2].tolist())
    return replace(found, envelope=envelope, log_evidence=result.log_evidence)


def _finer(scene: Scene, result: Answer, hyper: Tensor, view: View) -> Answer:
    """Solves with more modes; its many columns are not kept."""
    system = SourceSystem.of(scene, hyper, view, FINER)
    return _told(scene, maps_of(result), system, result.source_prior)


def left_over(scene: Scene, result: Answer) -> Array:
    """Computes the image less all that is modelled, zero where a pixel is ignored."""
    modelled = result.arcs + result.lens_light + result.sky
    return np.where(scene.frame.mask, scene.frame.image - modelled, 0.0)


def arc_chi2(scene: Scene, result: Answer) -> float:
    """Computes χ² per pixel of the arcs, in the noise of sky and lens galaxy."""
    residual = left_over(scene, result) / scene.pixel_sigma
    return float(np.square(residual[scene.arcs & scene.frame.mask]).mean())


def _told(
    scene: Scene,
    deflector: MassMaps,
    system: SourceSystem,
    prior: tuple[float, ...] | None = None,
) -> Answer:
    """Puts what was solved for into maps.

    The source's errors take as long as all else of it: of what is not kept they are not found.

    Arguments:
        scene: The observation.
        deflector: What bends the rays.
        system: What was solved.
        prior: The source prior that the answer is said to have; that of the system by default.
    """
    view, solution, k = system.view, system.solution, len(system.basis)
    z = solution.mean[0, :k]
    lens_light, sky = scene.lights(solution.mean[0, k:].numpy())
    alpha_x, alpha_y = view.alpha
    return Answer(
        kappa=deflector.kappa.numpy(),
        alpha_x=alpha_x.numpy(),
        alpha_y=alpha_y.numpy(),
        gamma=(float(view.gamma[0]), float(view.gamma[1])),
        source=system.source.numpy(),
        source_std=whitened(solution, system.basis).square().sum(0).sqrt().numpy(),
        source_grid=system.source_grid,
        arcs=torch.einsum("k,kij->ij", z, system.seen).numpy(),
        lens_light=lens_light,
        sky=sky,
        log_evidence=system.log_evidence,
        effective=float(solution.effective[0]),
        source_prior=tuple(system.hyper[0].tolist()) if prior is None else prior,
        modes=system.modes.count,
    )


def with_source(scene: Scene, deflector: MassMaps, solved: Answer, known: Known) -> Answer:
    """Returns an answer with a known source in place of the one that was solved for.

    Lens light, sky and errors stay those of the solved one; its evidence is not known. The known
    source is taken to be about the same place: its own centre is not looked at.
    """
    view = View.on(scene, deflector, solved.source_grid)
    source = resample(known, view.grid)
    with torch.no_grad():
        arcs = view.see(source[None])[0]
    return replace(solved, source=source.numpy(), arcs=arcs.numpy(), log_evidence=float("nan"))


def _side(scene: Scene, state: MacroState) -> float:
    """Side of a source map that misses nothing [arcsec]: 0.4 of the image's or the whole disc."""
    size, fov = float(state.hyper[0, 2].exp()), scene.frame.grid.fov
    return max(0.4 * max(fov), min(size, 0.8 * min(fov)))
