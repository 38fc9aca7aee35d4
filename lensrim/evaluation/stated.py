"""What the errors that a product states are worth: coverage and width, of maps and of numbers.

A product may lack any of them: what is not stated is absent from the results, not zero.

Maps are judged within the arcs' reach: the convergence on the arcs' pixels from 0.3 to 2 Einstein
radii, the source on the pixels that a ray of the arcs hits, or one beside it; and once more on
those of them that the answer has brighter than a fifth of its peak.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..io.product import Product
from .known import Known
from .maps import maps_of
from .mass import true_shear
from .mocks import Mock

Map = NDArray[np.float64]

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.8, 0.9, 0.95, 0.99)
"""Probabilities of the intervals whose coverage is measured."""


@dataclass(frozen=True)
class Scalar:
    """Creates a number that a product states with its error.

    Arguments:
        value, error: Keywords.
        relative: Whether it is judged in units of the truth.
        label: What it is called in pictures and tables.
        asked: Whether something is asked of it: the macro-model's own are not the answer's.
        period: After how much it is the same again, where it is an angle [deg].
        unit: Its unit; that of the data is not among them.
    """

    value: str
    error: str
    relative: bool
    label: str
    asked: bool = True
    period: float | None = None
    unit: str = ""

    def nearest(self, truth: float, value: float) -> float:
        """The turn of the truth that is nearest to a value, where it is an angle."""
        return truth + (self.period * round((value - truth) / self.period) if self.period else 0.0)


SCALARS = {
    "theta_E": Scalar("THETAE", "THETAEER", True, "θ_E", unit="arcsec"),
    "macro_theta_E": Scalar("MACROTE", "MACROTER", True, "macro θ_E", asked=False, unit="arcsec"),
    "gamma1": Scalar("GAMMA1", "GAMMA1ER", False, "γ1"),
    "gamma2": Scalar("GAMMA2", "GAMMA2ER", False, "γ2"),
    "slope": Scalar("SLOPE", "SLOPEERR", False, "slope"),
    "magnification": Scalar("MAGTOT", "MAGTOTER", True, "magnification"),
    "flux": Scalar("FLUXSRC", "FLUXSRCE", True, "source flux"),
    "macro_gamma1": Scalar("MACROG1", "MACROG1E", False, "macro γ1", asked=False),
    "macro_gamma2": Scalar("MACROG2", "MACROG2E", False, "macro γ2", asked=False),
    "q": Scalar("MACROQ", "MACROQER", False, "axis ratio", asked=False),
    "phi": Scalar(
        "MACROPHI", "MACROPHE", False, "major axis", asked=False, period=180.0, unit="deg"
    ),
}
"""The numbers."""

MAPS = {"kappa": "κ", "source": "source", "bright": "bright source"}
"""The maps, and what they are called in a picture."""

BRIGHT = 0.2
"""Brightness above which a pixel of the source is bright, relative to the peak."""


def stated_errors(mock: Mock, product: Product) -> dict[str, Any]:
    """Compares the stated errors with those that were made.

    Returns:
        ``numbers``: by name, truth, estimate and error, those that are :attr:`Scalar.relative` in
        units of the truth. ``maps``: by name, ``n`` pixels, ``coverage`` at each of
        :data:`LEVELS`, ``width`` (median stated), ``empirical`` (of the errors) and ``crps``, the
        three in units of the mean truth there. ``dof``: degrees of freedom of Student's t, of
        which the errors are, where they are no Gaussian's.
    """
    right = true_numbers(mock)
    right["phi"] = math.degrees(mock.truth.system.lens.ellipsoid.phi)
    numbers = {
        name: [v / (truth if SCALARS[name].relative else 1.0) for v in (truth, value, error)]
        for name, (truth, value, error) in beside(right, product).items()
        if error is not None
    }
    told = {"numbers": numbers, "maps": stated_maps(Known.of(mock), product)}
    dof = dof_of(product)
    return told if np.isinf(dof) else told | {"dof": dof}


def beside(
    right: Mapping[str, float], product: Product
) -> dict[str, tuple[float, float, float | None]]:
    """Sets the numbers of a product beside true ones.

    Arguments:
        right: The true numbers, by the names of :data:`SCALARS`.
        product: The product.

    Returns:
        Truth (of an angle the turn that is nearest), value, and error where one is stated, of
        those that both have.
    """
    found: dict[str, tuple[float, float, float | None]] = {}
    for name, scalar in SCALARS.items():
        value, error = (number_of(product.value(key)) for key in (scalar.value, scalar.error))
        if name in right and value is not None:
            found[name] = scalar.nearest(right[name], value), value, error
    return found


def number_of(value: object) -> float | None:
    """Returns a finite number of a header, ``None`` for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None


