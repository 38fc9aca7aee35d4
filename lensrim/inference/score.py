r"""The probability that an answer is wrong, from its symptoms.

.. math:: P = \frac{1}{1 + \exp(-b - \sum_i w_i f_i)} \, ,

with few features :math:`f_i`, each a bounded function of a symptom that is near 0 for right
answers. Wrong means an Einstein radius that is off by more than 10 %. Weights, intercept and the
threshold of doubt are fitted on validation mocks and kept in ``score.json``, which

::

    python -m lensrim.evaluation.doubt fit --output CASES --package

makes again. What is not guaranteed: the probability is that of the validation mocks, a population
with a stated share of wrong answers; for another it ranks answers, and no more.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources

from .symptoms import Symptoms

FEATURES: Mapping[str, Callable[[Symptoms], float]] = {
    "chi2": lambda s: _log(s.chi2 / max(s.expected, 1e-3), 2.0),
    "correlation": lambda s: min(max(s.correlation, 0.0), 0.5),
    "peak": lambda s: _log(s.peak / 3, 2.0),
    "single": lambda s: 1 - s.multiple,
    "size": lambda s: min(s.size, 1.5),
    "hollow": lambda s: s.hollow,
    "rival": lambda s: math.exp(-s.rival / 20),
    "shape": lambda s: min(math.hypot(s.shear / 0.1, s.flatness / 0.3, s.slope / 2), 5.0),
    "edge": lambda s: math.exp(-s.edge / 0.1),
}
"""Features by name."""


OF_THE_SOURCE = ("length", "core")
"""Symptoms that are none of a wrong answer; one that was made by hand may lack them."""


def _log(ratio: float, most: float) -> float:
    """Logarithm of a ratio, from 0 to a bound: smaller than expected is no symptom."""
    return min(max(math.log(max(ratio, 1.0)), 0.0), most) if math.isfinite(ratio) else most


@dataclass(frozen=True)
class Score:
    """Creates the score.

    Arguments:
        weights: Weights by feature.
        intercept: Intercept.
        threshold: Probability from which an answer is doubtful.
        about: What they were fitted on.
    """

    weights: Mapping[str, float]
    intercept: float
    threshold: float
    about: Mapping[str, object]

    def __call__(self, symptoms: Symptoms) -> float:
        """Returns the probability that an answer with these symptoms is wrong.

        It is 1 where a symptom is no number: what cannot be measured cannot be called right.
        """
        if any(math.isnan(v) for k, v in asdict(symptoms).items() if k not in OF_THE_SOURCE):
            return 1.0
        total = self.intercept + sum(
            weight * FEATURES[name](symptoms) for name, weight in self.weights.items()
        )
        return 1 / (1 + math.exp(-min(max(total, -50.0), 50.0)))


@lru_cache
def packaged_score() -> Score:
    """Reads the score that comes with the package."""
    content = resources.files("lensrim.inference").joinpath("score.json").read_text("utf-8")
    return Score(**json.loads(content))
