"""The options of a reconstruction, and what is impossible of them."""

import os
from dataclasses import dataclass
from typing import Literal

from ..errors import InputError
from ..lensing.cosmology import find_cosmology, lens_scales
from ..option_types import check_types
from ..zoo import DEFAULT
from .devices import check_cuda
from .fit import SearchName
from .learning import StageName
from .mass_sheet import SheetName
from .refinement import RefineName

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
    """Side of the source map [arcsec]; what the source needs if not given. The pixels of a large
    map are halved where the image asks for it."""

    z_lens: float | None = None
    """Redshift of the lens, for masses and lengths."""

    z_source: float | None = None
    """Redshift of the source, for masses and lengths."""

    cosmology: str = "Planck18"
    """Name of an astropy cosmology."""

    model: str = DEFAULT
    """Trained machine of --stage rim or final: name of a packaged one, or file of weights from
    lensrim train."""

    stage: StageName = "macro"
    """Last stage: macro (no machine), rim (what the machine returns), or final (the source solved
    for once more, given the machine's mass)."""

    refine: RefineName = "none"
    """What is done to the last stage's answer: none; descent (the mass is refined on the image
    under a prior of what macro-models lack, or the machine; worth it where there is no machine);
    or weights (the machine's are adapted to the image; needs --stage rim or final, and a minute).
    It is not kept where the arcs' chi2 is above 1 and a fifth larger, or, without a machine,
    where the evidence tells against it."""

    mass_sheet: SheetName = "expected"
    """Mass sheet, which no image tells and which scales the source: expected (what the slopes of
    the fit and of other galaxies let expect) or none (as in a power law)."""

    strict: bool = False
    """End with an error, instead of the macro-model's answer and a note, where the machine is not
    valid, or where the arcs' chi2 is above 1 and a fifth larger with it."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where the macro-model is searched and the machine runs; auto takes the CPU, on which the
    search was timed."""

    errors: bool = True
    """Whether errors are stated, and what needs a posterior besides: magnification and flux of the
    source. To find them takes about half a second of a core."""

    samples: int = 0
    """Samples of the posterior of mass and source that the product holds."""

    seed: int = 0
    """Seed of the candidates that the search starts from and of the samples, 0 or more."""

    search: SearchName = "auto"
    """Where the search for the macro-model begins: auto (at what a network reads off the image,
    and in all of the prior where that leads to no fit), full (in all of the prior, which takes
    longer) or quick (nowhere: many lenses of a catalogue climb at once from what the network
    reads, with --stage rim; what has no good answer then is searched for)."""

    def __post_init__(self) -> None:
        if isinstance(self.model, os.PathLike):
            object.__setattr__(self, "model", os.fspath(self.model))

    def check(self) -> None:
        """Checks what does not depend on the observation.

        Raises:
            InputError: If an option is impossible.
        """
        check_types(self)
        if (self.z_lens is None) != (self.z_source is None):
            raise InputError("--z-lens and --z-source: both or neither must be given")
        if self.z_lens is not None and self.z_source is not None:
            lens_scales(self.z_lens, self.z_source, cosmology=self.cosmology)
        elif self.cosmology != type(self).cosmology:  # which takes long to look up
            find_cosmology(self.cosmology)
        if self.refine == "weights" and self.stage == "macro":
            raise InputError(
                "--refine weights: needs a machine to adapt, found --stage macro; give --stage "
                "rim or final, or --refine descent"
            )
        self.check_model()
        if self.search == "quick":
            self._check_quick()
        if not 0 <= self.seed < 2**63:
            raise InputError(f"--seed: must be 0 or more, and below 2^63, found {self.seed}")
        if not 0 <= self.samples <= MOST:
            raise InputError(
                f"--samples: must be between 0 and {MOST}, found {self.samples}; give fewer, or "
                "reconstruct again with another --seed"
            )
        if self.samples and not self.errors:
            raise InputError(
                f"--samples: needs errors, found --samples {self.samples} and --no-errors; leave "
                "one out"
            )
        if self.device == "cuda":
            check_cuda()
        if self.source_fov is not None and not 0 < self.source_fov < float("inf"):
            raise InputError(f"--source-fov: must be positive, found {self.source_fov}")

    def check_model(self) -> None:
        """Checks that a machine is used, if one is named or insisted on.

        Raises:
            InputError: If none is.
        """
        if self.stage == "macro" and self.strict:
            raise InputError(
                "--strict: is for --stage rim or final, found --stage macro, which uses no "
                "machine; give --stage final, or no --strict"
            )
        if self.stage == "macro" and self.model != DEFAULT:
            raise InputError(
                f"--model: is for --stage rim or final, found {self.model!r} and --stage "
                "macro, which uses none; give --stage final, or no --model"
            )

    def _check_quick(self) -> None:
        """Checks that nothing is asked for that quick answers do not have."""
        others = {
            "--stage": (self.stage, "rim"),
            "--refine": (self.refine, "none"),
            "--samples": (self.samples, 0),
            "--source-fov": (self.source_fov, None),
        }
        for option, (found, only) in others.items():
            if found != only:
                said = f"{option} {only}" if only else f"no {option}"
                raise InputError(
                    f"--search quick: needs {said}, found {option} {found}; change it, or give "
                    "--search auto"
                )
