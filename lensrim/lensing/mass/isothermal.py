r"""The deflection of an isothermal ellipsoid and its gradient, in few steps.

In the frame of the axes, with :math:`k = 2 \sqrt{|\epsilon|}`,

.. math::
    \alpha = \frac{\theta_E \sqrt{1 - |\epsilon|^2}}{k} \, (\arctan u + i \, \mathrm{artanh} \, v)
    \, , \qquad (u, v) = \frac{k}{\rho} \, (x, y) \, , \qquad
    \rho^2 = (1 - |\epsilon|)^2 x^2 + (1 + |\epsilon|)^2 y^2 \, .

What is linear in this is written as products of matrices: :math:`A` with four rows, for both
numerators and both terms of :math:`\rho`, and :math:`C`, which turns the result back. On a CPU a
step costs as much as what it computes of a map of 128 pixels a side.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from ..operation import Shortcut, Tensors
from .base import CORE, offsets


class IsothermalDeflection(Shortcut):
    r"""Computes :math:`\alpha_x` and :math:`\alpha_y`, each with shape :math:`(*)`.

    Its inputs are the coordinates :math:`x, y`, with that shape, and together :math:`\theta_E,
    e_1, e_2` and the coordinates of the centre, with shape (5). The ellipticity is not zero.
    """

    @staticmethod
    def plain(x: Tensor, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        theta_E, e1, e2, cx, cy = parameters.unbind()
        b = theta_E * (1 - e1**2 - e2**2).sqrt()
        ax, ay = along_axes(x - cx, y - cy, e1, e2)
        return b * ax, b * ay

    @staticmethod
    def values(x: Tensor, y: Tensor, parameters: Tensor) -> tuple[tuple[Tensor, Tensor], Tensors]:
        m = _Matrices(parameters)
        z = offsets(x, y, *m.centre)
        rows = m.A @ z
        inverse = torch.addcmul(rows[2].square(), rows[3], rows[3]).add_(CORE**2).rsqrt_()
        uv = rows[:2] * inverse
        angles = torch.empty_like(uv)
        torch.atan(uv[0], out=angles[0])
        # Twice the inverse hyperbolic tangent, which torch is slow to compute; C has the half.
        torch.div(uv[1], torch.rsub(uv[1], 0.5, alpha=0.5), out=angles[1]).log1p_()
        ax, ay = (m.C @ angles).view(2, *x.shape)
        # Copies, as parts of one tensor could not be changed in place.
        return (ax.clone(), ay.clone()), (z, rows, inverse, uv, angles)

    @staticmethod
    def slopes(
        parameters: Tensor, kept: Tensors, grads: Tensors, needed: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        m = _Matrices(parameters)
        z, rows, inverse, uv, angles = kept
        grad = torch.stack(grads).flatten(1)
        derivative = uv.square()
        derivative[0].add_(1)
        derivative[1].mul_(-0.5).add_(0.5)
        to_rows = torch.empty_like(rows)
        to_uv = torch.div(m.C.mT @ grad, derivative, out=to_rows[:2])
        products = to_uv * rows[:2]
        to_rho = products[0].add_(products[1]).mul_(inverse**3).neg_()
        torch.mul(rows[2:], to_rho, out=to_rows[2:])
        to_uv.mul_(inverse)
        to_z = m.A.mT @ to_rows if needed[0] else None
        if not needed[1]:
            return to_z, None
        # Sums that nearly cancel: in single precision they are less exact than the plain way's.
        to_A, to_C = (a.double() @ b.double().mT for a, b in ((to_rows, z), (grad, angles)))
        return to_z, m.slopes(to_A, to_C, to_rows.sum(1, dtype=torch.float64))


def are_elongated(parameters: Tensor, edge: float) -> bool:
    """Returns whether an ellipticity is at least ``edge``, and that of an ellipse."""
    return edge <= math.hypot(*parameters[1:3].tolist()) < 1


class _Matrices:
    r"""Holds the matrices A and C of a lens, and what they are made of.

    Single numbers are Python's: they take torch ten times as long. A row :math:`(a, b)` of A, or a
    column of C, is the complex number :math:`a + i b`, so that all are multiples of the direction
    :math:`e^{i \phi}` of the major axis.
    """

    def __init__(self, parameters: Tensor) -> None:
        theta_E, e1, e2, *self.centre = parameters.tolist()
        self.size = size = math.hypot(e1, e2)
        self.axis, self.k = (complex(e1, e2) / size) ** 0.5, 2 * size**0.5
        self.root = (1 - size**2) ** 0.5 / self.k
        self.scale = theta_E * self.root
        self.stretch = (self.k, 1j * self.k, 1 - size, 1j * (1 + size))
        columns = self.axis * self.scale, 0.5j * self.axis * self.scale
        self.A = parameters.new_tensor(_pairs(self.axis * s for s in self.stretch))
        self.C = parameters.new_tensor(_pairs(columns)).mT

    def slopes(self, to_A: Tensor, to_C: Tensor, to_offsets: Tensor) -> Tensor:
        """Turns gradients into those of the parameters.

        Arguments:
            to_A, to_C: Gradients in the matrices.
            to_offsets: Gradients in A times the position, summed over the positions.
        """
        # Relative to the direction: the real part is along it, the imaginary one of a turn of it.
        back = self.axis.conjugate()
        rows = [back * complex(*pair) for pair in to_A.tolist()]
        columns = [back * complex(*pair) for pair in to_C.mT.tolist()]
        to_scale, turn = columns[0].real + 0.5 * columns[1].imag, columns[0].imag
        turn = self.scale * (turn - 0.5 * columns[1].real)
        for row, stretch in zip(rows, self.stretch, strict=True):
            turn += (row * complex(stretch).conjugate()).imag
        size = self.size
        to_size = 2 / self.k * (rows[0].real + rows[1].imag) - rows[2].real + rows[3].imag
        to_size -= to_scale * self.scale * (size / (1 - size**2) + 0.5 / size)
        # The ellipticity has twice the angle of the direction.
        to_e = self.axis**2 * complex(to_size, 0.5 * turn / size)
        to_centre = (-(self.A.mT.double() @ to_offsets)).tolist()
        return self.A.new_tensor([self.root * to_scale, to_e.real, to_e.imag, *to_centre])


def _pairs(numbers: Iterable[complex]) -> list[tuple[float, float]]:
    return [(n.real, n.imag) for n in numbers]


def along_axes(x: Tensor, y: Tensor, e1: Tensor, e2: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the deflection of an ellipsoid that is not round, over that of its scale."""
    size, phi = (e1**2 + e2**2).sqrt(), torch.atan2(e2, e1) / 2
    cos, sin, k = phi.cos(), phi.sin(), 2 * size.sqrt()
    x, y = cos * x + sin * y, cos * y - sin * x
    inverse = k / (((1 - size) * x) ** 2 + ((1 + size) * y) ** 2 + CORE**2).sqrt()
    t = y * inverse
    ax, ay = (x * inverse).atan(), torch.log1p(2 * t / (1 - t)) / 2
    cos, sin = cos / k, sin / k
    return cos * ax - sin * ay, sin * ax + cos * ay
