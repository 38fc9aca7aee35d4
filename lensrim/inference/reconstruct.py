"""The chain: from an observation to a source and a mass map.

Cut-out and lens light, search for the macro-model, lens light once more jointly with the arcs,
and the answer in pixels: of the macro-model, and of a trained machine that begins with it. Every
stage's numbers go into the product's JSON.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import torch

from ..io.observation import Observation
from ..io.product import Product, write_product
from ..io.read import read_about
from ..io.stream import one_line
from ..option_types import check_options, check_path
from ..progress import Stages
from .answer import Answer, adapted, maps_of
from .answer_sheet import settled
from .fit import WAYS, Fit, Fitter, enough_memory
from .framing import coarsen
from .guess.starts import packaged_guesser
from .judgement import CORE, NOISE, PEAK
from .learning import PARTS, Outcome, learn
from .machine import Machine, load_machine
from .macro import MacroState
from .options import ReconstructOptions
from .quick import quick_answer
from .refinement import Descent, Refinement, tried
from .report import build_product, timed
from .scene import Scene
from .sighting import scene_of
from .summary import summary_of
from .symptoms import candidates_of
from .together import prior_of
from .weights import Adaptation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEARCHED = "searched: no good quick answer"
"""How the note begins of a lens that has no good quick answer, before the reasons."""

TOLD = ("doubtful: ", "failed: ", NOISE, CORE, PEAK)
"""How lines of a product's history begin that the summary repeats."""

SHARES = {
    "reading": 1,
    "lens light": 5,
    "search": 40,
    "lens light with arcs": 25,
    "source": 9,
    "machine": 10,
    "refinement": 10,
    "report": 10,
}
"""Stages, with the per cent of the time that they usually take."""


@dataclass(frozen=True)
class Reconstruction:
    """Holds the result of :func:`reconstruct`.

    Arguments:
        product: Maps, grids and numbers.
        summary: A short table of the numbers.
        files: Files of the observation, which are never replaced.
        answers: Maps of every stage, by its name, in their order.
        scene, state: What was fitted, and the macro-model.
    """

    product: Product
    summary: str
    files: tuple[Path, ...] = ()
    answers: Mapping[str, Answer] = field(default_factory=dict)
    scene: Scene | None = None
    state: MacroState | None = None

    def plot(self) -> "Figure":
        """Draws data, arcs, model, residual, source and convergence, without showing it."""
        from ..plotting import plot_product

        return plot_product(self.product)

    def write(
        self,
        path: str | os.PathLike[str] = "results",
        *,
        overwrite: bool = False,
        picture: bool = True,
    ) -> list[Path]:
        """Writes FITS, JSON, PNG and DS9 regions into a folder, all or none.

        Arguments:
            path: The folder, or the FITS file itself.
            overwrite: Whether an existing product is replaced.
            picture: Whether the PNG is drawn, which takes a second.

        Raises:
            InputError: If the product exists and ``overwrite`` is false, or cannot be written, or
                would replace the observation.
        """
        figure = self.plot() if picture else None
        return write_product(
            self.product, path, figure=figure, overwrite=overwrite, inputs=self.files
        )

    def to_coolest(self, path: str | os.PathLike[str], *, overwrite: bool = False) -> list[Path]:
        """Writes macro-model, source and image as a COOLEST template, which other codes read.

        Arguments:
            path: The JSON file; its maps are written beside it.
            overwrite: Whether existing files are replaced.

        Returns:
            The files written.

        Raises:
            InputError: As :func:`~lensrim.io.coolest.products.system_of` and
                :func:`~lensrim.io.coolest.write_coolest`.
        """
        from ..io.coolest import system_of, write_coolest

        return write_coolest(system_of(self.product), path, overwrite=overwrite)

    def __repr__(self) -> str:
        return self.summary

    def _repr_png_(self) -> bytes:
        from io import BytesIO

        stream = BytesIO()
        self.plot().savefig(stream, format="png", dpi=60)
        return stream.getvalue()


