r"""The mass sheet: what no image tells of a mass, and what is known of it all the same.

An image of one source stays as it is where the convergence becomes

.. math:: \kappa \to 1 - e^{-t} (1 - \kappa) , \qquad \alpha \to \theta - e^{-t} (\theta - \alpha)

and the source smaller by :math:`e^{-t}` (Falco, Gorenstein & Shapiro 1985; Schneider & Sluse
2013). A fit of a power law has :math:`t = 0` by its form, and a slope :math:`\gamma` that the
curvature of the profile decides. Two things are known of the mass besides. Its profile
is not far from a power law,

.. math:: t \sim \mathcal{N}(0, \sigma_t^2) ,

and the slopes of galaxies have a population, :math:`\mathcal{N}(\gamma_0, w^2)`, which is that of
the mass, sheet and all: of the power law whose deflection is most like it, :math:`\gamma + s t` to
first order, with :math:`s` of about ``RESPONSE``. Fitted slopes then have the variance
:math:`w^2 + s^2 \sigma_t^2`, and of one that is far from all others part is a sheet:

.. math::
    \frac{1}{v} = \frac{1}{\sigma_t^2} + \frac{s^2}{w^2} , \qquad
    \bar t = - \frac{v s}{w^2} (\gamma - \gamma_0) ,

and :math:`v` is what is left of the variance. Answers have the expected sheet, whatever model or
machine they are of, and their errors its variance.

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

SLOPE, SLOPE_WIDTH = 2.08, 0.16
"""Slopes of galaxies: mean and standard deviation (Auger et al. 2010)."""

WIDTH = 0.068
"""Standard deviation of t, between what measures of its heavy tails say: of 265 standard
validation mocks with S/N > 30 the central 68 % are within 0.062 by Student's t, the rms is 0.10 by
a Gaussian, and least squares of slopes want 0.088 (:mod:`lensrim.evaluation.calibrate`,
2026-11-27)."""

RESPONSE = -1.15
"""Change of the slope in t, of a typical lens."""

FITTED_WIDTH = math.hypot(SLOPE_WIDTH, RESPONSE * WIDTH)
"""Standard deviation of the slopes that fits find."""

SheetName = Literal["expected", "none"]
"""Whether answers have the sheet that is expected, or that of their fit: none."""


@dataclass(frozen=True)
class InternalSheet:
    """Holds the sheet of an answer; the default is that of a fit, without an error.

    Arguments:
        t: How much of it the answer has.
        std: Its standard deviation, given the slope of the fit.
        follows: Derivative of ``t`` in that slope.
        slope: Slope of the power law that is most like the mass, sheet and all.
        response: Change of that slope in ``t``.
    """

    t: float = 0.0
    std: float = 0.0
    follows: float = 0.0
    slope: float = math.nan
    response: float = 0.0

    @property
    def scale(self) -> float:
        """By what the source plane is multiplied."""
        return math.exp(-self.t)

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
    variance = 1 / (WIDTH**-2 + (response / SLOPE_WIDTH) ** 2)
    follows = -variance * response / SLOPE_WIDTH**2
    lowest = min(max(lowest, 0.0), 0.9)
    t, least = follows * (slope - SLOPE), math.log((1 - lowest) / (1 - lowest / 2))
    if t < least:  # held there, it is off by what it is held back, and follows nothing
        std = math.hypot(math.sqrt(variance), least - t)
        return InternalSheet(least, std, 0.0, slope + response * least, response)
    return InternalSheet(t, math.sqrt(variance), follows, slope + response * t, response)


def without_sheet(slope: float, response: float) -> InternalSheet:
    """Returns none, as wrong as the expected one is large."""
    expected = expected_sheet(slope, response, lowest=0.9)
    return InternalSheet(0.0, math.hypot(expected.std, expected.t), 0.0, slope, response)
