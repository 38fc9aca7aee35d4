r"""Refinement by descent: macro-model and perturbations of the mass, up the evidence together.

The parameters are those of the macro-model, :math:`p`, and the coefficients :math:`\xi` of
:mod:`~lensrim.inference.perturbation`, with prior :math:`\mathcal{N}(0, \tau^2)`. They climb the
image's exact evidence, the source integrated out, by the Levenberg-Marquardt ascent of
:mod:`~lensrim.inference.ascent`, in ``STEPS`` steps. The descent does not stop at a χ² that was
guessed: what a change of the mass would fit of the noise, its prior and the determinant of the
source's normal equations take back.

How far lenses are from a macro-model differs by more than the prior's Gaussian allows: its scale
:math:`\tau` is that of ``SCALES`` with the highest evidence of all parameters in Laplace's
approximation,

.. math:: \log p(d | \tau) = E(\hat p, \hat \xi) - \tfrac12 \log \det H ,

with :math:`H` the curvature in :math:`(p, \xi / \tau)`; at :math:`\tau = 0` nothing is changed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..grid import PixelGrid
from .ascent import MacroProblem
from .macro import MacroPrior, MacroState
from .perturbation import (
    MACRO,
    PerturbationPrior,
    Perturbations,
    PerturbedMass,
    at_rays,
    packaged_prior,
)
from .scene import Scene
from .search import STAGES, Stage, problem
from .view import MassMaps, macro_maps

SCALES = (0.4, 0.85, 1.5, 2.1, 3.2)
"""Scales of the prior that are tried, besides none."""

STEPS = 2
"""Steps of the ascent."""

SMALLEST = 1e-3
"""Deflection of the arcs [pixel] below which a perturbation is not fitted."""

FARTHEST = 2.0
"""Longest step of a coefficient, in units of the prior."""


class JointPrior(MacroPrior):
    """Holds the prior of a macro-model and of coefficients in units of theirs."""

    def mean(self, like: Tensor) -> Tensor:
        """Returns the means, with shape (8 + P)."""
        macro = super().mean(like)
        return torch.cat([macro, macro.new_zeros(like.shape[-1] - MACRO)])

    def precision(self, like: Tensor) -> Tensor:
        """Returns the inverse variances, with shape (8 + P)."""
        macro = super().precision(like)
        return torch.cat([macro, macro.new_ones(like.shape[-1] - MACRO)])


@dataclass(frozen=True)
class PerturbedProblem(MacroProblem):
    """Creates the problem of a macro-model with perturbations; ``p`` has shape (B, 8 + P).

    Arguments:
        added: What each coefficient adds to the deflection at the rays [arcsec], with shape
            (k², H·W, 2, P).
        offset: What is added always [arcsec], with shape (k², H·W, 2) or one that broadcasts.
    """

    added: Tensor = torch.zeros(1, 1, 2, 0, dtype=torch.float64)
    offset: Tensor = torch.zeros(1, 1, 2, dtype=torch.float64)

    @property
    def reach(self) -> Tensor:
        """Longest step in each parameter."""
        macro = super().reach
        return torch.cat([macro, macro.new_full((self.added.shape[-1],), FARTHEST)])

    def trace(self, p: Tensor) -> tuple[Tensor, Tensor]:
        """Returns source positions (B, k², H·W, 2) and disc centres (B, 2) [arcsec]."""
        beta, _ = super().trace(p[:, :MACRO])
        beta = beta - self.offset - torch.einsum("srcp,bp->bsrc", self.added, p[:, MACRO:])
        return beta, self._arc_mean(beta.detach())

    def jacobian(self, p: Tensor) -> Tensor:
        """Returns the derivatives of the source positions, (B, k², H·W, 2, 8 + P)."""
        macro = super().jacobian(p[:, :MACRO])
        added = self.added.expand(len(p), *macro.shape[1:4], -1)
        return torch.cat([macro, -added], -1)


@dataclass(frozen=True)
class Refined:
    """Holds a refined mass.

    Arguments:
        mass: The mass.
        state: The parameters and the source prior, a single candidate.
        scale: Scale of the prior; 0 where nothing was changed.
        log_evidence: By scale, in Laplace's approximation, less that of scale 0.
    """

    mass: PerturbedMass
    state: MacroState
    scale: float
    log_evidence: dict[float, float]

    @property
    def numbers(self) -> dict[str, float]:
        """What is told of it beside the answer's own numbers."""
        gain = self.log_evidence[self.scale]
        count = self.state.p.shape[1] - MACRO
        return {"prior_scale": self.scale, "log_evidence_gain": gain, "coefficients": count}

    @property
    def maps(self) -> MassMaps:
        """The refined mass."""
        return self.mass.maps