def reconstruct(
    observation: Observation | str | os.PathLike[str],
    options: ReconstructOptions = ReconstructOptions(),
    *,
    quiet: bool = True,
) -> Reconstruction:
    """Reconstructs the source galaxy and the lensing mass.

    Arguments:
        observation: What :func:`lensrim.read_observation` returned, or a file or folder that it
            can read without options.
        options: How.
        quiet: Whether to show no progress bar.

    Raises:
        InputError: If the observation or an option cannot be used.
    """
    check_options(options, ReconstructOptions)
    if not isinstance(observation, Observation):
        check_path(observation)
    options.check()
    has_light, device = options.lens_light != "none", options.device
    # A model that cannot be loaded is told before the work.
    machine = None if options.stage == "macro" else load_machine(options.model)
    if WAYS[options.search].draws is not None:
        packaged_guesser()
    tried_first: dict[str, float] = {}
    settings = [f"{k} = {v}" for k, v in asdict(options).items() if v is not None]
    if options.search == "quick" and machine is not None:
        if not isinstance(observation, Observation):
            observation = read_about(Path(observation), center=options.center, size=options.size)
        machine.rim.to("cuda" if device == "cuda" else "cpu")
        begun = perf_counter()
        try:
            product, reasons, seen = quick_answer(machine, observation, options)
        except RuntimeError as error:  # of linear algebra, or for want of memory
            product, reasons, seen = None, (one_line(error),), ()
        if product is not None and not reasons:
            return Reconstruction(product, summary_of(product, seen), observation.files)
        tried_first = {"quick": perf_counter() - begun}
        said = f"{SEARCHED} ({'; '.join(reasons)})"
        observation = replace(observation, notes=(*observation.notes, said))
        options = replace(options, search="auto")
    with Stages(SHARES, enabled=not quiet) as stages:
        if not isinstance(observation, Observation):
            with stages("reading"):
                observation = read_about(
                    Path(observation), center=options.center, size=options.size
                )
        # four rounds of the lens light at most, twice where the lens must be found first
        with stages("lens light", parts=8) as tick:
            fitted, scene, notes = scene_of(observation, options, tick=tick)
        scene = replace(scene, device=torch.device("cuda" if device == "cuda" else "cpu"))
        prior = prior_of(scene, has_light)
        coarse = coarsen(scene, fitted)

        fitter = Fitter(
            scene, coarse, prior, has_light, options.source_fov, options.mass_sheet, stages
        )
        found = fitter(options.seed, how=options.search)
        best = found.best
        notes = [*notes, *found.notes, *best.notes]
        scene, current, state = best.scene, best.problem, best.state
        with stages("source"):
            first = adapted(scene, best.answer)
        outcome = Outcome({"macro": first})
        if machine is not None:
            with enough_memory(scene), stages("machine", parts=PARTS) as tick:
                machine.rim.to(scene.device)
                outcome = learn(
                    machine,
                    scene,
                    state,
                    first,
                    has_light=has_light,
                    until=options.stage,
                    strict=options.strict,
                    source_fov=best.sheet.before(options.source_fov),
                    tick=tick,
                )
        if (refinement := _refinement(options, machine, best, has_light)) is not None:
            with enough_memory(scene), stages("refinement"):
                outcome = tried(refinement, options.refine, outcome, scene, state)
        macro = maps_of(outcome.answers["macro"])
        answers = settled(scene, outcome.answers, macro, best.sheet, state.p[0].cpu())
        outcome = replace(outcome, answers=answers)
        notes = [*notes, *outcome.notes]
        with stages("report"):
            product = build_product(
                fitted,
                scene,
                current.prior,
                state,
                outcome,
                machine,
                notes=(*fitted.notes, *notes, *found.lines),
                settings=(*observation.options, *settings),
                redshifts=(options.z_lens, options.z_source, options.cosmology),
                errors=options.errors,
                samples=options.samples,
                seed=options.seed,
                candidates=[each for one in found.fits for each in candidates_of(one.candidates)],
            )
    product = timed(product, stages.seconds | tried_first, outcome.seconds)
    said = (line for line in product.history if line.startswith(TOLD))
    summary = summary_of(product, (*fitted.notes, *notes, *said))
    return Reconstruction(product, summary, observation.files, outcome.answers, scene, state)


def _refinement(
    options: ReconstructOptions,
    machine: Machine | None,
    fit: Fit,
    has_light: bool,
) -> Refinement | None:
    """Returns the refinement that was asked for."""
    if options.refine == "descent":
        return Descent(fit.problem.prior, fit.stage)
    if options.refine == "weights" and machine is not None:
        return Adaptation(machine, has_light, seed=options.seed)
    return None
