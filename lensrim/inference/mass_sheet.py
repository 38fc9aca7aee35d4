r"""The mass sheet: what no image tells of a mass, and what is known of it all the same.

An image of one source stays as it is where the convergence becomes

.. math:: \kappa \to 1 - e^{-t} (1 - \kappa) , \qquad \alpha \to \theta - e^{-t} (\theta - \alpha)

and the source smaller by :math:`e^{-t}` (Falco, Gorenstein & Shapiro 1985; Schneider & Sluse
2013). A fit of a power law has :math:`t = 0` by its form, and a slope :math:`\gamma` that the
curvature of the profile decides. Two things are known of the mass besides. Its profile
is not far from a power law,

.. math:: t \sim \mathcal{N}(0, \sigma_t^2) ,

and the slopes of galaxies have a population, :math:`\mathcal{N}(\gamma_0, w^2)`, which is that of
the mass, sheet and all: of the power law whose deflection is most like it,
:math:`\gamma + s t` with :math:`s \approx -1.1`. So of a mass that is fitted with a slope far from
all others', part of the difference is a sheet:

.. math::
    \frac{1}{v} = \frac{1}{\sigma_t^2} + \frac{s^2}{w^2} , \qquad
    \bar t = - \frac{v s}{w^2} (\gamma - \gamma_0) ,

and :math:`v` is the variance that no exposure makes smaller. :math:`\sigma_t` was measured
(:mod:`lensrim.evaluation.calibrate`). Answers have the expected sheet, whatever model or machine
they are of, and their errors its variance.

What is not guaranteed: a sheet has no end, so that masses far outside the Einstein radius mean
little; the answer's convergence is positive, but its samples may not be.
"""

import math
from dataclasses import dataclass
from typing import Literal

SLOPE, SLOPE_WIDTH = 2.08, 0.16
"""Slopes of galaxies: mean and standard deviation (Auger et al. 2010)."""

WIDTH = 0.068
"""Standard deviation of :math:`t`, half of whose lenses are haloes and half power laws."""

SheetName = Literal["expected", "none"]
"""Whether answers have the sheet that is expected, or that of their fit: none."""


@dataclass(frozen=True)
class MassSheet:
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

    @property
    def left_out(self) -> "MassSheet":
        """None instead, as wrong as it is expected to be."""
        std, slope = math.hypot(self.std, self.t), self.slope - self.response * self.t
        return MassSheet(0.0, std, 0.0, slope, self.response)


def expected_sheet(slope: float, response: float, lowest: float) -> MassSheet:
    """Returns the sheet that is expected of a fit.

    Arguments:
        slope: Slope of the fit.
        response: Change of the slope of the power law that is most like it in ``t``.
        lowest: Smallest convergence of the frame, of which at least half is left.
    """
    variance = 1 / (WIDTH**-2 + (response / SLOPE_WIDTH) ** 2)
    follows = -variance * response / SLOPE_WIDTH**2
    lowest = min(max(lowest, 0.0), 0.9)
    t = max(follows * (slope - SLOPE), math.log((1 - lowest) / (1 - lowest / 2)))
    return MassSheet(t, math.sqrt(variance), follows, slope + response * t, response)
