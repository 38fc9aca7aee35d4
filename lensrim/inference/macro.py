r"""The macro-model: the few numbers that a lens always has, their prior, and their deflection.

An elliptical power law with external shear: :math:`\log\theta_E`, ellipticity, centre, shear, and
slope. Angles are in arcsec; the order is that of ``NAMES``.
"""

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..lensing.mass import EPL, Shear, Sum

STEP = 1e-6
"""Step of the differences in ellipticity and slope; double precision leaves 1e-10 of rounding."""

NAMES = ("log_theta_E", "e1", "e2", "center_x", "center_y", "gamma1", "gamma2", "gamma")

GAMMA = NAMES.index("gamma")
"""Where the slope is."""


@dataclass(frozen=True)
class MacroPrior:
    r"""Holds the prior of the macro-model: independent Gaussians.

    Arguments:
        center: Expected centre [arcsec], that of the lens light where there is some.
        center_width: Its standard deviation [arcsec].
        theta_E: Range of Einstein radii that are searched [arcsec]; flat in the logarithm.
        ellipticity_width: Standard deviation of :math:`e_1` and :math:`e_2`.
        shear_width: Standard deviation of :math:`\gamma_1` and :math:`\gamma_2`.
        slope: Mean of :math:`\gamma` (Auger+ 2010).
        slope_width: Its standard deviation; 0 keeps the lens isothermal.
    """

    center: tuple[float, float]
    center_width: float
    theta_E: tuple[float, float]
    ellipticity_width: float = 0.2
    shear_width: float = 0.07
    slope: float = 2.0
    slope_width: float = 0.0

    def mean(self, like: Tensor) -> Tensor:
        """Returns the means, with shape (8), on the device and in the type of ``like``."""
        middle = sum(math.log(t) for t in self.theta_E) / 2
        mean = [middle, 0.0, 0.0, *self.center, 0.0, 0.0, self.slope]
        return torch.tensor(mean, dtype=like.dtype, device=like.device)

    def precision(self, like: Tensor) -> Tensor:
        """Inverse variances; the Einstein radius is free, a fixed slope is held tightly."""
        e, c, g = self.ellipticity_width, self.center_width, self.shear_width
        widths = [e, e, c, c, g, g, self.slope_width or 1e-6]
        precision = [0.0, *(w**-2 for w in widths)]
        return torch.tensor(precision, dtype=like.dtype, device=like.device)

    def log_density(self, p: Tensor) -> Tensor:
        """Log of the prior without its constant, and minus infinity outside the allowed range."""
        low, high = (math.log(t) for t in self.theta_E)
        value = -0.5 * (self.precision(p) * (p - self.mean(p)).square()).sum(-1)
        flat = p[..., 1].hypot(p[..., 2]) > 0.7
        outside = (p[..., 0] < low) | (p[..., 0] > high) | flat | ((p[..., 7] - 2).abs() > 0.8)
        return value.masked_fill(outside, -torch.inf)


def mass_model(p: Tensor) -> Sum:
    """Returns the mass model of parameters (..., 8)."""
    log_theta, e1, e2, cx, cy, g1, g2, gamma = p.unbind(-1)
    # The series of the deflection converges as the ellipticity's powers: 1e-7 are left out.
    flattest = float(p[..., 1].detach().hypot(p[..., 2].detach()).max().clamp(1e-3, 0.72))
    terms = max(3, math.ceil(math.log(1e-7) / math.log(flattest)))
    return Sum((EPL(log_theta.exp(), gamma, e1, e2, cx, cy, terms=terms), Shear(g1, g2)))


def deflection_jacobian(p: Tensor, x: Tensor, y: Tensor, *, free_slope: bool) -> Tensor:
    """Returns the derivatives of the deflection in the parameters.

    Those in the Einstein radius and the centre follow from the homogeneity of the power law, those
    in ellipticity and slope from differences over ``STEP``, which are as good as 1e-6 and cost a
    tenth of forward-mode differentiation.

    Arguments:
        p: Parameters, with shape (B, 8).
        x, y: Rays [arcsec], each with shape (S, R).
        free_slope: Whether the derivative in the slope is wanted; it is zero if not.

    Returns:
        The Jacobian, with shape (B, S, R, 2, 8).
    """
    model = mass_model(p)
    lens = model.components[0]
    assert isinstance(lens, EPL)
    kappa, (g1, g2) = lens.convergence(x, y), lens.shear(x, y)
    alpha = torch.stack(lens.deflection(x, y), dim=-1)
    moved_x = -torch.stack([kappa + g1, g2], dim=-1)
    moved_y = -torch.stack([g2, kappa - g1], dim=-1)

    def change(**moved: Tensor) -> Tensor:
        there = torch.stack(replace(lens, **moved).deflection(x, y), dim=-1)
        return (there - alpha) / STEP

    e1, e2 = change(e1=p[:, 1] + STEP), change(e2=p[:, 2] + STEP)
    gamma = change(gamma=p[:, 7] + STEP) if free_slope else torch.zeros_like(alpha)
    shear = (torch.stack(pair, dim=-1).expand_as(alpha) for pair in ((x, -y), (y, x)))
    growth = (p[:, 7] - 1)[:, None, None, None] * alpha
    return torch.stack([growth, e1, e2, moved_x, moved_y, *shear, gamma], dim=-1)


@dataclass(frozen=True)
class MacroState:
    """Holds a batch of B candidate models.

    Arguments:
        p: Parameters, with shape (B, 8), in the order of ``NAMES``.
        hyper: Source prior, :math:`(\\log A, \\log \\ell / S, \\log S, \\log \\rho)`, (B, 4).
        value: Objective :math:`E`, with shape (B).
        damping: Levenberg-Marquardt damping, with shape (B).
    """

    p: Tensor
    hyper: Tensor
    value: Tensor
    damping: Tensor

    def to(self, device: torch.device) -> "MacroState":
        """Moves the candidates to a device."""
        return MacroState(*(getattr(self, f).to(device) for f in FIELDS))

    def select(self, index: Tensor | slice | list[int]) -> "MacroState":
        """Keeps the candidates with these indices."""
        return MacroState(*(getattr(self, f)[index] for f in FIELDS))

    def replace_at(self, index: Tensor, other: "MacroState") -> "MacroState":
        """Puts the candidates of ``other`` at these indices."""
        return MacroState(
            *(getattr(self, f).index_copy(0, index, getattr(other, f)) for f in FIELDS)
        )

    def where(self, keep: Tensor, other: "MacroState") -> "MacroState":
        """Takes ``other`` where ``keep`` is false."""
        pairs = ((getattr(self, f), getattr(other, f)) for f in FIELDS)
        return MacroState(
            *(torch.where(keep.reshape(-1, *[1] * (a.ndim - 1)), a, b) for a, b in pairs)
        )


FIELDS = tuple(MacroState.__dataclass_fields__)
