r"""Fit of a shape whose amplitudes are solved for: variable projection with a robust loss.

For a shape :math:`\eta` the image in units of its noise is :math:`d = T(\eta) a + r`. The
amplitudes :math:`a` are those of the highest posterior under the prior of a smooth profile
(:mod:`~.light_profile`), all positive but the last, that of the sky; the shape minimises

.. math:: E(\eta) = \sum_i \left(\sqrt{1 + r_i^2} - 1\right) \, ,

by Levenberg-Marquardt steps. With :math:`u` the logarithms of the positive amplitudes, and the
amplitude of the sky, :math:`J = \partial (T a) / \partial u`, :math:`W` the prior precision and
:math:`\partial T` the derivative by the shape, that the posterior stays at its highest means

.. math:: H \, \partial u = \frac{\partial a}{\partial u} \, \partial T^T r
          - J^T \partial T \, a \, , \qquad H = J^T J + W - \mathrm{diag}(a \, T^T r) \, ,
          \qquad \partial r = - \partial T \, a - J \, \partial u \, ,

which takes no further solve for amplitudes.

References:
    Golub & Pereyra 1973, SIAM J. Numer. Anal. 10, 413.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .frame import Array
from .gaussians import Drawn, Gaussians
from .light_profile import smooth_amplitudes

Whiten = Callable[[Tensor], Tensor]

TOLERANCE = 1e-4
"""Gain of a step relative to :math:`E` at which a fit ends."""

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
        precision: Prior precision of the logarithms of the amplitudes, with shape (Q - 1, Q - 1).
    """

    shape: Array
    pixels: Pixels
    drawn: Drawn
    templates: Tensor
    columns: Tensor
    amplitudes: Tensor
    residual: Tensor
    precision: Array

    @classmethod
    def of(cls, gaussians: Gaussians, pixels: Pixels, shape: Array, precision: Array) -> "Fitted":
        """Solves for the amplitudes at a shape."""
        drawn = gaussians.draw(shape)
        images = drawn.images()
        columns = torch.cat([pixels.take(images), pixels.sky[:, None]], -1)
        amplitudes = smooth_amplitudes(columns, pixels.image, precision)
        templates = torch.cat([images, torch.ones_like(images[:1])])
        residual = pixels.image - columns @ amplitudes
        return cls(shape, pixels, drawn, templates, columns, amplitudes, residual, precision)

    @cached_property
    def loss(self) -> float:
        """The loss :math:`E`."""
        return float(((1 + self.residual**2).sqrt() - 1).sum())

    def jacobian(self) -> Tensor:
        """Returns the derivatives of the residual in the shape, with shape (n, 6)."""
        q, columns, residual = len(self.precision), self.columns, self.residual
        change = self.pixels.take(self.drawn.tangent(self.amplitudes[:-1]))
        pulled = self.drawn.pull(self.pixels.spread(residual))
        # da/du; the sky's in units of the noise, whatever those of the data: what is small beside
        # the rest is left out below
        sky = 1 / columns[:, -1:].abs().max(0).values
        weights = torch.cat([self.amplitudes[:-1], sky])
        moved = columns * weights
        hessian, pushed = moved.T @ moved, -moved.T @ change
        hessian[:q, :q] += torch.from_numpy(self.precision)
        hessian.diagonal()[:q] -= (moved.T @ residual)[:q]
        pushed[:q] += weights[:-1, None] * pulled  # the sky has no shape
        # not a solve: where there is no light, nothing holds its slope
        by_shape = np.linalg.lstsq(hessian.numpy(), pushed.numpy(), rcond=None)[0]
        return -change - moved @ torch.from_numpy(by_shape)

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


def descend(
    evaluate: Callable[[Array], Fitted],
    start: Fitted,
    bounds: Array,
    tolerance: float = TOLERANCE,
) -> Fitted:
    """Descends in the shape.

    Arguments:
        evaluate: Solves for the amplitudes at a shape.
        start: Where to begin.
        bounds: Smallest and largest shape, with shape (2, 6).
        tolerance: Gain of a step relative to the loss at which it ends.
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
        if gain < tolerance * best.loss:
            break
        gradient, curvature = best.model()
    return best
