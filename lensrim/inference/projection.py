r"""Fit of a shape whose amplitudes are solved for: variable projection with a robust loss.

For a shape :math:`\eta` the image in units of its noise is :math:`d = T(\eta) a + r`. The
amplitudes :math:`a` minimise :math:`|r|^2`, none of them negative but the last, that of the sky;
the shape minimises

.. math:: E(\eta) = \sum_i \left(\sqrt{1 + r_i^2} - 1\right) \, ,

by Levenberg-Marquardt steps. With :math:`T` now the columns whose amplitudes are free (not held at
zero), :math:`P` the projection off them and :math:`T^+` their pseudo-inverse, the residual changes
by

.. math:: \frac{\partial r}{\partial \eta} = - P \frac{\partial T}{\partial \eta} a
          - (T^+)^T \frac{\partial T^T}{\partial \eta} r \, ,

which takes no further solve for amplitudes. What is not guaranteed: the set of free columns
changes along the way, and there the derivative jumps.

References:
    Golub & Pereyra 1973, SIAM J. Numer. Anal. 10, 413; Lawson & Hanson 1974, Solving Least Squares
    Problems (amplitudes that are not negative).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import optimize
from torch import Tensor

from .gaussians import Array, Drawn, Gaussians

Whiten = Callable[[Tensor], Tensor]

TOLERANCE = 1e-4
"""Gain relative to :math:`E` at which a fit ends."""

OUTLIER = 3.0
"""Residual from which a pixel counts as an outlier in a step."""

STEPS = 8
"""Steps of a fit, at most."""


@dataclass(frozen=True)
class Pixels:
    """Holds the pixels that are fitted, in units of their noise.

    Arguments:
        index: Their places in the frame, with shape (n).
        weight: One over their noise, with shape (n).
        whiten: Takes out of pixels (n) or (n, m) what else may be there; symmetric.
        image: The image, whitened, with shape (n).
        sky: A sky of 1, whitened, with shape (n).
        count: Pixels of the frame.
    """

    index: Tensor
    weight: Tensor
    whiten: Whiten
    image: Tensor
    sky: Tensor
    count: int

    @classmethod
    def of(cls, image: Array, sigma: Array, use: NDArray[np.bool_], whiten: Whiten) -> "Pixels":
        """Takes the pixels ``use`` of maps (H, W)."""
        weight = 1 / torch.from_numpy(sigma[use])
        index = torch.from_numpy(np.flatnonzero(use))
        seen, sky = whiten(torch.stack([torch.from_numpy(image[use]) * weight, weight], -1)).T
        return cls(index, weight, whiten, seen, sky, use.size)

    def take(self, maps: Tensor) -> Tensor:
        """Puts maps (m, N) into whitened columns (n, m)."""
        return self.whiten((maps[:, self.index] * self.weight).T)

    def spread(self, column: Tensor) -> Tensor:
        """Applies the adjoint of :meth:`take` to a column (n): a map (N)."""
        return column.new_zeros(self.count).index_copy_(
            0, self.index, self.whiten(column) * self.weight
        )


def not_negative(columns: Tensor, image: Tensor) -> Tensor:
    """Solves for amplitudes that are not negative but the last, which is free.

    Arguments:
        columns: Templates, with shape (n, Q).
        image: What they are to explain, with shape (n).

    Returns:
        The amplitudes, with shape (Q).
    """
    scale = columns.norm(dim=0)
    # what no used pixel sees, as under a mask on the core, stays out
    scale = torch.where(scale > 1e-6 * scale.max(), scale, torch.inf)
    scaled = columns / scale
    # Of the triangular factor with the free column first, the rows below do not know of it.
    system = torch.cat([scaled[:, -1:], scaled[:, :-1], image[:, None]], -1)
    factor = torch.linalg.qr(system, mode="r").R.numpy()
    others = _positive(factor[1:, 1:-1], factor[1:, -1])
    free = (factor[0, -1] - factor[0, 1:-1] @ others) / factor[0, 0]
    return torch.from_numpy(np.append(others, free)) / scale


def _positive(columns: Array, image: Array) -> Array:
    """Solves a small problem for amplitudes that are not negative."""
    try:
        return optimize.nnls(columns, image, maxiter=30 * columns.shape[1])[0]
    except (RuntimeError, np.linalg.LinAlgError):  # columns that are alike can go round in circles
        return optimize.lsq_linear(columns, image, (0, np.inf), method="bvls").x


@dataclass(frozen=True)
class Fitted:
    """Holds what a shape explains of the image.

    Arguments:
        shape: The shape, with shape (6).
        pixels: The pixels that are fitted.
        drawn: The Gaussians.
        templates: Their images and the sky's, with shape (Q, N).
        columns: The same, whitened, with shape (n, Q).
        amplitudes: Their amplitudes, with shape (Q).
        residual: What is left of the image, with shape (n).
    """

    shape: Array
    pixels: Pixels
    drawn: Drawn
    templates: Tensor
    columns: Tensor
    amplitudes: Tensor
    residual: Tensor

    @classmethod
    def of(cls, gaussians: Gaussians, pixels: Pixels, shape: Array) -> "Fitted":
        """Solves for the amplitudes at a shape."""
        drawn = gaussians.draw(shape)
        images = drawn.images()
        columns = torch.cat([pixels.take(images), pixels.sky[:, None]], -1)
        amplitudes = not_negative(columns, pixels.image)
        templates = torch.cat([images, torch.ones_like(images[:1])])
        residual = pixels.image - columns @ amplitudes
        return cls(shape, pixels, drawn, templates, columns, amplitudes, residual)

    @cached_property
    def loss(self) -> float:
        """The loss :math:`E`."""
        return float(((1 + self.residual**2).sqrt() - 1).sum())

    def jacobian(self) -> Tensor:
        """Returns the derivatives of the residual in the shape, with shape (n, 6)."""
        free = self.amplitudes > 0
        free[-1] = True
        change = self.pixels.take(self.drawn.tangent(self.amplitudes[:-1]))
        pulled = self.drawn.pull(self.pixels.spread(self.residual))
        pulled = torch.cat([pulled, torch.zeros_like(pulled[:1])])[free]  # the sky has no shape
        basis, factor = torch.linalg.qr(self.columns[:, free])
        moved = torch.linalg.solve_triangular(factor.T, pulled, upper=False)
        return basis @ (basis.T @ change - moved) - change

    def model(self) -> tuple[Array, Array]:
        """Returns gradient (6) and curvature (6, 6) of the loss.

        The loss of an outlier is nearly linear. There the curvature is that of the parabola which
        touches the loss and nowhere lies below it, or the first steps, when arcs are still in the
        image, would be far too long.
        """
        slope, size = self.jacobian(), (1 + self.residual**2).sqrt()
        inner = self.residual.abs() < OUTLIER
        gradient = slope.T @ (self.residual / size)
        curvature = (slope.T / torch.where(inner, size**3, size)) @ slope
        return gradient.numpy(), curvature.numpy()


def descend(evaluate: Callable[[Array], Fitted], start: Fitted, bounds: Array) -> Fitted:
    """Descends in the shape.

    Arguments:
        evaluate: Solves for the amplitudes at a shape.
        start: Where to begin.
        bounds: Smallest and largest shape, with shape (2, 6).
    """
    (low, high), best, damping = bounds, start, 1e-3
    gradient, curvature = best.model()
    for _ in range(STEPS):
        held = ((best.shape <= low) & (gradient > 0)) | ((best.shape >= high) & (gradient < 0))
        free = np.flatnonzero(~held)
        matrix = curvature[np.ix_(free, free)]
        matrix = matrix + damping * np.diag(np.diag(matrix))
        shape = best.shape.copy()
        # not a solve: where no amplitude is left, nothing depends on the shape
        shape[free] -= np.linalg.lstsq(matrix, gradient[free], rcond=None)[0]
        found = evaluate(np.clip(shape, low, high))
        gain = best.loss - found.loss
        if gain <= 0:
            damping *= 10
            continue
        best, damping = found, damping / 10
        if gain < TOLERANCE * best.loss:
            break
        gradient, curvature = best.model()
    return best
