r"""Those who do without a machine, each with one call of the score for an iteration.

- *Gradient descent* on the likelihood alone, from grey.
- *Conjugate gradients* for a Gaussian prior with the power spectrum :math:`S` of the images, in
  :math:`z`, :math:`x = \mu + S^{1/2} z`: at their end the best linear estimate.
- *Total variation* by the primal-dual iteration

.. math::
    x' = x - \tau \left(A^T (A x - y) + D^T p\right) , \qquad
    p' = \Pi_w \left(p + s D (2 x' - x)\right) ,

with differences :math:`D` on a periodic frame, :math:`\Pi_w` onto :math:`|p| \le w`, and
:math:`1 / \tau = L / 2 + 8 s`, :math:`L` the bound of :math:`A^T A`.

References:
    Condat 2013, J. Optim. Theory Appl. 158, 460; Vũ 2013, Adv. Comput. Math. 38, 667.
"""

from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from ...evaluation.problems.iterations import conjugate_gradients, gradient_ascent
from ...evaluation.problems.problem import STATISTICS, Draws, Rival, generator
from ...evaluation.problems.tv import adjoint, gradient
from .pictures import Pictures

KNOWN = 2000
"""Images of which the power spectrum is the mean."""

WEIGHTS = (0.001, 0.003, 0.01, 0.03, 0.1)
"""Weights of the total variation, in units of the noise squared."""

RATES = (0.5, 1.0, 1.8)

END = 200
"""Calls that they are let make. Total variation still rises there on projections, by up to 0.13 dB
in ten calls; all else has ended."""


def power(pictures: Pictures, size: int, seed: int) -> tuple[float, Tensor]:
    """Measures the mean of all pixels, and the power of a pixel in each wave: (N, N)."""
    known = pictures.draw(KNOWN, size, generator(seed, STATISTICS))
    mean = float(known.mean())
    return mean, torch.fft.fft2(known - mean, norm="ortho").abs().square().mean((0, 1))


def coloured(z: Tensor, root: Tensor) -> Tensor:
    """Multiplies images in Fourier space with a real symmetric filter (N, N)."""
    return torch.fft.ifft2(root * torch.fft.fft2(z)).real


def descend(draws: Draws, *, rate: float) -> Iterator[Tensor]:
    """Descends from grey, with a step in units of the inverse bound."""
    operator, y = draws["operator"], draws["y"]
    start = torch.full_like(draws["truth"], 0.5)
    return gradient_ascent(
        lambda x: operator.adjoint(y - operator(x)), start, rate=rate / operator.bound
    )


def linear(draws: Draws, *, mean: float, spectrum: Tensor) -> Iterator[Tensor]:
    """Iterates to the best linear estimate."""
    operator, y, grey = draws["operator"], draws["y"], torch.full_like(draws["truth"], mean)
    shape, root = grey.shape, spectrum.sqrt().to(grey)
    variance = draws["sigma"].square()[:, None, None, None]

    def back(seen: Tensor) -> Tensor:
        return coloured(operator.adjoint(seen) / variance, root).flatten(1)

    def product(z: Tensor) -> Tensor:
        return z + back(operator(coloured(z.reshape(shape), root)))

    right = back(y - operator(grey))
    for z in conjugate_gradients(product, right):
        yield mean + coloured(z.reshape(shape), root)


def smoothest(draws: Draws, *, weight: float, step: float = 1.0) -> Iterator[Tensor]:
    r"""Minimises :math:`\| y - A x \|^2 / 2 + w \, \mathrm{TV}(x)`, from grey.

    Arguments:
        draws: What to solve.
        weight: The weight :math:`w`.
        step: Step :math:`s` of the dual.
    """
    operator, y = draws["operator"], draws["y"]
    x = torch.full_like(draws["truth"], 0.5)
    p = torch.zeros_like(x).repeat(1, 2, 1, 1)
    tau = 1 / (operator.bound / 2 + 8 * step)
    while True:
        new = x + tau * (operator.adjoint(y - operator(x)) - adjoint(p))
        p = p + step * gradient(2 * new - x)
        p = p / (p.norm(dim=1, keepdim=True) / weight).clamp(min=1)
        x = new
        yield x


def rivals(pictures: Pictures, size: int, seed: int) -> Sequence[Rival]:
    """Returns all of them; what they are told is counted on draws of this seed."""
    mean, spectrum = power(pictures, size, seed)
    descents = {f"rate {r:g} / L": partial(descend, rate=r) for r in RATES}
    smooth = {
        f"weight {w:g}, step {s:g}": partial(smoothest, weight=w, step=s)
        for w in WEIGHTS
        for s in (0.1, 1.0)
    }
    best_linear = {"": partial(linear, mean=mean, spectrum=spectrum)}
    return [
        Rival("gradient descent, no prior", "", descents, END),
        Rival("conjugate gradients", "power spectrum", best_linear, END),
        Rival("total variation", "edges", smooth, END, shown=True),
    ]
