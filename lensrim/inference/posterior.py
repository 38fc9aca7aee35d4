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

A mass sheet (:mod:`~.mass_sheet`) changes no image: it is an axis of its own, as wide as its
prior, with which the source is scaled about the mean of the traced arcs. Its expectation follows
the slope, so every axis that changes the slope has some of it.

The mass was fitted under the first prior of the source, and so are its axes found; how the source
follows them, and its own scatter, are those of the prior that follows its light, where the answer
has one (:mod:`~.envelope`).

What is not guaranteed: it is linear, so that a convergence may fall below zero where it is small
and uncertain; it is about the answer, be that the best of its own model or not; and it is as wide
as its directions (:mod:`~.directions`) allow. Those of an elliptical power law alone know of no
other mass.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .answer import Answer, maps_of
from .directions import Directions
from .frame import Array
from .macro import GAMMA
from .mass_sheet import InternalSheet
from .numbers import DETECTED, Number, of_parameters, of_the_map, of_the_source
from .scene import Scene
from .source_system import SourceSystem, whitened
from .view import View, traced_mean

SHIFT = 0.3
"""By what rays are moved for differences of the source [pixel of the image]."""

SCALED = {"flux": -2.0, "magnification": 2.0}
"""Derivatives in t of the logarithms of what a mass sheet scales."""

SCALING = 0.01
"""By how much a source is scaled for differences, relative."""