def refine(
    scene: Scene,
    state: MacroState,
    prior: MacroPrior,
    *,
    start: MassMaps | None = None,
    perturbations: PerturbationPrior | None = None,
    scales: Sequence[float] = SCALES,
    steps: int = STEPS,
    stage: Stage = STAGES[-1],
) -> Refined:
    """Refines a mass.

    Arguments:
        scene: The observation.
        state: Its macro-model, a single candidate.
        prior: Prior of the macro-model.
        start: The mass that is refined, that of the macro-model by default. What it has beside the
            macro-model is kept.
        perturbations: Prior of the perturbations; by default that of true masses, the orders from
            1: an image does not tell a change of the rings from a mass sheet.
        scales: Scales of that prior that are tried.
        steps: Steps of the ascent.
        stage: The stage of the search that the macro-model is the best of: what it gains in
            another, with other modes, would be counted as the perturbations' gain.
    """
    host = torch.device("cpu")
    scene, state = replace(scene, device=host), state.to(host)
    shape, grid = perturbations or packaged_prior().without_rings(), scene.frame.grid
    base, offset = macro_maps(state.p[0], grid), None
    if start is not None:
        offset = MassMaps(start.kappa - base.kappa, start.alpha - base.alpha)
        base = start
    plain = perturbed(problem(scene, prior, stage), offset=offset, grid=grid)
    # the same modes, and so the same evidence, with and without
    state = plain.tune(state, rounds=1, step=0.25)
    unit = Perturbations.of(shape, base.kappa, state.p[0], grid, subsample=plain.image.subsample)
    weight = plain.arc.reshape(-1).sqrt()
    unit, seen = unit.by_effect(weight, (SMALLEST * grid.spacing) ** 2)
    current = replace(plain, added=unit.first(seen).rays)
    gradient, curvature = (each[0] for each in current.derivatives(_widened(state, seen)))
    gain, choice = _choose(gradient, curvature, scales)
    alone = curvature[:MACRO, :MACRO]
    nothing = Refined(PerturbedMass(state.p[0], grid, offset=offset), state, 0.0, gain)
    if choice == 0:
        return nothing
    own = unit.scaled(choice)
    current = replace(plain, added=own.first(seen).rays)
    climbed = _widened(state, seen)
    for _ in range(steps):
        climbed = current.step(climbed)
    climbed = current.tune(climbed, rounds=1, step=0.25)
    curvature = current.derivatives(climbed)[1][0]
    reached = laplace(climbed, curvature) - laplace(state, alone)
    if not reached > 0:
        return nothing
    # the coefficients that do nothing to the arcs stay at zero
    rest = climbed.p.new_zeros(len(own) - seen)
    mass = PerturbedMass(torch.cat([climbed.p[0], rest]), grid, own, offset)
    return Refined(mass, climbed, choice, gain | {choice: reached})


def _widened(state: MacroState, count: int) -> MacroState:
    """Adds coefficients of zero."""
    p = torch.cat([state.p, state.p.new_zeros(len(state.p), count)], 1)
    return replace(state, p=p, damping=torch.full_like(state.damping, 1e-3))


def _choose(
    gradient: Tensor, curvature: Tensor, scales: Sequence[float]
) -> tuple[dict[float, float], float]:
    """Computes the evidence of every scale, less that of none, for the quadratic model.

    Arguments:
        gradient, curvature: Of minus the objective at the scale 1, with shapes (8 + P) and
            (8 + P, 8 + P).
        scales: The scales.
    """
    eye = torch.ones(len(gradient), dtype=gradient.dtype)
    eye[:MACRO] = 0
    likelihood = curvature - torch.diag(eye)

    def evidence(scale: float) -> float:
        keep = slice(None) if scale else slice(MACRO)
        g = gradient[keep]
        h = (likelihood + torch.diag(eye) / max(scale, 1e-9) ** 2)[keep, keep]
        prior = 2 * int(eye[keep].sum()) * math.log(scale) if scale else 0.0
        value = g @ torch.linalg.solve(h, g) - torch.linalg.slogdet(h)[1] - prior
        return float(value) / 2

    none = evidence(0.0)
    found = {0.0: 0.0} | {scale: evidence(scale) - none for scale in scales}
    return found, max(found, key=lambda scale: found[scale])


def perturbed(
    plain: MacroProblem, *, offset: MassMaps | None, grid: PixelGrid
) -> PerturbedProblem:
    """Puts the problem of a macro-model into the form with perturbations, of which it has none."""
    held: dict[str, Any] = {f.name: getattr(plain, f.name) for f in fields(MacroProblem)}
    own: dict[str, Any] = {f.name: getattr(plain.prior, f.name) for f in fields(MacroPrior)}
    held["prior"] = JointPrior(**own)
    found = PerturbedProblem(**held)
    if offset is None:
        return found
    return replace(found, offset=at_rays(offset.alpha[None], grid, plain.image.subsample)[..., 0])


def laplace(state: MacroState, curvature: Tensor) -> float:
    """Computes the log-evidence of all parameters in Laplace's approximation, but a constant."""
    return float(state.value[0] - 0.5 * torch.linalg.slogdet(curvature)[1])
