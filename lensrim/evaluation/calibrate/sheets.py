r"""How wide the prior of the mass sheet is, measured on the slopes of fits and of true masses.

A fit of slope :math:`\gamma` belongs to a mass whose slope is, by
:mod:`lensrim.inference.mass_sheet` and with :math:`u = |s| \sigma_t`,

.. math:: \gamma - c \, (\gamma - \gamma_0) \pm w \sqrt{c} , \qquad c = \frac{u^2}{u^2 + w^2} ,

besides the error of the fit, which the posterior states. :math:`\sigma_t` has the largest
likelihood, of Student's t with five degrees of freedom, of whose central 68.27 % the widths are
half, of the lenses that are bright enough.
"""

import math
from collections.abc import Sequence

import numpy as np

from ...inference.calibration import ONE_SIGMA
from ...inference.mass_sheet import SLOPE, SLOPE_WIDTH, expected_sheet
from .rows import Row

BRIGHT = 30.0
"""Signal over noise from which a lens counts."""

DOF = 5.0


def sheet_width(rows: Sequence[Row]) -> float:
    """Finds half of the central 68.27 % of t; not a number of fewer than ten lenses."""
    from scipy import stats
    from scipy.optimize import minimize_scalar

    bright = [row for row in rows if row["snr"] > BRIGHT]
    if len(bright) < 10:
        return math.nan
    fitted, response = np.array([row["sheet"] for row in bright]).T
    truth, _, stated = np.array([row["numbers"]["slope"] for row in bright]).T
    held = [expected_sheet(f, r, 0.9).std for f, r in zip(fitted, response, strict=True)]
    of_fit = np.sqrt(np.maximum(stated**2 - (response * held) ** 2, 0))

    content = float(stats.t.ppf(ONE_SIGMA, DOF))

    def loss(log_width: float) -> float:
        u = np.abs(response) * math.exp(log_width)
        c = u**2 / (u**2 + SLOPE_WIDTH**2)
        width = np.hypot(SLOPE_WIDTH * np.sqrt(c), of_fit) / content
        deviation = (truth - fitted + c * (fitted - SLOPE)) / width
        return float((np.log(width) - stats.t.logpdf(deviation, DOF)).sum())

    best = minimize_scalar(loss, bounds=(math.log(1e-3), 0.0), method="bounded")
    return math.exp(best.x)  # type: ignore[union-attr]
