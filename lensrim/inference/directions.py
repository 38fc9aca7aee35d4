"""What a mass may do: the directions in which an answer's errors are looked for."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..grid import PixelGrid
from ..lensing.mass import pixel_average
from .macro import NAMES, MacroPrior, deflection_jacobian, mass_model

STEP = 1e-5
"""Step of the differences of the convergence in the macro-model's parameters."""

CENTER = ("center_x", "center_y")

TINY = 1e-13
"""What is added to the normal equations of :func:`likest`, relative."""

SHEAR = ("gamma1", "gamma2")

LIKE = (0.4, 2.0)
"""Radii between which a power law is compared with a mass [Einstein radius], as
:mod:`lensrim.datasets.haloes.macro_fits` compares those of haloes."""


@dataclass(frozen=True)
class Directions:
    """Holds what a mass may do: changes per unit of D coefficients.

    Arguments:
        kappa: Of the convergence, averages over pixels, with shape (D, H, W).
        alpha: Of the deflection at the pixels' centres [arcsec], with shape (D, 2, H, W).
        parameters: Of the macro-model's parameters (``macro.NAMES``), with shape (D, 8).
        precision: Prior precision of the coefficients, with shape (D).
    """

    kappa: Tensor
    alpha: Tensor
    parameters: Tensor
    precision: Tensor

    def __add__(self, other: "Directions") -> "Directions":
        """Allows both."""
        return Directions(
            torch.cat([self.kappa, other.kappa]),
            torch.cat([self.alpha, other.alpha]),
            torch.cat([self.parameters, other.parameters]),
            torch.cat([self.precision, other.precision]),
        )

    def scaled(self, factor: float) -> "Directions":
        """Returns the changes of a mass whose source plane is scaled by a factor."""
        return replace(self, kappa=factor * self.kappa, alpha=factor * self.alpha)

    def along(self, axes: Tensor) -> "Directions":
        """Returns the changes along axes of coefficients (J, D), of unit prior precision."""
        return Directions(
            torch.einsum("jd,d...->j...", axes, self.kappa),
            torch.einsum("jd,d...->j...", axes, self.alpha),
            axes @ self.parameters,
            axes.new_ones(len(axes)),
        )


def macro_deflections(p: Tensor, grid: PixelGrid) -> Tensor:
    """Differentiates the deflection of a macro-model in its parameters [arcsec], (8, 2, H, W).

    At a centre the deflection jumps, and its derivative where a pixel happens to lie would be that
    of a point: in the centre's coordinates it is a difference over a pixel.

    Arguments:
        p: The parameters, with shape (8).
        grid: The pixels.
    """
    x, y = grid.coordinates(dtype=p.dtype)
    with torch.no_grad():
        alpha = deflection_jacobian(p[None], x, y, free_slope=True)[0]
        for i in map(NAMES.index, CENTER):
            ahead, back = p.clone(), p.clone()
            ahead[i], back[i] = p[i] + grid.spacing / 2, p[i] - grid.spacing / 2
            there, here = (torch.stack(mass_model(q).deflection(x, y), -1) for q in (ahead, back))
            alpha[..., i] = (there - here) / grid.spacing
    return alpha.permute(3, 2, 0, 1)


def macro_directions(p: Tensor, prior: MacroPrior, grid: PixelGrid) -> Directions:
    """Lets the parameters of a macro-model change.

    Arguments:
        p: The parameters, with shape (8).
        prior: Prior of its parameters.
        grid: The pixels.
    """
    with torch.no_grad():
        kappa = pixel_average(mass_model(p), grid)
        change = torch.zeros(len(p), *kappa.shape, dtype=p.dtype)
        for i, name in enumerate(NAMES):
            if name not in SHEAR:  # which has no convergence
                moved = p.clone()
                moved[i] += STEP
                change[i] = (pixel_average(mass_model(moved), grid) - kappa) / STEP
    unit = torch.eye(len(p), dtype=p.dtype)
    return Directions(change, macro_deflections(p, grid), unit, prior.precision(p))


def other_directions(kappa: Tensor, alpha: Tensor, macro: Directions, like: Tensor) -> Directions:
    """Lets the mass change beyond its macro-model.

    What the macro-model's parameters mean then are those of the model that is most like the mass,
    by :func:`likest`.

    Arguments:
        kappa, alpha: Changes per unit of P coefficients with a standard normal prior, of the
            convergence (P, H, W) and of the deflection [arcsec], with shape (P, 2, H, W).
        macro: Directions of the macro-model.
        like: Where the two are compared, with shape (H, W).
    """
    return Directions(kappa, alpha, likest(alpha, macro.alpha, like), alpha.new_ones(len(alpha)))


def likest(alpha: Tensor, macro: Tensor, like: Tensor) -> Tensor:
    """Finds the changes of a macro-model that are most like changes of a mass, with shape (P, 8).

    Its deflection then differs least, up to a constant, in the mean square over ``like``.

    Arguments:
        alpha: Changes of the deflection [arcsec], with shape (P, 2, H, W).
        macro: Those of the macro-model, of :func:`macro_deflections`.
        like: Where the two are compared, with shape (H, W).
    """
    constant = torch.eye(2, dtype=alpha.dtype)[..., None, None].expand(2, 2, *like.shape)
    columns, right = (
        each[:, :, like].flatten(1).T for each in (torch.cat([macro, constant]), alpha)
    )
    # By the normal equations, which are well conditioned: torch's least squares differ in the last
    # digit from call to call, as their workspace happens to lie in the memory.
    gram = columns.T @ columns
    ridge = TINY * gram.diagonal().mean().clamp(min=TINY) * torch.eye(len(gram)).to(gram)
    found = torch.cholesky_solve(columns.T @ right, torch.linalg.cholesky(gram + ridge))
    return found[: len(macro)].T


def near(p: Tensor, grid: PixelGrid) -> Tensor:
    """Returns where a power law is compared with a mass: 0.4 to 2 Einstein radii, (H, W)."""
    x, y = grid.coordinates(dtype=p.dtype)
    radius = torch.hypot(x - p[3], y - p[4]) / p[0].exp()
    return (radius >= LIKE[0]) & (radius <= LIKE[1])
