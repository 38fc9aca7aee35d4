"""The chain: from an observation to a source and a mass map.

Cut-out and lens light, search for the macro-model, lens light once more jointly with the arcs,
and the answer in pixels: of the macro-model, and of a trained machine that begins with it. Every
stage's numbers go into the product's JSON.
"""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch

from ..errors import InputError
from ..io.observation import Observation
from ..io.product import Product, write_product
from ..io.read import read_about
from ..io.stream import one_line
from ..lensing.cosmology import lens_scales
from ..progress import Stages
from ..zoo import DEFAULT
from .answer import Answer
from .fit import WAYS, Fit, Fitter, SearchName, enough_memory
from .framing import coarsen, cut, frame_of, observe
from .guess.starts import packaged_guesser
from .learning import PARTS, Outcome, StageName, learn
from .machine import Machine, load_machine
from .macro import MacroState
from .mass_sheet import SheetName
from .neighbours import describe_neighbours
from .refinement import Descent, Refinement, RefineName, tried
from .report import build_product, summary_of, timed
from .scene import Scene
from .sheeted import with_sheet
from .symptoms import candidates_of
from .together import prior_of
from .weights import Adaptation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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


MOST = 1000
"""Samples of a product, at most: of frames of 64 x 64 pixels they take 64 MiB."""


@dataclass(frozen=True)
class ReconstructOptions:
    """How to reconstruct a lens."""

    center: tuple[float, float] | None = None
    """Middle of the cut-out as pixel indices x y in the image of the file, counted from 0; found
    if not given. Of an image that is too large to be read, what lies about it is read."""

    size: float | None = None
    """Side of the cut-out [arcsec]; found from the arcs if not given."""

    bin: int | None = None
    """Pixels averaged along each side; chosen if not given."""

    lens_light: Literal["auto", "none"] = "auto"
    """Fit the lens galaxy's light, or none where it is already subtracted: the lens is then taken
    to be within some pixels of the middle of the frame, or of --center."""

    source_fov: float | None = None
    """Side of the source map [arcsec]; what the source needs if not given."""

    z_lens: float | None = None
    """Redshift of the lens, for masses and lengths."""

    z_source: float | None = None
    """Redshift of the source, for masses and lengths."""

    cosmology: str = "Planck18"
    """Name of an astropy cosmology."""

    model: str = DEFAULT
    """Trained machine: name of a packaged one, or file of weights from lensrim train."""

    stage: StageName = "macro"
    """Last stage: macro (no machine), rim (what the machine returns), or final (the source solved
    for once more, given the machine's mass)."""

    refine: RefineName = "none"
    """What is done to the last stage's answer: none; descent (the mass is refined on the image
    under a prior of what answers lack); or weights (the machine's are adapted to the image; needs
    --stage rim or final, and a minute). It is not kept where it fits worse."""

    mass_sheet: SheetName = "expected"
    """Mass sheet, which no image tells and which scales the source: expected (what the slopes of
    the fit and of other galaxies let expect) or none (as in a power law)."""

    strict: bool = False
    """End with an error, instead of the macro-model's answer and a note, where the machine is not
    valid or fits worse."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the macro-model is searched and the machine runs; auto takes the CPU, on which the
    search was timed."""

    samples: int = 0
    """Samples of the posterior of mass and source that the product holds."""

    seed: int = 0
    """Seed of the candidates that the search starts from and of the samples, 0 or more."""

    search: SearchName = "auto"
    """Where the search for the macro-model begins: auto (at what a network reads off the image,
    and in all of the prior where that leads to no fit) or full (in all of the prior, which takes
    longer)."""

    def check(self) -> None:
        """Checks what does not depend on the observation.

        Raises:
            InputError: If an option is impossible.
        """
        if (self.z_lens is None) != (self.z_source is None):
            raise InputError("--z-lens and --z-source: both or neither must be given")
        if self.z_lens is not None and self.z_source is not None:
            lens_scales(self.z_lens, self.z_source, cosmology=self.cosmology)
        if self.refine == "weights" and self.stage == "macro":
            raise InputError(
                "--refine weights: needs a machine to adapt, found --stage macro; give --stage "
                "rim or final, or --refine descent"
            )
        if self.search not in get_args(SearchName):
            raise InputError(
                f"--search: must be one of {', '.join(get_args(SearchName))}, found "
                f"{self.search!r}; change it"
            )
        if self.mass_sheet not in get_args(SheetName):
            raise InputError(
                f"--mass-sheet: must be one of {', '.join(get_args(SheetName))}, found "
                f"{self.mass_sheet!r}; change it"
            )
        if self.seed < 0:
            raise InputError(f"--seed: must be 0 or more, found {self.seed}")
        if not 0 <= self.samples <= MOST:
            raise InputError(
                f"--samples: must be between 0 and {MOST}, found {self.samples}; give fewer, or "
                "reconstruct again with another --seed"
            )
        if self.device == "cuda":
            check_cuda()
        if self.source_fov is not None and not 0 < self.source_fov < float("inf"):
            raise InputError(f"--source-fov: must be positive, found {self.source_fov}")