@dataclass(frozen=True)
class Posterior:
    """Holds the Gaussian about an answer.

    Arguments:
        mass: Changes along the J axes of the mass, a standard deviation each; the last is that of
            the mass sheet, if it is free.
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


def posterior_of(
    scene: Scene,
    result: Answer,
    p: Tensor,
    directions: Directions,
    sheet: Directions | None = None,
) -> Posterior:
    """Finds the posterior about an answer.

    Its numbers are ``theta_E`` (circle of mean convergence 1) and ``macro_theta_E`` [arcsec],
    ``gamma1`` and ``gamma2`` (the shear that belongs to the map), ``macro_gamma1``,
    ``macro_gamma2``, ``q`` and ``phi`` [rad] of the macro-model, ``slope`` of the power law that
    is most like the mass (the macro-model's if the answer has none), ``flux`` of the source
    [data unit of a pixel of the image], and ``magnification`` of what is detected of it, left out
    where nothing is.

    Arguments:
        scene: The observation.
        result: The answer.
        p: Parameters of its macro-model, with shape (8).
        directions: What its mass may do.
        sheet: Change by its mass sheet, per unit of t, of which the answer holds width and
            expectation; none is free if ``None``.
    """
    scene = replace(scene, device=torch.device("cpu"))
    prior = torch.tensor([result.source_prior], dtype=torch.float64)
    maps, source = maps_of(result), torch.from_numpy(result.source)
    if math.isfinite(result.sheet.slope):
        p = p.index_fill(0, torch.tensor(GAMMA), result.sheet.slope)
    with torch.no_grad():
        view = View.on(scene, maps, result.source_grid)
        system = SourceSystem.of(scene, prior, view, result.modes)
        mass, shifted, images = _axes(system, source, directions)
        if result.envelope is not None:
            system = SourceSystem.of(scene, prior, view, result.modes, result.envelope)
        responses = _responses(system, images)
        scatter = whitened(system.solution, system.basis)
        std = scatter.square().sum(0).sqrt()
        # beyond the disc of the prior nothing is known, and no error stands for it
        detected = (std > 1e-3 * std.max()) & (source > DETECTED * std)
        numbers = of_the_source(view, source, detected, shifted, responses, scatter)
        if sheet is not None:
            t = _along(result.sheet, mass)
            mass = _and_sheet(_with_slopes(mass, result.sheet.steeper), t, sheet)
            responses = _and(responses, t, _scaling(view, source))
            for name, number in numbers.items():
                own = torch.tensor(SCALED[name] * number.value, dtype=t.dtype)
                numbers[name] = replace(number, axes=_and(number.axes, t, own))
        numbers |= of_parameters(p, mass, scatter)
        numbers |= of_the_map(view, maps.kappa, mass, scatter)
    return Posterior(
        mass=mass,
        constant=torch.einsum("jchw,hw->jc", mass.alpha, view.arc),
        kappa=result.kappa,
        alpha=maps.alpha.numpy(),
        source=result.source,
        source_axes=responses,
        scatter=scatter,
        numbers=numbers,
    )


def _axes(
    system: SourceSystem, source: Tensor, directions: Directions
) -> tuple[Directions, Tensor, Tensor]:
    """Finds the axes of the mass, and what changes along them.

    Returns:
        Changes of the mass along the axes; those of what the rays see of the same source, with
        shape (J, kH, kW); those of its image in units of the noise, with shape (J, N).
    """
    view = system.view
    constant = torch.einsum("dchw,hw->dc", directions.alpha, view.arc)
    moved = directions.alpha - constant[..., None, None]
    moved = view.simulator.kappa_to_alpha.interpolate(moved)
    shifted = _shifted(view, source, moved)
    images = system.image.weighted(view.simulator.observe(shifted[:, None])[:, 0].flatten(1))
    half = _whitened_moments(system, images)
    curvature = images @ images.T - half.T @ half + torch.diag(directions.precision)
    # In units of the curvature, for lengths and ellipticities lie orders of magnitude apart.
    unit = curvature.diagonal().clamp(min=1e-30).rsqrt()
    values, vectors = torch.linalg.eigh(unit[:, None] * curvature * unit)
    axes = (vectors * values.clamp(min=1e-12).rsqrt()).T * unit
    return directions.along(axes), torch.einsum("jd,dhw->jhw", axes, shifted), axes @ images


def _whitened_moments(system: SourceSystem, images: Tensor) -> Tensor:
    """Returns what the source's whitened modes see of images (J, N), with shape (K + Q, J)."""
    cross = system.solution.scale * (images @ system.design.columns[0])
    return torch.linalg.solve_triangular(system.solution.factor[0], cross.T, upper=False)


def _responses(system: SourceSystem, images: Tensor) -> Tensor:
    """Returns how the source follows as its image changes by (J, N), with shape (J, n, n)."""
    solution, k = system.solution, len(system.basis)
    half = _whitened_moments(system, images)
    right = torch.linalg.solve_triangular(solution.factor[0].T, half, upper=True)
    z = -solution.scale[0, :, None] * right
    return torch.einsum("kj,khw->jhw", z[:k], system.basis)


def _scaling(view: View, source: Tensor) -> Tensor:
    """Returns the change of a source as a mass sheet grows, per unit of t, with shape (n, n)."""
    pixels = torch.stack(view.grid.coordinates(dtype=source.dtype))
    mean = traced_mean(view.alpha, view.arc, view.simulator.image_grid)
    middle = torch.tensor(mean, dtype=source.dtype) - torch.tensor(view.center, dtype=source.dtype)
    away = SCALING * (pixels - middle[:, None, None])
    there = torch.stack([pixels + away, pixels - away])
    ahead, back = view.simulator.source(source[None, None].expand(2, -1, -1, -1), there)[:, 0]
    return (ahead - back) / (2 * SCALING)


def _along(sheet: InternalSheet, mass: Directions) -> Tensor:
    """Returns the changes of t along the axes of a mass, and along the last one: the sheet's."""
    return torch.cat(
        [sheet.follows * mass.parameters[:, GAMMA], mass.kappa.new_tensor([sheet.std])]
    )


def _with_slopes(mass: Directions, steeper: float) -> Directions:
    """Returns changes of the slope of a mass with its sheet in the place of those of the fit."""
    parameters = mass.parameters.clone()
    parameters[:, GAMMA] *= steeper
    return replace(mass, parameters=parameters)


def _and(changes: Tensor, t: Tensor, own: Tensor) -> Tensor:
    """Adds to changes along J axes, (J, *), those of a sheet of t (J + 1) of them: (J + 1, *)."""
    padded = torch.cat([changes, torch.zeros_like(own)[None]])
    return padded + t.reshape(-1, *[1] * own.ndim) * own


def _and_sheet(mass: Directions, t: Tensor, own: Directions) -> Directions:
    """The same for a mass."""
    return Directions(
        _and(mass.kappa, t, own.kappa[0]),
        _and(mass.alpha, t, own.alpha[0]),
        _and(mass.parameters, t, own.parameters[0]),
        torch.cat([mass.precision, own.precision]),
    )


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
