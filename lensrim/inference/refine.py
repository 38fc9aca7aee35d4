r"""Refinement by descent: macro-model and perturbations of the mass, up the evidence together.

The parameters are those of the macro-model, :math:`p`, and the coefficients :math:`\xi` of
:mod:`~lensrim.inference.perturbation`, with prior :math:`\mathcal{N}(0, \tau^2)`. They climb the
image's exact evidence, the source integrated out, by the Levenberg-Marquardt ascent of
:mod:`~lensrim.inference.ascent`. So the descent does not stop at a number of steps or at a χ² that
was guessed: what a change of the mass would fit of the noise, its prior and the determinant of the
source's normal equations take back.

How far lenses are from a macro-model differs by more than the prior's Gaussian allows: its scale
:math:`\tau` is that of ``SCALES`` with the highest evidence of all parameters in Laplace's
approximation,

.. math:: \log p(d | \tau) = E(\hat p, \hat \xi) - \tfrac12 \log \det H ,

with :math:`H` the curvature in :math:`(p, \xi / \tau)`; at :math:`\tau = 0` nothing is changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from .ascent import MacroProblem
from .macro import MacroPrior, MacroState
from .perturbation import (
    MACRO,
    GaussianMass,
    PerturbationPrior,
    Perturbations,
    macro_maps,
    packaged_prior,
)
from .search import STAGES, Scene, climb, problem
from .view import MassMaps

SCALES = (1.0, 0.3)
"""Scales of the prior that are tried, besides none."""

STEPS = 8
"""Most steps of the ascent at each scale."""

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
        mass: The Gaussian of masses; its mean is the answer.
        state: The parameters and the source prior, a single candidate.
        scale: Scale of the prior; 0 where nothing was changed.
        log_evidence: By scale, in Laplace's approximation, less that of scale 0.
    """

    mass: GaussianMass
    state: MacroState
    scale: float
    log_evidence: dict[float, float]

    @property
    def maps(self) -> MassMaps:
        """The refined mass."""
        return self.mass.to_maps(self.mass.mean)


def refine(
    scene: Scene,
    state: MacroState,
    prior: MacroPrior,
    *,
    perturbations: PerturbationPrior | None = None,
    scales: Sequence[float] = SCALES,
    steps: int = STEPS,
) -> Refined:
    """Refines a macro-model.

    Arguments:
        scene: The observation.
        state: Its macro-model, a single candidate.
        prior: Prior of the macro-model.
        perturbations: Prior of the perturbations, that of the package by default.
        scales: Scales of that prior that are tried.
        steps: Most steps of the ascent at each.
    """
    host = torch.device("cpu")
    scene, state = replace(scene, device=host), state.to(host)
    shape = perturbations or packaged_prior()
    grid = scene.frame.grid
    plain = problem(scene, prior, STAGES[-1])
    # the same problem, and so the same evidence, with and without
    state = plain.tune(state, rounds=2, step=0.25)
    base = macro_maps(state.p[0], grid)
    unit = Perturbations.of(shape, base.kappa, state.p[0], grid, subsample=plain.image.subsample)
    mass = GaussianMass(state.p[0], plain.covariance(state)[0], grid)
    found = Refined(mass, state, 0.0, {0.0: 0.0})
    zero, best, seen = laplace(plain, state), 0.0, {0.0: 0.0}
    for scale in scales:
        own = unit.scaled(scale)
        current = perturbed(plain, own)
        begun = replace(
            state,
            p=torch.cat([state.p, state.p.new_zeros(1, len(own))], 1),
            damping=torch.full_like(state.damping, 0.03),
        )
        climbed = climb(current, begun, steps)
        seen[scale] = laplace(current, climbed) - zero
        if seen[scale] > best:
            best = seen[scale]
            mass = GaussianMass(climbed.p[0], current.covariance(climbed)[0], grid, own)
            found = Refined(mass, climbed, scale, seen)
    return replace(found, log_evidence=seen)


def perturbed(plain: MacroProblem, perturbations: Perturbations) -> PerturbedProblem:
    """Adds perturbations to the problem of a macro-model."""
    held = {f.name: getattr(plain, f.name) for f in fields(MacroProblem)}
    prior = JointPrior(**{f.name: getattr(plain.prior, f.name) for f in fields(MacroPrior)})
    return PerturbedProblem(**held | {"prior": prior}, added=perturbations.rays)


def laplace(current: MacroProblem, state: MacroState) -> float:
    """Computes the log-evidence of all parameters in Laplace's approximation, but a constant."""
    curvature = current.derivatives(state)[1][0]
    return float(state.value[0] - 0.5 * torch.linalg.slogdet(curvature)[1])
