r"""The posterior about an answer: mass and source together, as a Gaussian.

The mass may change along directions :math:`d`, of which each moves the rays by :math:`-\alpha_d`
and so the image of the source by :math:`m_d`. Given the mass, the source is the exact
linear-Gaussian posterior of ``inversion``, with columns :math:`C` and normal matrix :math:`H`;
what of :math:`m_d` a change of the source (or of lens light and sky) takes back tells nothing of
the mass. So, as in a Gauss-Newton step, coefficients with prior precision :math:`\Lambda` have

.. math:: \Sigma^{-1} = M^T M - M^T C H^{-1} C^T M + \Lambda ,

and with the axes of that ellipsoid, a standard deviation each, all there is moves as

.. math:: x = \hat x + \sum_j a_j x_j + \epsilon , \qquad a \sim \mathcal{N}(0, 1)^J , \quad
          z_j = - H^{-1} C^T m_j , \quad \epsilon_z \sim \mathcal{N}(0, H^{-1}) ,

:math:`z_j` the source's response. A constant deflection is the place of the source, so the mean
over the light of the arcs is taken off each :math:`\alpha_d`: maps of the source stay where they
are.

What is not guaranteed: it is linear, so that a convergence may fall below zero where it is small
and uncertain; it is about the answer, be that the best of its own model or not; and it is as wide
as its directions allow. Those of an elliptical power law alone (:func:`macro_directions`) know of
no other mass.
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
from .macro import NAMES, MacroPrior, MacroState, deflection_jacobian, mass_model
from .scene import Scene
from .view import MassMaps, View

STEP = 1e-5
"""Step of the differences of the convergence in the macro-model's parameters."""

SHIFT = 0.3
"""By what rays are moved for differences of the source [pixel of the image]."""

CENTER = ("center_x", "center_y")

TINY = 1e-13
"""What is added to the normal equations of :func:`other_directions`, relative."""

SHEAR = ("gamma1", "gamma2")

DETECTED = 3.0
"""Significance of the source above which it counts for its magnification."""

LIKE = (0.4, 2.0)
"""Radii between which a power law is compared with a mass [Einstein radius], as
:mod:`lensrim.datasets.macro_fits` compares those of haloes."""


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

    def along(self, axes: Tensor) -> "Directions":
        """Returns the changes along axes of coefficients (J, D), of unit prior precision."""
        return Directions(
            torch.einsum("jd,d...->j...", axes, self.kappa),
            torch.einsum("jd,d...->j...", axes, self.alpha),
            axes @ self.parameters,
            axes.new_ones(len(axes)),
        )


def macro_directions(p: Tensor, prior: MacroPrior, grid: PixelGrid) -> Directions:
    """Lets the parameters of a macro-model change.

    At a centre the deflection jumps, and its derivative where a pixel happens to lie would be that
    of a point: in the centre's coordinates it is a difference over a pixel.

    Arguments:
        p: The parameters, with shape (8).
        prior: Prior of its parameters.
        grid: The pixels.
    """
    x, y = torch.broadcast_tensors(*grid.coordinates(dtype=p.dtype))
    with torch.no_grad():
        alpha = deflection_jacobian(p[None], x, y, free_slope=True)[0]
        for i in map(NAMES.index, CENTER):
            ahead, back = p.clone(), p.clone()
            ahead[i], back[i] = p[i] + grid.spacing / 2, p[i] - grid.spacing / 2
            there, here = (torch.stack(mass_model(q).deflection(x, y), -1) for q in (ahead, back))
            alpha[..., i] = (there - here) / grid.spacing
        kappa = pixel_average(mass_model(p), grid)
        change = torch.zeros(len(p), *kappa.shape, dtype=p.dtype)
        for i, name in enumerate(NAMES):
            if name not in SHEAR:  # which has no convergence
                moved = p.clone()
                moved[i] += STEP
                change[i] = (pixel_average(mass_model(moved), grid) - kappa) / STEP
    unit = torch.eye(len(p), dtype=p.dtype)
    return Directions(change, alpha.permute(3, 2, 0, 1), unit, prior.precision(p))


def other_directions(kappa: Tensor, alpha: Tensor, macro: Directions, like: Tensor) -> Directions:
    r"""Lets the mass change beyond its macro-model.

    What the macro-model's parameters mean then are those of the model that is most like the mass:
    its deflection differs least, up to a constant, in the mean square over ``like``.

    Arguments:
        kappa, alpha: Changes per unit of P coefficients with a standard normal prior, of the
            convergence (P, H, W) and of the deflection [arcsec], with shape (P, 2, H, W).
        macro: Directions of the macro-model.
        like: Where the two are compared, with shape (H, W).
    """
    constant = torch.eye(2, dtype=alpha.dtype)[..., None, None].expand(2, 2, *like.shape)
    columns, right = (
        each[:, :, like].flatten(1).T for each in (torch.cat([macro.alpha, constant]), alpha)
    )
    # By the normal equations, which are well conditioned: torch's least squares differ in the last
    # digit from call to call, as their workspace happens to lie in the memory.
    gram = columns.T @ columns
    ridge = TINY * gram.diagonal().mean().clamp(min=TINY) * torch.eye(len(gram)).to(gram)
    found = torch.cholesky_solve(columns.T @ right, torch.linalg.cholesky(gram + ridge))
    found = found[: len(macro.alpha)].T
    return Directions(kappa, alpha, found, alpha.new_ones(len(alpha)))


