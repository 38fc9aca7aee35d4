r"""Mixtures of normal distributions, fitted by expectation and maximisation.

.. math:: p(z) = \sum_k w_k \, N(z; c_k, L_k L_k^T) .

A share of each covariance is that of all vectors, so that no component of few vectors collapses.

References:
    Dempster, Laird & Rubin 1977, J. R. Stat. Soc. B 39, 1; Ghosh et al. 2020, arXiv:1903.12436
    (for the latent vectors of an autoencoder).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

SHRINKAGE = 0.05
"""Share of each covariance that is that of all vectors."""


@dataclass(frozen=True, eq=False)
class Mixture:
    """Holds a mixture of K normal distributions of L numbers.

    Arguments:
        shares: Weights, with sum 1 (K).
        centers: Means (K, L).
        factors: Cholesky factors of the covariances (K, L, L).
    """

    shares: Tensor
    centers: Tensor
    factors: Tensor

    def log_densities(self, z: Tensor) -> Tensor:
        """Computes the log-density of each component, its weight included: (N, K)."""
        white = torch.linalg.solve_triangular(
            self.factors, (z[:, None] - self.centers).transpose(0, 1).transpose(1, 2), upper=False
        )
        log_det = self.factors.diagonal(dim1=1, dim2=2).log().sum(1)
        constant = z.shape[1] / 2 * math.log(2 * math.pi)
        return self.shares.log() - log_det - constant - white.square().sum(1).T / 2


def fit_mixture(
    z: Tensor, components: int, generator: torch.Generator, *, rounds: int = 50
) -> Mixture:
    """Fits a mixture to vectors.

    Arguments:
        z: Vectors, with shape (N, L).
        components: Number K of components.
        generator: Decides where they begin.
        rounds: Number of steps.

    Returns:
        The mixture, in the type of the vectors.
    """
    points = z.double()
    whole = torch.cov(points.T) + 1e-6 * torch.eye(points.shape[1])
    first = torch.randperm(len(points), generator=generator)[:components]
    factors = torch.linalg.cholesky(whole).repeat(components, 1, 1)
    shares = torch.full((components,), 1 / components, dtype=torch.float64)
    mixture = Mixture(shares, points[first], factors)
    for _ in range(rounds if components > 1 else 1):
        members = mixture.log_densities(points).softmax(1)
        count = members.sum(0).clamp(min=1e-9)
        centers = members.T @ points / count[:, None]
        off = points[:, None] - centers
        covariances = torch.einsum("nk,nki,nkj->kij", members, off, off) / count[:, None, None]
        covariances = (1 - SHRINKAGE) * covariances + SHRINKAGE * whole
        mixture = Mixture(count / count.sum(), centers, torch.linalg.cholesky(covariances))
    return Mixture(*(t.to(z.dtype) for t in (mixture.shares, mixture.centers, mixture.factors)))
