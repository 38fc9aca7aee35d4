"""Traits of an answer that tell whether its errors are larger than its posterior has them.

A posterior is that of its model. Where a model is further from the truth than usual, the answer
shows it, though no noise tells it from a right one: the arcs' residual is larger, symptoms of a
wrong answer (:mod:`lensrim.inference.symptoms`) are there in part. And a posterior is the less to
be relied on the finer the source, and by the shape of the mass and the size of the arcs.
A calibration weighs these traits (:mod:`lensrim.inference.calibration`).

Each is bounded, near 0 for the usual answer, and varies by about 1 among mocks. What is not
guaranteed: they tell tendencies among many lenses, and nothing certain of one.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from .score import packaged_score
from .symptoms import Symptoms

TRAITS: Mapping[str, Callable[[Symptoms, float], float]] = {
    "residual": lambda s, snr: _within(10 * _log(s.chi2 / max(s.expected, 1e-3)) - 0.5),
    "suspicion": lambda s, snr: _suspicion(s),
    "suspicion, bright": lambda s, snr: _within(_suspicion(s) * _bright(snr)),
    "elliptical": lambda s, snr: _within(10 * (s.flatness - 0.15)),
    "fine": lambda s, snr: _within(-1.3 * (s.length + 1.6)),
    "compact": lambda s, snr: _within(-1.6 * (s.core + 3.6)),
    "extended": lambda s, snr: _within(2 * _log(s.pixels / 1200, -MOST)),
}
"""By name, functions of the symptoms and of the signal over noise: how far the arcs' residual is
above what a right model leaves; how likely the answer is wrong, and that where arcs are bright;
how elliptical the mass is; how fine the source's structure is, and how compact its middle; and how
many pixels the arcs have. Of 25 that were tried, these say most of the errors of lenses that
weights were not fitted to."""

MOST = 3.0
"""Modulus of a trait, at most."""


def traits_of(symptoms: Symptoms, snr: float) -> NDArray[np.float64]:
    """Returns the traits of an answer.

    Arguments:
        symptoms: Its symptoms.
        snr: Signal over noise of the arcs' brightest pixel.
    """
    return np.array([trait(symptoms, snr) for trait in TRAITS.values()])


def _within(value: float) -> float:
    """Returns a trait within its bounds; what is no number says nothing."""
    return min(max(value, -MOST), MOST) if not math.isnan(value) else 0.0


def _log(ratio: float, least: float = 0.0) -> float:
    """Logarithm of a ratio, at least a bound; no number of what is none."""
    if math.isnan(ratio):
        return math.nan
    return max(math.log(ratio), least) if ratio > 0 else least


def _suspicion(symptoms: Symptoms) -> float:
    """Logarithm of the odds that the answer is wrong, against the usual ones."""
    share = min(max(packaged_score()(symptoms), 1e-6), 1 - 1e-6)
    return _within(2 * (math.log(share / (1 - share)) + 4.85))


def _bright(snr: float) -> float:
    """How bright the arcs are, from about -1.5 to 1.5."""
    return math.log(min(max(snr, 10.0), 200.0) / 45)