def near(p: Tensor, grid: PixelGrid) -> Tensor:
    """Returns where a power law is compared with a mass: 0.4 to 2 Einstein radii, (H, W)."""
    x, y = grid.coordinates(dtype=p.dtype)
    radius = torch.hypot(x - p[3], y - p[4]) / p[0].exp()
    return (radius >= LIKE[0]) & (radius <= LIKE[1])


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
        mass: Changes along the J axes of the mass, a standard deviation each.
        constant: Mean of the deflection's changes over the light of the arcs [arcsec], (J, 2).
        kappa, alpha, source: Maps of the answer, with shapes (H, W), (2, H, W) and (n, n).
        source_axes: Changes of the source's mean along them, with shape (J, n, n).
        scatter: Whitened modes of the source given the mass, with shape (K + Q, n, n): their
            squares add up to its variance.
        numbers: Numbers by name, as :func:`posterior_of` names them.
    """

    mass: Directions
    constant: Tensor
    kappa: Array
    alpha: Array
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


def posterior_of(scene: Scene, result: Answer, p: Tensor, directions: Directions) -> Posterior:
    """Finds the posterior about an answer.

    Its numbers are ``theta_E`` (circle of mean convergence 1) and ``macro_theta_E`` [arcsec],
    ``gamma1`` and ``gamma2`` (the shear that belongs to the map), ``macro_gamma1``,
    ``macro_gamma2``, ``slope``, ``q`` and ``phi`` [rad] of the macro-model, ``flux`` of the source
    [data unit of a pixel of the image], and ``magnification`` of what is detected of it, left out
    where nothing is.

    Arguments:
        scene: The observation.
        result: The answer.
        p: Parameters of its macro-model, with shape (8).
        directions: What its mass may do.
    """
    grid = result.source_grid
    scene = replace(scene, device=torch.device("cpu"))
    prior = torch.tensor([result.source_prior], dtype=torch.float64)
    none = prior.new_zeros(1)
    alpha = torch.from_numpy(np.stack([result.alpha_x, result.alpha_y]))
    kappa, source = torch.from_numpy(result.kappa), torch.from_numpy(result.source)
    with torch.no_grad():
        view = View.of(scene, MassMaps(kappa, alpha), grid.fov[0], grid.center)
        system = SourceSystem.of(scene, MacroState(p[None], prior, none, none), view)
        mass, shifted, responses = _axes(system, source, directions)
        scatter = whitened(system.solution, system.basis)
        numbers = _of_parameters(p, mass, scatter)
        numbers |= _of_the_map(view, kappa, mass, scatter)
        detected = source > DETECTED * torch.from_numpy(result.source_std)
        numbers |= _of_the_source(view, source, detected, shifted, responses, scatter)
    return Posterior(
        mass=mass,
        constant=torch.einsum("jchw,hw->jc", mass.alpha, view.arc),
        kappa=result.kappa,
        alpha=alpha.numpy(),
        source=result.source,
        source_axes=responses,
        scatter=scatter,
        numbers=numbers,
    )


def _axes(
    system: SourceSystem, source: Tensor, directions: Directions
) -> tuple[Directions, Tensor, Tensor]:
    """Finds the axes of the mass, the deflection along them, and how the source follows.

    Returns:
        Changes along the axes; those of what the rays see of the same source, with shape
        (J, kH, kW); those of the source, with shape (J, n, n).
    """
    view, solution, k = system.view, system.solution, len(system.basis)
    constant = torch.einsum("dchw,hw->dc", directions.alpha, view.arc)
    moved = directions.alpha - constant[..., None, None]
    moved = view.simulator.kappa_to_alpha.interpolate(moved)
    shifted = _shifted(view, source, moved)
    images = system.image.weighted(view.simulator.observe(shifted[:, None])[:, 0].flatten(1))
    cross = solution.scale * (images @ system.design.columns[0])
    half = torch.linalg.solve_triangular(solution.factor[0], cross.T, upper=False)
    curvature = images @ images.T - half.T @ half + torch.diag(directions.precision)
    # In units of the curvature, for lengths and ellipticities lie orders of magnitude apart.
    unit = curvature.diagonal().clamp(min=1e-30).rsqrt()
    values, vectors = torch.linalg.eigh(unit[:, None] * curvature * unit)
    axes = (vectors * values.clamp(min=1e-12).rsqrt()).T * unit
    right = torch.linalg.solve_triangular(solution.factor[0].T, half @ axes.T, upper=True)
    z = -solution.scale[0, :, None] * right
    responses = torch.einsum("kj,khw->jhw", z[:k], system.basis)
    return directions.along(axes), torch.einsum("jd,dhw->jhw", axes, shifted), responses


def _shifted(view: View, source: Tensor, rays: Tensor) -> Tensor:
    """Returns how what rays see of a source changes as they move back.

    Arguments:
        view: How it is seen.
        source: The source, with shape (n, n).
        rays: By what the rays move, with shape (J, 2, kH, kW).

    Returns:
        The changes, with shape (J, kH, kW).
    """
    simulator = view.simulator
    step = SHIFT * simulator.image_grid.spacing
    sides = step * torch.eye(2, dtype=rays.dtype)[..., None, None]
    center = torch.tensor([view.center], dtype=rays.dtype)
    there = torch.cat([view.rays + sides, view.rays - sides])
    seen = simulator.source(source.expand(4, 1, -1, -1), there, center=center)[:, 0]
    slope = (seen[:2] - seen[2:]) / (2 * step)
    return -torch.einsum("chw,jchw->jhw", slope, rays)


def _of_parameters(p: Tensor, mass: Directions, scatter: Tensor) -> dict[str, Number]:
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


def _of_the_map(view: View, kappa: Tensor, mass: Directions, scatter: Tensor) -> dict[str, Number]:
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
    has no meaning. The magnification leans on the slope of the mass (mass-sheet degeneracy).
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
