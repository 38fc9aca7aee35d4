r"""The prior of the lens light's profile: galaxies are smooth.

The logarithms :math:`u_j = \ln a_j` of the amplitudes of Gaussians that are spaced by
:math:`\Delta` in the logarithm of their width have a prior on their curvature alone,

.. math:: \log p(u) = - \tfrac12 u^T W u \, , \qquad W = D^T D / s^2 \, , \quad
          s = 0.35 \, \Delta^{3/2} \, ,

with :math:`D u` the second differences, so that power laws cost nothing, and the prior is the same
one for any spacing (an integrated random walk). The logarithm of a Sersic profile of index 4 has
differences of :math:`-0.08` at its effective radius where :math:`\Delta = 0.41`, and
:math:`s = 0.09`. Of seven real lenses six are fitted as well with half of :math:`s` as with six
times as much (χ² of the pixels without arcs, to two digits).

Without it light and source trade places: the smooth part of a lensed source is a ring, and so may
be the difference between two profiles.

What is not guaranteed: exponential profiles, and still more flat cores, bend by several :math:`s`.
The data overrule the prior wherever the noise is that of the image, at the price of evidence. What
no used pixel sees is left out, but under a mask on a core the light is an extrapolation.
"""

import numpy as np
import torch
from torch import Tensor

from .frame import Array

CURVATURE = 0.35
"""Prior standard deviation of the second differences of :math:`u`, for a spacing of 1."""

LEEWAY = 1.0
"""Change of each :math:`u_j` from the fit that the solve for the source allows; of smooth ones
the curvature alone is no prior."""

UNSEEN = 1e-4
"""Length of a column, relative to the longest, below which it is left out. That of the narrowest
Gaussian is a fiftieth where the noise is even, and less by the noise of a bright core."""

STEEPEST = 9.0
"""Largest fall of :math:`u` from the narrowest to the widest Gaussian that is begun with."""

STEPS, LONGEST = 60, 2.0
"""Steps in :math:`u`, at most, and the length of one."""

TOLERANCE = 1e-6
"""Gain of the log-posterior at which they end."""


def roughness(sigmas: Array) -> Array:
    """Computes the prior precision W of the logarithms of amplitudes.

    Arguments:
        sigmas: Widths of the Gaussians, logarithmically spaced, with shape (Q).

    Returns:
        The precision, with shape (Q, Q).
    """
    q = len(sigmas)
    if q < 3:
        return np.zeros((q, q))
    spacing = np.log(sigmas[1] / sigmas[0])
    second = np.diff(np.eye(q), 2, axis=0) / (CURVATURE * spacing**1.5)
    return second.T @ second


def smooth_amplitudes(columns: Tensor, image: Tensor, precision: Array) -> Tensor:
    r"""Solves for amplitudes of the highest posterior, those of Gaussians positive, the sky free.

    Minimises :math:`\tfrac12 |d - T a|^2 + \tfrac12 u^T W u` by Newton's steps with damping.

    Arguments:
        columns: Templates T in units of the noise, the sky last, with shape (n, Q + 1).
        image: What they are to explain, with shape (n).
        precision: Prior precision W, with shape (Q, Q).

    Returns:
        The amplitudes, with shape (Q + 1), zero where no pixel sees a Gaussian.
    """
    # Of the triangular factor with the free column first, the rows below do not know of it.
    system = torch.cat([columns[:, -1:], columns[:, :-1], image[:, None]], -1)
    factor = torch.linalg.qr(system, mode="r").R.numpy()
    others, seen = factor[1:, 1:-1], factor[1:, -1]
    gram, moment = others.T @ others, others.T @ seen

    def cost(u: Array) -> float:
        a = np.exp(u)
        return float(a @ (0.5 * gram @ a - moment) + 0.5 * u @ precision @ u)

    u = min(_power_laws(gram, moment), key=cost)
    best, damping = cost(u), 1e-3
    for _ in range(STEPS):
        a = np.exp(u)
        pull = a * (moment - gram @ a)
        hessian = a[:, None] * gram * a + precision + np.diag(np.maximum(-pull, 0))
        hessian += damping * np.diag(hessian.diagonal() + TOLERANCE)
        step = np.linalg.solve(hessian, pull - precision @ u)
        tried = u + step / max(1.0, np.abs(step).max() / LONGEST)
        found = cost(tried)
        if found > best:
            damping *= 10
            if damping > 1 / TOLERANCE:
                break
            continue
        gain, u, best, damping = best - found, tried, found, damping / 10
        if gain < TOLERANCE:
            break
    length = np.sqrt(gram.diagonal())
    a = np.where(length > UNSEEN * length.max(), np.exp(u), 0.0)
    sky = (factor[0, -1] - factor[0, 1:-1] @ a) / factor[0, 0]
    return torch.from_numpy(np.append(a, sky))


def _power_laws(gram: Array, moment: Array) -> list[Array]:
    """Returns the logarithms of the best amplitudes that fall as powers of the width."""
    laws = []
    for fall in np.linspace(0, STEEPEST, 4):
        shape = np.exp(-fall * np.linspace(0, 1, len(moment)))
        size = np.sqrt(shape @ gram @ shape)
        # where there is no light, a little of it: a thousandth of the noise
        level = max(shape @ moment / size**2, 1e-3 / size) if size > 0 else 1.0
        laws.append(np.log(level * shape))
    return laws


def light_factor(amplitudes: Array, precision: Array) -> Array:
    r"""Expands the prior about fitted amplitudes, for a solve that is linear in them.

    To first order :math:`a = \hat a (1 + \delta)`, with :math:`\delta \sim \mathcal{N}(0, C)`,
    :math:`C = (W + 1 / L^2)^{-1}` and :math:`L` the ``LEEWAY``. The mean is the fit, which has
    felt the prior already; the expansion of the same prior has its mean where :math:`u` does not
    bend, and pulls the light there once more in a solve with larger noise. Nothing keeps a single
    amplitude from becoming negative.

    Arguments:
        amplitudes: Fitted amplitudes, with shape (Q).
        precision: Prior precision W of their logarithms, with shape (Q, Q).

    Returns:
        A factor F of the covariance :math:`F F^T` of the amplitudes, with shape (Q, Q).
    """
    covariance = np.linalg.inv(precision + np.eye(len(amplitudes)) / LEEWAY**2)
    return amplitudes[:, None] * np.linalg.cholesky(covariance)
