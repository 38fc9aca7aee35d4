"""Numbers of an answer, and how they change along the axes of its posterior."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..lensing.beyond import shear_of_map
from ..lensing.einstein import effective_theta_E, kappa_center
from .directions import Directions
from .macro import NAMES
from .view import View

DETECTED = 3.0
"""Significance of the source above which it counts for its magnification."""


@dataclass(frozen=True)
class Number:
    """Holds a number of an answer, and how it changes.

    Arguments:
        value: The number.
        axes: Changes along the axes of the mass, with shape (J).
        scatter: Changes along those of the source given the mass, with shape (K + Q).
    """

    value: float
    axes: Tensor
    scatter: Tensor

    @property
    def std(self) -> float:
        """Standard deviation."""
        return float((self.axes.square().sum() + self.scatter.square().sum()).sqrt())


def of_parameters(p: Tensor, mass: Directions, scatter: Tensor) -> dict[str, Number]:
    """Numbers of the macro-model."""
    change = dict(zip(NAMES, mass.parameters.unbind(1), strict=True))
    value = dict(zip(NAMES, p.tolist(), strict=True))
    theta, none = math.exp(value["log_theta_E"]), scatter.new_zeros(len(scatter))
    e1, e2 = value["e1"], value["e2"]
    e = max(math.hypot(e1, e2), 1e-12)
    along = (e1 * change["e1"] + e2 * change["e2"]) / e
    across = (e1 * change["e2"] - e2 * change["e1"]) / e
    found: dict[str, tuple[float, Tensor]] = {
        "macro_theta_E": (theta, theta * change["log_theta_E"]),
        "macro_gamma1": (value["gamma1"], change["gamma1"]),
        "macro_gamma2": (value["gamma2"], change["gamma2"]),
        "slope": (value["gamma"], change["gamma"]),
        "q": ((1 - e) / (1 + e), -2 / (1 + e) ** 2 * along),
        "phi": (0.5 * math.atan2(e2, e1) % math.pi, 0.5 / e * across),
    }
    return {name: Number(value, axes, none) for name, (value, axes) in found.items()}


def of_the_map(view: View, kappa: Tensor, mass: Directions, scatter: Tensor) -> dict[str, Number]:
    r"""Einstein radius of the map, by

    .. math:: \delta \theta_E = \frac{\delta M(\theta_E)}{2 \pi \theta_E (1 - \kappa(\theta_E))}

    with the mass :math:`M` within the circle, and the shear that belongs to the map.
    """
    grid, none = view.simulator.image_grid, scatter.new_zeros(len(scatter))
    arc = view.arc.expand(len(mass.kappa), 1, -1, -1)
    gamma, _ = shear_of_map(mass.alpha, mass.kappa[:, None], arc, view.simulator.kappa_to_alpha)
    found = {f"gamma{i + 1}": Number(float(view.gamma[i]), gamma[:, i], none) for i in (0, 1)}
    theta = effective_theta_E(kappa.numpy(), grid)
    if not math.isfinite(theta):
        return found
    cx, cy = kappa_center(kappa.numpy(), grid)
    x, y = grid.coordinates(10, dtype=kappa.dtype)
    radius = torch.hypot(x - cx, y - cy)

    def within(r: float) -> Tensor:
        inside = (radius < r).to(kappa)
        h, w = grid.shape
        return inside.reshape(h, 10, w, 10).mean((1, 3)) * grid.spacing**2

    width = grid.spacing
    ring = within(theta + width) - within(theta - width)
    edge = float((ring * kappa).sum() / ring.sum())
    growth = 2 * math.pi * theta * max(1 - edge, 0.05)
    change = torch.einsum("jhw,hw->j", mass.kappa, within(theta)) / growth
    return {"theta_E": Number(theta, change, none), **found}


def of_the_source(
    view: View,
    source: Tensor,
    detected: Tensor,
    shifted: Tensor,
    responses: Tensor,
    scatter: Tensor,
) -> dict[str, Number]:
    r"""Flux of the source, and its magnification

    .. math:: \mu = \frac{\sum_\theta s(\beta(\theta))}{\sum_\beta s(\beta)} \, \frac{h^2}{h_s^2} ,

    both sums over what is detected of it: far out a source map is noise around zero, and its sum
    has no meaning. The magnification leans on the slope of the mass (mass-sheet degeneracy). In
    its error, rays that move see all of the source, what is not detected of it too.
    """
    area = (view.grid.spacing / view.simulator.image_grid.spacing) ** 2
    flux = Number(
        float(source.sum() * area), responses.sum((1, 2)) * area, scatter.sum((1, 2)) * area
    )
    if not bool(detected.any()):
        return {"flux": flux}
    seen = source * detected
    ones = torch.ones(1, 1, *view.rays.shape[-2:], dtype=source.dtype)
    center = torch.tensor([view.center], dtype=source.dtype)
    weight = view.simulator.source.adjoint(ones, view.rays, center=center)[0, 0]
    share = 1 / view.simulator.subsample**2
    weight = weight * detected * share
    inside, lensed = float(seen.sum() * area), float((seen * weight).sum())
    by_axes = torch.einsum("jhw,hw->j", responses, weight)
    by_axes = by_axes + shifted.sum((1, 2)) * share
    mu = lensed / inside
    by_axes, by_scatter = (
        mu * (total / lensed - change[:, detected].sum(1) * area / inside)
        for total, change in (
            (by_axes, responses),
            (torch.einsum("khw,hw->k", scatter, weight), scatter),
        )
    )
    return {"flux": flux, "magnification": Number(mu, by_axes, by_scatter)}