def check_cuda() -> None:
    """Makes sure that there is a CUDA device, and that it computes.

    Raises:
        InputError: If there is none, or it does not.
    """
    advice = "give --device cpu, or install a torch that is built for this GPU"
    if not torch.cuda.is_available():
        raise InputError(f"--device cuda: torch finds no CUDA device: {advice}")
    try:
        # a device that is found may be of a kind that this torch has no kernels for, or taken
        (torch.zeros(1, device="cuda") + 1).item()
    except (RuntimeError, AssertionError) as error:
        raise InputError(
            f"--device cuda: the CUDA device must compute, it fails ({one_line(error)}): {advice}"
        ) from error


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
    options.check()
    has_light, device = options.lens_light != "none", options.device
    # A model that cannot be loaded is told before the work.
    machine = None if options.stage == "macro" else load_machine(options.model)
    if WAYS[options.search].draws is not None:
        packaged_guesser()
    with Stages(SHARES, enabled=not quiet) as stages:
        if not isinstance(observation, Observation):
            with stages("reading"):
                observation = read_about(
                    Path(observation), center=options.center, size=options.size
                )
        # four rounds of the lens light at most, twice where the lens must be found first
        with stages("lens light", parts=8) as tick:
            fitted, notes = cut(
                observation,
                center=options.center,
                size=options.size,
                bin=options.bin,
                lens_light=has_light,
                tick=tick,
            )
            scene = observe(frame_of(fitted), lens_light=has_light, tick=tick)
        notes = [*notes, *describe_neighbours(scene.neighbours, fitted)]
        scene = replace(scene, device=torch.device("cuda" if device == "cuda" else "cpu"))
        prior = prior_of(scene, has_light)
        coarse = coarsen(scene, fitted)

        fitter = Fitter(
            scene, coarse, prior, has_light, options.source_fov, options.mass_sheet, stages
        )
        found = fitter(options.seed, how=options.search)
        best = found.best
        notes = [*notes, *found.notes, *best.notes]
        scene, current, state, first = best.scene, best.problem, best.state, best.answer
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
        p = state.p[0].cpu()
        answers = {k: with_sheet(scene, v, best.sheet, p) for k, v in outcome.answers.items()}
        outcome = replace(outcome, answers=answers)
        notes = [*notes, *outcome.notes]
        settings = (f"{k} = {v}" for k, v in asdict(options).items() if v is not None)
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
                samples=options.samples,
                seed=options.seed,
                candidates=[each for one in found.fits for each in candidates_of(one.candidates)],
            )
    product = timed(product, stages.seconds)
    said = (line for line in product.history if line.startswith(("doubtful: ", "failed: ")))
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
