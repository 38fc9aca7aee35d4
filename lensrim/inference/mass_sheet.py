r"""The mass sheet: what no image tells of a mass, and what is known of it all the same.

An image of one source stays as it is where the convergence becomes

.. math:: \kappa \to 1 - e^{-t} (1 - \kappa) , \qquad \alpha \to \theta - e^{-t} (\theta - \alpha)

and the source smaller by :math:`e^{-t}` (Falco, Gorenstein & Shapiro 1985; Schneider & Sluse
2013). A fit of a power law has :math:`t = 0` by its form, and a slope :math:`\gamma` that the
curvature of the profile decides. Two things are known of the mass besides. Its profile
is not far from a power law, but some are much farther from one than others,

.. math:: t / \sigma_t \sim \mathrm{Student}(\nu) ,

and the slopes of galaxies have a population, :math:`\mathcal{N}(\gamma_0, w^2)`, which is that of
the mass, sheet and all: of the power law whose deflection is most like it. Its slope changes with
:math:`t` by :math:`s` per unit, of about ``RESPONSE`` for the slope of most galaxies, and the less
the shallower the profile is, one of slope 1 being a sheet itself:

.. math:: \gamma(t) = 1 + (\gamma - 1) \, e^{s t / (\gamma - 1)} .

The sheet that is expected of a fit, and its variance, are the mean and the variance of

.. math:: p(t \mid \gamma) \propto \left(1 + \frac{t^2}{\nu \sigma_t^2}\right)^{-(\nu + 1) / 2}
          \exp\left(- \frac{(\gamma(t) - \gamma_0)^2}{2 w^2}\right) .

Of a fit with the slope of most galaxies it is none to 0.06; of one that is far from all others
most is a sheet, and little is known of how much: 0.3 to 0.2 for a slope of 1.5. Answers have the
expected sheet, whatever model or machine they are of, and their errors its variance.

What is not guaranteed. The width was measured on simulated lenses, half of which are power laws
and half haloes with stars, and is an average: of power laws alone it is 0.04, of haloes 0.09 to
0.1, and no image tells which a lens is. The slopes of these lenses have the population that is
assumed here. A sheet has no end, so that masses far outside the Einstein radius mean little. Where
a machine or a refinement has changed the mass, the sheet is that of the macro-model which it began
with, whose convergence alone is sure to stay positive.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .frame import Array

SLOPE, SLOPE_WIDTH = 2.08, 0.16
"""Slopes of galaxies: mean and standard deviation (Auger et al. 2010)."""

WIDTH, TAILS = 0.055, 3.0
r"""Scale :math:`\sigma_t` and degrees of freedom :math:`\nu` of t. With them the slopes of the
true masses of 698 standard validation mocks, given those of the fits, have a logarithm of the
likelihood that is larger by 125 than with the best Gaussian, of 0.1. Of the 13 with a fit below
1.7, 77 % are within the errors (none with a Gaussian of 0.068), and of all the magnifications
differ from the true ones by 0.185 rms in ln (0.211; 2026-11-27). Degrees of freedom of 2 and 2.5
are as likely."""

SPREAD = 0.068
"""Standard deviation of t as a Gaussian, for the slopes that fits find."""

RESPONSE = -1.15
"""Change of the slope in t, of a typical lens."""

FITTED_WIDTH = math.hypot(SLOPE_WIDTH, RESPONSE * SPREAD)
"""Standard deviation of the slopes that fits find."""

FLATTEST = 0.1
"""Slope above that of a sheet, below which none is taken for flatter."""

GRID = np.linspace(-3.0, 1.2, 2101)
"""Values of t that moments are sums over."""

STEP = 1e-3
"""Change of the slope of a fit for the derivative of what is expected."""

SheetName = Literal["expected", "none"]
"""Whether answers have the sheet that is expected, or that of their fit: none."""


@dataclass(frozen=True)
class InternalSheet:
    """Holds the sheet of an answer; the default is that of a fit, without an error.

    Arguments:
        t: How much of it the answer has.
        std: Its standard deviation, given the slope of the fit.
        follows: Derivative of ``t`` in that slope, of profiles that bend alike: measured ones have
            a ``bend`` of -1.05 to -1.13 for slopes of 1.2 to 2.8.
        slope: Slope of the power law that is most like the mass, sheet and all.
        response: Change of that slope in ``t``.
        bend: Change in ``t`` of the logarithm of what the slope has above 1.
    """

    t: float = 0.0
    std: float = 0.0
    follows: float = 0.0
    slope: float = math.nan
    response: float = 0.0
    bend: float = 0.0

    @property
    def scale(self) -> float:
        """By what the source plane is multiplied."""
        return math.exp(-self.t)

    @property
    def steeper(self) -> float:
        """Change of ``slope`` with that of the fit, at a given ``t``."""
        return math.exp(self.bend * self.t)

    @property
    def kappa(self) -> float:
        """Convergence of the sheet: that of the fit becomes (1 - kappa) of itself, and this."""
        return 1 - self.scale

    def before(self, side: float | None) -> float | None:
        """Returns the side of a source map of which this sheet makes a map of some side."""
        return None if side is None else side / self.scale


def expected_sheet(slope: float, response: float, lowest: float) -> InternalSheet:
    """Returns the sheet that is expected of a fit.

    Arguments:
        slope: Slope of the fit.
        response: Change of the slope of the power law that is most like it in ``t``.
        lowest: Smallest convergence of the frame, of which at least half is left.
    """
    bend = response / max(slope - 1, FLATTEST)
    t, std = _moments(slope, bend)
    ahead, back = (_moments(slope + step, bend)[0] for step in (STEP, -STEP))
    follows = (ahead - back) / (2 * STEP)
    lowest = min(max(lowest, 0.0), 0.9)
    least = math.log((1 - lowest) / (1 - lowest / 2))
    if t < least:  # held there, it is off by what it is held back, and follows nothing
        t, std, follows = least, math.hypot(std, least - t), 0.0
    above = (slope - 1) * math.exp(bend * t)
    return InternalSheet(t, std, follows, 1 + above, bend * above, bend)


def _moments(slope: float, bend: float) -> tuple[float, float]:
    """Computes mean and standard deviation of t given the slope of a fit.

    Arguments:
        slope: The slope.
        bend: Change in ``t`` of the logarithm of what it has above 1.
    """
    weight, _ = density(slope, bend)
    mean = float(weight @ GRID)
    return mean, math.sqrt(float(weight @ (GRID - mean) ** 2))


def density(slope: float, bend: float, width: float = WIDTH) -> tuple[Array, Array]:
    r"""Computes :math:`p(t \mid \gamma)` on the ``GRID``, with sum 1, and :math:`\gamma(t)`.

    Arguments:
        slope: Slope of the fit.
        bend: :math:`s / (\gamma - 1)`.
        width: Scale :math:`\sigma_t`.
    """
    steeper = 1 + (slope - 1) * np.exp(bend * GRID)
    log = -0.5 * (TAILS + 1) * np.log1p((GRID / width) ** 2 / TAILS)
    log -= 0.5 * ((steeper - SLOPE) / SLOPE_WIDTH) ** 2
    weight = np.exp(log - log.max())
    return weight / weight.sum(), steeper


def without_sheet(slope: float, response: float) -> InternalSheet:
    """Returns none, as wrong as the expected one is large."""
    expected = expected_sheet(slope, response, lowest=0.9)
    std = math.hypot(expected.std, expected.t)
    return InternalSheet(0.0, std, 0.0, slope, response, expected.bend)
