r"""By what the stated errors are multiplied so that they mean what they say.

A posterior is as wrong as its model. What it says of a quantity, a standard deviation
:math:`\sigma`, is compared with the errors that were made on validation mocks, and replaced by

.. math:: s \, \sigma , \qquad \ln s = \ln s_0(R) + \sum_i w_i f_i ,

with a factor :math:`s_0` for each kind of quantity that depends on the signal over noise :math:`R`
of the arcs' brightest pixel: :math:`\ln s_0` is linear in :math:`\ln R` between those of
``PLACES``, and beyond them the nearest counts. A power of :math:`R` had been too stiff: up to 100
noise hides what lenses have that models lack, from there on it does not (intervals of 68 per cent
held 58 to 62 of the brightest). The weights :math:`w_i` are of traits :math:`f_i` of the answer
that tell of errors larger than usual (:mod:`lensrim.inference.traits`): without them the errors of
lensed real galaxies were too small where those of synthetic ones were right, and no factor could
serve both. Of the source's the part for want of the mass is first widened as the convergence is.
Sources have structure besides that no prior here knows, the more the brighter they are, and no
exposure lessens what it does: their errors are

.. math:: \sqrt{(s \, \sigma)^2 + (p S)^2}

with a part :math:`p` of the brightness :math:`S`.

Errors have heavier tails than a Gaussian's, for some lenses are far more unlike their model than
others, and the more so the less noise hides it: they follow Student's t, all kinds the same, of
:math:`\nu` degrees of freedom that depend on :math:`R` (:math:`1 / \nu` is linear in
:math:`\ln R` between those where it was measured). Every stated error is half of the central
interval of 68.27 %, which :math:`s` is set to for each kind, and the interval of a probability
:math:`P` is

.. math:: \pm \frac{t_\nu((1 + P) / 2)}{t_\nu(0.8413)} \times \mathrm{error} .

What is not guaranteed: it was measured on answers of macro-models and of the packaged machine, and
those of other machines or of a refinement are widened alike. The numbers of the package are in
``calibration.json``; ``python -m lensrim.evaluation.calibrate`` makes them.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..errors import InputError
from .traits import TRAITS

PLACES = (14.0, 32.0, 71.0, 141.0)
"""Signals over noise at which the factors are stated."""

ONE_SIGMA = 0.841344746
"""Probability below one standard deviation of a Gaussian."""

KINDS = {
    "theta_E": "theta_E",
    "macro_theta_E": "macro_theta_E",
    "gamma1": "shear",
    "gamma2": "shear",
    "macro_gamma1": "macro_shear",
    "macro_gamma2": "macro_shear",
    "slope": "slope",
    "q": "shape",
    "phi": "shape",
    "flux": "flux",
    "magnification": "magnification",
    "kappa": "kappa",
    "source": "source",
}
"""The kind of each quantity of a posterior: those of one kind share their numbers."""


USUAL = np.zeros(len(TRAITS))
"""Traits of a usual answer."""
USUAL.setflags(write=False)


@dataclass(frozen=True)
class Scale:
    """Holds what the errors of a kind are multiplied by.

    Arguments:
        factors: Factors at the signals over noise of ``PLACES``.
        floor: Part of the brightness that is added in quadrature, for the source.
        weights: Weights of the traits (``TRAITS``, in their order) in the logarithm.
    """

    factors: tuple[float, ...] = (1.0,) * len(PLACES)
    floor: float = 0.0
    weights: tuple[float, ...] = (0.0,) * len(TRAITS)

    @overload
    def at(self, snr: float, traits: NDArray[np.float64] = ...) -> float: ...

    @overload
    def at(
        self, snr: NDArray[np.float64], traits: NDArray[np.float64] = ...
    ) -> NDArray[np.float64]: ...

    def at(
        self,
        snr: float | NDArray[np.float64],
        traits: NDArray[np.float64] = USUAL,
    ) -> float | NDArray[np.float64]:
        """Returns the factor of a lens, or of each of an array of them.

        Arguments:
            snr: Signal over noise, or an array (n).
            traits: Traits with shape (T), or (n, T).
        """
        logs = np.log(np.maximum(snr, 1.0))
        found = np.interp(logs, np.log(PLACES), np.log(self.factors))
        found = np.exp(found + traits @ np.array(self.weights))
        return found if np.ndim(found) else float(found)

    def times(self, factor: float) -> "Scale":
        """Returns a wider one, its floor too."""
        factors = tuple(factor * each for each in self.factors)
        return replace(self, factors=factors, floor=factor * self.floor)


@dataclass(frozen=True)
class Calibration:
    """Holds a calibration; the default leaves errors as they are, and Gaussian.

    Arguments:
        scales: By kind; what has none is left as it is.
        tails: Signals over noise, rising, and the degrees of freedom of Student's t at each:
            between them their inverse is linear in the logarithm, beyond them the nearest counts.
            None for a Gaussian.
        card: On what it was measured, and when.

    Raises:
        InputError: If a number is impossible.
    """

    scales: Mapping[str, Scale] = field(default_factory=dict)
    tails: tuple[tuple[float, float], ...] = ()
    card: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, found in self.scales.items():
            if kind not in KINDS.values():
                raise InputError(
                    f"calibration: scales must be of {sorted(set(KINDS.values()))}, found one of "
                    f"{kind}; make the file anew"
                )
            right = all(0 < each < math.inf for each in found.factors)
            if not right or len(found.factors) != len(PLACES):
                raise InputError(
                    f"calibration: factors must be {len(PLACES)} and positive, found "
                    f"{found.factors} of {kind}; make the file anew"
                )
            if not 0 <= found.floor < math.inf or (found.floor and kind != "source"):
                raise InputError(
                    f"calibration: floors must be 0 or more, and of the source, found "
                    f"{found.floor} of {kind}; make the file anew"
                )
            if len(found.weights) != len(TRAITS) or not all(map(math.isfinite, found.weights)):
                raise InputError(
                    f"calibration: weights must be {len(TRAITS)} numbers, found {found.weights} "
                    f"of {kind}; make the file anew"
                )
        places = [snr for snr, _ in self.tails]
        if not all(each > 0 for pair in self.tails for each in pair) or places != sorted(places):
            raise InputError(
                "calibration: tails must be positive pairs of signal over noise, rising, and "
                f"degrees of freedom, found {self.tails}; make the file anew"
            )

    def factor(self, name: str, snr: float, traits: NDArray[np.float64] = USUAL) -> float:
        """Returns what the error of a quantity (a key of ``KINDS``) is multiplied by.

        To that of a source the part of its brightness is to be added.

        Arguments:
            name: The quantity.
            snr: Signal over noise of the arcs' brightest pixel.
            traits: The answer's traits (:func:`~.traits.traits_of`).
        """
        return self.scales.get(KINDS[name], Scale()).at(snr, traits)

    def dof_at(self, snr: float) -> float:
        """Returns the degrees of freedom at a signal over noise."""
        if not self.tails:
            return math.inf
        places, dofs = np.array(self.tails).T
        inverse = float(np.interp(math.log(max(snr, 1.0)), np.log(places), 1 / dofs))
        return 1 / inverse if inverse > 0 else math.inf

    def half_width(self, level: float, snr: float) -> float:
        """Returns half of the central interval of a probability, in units of the stated error."""
        return metrics.half_width(level, dof=self.dof_at(snr))


def read_calibration(text: str) -> Calibration:
    """Reads a calibration from JSON: what :func:`write_calibration` made.

    Raises:
        InputError: If the text is not that of a calibration.
    """
    try:
        held = json.loads(text)
        places = tuple(map(float, held.pop("places")))
        known = tuple(held.pop("traits"))
        floors, weights = held.pop("floors"), held.pop("weights")
        scales = {
            k: Scale(
                tuple(map(float, each)),
                float(floors.get(k, 0.0)),
                tuple(map(float, weights[k])),
            )
            for k, each in held.pop("scales").items()
        }
        if unknown := {*floors, *weights} - set(scales):
            raise ValueError(f"floors or weights of {sorted(unknown)} without a scale")
        tails = tuple((float(snr), float(dof)) for snr, dof in held.pop("tails"))
    except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            "calibration: must be JSON with places, traits, scales, weights, floors and tails, "
            f"found {error}; make it anew"
        ) from error
    if places != PLACES:
        raise InputError(
            f"calibration: places must be {PLACES}, found {places}; make the file anew"
        )
    if known != tuple(TRAITS):
        raise InputError(
            f"calibration: traits must be {tuple(TRAITS)}, found {known}; make the file anew"
        )
    return Calibration(scales, tails, held)


def write_calibration(calibration: Calibration) -> str:
    """Writes a calibration as JSON."""
    held = {
        **calibration.card,
        "tails": [[round(v, 3) for v in pair] for pair in calibration.tails],
        "places": PLACES,
        "traits": tuple(TRAITS),
        "scales": {k: [round(v, 4) for v in s.factors] for k, s in calibration.scales.items()},
        "weights": {k: [round(v, 4) for v in s.weights] for k, s in calibration.scales.items()},
        "floors": {k: round(s.floor, 4) for k, s in calibration.scales.items() if s.floor},
    }
    return json.dumps(held, indent=1) + "\n"


@cache
def packaged_calibration() -> Calibration:
    """Returns the calibration of the package."""
    file = resources.files("lensrim.inference") / "calibration.json"
    return read_calibration(file.read_text(encoding="utf-8"))