def dof_of(product: Product) -> float:
    """Degrees of freedom of Student's t that a product's errors are of; infinite of a Gaussian."""
    found = number_of(product.value("ERRDOF"))
    return found if found is not None and found >= 1 else math.inf


def stated_maps(known: Known, product: Product) -> dict[str, dict[str, Any]]:
    """Compares the stated errors of maps with those that were made: ``maps`` of
    :func:`stated_errors`."""
    maps, dof, parts = maps_of(product), dof_of(product), {}
    if (std := product.image_maps.get("KAPPA_STD")) is not None:
        region = known.arc_mask & known.region
        parts["kappa"] = _of_map(known.kappa, maps.kappa, std, region, dof)
    if (std := product.source_maps.get("SOURCE_STD")) is not None:
        region, truth = known.reached(maps), known.source_on(maps)
        parts["source"] = _of_map(truth, maps.source, std, region, dof)
        region = region & (maps.source > BRIGHT * maps.source.max())
        parts["bright"] = _of_map(truth, maps.source, std, region, dof)
    return {name: part for name, part in parts.items() if part["n"]}


def true_numbers(mock: Mock) -> dict[str, float]:
    """The true numbers of a mock, by the names of :data:`SCALARS` and of a posterior's numbers.

    The axis is not among them: it is no number that a calibration could compare as it is.
    """
    truth, lens, spacing = mock.truth, mock.truth.system.lens, mock.observation.pixel_scale
    gamma1, gamma2 = true_shear(mock)
    return {
        "theta_E": truth.theta_E,
        "macro_theta_E": truth.macro_theta_E,
        "gamma1": gamma1,
        "gamma2": gamma2,
        "macro_gamma1": lens.gamma1,
        "macro_gamma2": lens.gamma2,
        "slope": truth.gamma,
        "q": lens.ellipsoid.q,
        "magnification": truth.magnification,
        "flux": truth.source.flux / spacing**2,
    }


def _of_map(
    truth: Map, mean: Map, std: Map, region: NDArray[np.bool_], dof: float
) -> dict[str, Any]:
    truth, mean, std = (np.asarray(a, dtype=np.float64)[region] for a in (truth, mean, std))
    unit = float(np.abs(truth).mean()) if truth.size else 0.0
    if unit == 0:  # a source that is elsewhere: there is nothing to measure in units of
        return {"n": 0}
    return map_errors((mean - truth) / unit, std / unit, dof)


def map_errors(error: Map, std: Map, dof: float) -> dict[str, Any]:
    """Measures stated errors of a map's pixels on those that were made, both in units of the mean
    truth: ``n``, ``coverage``, ``width``, ``empirical`` and ``crps`` of :func:`stated_errors`."""
    found = metrics.calibration(0 * error, error, std, dof)
    return {
        "n": found.n,
        "coverage": [
            metrics.coverage(0 * error, error, std, level=level, dof=dof) for level in LEVELS
        ],
        "width": found.width,
        "empirical": found.empirical,
        "crps": found.crps,
    }
