r"""The posterior about an answer: mass and source together, as a Gaussian.

Mass lies along axes :math:`a \sim \mathcal{N}(0, 1)^J`, one standard deviation each, which change
the convergence by :math:`\kappa_j` and the deflection by :math:`\alpha_j`. A constant deflection
is the place of the source, so the mean over the light of the arcs is taken off. Given the mass,
the source is the exact linear-Gaussian posterior of ``inversion``, whose mean follows the mass as
in a Gauss-Newton step: rays that move by :math:`-\alpha_j` change the image by :math:`m_j`, and
the source (with the lens light and the sky) takes back what it can,

.. math:: z_j = - H^{-1} C^T m_j , \qquad
          x = \hat x + \sum_j a_j x_j + \epsilon , \quad \epsilon_z \sim \mathcal{N}(0, H^{-1}) .

What is not guaranteed: it is linear, so that a convergence may fall below zero where it is small
and uncertain; and it is as wide as the axes. Those of :func:`macro_axes` hold what an elliptical
power law may do. A mass that is none is further off.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ..grid import PixelGrid
from ..lensing.beyond import part_shear
from ..lensing.einstein import effective_theta_E, kappa_center
from ..lensing.mass import pixel_average
from .answer import Answer, SourceSystem, whitened
from .lens_light import Array
from .macro import NAMES, MacroState, deflection_jacobian, mass_model
from .magnification import DETECTED
from .search import Scene
from .view import MassMaps, View

STEP = 1e-5
"""Step of the differences of the convergence in the macro-model's parameters."""
SHEAR = ("gamma1", "gamma2")


@dataclass(frozen=True)
class MassAxes:
    """Holds how a mass model changes along the axes of its posterior, a standard deviation each.

    Arguments:
        kappa: Changes of the convergence, averages over pixels, with shape (J, H, W).
        alpha: Changes of the deflection at the pixels' centres [arcsec], with shape (J, 2, H, W).
        parameters: Those of the macro-model's parameters (``macro.NAMES``), with shape (J, 8).
    """

    kappa: Tensor
    alpha: Tensor
    parameters: Tensor


def axes_of(covariance: Tensor) -> Tensor:
    """Returns the axes of an ellipsoid, a standard deviation each, with shape (J, J), as rows."""
    values, vectors = torch.linalg.eigh(covariance)
    return (vectors * values.clamp(min=0).sqrt()).T


def macro_axes(state: MacroState, covariance: Tensor, grid: PixelGrid) -> MassAxes:
    """Puts the axes of a macro-model's posterior on pixels.

    Arguments:
        state: The macro-model, a single candidate.
        covariance: That of its parameters, with shape (8, 8).
        grid: The pixels.
    """
    p, axes = state.p[0].cpu(), axes_of(covariance.cpu())
    x, y = torch.broadcast_tensors(*grid.coordinates(dtype=p.dtype))
    with torch.no_grad():
        alpha = deflection_jacobian(p[None], x, y, free_slope=True)[0]
        kappa = pixel_average(mass_model(p), grid)
        change = torch.zeros(len(p), *kappa.shape, dtype=p.dtype)
        # a shear has no convergence
        for i in range(len(p)):
            if NAMES[i] not in SHEAR:
                moved = p.clone()
                moved[i] += STEP
                change[i] = (pixel_average(mass_model(moved), grid) - kappa) / STEP
    return MassAxes(
        torch.einsum("jp,phw->jhw", axes, change), torch.einsum("jp,hwcp->jchw", axes, alpha), axes
    )


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


@dataclass(frozen=True)
class Posterior:
    """Holds the Gaussian about an answer.

    Arguments:
        mass: The J axes of the mass.
        kappa, source: Convergence and source of the answer, with shapes (H, W) and (n, n).
        source_axes: Changes of the source's mean along them, with shape (J, n, n).
        scatter: Whitened modes of the source given the mass, with shape (K + Q, n, n): their
            squares add up to its variance.
        numbers: Numbers by name, as :func:`posterior_of` names them.
    """

    mass: MassAxes
    kappa: Array
    source: Array
    source_axes: Tensor
    scatter: Tensor
    numbers: Mapping[str, Number]

    @property
    def kappa_std(self) -> Array:
        """Standard deviation of the convergence, with shape (H, W)."""
        return self.mass.kappa.square().sum(0).sqrt().numpy()

    @property
    def source_std(self) -> Array:
        """Standard deviation of the source, with shape (n, n)."""
        variance = self.source_axes.square().sum(0) + self.scatter.square().sum(0)
        return variance.sqrt().numpy()


