r"""The fit of the score: a logistic regression with few features, none of them negative.

.. math:: \min_{b, w \geq 0} \; - \sum_i \omega_i \log p(y_i | f_i) + \tfrac{\lambda}{2} |w|^2 \, ,

with features that are divided by their standard deviation. The weights :math:`\omega` bring the
share of the wrong answers to that of a population, whatever share of them was made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from ...inference.score import FEATURES, Score
from ...inference.symptoms import Symptoms

SHARE = 0.05
"""Share of wrong answers in the population that the score is a probability of."""

RIDGE = 0.003
"""Strength of the penalty on the weights of standardised features, per unit of total weight."""

FALSE_ALARMS = 0.05
"""Share of the right answers that may be doubted for their score alone."""

MISSED = 0.02
"""Share of the wrong answers that may be missed where the threshold has a choice."""


@dataclass(frozen=True)
class Judged:
    """Holds an answer of which it is known whether it is right.

    Arguments:
        symptoms: Its symptoms.
        wrong: Whether its Einstein radius is off by more than 10 %, or it is of no lens.
        group: Name of the observation; answers of one stay together when answers are divided.
    """

    symptoms: Symptoms
    wrong: bool
    group: str


def fit_score(answers: Sequence[Judged], about: Mapping[str, object] = {}) -> Score:
    """Fits the score, and its threshold to the false alarms.

    Raises:
        ValueError: If there are not both right and wrong answers.
    """
    wrong = np.array([each.wrong for each in answers])
    if wrong.all() or not wrong.any():
        raise ValueError(
            f"a score needs right and wrong answers, got {wrong.sum()} wrong of {wrong.size}"
        )
    features = np.array([[f(each.symptoms) for f in FEATURES.values()] for each in answers])
    unit = np.maximum(features.std(0), 1e-3)
    weight = np.where(wrong, SHARE / wrong.sum(), (1 - SHARE) / (~wrong).sum())
    sign = np.where(wrong, 1.0, -1.0)

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        margin = sign * (x[0] + features / unit @ x[1:])
        value = (weight * np.logaddexp(0, -margin)).sum() + RIDGE / 2 * (x[1:] ** 2).sum()
        pull = -weight * sign / (1 + np.exp(np.clip(margin, -500, 500)))
        gradient = np.concatenate([[pull.sum()], pull @ (features / unit) + RIDGE * x[1:]])
        return float(value), gradient

    start = np.concatenate([[-3.0], np.zeros(len(FEATURES))])
    bounds = [(None, None), *[(0, None)] * len(FEATURES)]
    best = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    weights = {n: round(float(w), 4) for n, w in zip(FEATURES, best[1:] / unit, strict=True) if w}
    score = Score(weights, round(float(best[0]), 4), 0.5, about)
    scores = np.array([score(each.symptoms) for each in answers])
    threshold = threshold_of(scores[~wrong], scores[wrong])
    return Score(weights, score.intercept, float(f"{min(threshold, 0.49):.3g}"), about)


def threshold_of(right: np.ndarray, wrong: np.ndarray) -> float:
    """Chooses the score from which answers are doubtful.

    It is that which ``FALSE_ALARMS`` of the right answers exceed; where nearly all of the wrong
    ones are above it, there is a gap, and its middle in log-odds is the choice.
    """
    low, high = np.quantile(right, 1 - FALSE_ALARMS, method="higher"), np.quantile(wrong, MISSED)
    if high <= low:
        return float(low)
    odds = np.sqrt(low / (1 - low) * high / (1 - high))
    return float(odds / (1 + odds))


def cross_validated(answers: Sequence[Judged], *, parts: int = 5, seed: int = 0) -> list[float]:
    """Scores every answer by a fit to the others, those of its own observation left out, too."""
    groups = sorted({each.group for each in answers})
    order = np.random.default_rng(seed).permutation(len(groups))
    part = {group: int(place) % parts for group, place in zip(groups, order, strict=True)}
    scores = {
        k: fit_score([each for each in answers if part[each.group] != k]) for k in range(parts)
    }
    return [scores[part[each.group]](each.symptoms) for each in answers]
