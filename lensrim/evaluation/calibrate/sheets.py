r"""How wide the prior of the mass sheet is, measured on the slopes of fits and of true masses.

By :mod:`lensrim.inference.mass_sheet` the slope of a mass, given that of its fit, has the density
of :math:`\gamma(t)`, besides the error of the fit, which the posterior states. :math:`\sigma_t`
has the largest likelihood, of the lenses that are bright enough.
"""

import math
from collections.abc import Sequence

import numpy as np

from ...inference.mass_sheet import density
from .rows import Row

BRIGHT = 30.0
"""Signal over noise from which a lens counts."""

CLOSEST = 0.01
"""Error of a fitted slope, at least."""


def sheet_width(rows: Sequence[Row]) -> float:
    """Finds the scale of t, by macro-models' answers; not a number of fewer than ten lenses."""
    from scipy.optimize import minimize_scalar

    # one row for each mass, which mocks of one number mostly share
    macro = [row for row in rows if row.get("stage", "macro") == "macro"]
    masses = {(row["index"], round(row["numbers"]["slope"][0], 6)): row for row in macro}
    bright = [row for row in masses.values() if row["snr"] > BRIGHT]
    if len(bright) < 10:
        return math.nan
    lenses = []
    for row in bright:
        (fitted, bend, by_sheet), (truth, _, stated) = row["sheet"], row["numbers"]["slope"]
        of_fit = math.sqrt(max(stated**2 - by_sheet**2, CLOSEST**2))
        lenses.append((fitted, bend, truth, of_fit))

    def loss(log_width: float) -> float:
        total = 0.0
        for fitted, bend, truth, of_fit in lenses:
            weight, slopes = density(fitted, bend, math.exp(log_width))
            likely = weight @ np.exp(-0.5 * ((truth - slopes) / of_fit) ** 2) / of_fit
            total -= math.log(max(likely, 1e-300))
        return total

    best = minimize_scalar(loss, bounds=(math.log(1e-2), math.log(0.3)), method="bounded")
    return math.exp(best.x)  # type: ignore[union-attr]