def posterior_of(scene: Scene, result: Answer, state: MacroState, mass: MassAxes) -> Posterior:
    """Finds the posterior about an answer.

    Its numbers are ``theta_E`` (circle of mean convergence 1) and ``macro_theta_E`` [arcsec],
    ``gamma1`` and ``gamma2`` (the shear that belongs to the map), ``macro_gamma1``,
    ``macro_gamma2``, ``slope``, ``q`` and ``phi`` [rad] of the macro-model, and, of what is
    detected of the source, ``flux`` [data unit of a pixel of the image] and ``magnification``;
    these two are left out where nothing is.

    Arguments:
        scene: The observation.
        result: The answer.
        state: The macro-model, a single candidate.
        mass: What its mass may do.
    """
    host, grid = torch.device("cpu"), result.source_grid
    scene, state = replace(scene, device=host), state.to(host)
    prior = torch.tensor([result.source_prior], dtype=torch.float64)
    alpha = torch.from_numpy(np.stack([result.alpha_x, result.alpha_y]))
    deflector = MassMaps(torch.from_numpy(result.kappa), alpha)
    source = torch.from_numpy(result.source)
    with torch.no_grad():
        view = View.of(scene, deflector, grid.fov[0], grid.center)
        system = SourceSystem.of(scene, replace(state, hyper=prior), view)
        constant = torch.einsum("jchw,hw->jc", mass.alpha, view.arc)
        moved = mass.alpha - constant[..., None, None]
        responses = _responses(system, source, moved)
        scatter = whitened(system.solution, system.basis)
        numbers = _of_parameters(state.p[0], mass, scatter)
        numbers |= _of_the_map(view, deflector.kappa, mass, scatter)
        detected = source > DETECTED * torch.from_numpy(result.source_std)
        numbers |= _of_the_source(view, source * detected, moved, responses * detected, scatter)
    return Posterior(mass, result.kappa, result.source, responses, scatter, numbers)


def _shifted(view: View, source: Tensor, moved: Tensor) -> Tensor:
    """Returns how what is seen of a source before the PSF changes, along every axis (J, H, W)."""
    rays = view.simulator.kappa_to_alpha.interpolate(moved)
    ahead, back = (
        replace(view, rays=view.rays + sign * rays).trace(source.expand(len(moved), -1, -1))
        for sign in (-1, 1)
    )
    return (ahead - back) / 2


def _responses(system: SourceSystem, source: Tensor, moved: Tensor) -> Tensor:
    """Returns how the source follows the mass along every axis, with shape (J, n, n)."""
    solution, k = system.solution, len(system.basis)
    images = system.image.blur(_shifted(system.view, source, moved)[None])[0]
    right = (solution.scale * (images @ system.design.columns[0])).T
    z = -solution.scale * torch.cholesky_solve(right, solution.factor[0]).T
    return torch.einsum("jk,khw->jhw", z[:, :k], system.basis)


def _of_parameters(p: Tensor, mass: MassAxes, scatter: Tensor) -> dict[str, Number]:
    """Numbers of the macro-model."""
    change = dict(zip(NAMES, mass.parameters.unbind(1), strict=True))
    value = dict(zip(NAMES, p.tolist(), strict=True))
    theta, none = math.exp(value["log_theta_E"]), scatter.new_zeros(len(scatter))
    e1, e2 = value["e1"], value["e2"]
    e = max(math.hypot(e1, e2), 1e-12)
    along = (e1 * change["e1"] + e2 * change["e2"]) / e
    across = (e1 * change["e2"] - e2 * change["e1"]) / e
    found = {
        "macro_theta_E": (theta, theta * change["log_theta_E"]),
        "macro_gamma1": (value["gamma1"], change["gamma1"]),
        "macro_gamma2": (value["gamma2"], change["gamma2"]),
        "slope": (value["gamma"], change["gamma"]),
        "q": ((1 - e) / (1 + e), -2 / (1 + e) ** 2 * along),
        "phi": (0.5 * math.atan2(e2, e1), 0.5 / e * across),
    }
    return {name: Number(*pair, none) for name, pair in found.items()}


def _of_the_map(view: View, kappa: Tensor, mass: MassAxes, scatter: Tensor) -> dict[str, Number]:
    r"""Einstein radius of the map, by

    .. math:: \delta \theta_E = \frac{\delta M(\theta_E)}{2 \pi \theta_E (1 - \kappa(\theta_E))}

    with the mass :math:`M` within the circle, and the shear that belongs to the map.
    """
    grid, none = view.simulator.image_grid, scatter.new_zeros(len(scatter))
    mapped = view.simulator.kappa_to_alpha.maps(mass.kappa[:, None])
    arc = view.arc.expand(len(mapped), 1, -1, -1)
    gamma, _ = part_shear(mass.alpha - mapped, grid, arc)
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


def _of_the_source(
    view: View, source: Tensor, moved: Tensor, responses: Tensor, scatter: Tensor
) -> dict[str, Number]:
    """Flux of the detected part of the source, and its magnification."""
    if not bool((source > 0).any()):
        return {}
    detected = source > 0
    area = (view.grid.spacing / view.simulator.image_grid.spacing) ** 2
    flux = source.sum() * area
    seen = view.trace(source[None]).sum()
    ones = torch.ones(1, 1, *view.rays.shape[-2:], dtype=source.dtype)
    center = torch.tensor([view.center], dtype=source.dtype)
    weight = view.simulator.source.adjoint(ones, view.rays, center=center)[0, 0]
    weight = weight * detected / view.simulator.subsample**2
    by_axes = responses.sum((1, 2)) * area
    by_scatter = scatter[:, detected].sum(1) * area
    lensed = torch.einsum("jhw,hw->j", responses, weight) + _shifted(view, source, moved).sum(
        (1, 2)
    )
    lensed_scatter = torch.einsum("khw,hw->k", scatter, weight)
    mu = seen / flux
    return {
        "flux": Number(float(flux), by_axes, by_scatter),
        "magnification": Number(
            float(mu),
            mu * (lensed / seen - by_axes / flux),
            mu * (lensed_scatter / seen - by_scatter / flux),
        ),
    }
