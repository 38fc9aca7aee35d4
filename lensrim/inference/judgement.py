"""How good an answer is, and how plausible: the numbers by which each stage is judged.

The verdict is made of reasons (:mod:`lensrim.inference.reasons`) and of a score
(:mod:`lensrim.inference.score`), and both of symptoms (:mod:`lensrim.inference.symptoms`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .. import metrics
from ..io.observation import Observation
from .answer import Answer, arc_chi2, left_over
from .frame import Array
from .reasons import REASONS
from .scene import Scene
from .score import Score, packaged_score
from .symptoms import Symptoms, blank_of, judged, peak_of

Quality = Literal["good", "doubtful", "failed"]

UNUSED = "RANGE"
"""Code of a machine that was not used."""

WRONG = 0.8
"""Score from which an answer has failed. Not 0.5: no model follows all the light of a real lens
galaxy, so that of real lenses with the published Einstein radius some have as much."""


def residual_of(scene: Scene, result: Answer) -> Array:
    """Computes the residuals in units of the stated noise, zero where a pixel is ignored."""
    return np.where(scene.frame.mask, left_over(scene, result) / scene.frame.sigma, 0.0)


def numbers_of(scene: Scene, result: Answer) -> dict[str, float]:
    """Measures a stage's answer."""
    frame, residual = scene.frame, residual_of(scene, result)
    arcs = scene.arcs & frame.mask
    return {
        "theta_E": metrics.effective_theta_E(result.kappa, frame.grid),
        "gamma1": result.gamma[0],
        "gamma2": result.gamma[1],
        "chi2nu": float((residual[frame.mask] ** 2).mean()),
        "chi2arc": float((residual[arcs] ** 2).mean()),
        "chi2arc_fitted_noise": arc_chi2(scene, result),
        "chi2nu_expected": scene.expected(result.effective, int(frame.mask.sum())),
        "chi2arc_expected": scene.expected(result.effective, int(arcs.sum())),
        "log_evidence": result.log_evidence,
        "peff": result.effective,
    }


CORE = "core of the lens: "
"""How the line begins that tells of what is not judged."""

ROUGH = 2.0
"""χ² of the lens galaxy's core, in the stated noise or the sky's, if that is larger, above which
the user is told of it."""


def core_lines(scene: Scene, result: Answer, theta_E: float) -> tuple[str, ...]:
    """Tells of the core of the lens galaxy, if it lies within the arcs and is not fitted.

    Arguments:
        scene: The observation.
        result: The answer.
        theta_E: Einstein radius of its macro-model [arcsec].
    """
    core = scene.arcs & scene.frame.mask & ~judged(scene, result, theta_E)
    chi2 = float((residual_of(scene, result)[core] ** 2).mean()) if core.any() else 0.0
    chi2 /= max(scene.noise_scale, 1.0) ** 2
    if chi2 < ROUGH:
        return ()
    return (
        f"{CORE}chi2 {chi2:.1f} over {int(core.sum())} pixels of the arcs: its light is not "
        "followed there, which CHI2ARC holds, and the quality leaves out",
    )


SMALL, GROSS = 0.6, 4.0
"""χ² of the frame below which the noise is told to be too large, and above which too small."""

PEAK = "largest residual: "
"""How the line begins that tells where a residual stands out."""


def peak_line(scene: Scene, result: Answer, theta_E: float, observation: Observation) -> str:
    """Tells where on the arcs the residual stands out most, and what to do if it is a neighbour.

    Arguments:
        scene: The observation.
        result: The answer.
        theta_E: Einstein radius of its macro-model [arcsec].
        observation: What is fitted, with its place in the file.
    """
    frame, arcs = scene.frame, judged(scene, result, theta_E)
    residual = left_over(scene, result) / scene.pixel_sigma
    width = frame.fwhm / frame.grid.spacing
    _, (row, column) = peak_of(residual, arcs, blank_of(scene, result), width)
    x, y = observation.to_file(column, row)
    return (
        f"{PEAK}about pixel ({x:.0f}, {y:.0f}), x y from 0 in the file, or ({x + 1:.0f}, "
        f"{y + 1:.0f}) in DS9; if a neighbour is there, draw a region about it and --ignore it"
    )


NOISE = "stated noise: "
"""How the line begins that tells of a noise map that the whole frame contradicts."""


def noise_lines(chi2: float, *, measured: bool = False) -> tuple[str, ...]:
    """Tells of stated noise that is far from what the frame shows.

    Arguments:
        chi2: χ² per used pixel of the frame.
        measured: Whether the noise is that of blank sky already.
    """
    if SMALL < chi2 < GROSS or not math.isfinite(chi2):
        return ()
    off = math.sqrt(chi2)
    if chi2 >= GROSS:
        return (
            f"{NOISE}chi2 of the frame is {chi2:.3g}: the noise is too small, perhaps {off:.2g} "
            "times (is its map a variance or a weight? --noise-kind), or most of the light is not "
            "modelled",
        )
    advice = "" if measured else "; --rescale-noise sky measures it"
    return (
        f"{NOISE}chi2 of the frame is {chi2:.2f}: the noise is too large, about {1 / off:.1f} "
        f"times{advice}",
    )


@dataclass(frozen=True)
class Judgement:
    """Holds what is thought of an answer.

    Arguments:
        quality: ``failed`` where it is of no use, ``doubtful`` where it must be looked at.
        score: Probability that its Einstein radius is off by more than 10 %.
        reasons: Sentences by code; none for a good answer.
    """

    quality: Quality
    score: float
    reasons: Mapping[str, str]

    @property
    def codes(self) -> str:
        """The codes of the reasons in a line; ``none`` where there is none."""
        return " ".join(self.reasons) or "none"

    @property
    def lines(self) -> tuple[str, ...]:
        """A line for each reason; that a machine was not used is none for doubt."""
        return tuple(
            f"{what} ({code})" if code == UNUSED else f"{self.quality}: {what} ({code})"
            for code, what in self.reasons.items()
        )


def judge(symptoms: Symptoms, score: Score | None = None, *, refused: bool = False) -> Judgement:
    """Judges an answer by its symptoms.

    It is ``failed`` where a reason says so or where its score says that it is wrong, and
    ``doubtful`` where there is any other reason, or its score is above the score's threshold.

    Arguments:
        symptoms: Its symptoms.
        score: The score; the packaged one by default.
        refused: Whether a machine was asked for that is not valid here, or fits worse. It is said,
            but the macro-model's answer is as good as it would be without.
    """
    score = packaged_score() if score is None else score
    probability = score(symptoms)
    found = [reason for reason in REASONS if reason.is_so(symptoms)]
    reasons = {reason.code: reason.sentence for reason in found}
    if probability >= score.threshold:
        reasons["SCORE"] = (
            f"of simulated answers with these symptoms {probability:.0%} have an Einstein radius "
            "that is wrong by more than 10 %"
        )
    quality: Quality = "doubtful" if reasons else "good"
    if probability >= WRONG or any(reason.grade == "failed" for reason in found):
        quality = "failed"
    if refused:
        reasons[UNUSED] = "the machine was not used: the answer begins with the macro-model"
    return Judgement(quality, probability, reasons)
