r"""The power law with shear whose deflection is most like that of a halo.

Of a deflection on rings, the ellipsoid, the shear and a constant that minimise

.. math:: \int_{0.4 < r < 2} |\alpha - \alpha_\mathrm{EPL} - \Gamma \theta - \alpha_0|^2 d^2\theta

are found by least squares. The constant is the place of the source, of which an image knows
nothing; so the smooth model is what a perfect image at these radii would be fitted with.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...lensing.mass import EPL
from .polar_maps import nodes

FITTED = (0.4, 2.0)
"""Radii between which the deflection is fitted [Einstein radii]."""
THIN = (2, 4)
"""Every so many rings and angles are fitted."""
SLOPES = (1.2, 2.8)
"""Range of the slope."""


@dataclass(frozen=True)
class Macro:
    """Creates a power law with shear, lengths in units of the halo's Einstein radius.

    Arguments:
        theta_E: Einstein radius on the intermediate axis.
        gamma: Three-dimensional slope.
        e1, e2: Ellipticity.
        center_x, center_y: Centre.
        gamma1, gamma2: Shear about the origin.
    """

    theta_E: float
    gamma: float
    e1: float
    e2: float
    center_x: float
    center_y: float
    gamma1: float
    gamma2: float

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Computes the deflection at coordinates of shape (h, w)."""
        host = EPL(self.theta_E, self.gamma, self.e1, self.e2, self.center_x, self.center_y)
        ax, ay = host.deflection(x, y)
        return (
            ax + self.gamma1 * x + self.gamma2 * y,
            ay + self.gamma2 * x - self.gamma1 * y,
        )


@dataclass(frozen=True)
class MacroFit:
    """Creates the result of a fit.

    Arguments:
        macro: The smooth model.
        constant: The constant deflection (x, y) beside it.
        rms: Root of the mean squared distance of the deflections.
    """

    macro: Macro
    constant: tuple[float, float]
    rms: float


def fit_macro(alpha: Tensor) -> MacroFit:
    """Fits a power law with shear to the deflection of a halo.

    Arguments:
        alpha: Components along radius and angle, with shape (2, RINGS, ANGLES), in units of the
            Einstein radius; see :func:`~.polar_maps.polar_deflection`.
    """
    from scipy.optimize import least_squares

    radius, angle = nodes()
    rings = torch.nonzero((radius > FITTED[0]) & (radius < FITTED[1]))[:: THIN[0], 0]
    radius, angle, alpha = radius[rings, None], angle[:: THIN[1]], alpha[:, rings, :: THIN[1]]
    cos, sin = angle.cos(), angle.sin()
    x, y = radius * cos, radius * sin
    wanted = torch.stack([alpha[0] * cos - alpha[1] * sin, alpha[0] * sin + alpha[1] * cos])
    # a point of a ring stands for an area that grows with the squared radius
    weight = (radius / radius.pow(2).mean().sqrt()).expand_as(x)

    def misfit(values: np.ndarray) -> np.ndarray:
        log_theta, gamma, e1, e2, *rest, ax, ay = values.tolist()
        if math.hypot(e1, e2) > 0.8:  # the bounds are those of a square
            e1, e2 = (0.8 * e / math.hypot(e1, e2) for e in (e1, e2))
        found = torch.stack(Macro(math.exp(log_theta), gamma, e1, e2, *rest).deflection(x, y))
        found = found + torch.tensor([ax, ay], dtype=found.dtype)[:, None, None]
        return (weight * (found - wanted)).flatten().numpy()

    start = np.array([0.0, 2.0, *[0.0] * 8])
    low = [-1.0, SLOPES[0], -0.8, -0.8, *[-1.0] * 6]
    high = [1.0, SLOPES[1], 0.8, 0.8, *[1.0] * 6]
    best = least_squares(misfit, start, bounds=(low, high), x_scale=0.1, xtol=1e-7, ftol=1e-8)
    log_theta, *rest = best.x[:8].tolist()
    constant = (float(best.x[8]), float(best.x[9]))
    rms = math.sqrt(2 * float(np.mean(best.fun**2)))
    return MacroFit(Macro(math.exp(log_theta), *rest), constant, rms)
