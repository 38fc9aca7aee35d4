r"""The deflection of an isothermal ellipsoid and its gradient, in few steps.

In the frame of the axes, with :math:`k = 2 \sqrt{|\epsilon|}`,

.. math::
    \alpha = \frac{\theta_E \sqrt{1 - |\epsilon|^2}}{k} \, (\arctan f_0 u + i \, \mathrm{artanh}
    \, f_1 v) \, , \qquad (u, v) = \frac{(X, Y)}{\sqrt{X^2 + Y^2}} \, , \qquad
    f_{0, 1} = \frac{k}{1 \mp |\epsilon|} \, , \\
    (X, Y) = ((1 - |\epsilon|) \, x, \, (1 + |\epsilon|) \, y) \, .

What is linear in this is written as products of matrices: :math:`M`, which turns and stretches the
positions to :math:`X` and :math:`Y`, and :math:`C`, which turns the result back.
"""

import math

import torch
from torch import Tensor

from ..shortcut import Point, Shortcut, Tensors, add_product, products
from .base import CORE


class IsothermalDeflection(Shortcut):
    r"""Computes :math:`\alpha_x` and :math:`\alpha_y`.

    Arguments:
        theta_E, e1, e2, center_x, center_y: The parameters. The ellipticity is not zero.

    Single numbers are Python's: they take torch ten times as long. A row :math:`(a, b)` of M, or a
    column of C, is the complex number :math:`a + i b`, so that all are multiples of the direction
    :math:`e^{i \phi}` of the major axis.
    """

    lead = (2,)

    def __init__(self, dtype: torch.dtype, *numbers: float) -> None:
        super().__init__(dtype, *numbers)
        theta_E, e1, e2, *_ = numbers
        self.size = size = math.hypot(e1, e2)
        self.axis, self.k = (complex(e1, e2) / size) ** 0.5, 2 * size**0.5
        self.factors = self.k / (1 - size), self.k / (1 + size)
        self.root = (1 - size**2) ** 0.5 / self.k
        self.scale = theta_E * self.root
        self.stretch = 1 - size, 1j * (1 + size)
        # Twice the inverse hyperbolic tangent is computed, hence its half here.
        rows = *self.stretch, self.scale, 0.5j * self.scale
        self.numbers = [part for r in rows for part in _pair(self.axis * r)]
        f0, f1 = self.factors
        rest = f0, -0.5 * f1, 1 / f0, 0.5 / f1
        table = torch.tensor((*self.numbers, *rest), dtype=dtype, device="cpu")
        self.M, self.Ct, slopes = table.view(3, 2, 2).unbind()
        self.steep, self.flat = slopes.unsqueeze(-1)

    @staticmethod
    def plain(x: Tensor, y: Tensor, *parameters: Tensor) -> Tensor:
        theta_E, e1, e2, cx, cy = parameters
        b = theta_E * (1 - e1**2 - e2**2).sqrt()
        ax, ay = along_axes(x - cx, y - cy, e1, e2)
        return torch.stack((b * ax, b * ay))

    @staticmethod
    def takes(dtype: torch.dtype, *numbers: float) -> bool:
        return edge_of(dtype) <= math.hypot(*numbers[1:3]) < 1

    def add(self, total: Tensor, z: Tensor, origin: Point, *, first: bool) -> Tensors:
        f0, f1 = self.factors
        stretched = self.M @ z
        u, v = stretched.unbind()
        inverse = u.square().addcmul_(v, v).add_(CORE**2).rsqrt_()
        unit = stretched.mul_(inverse)
        angles = torch.empty_like(unit)
        along, across = angles.unbind()
        torch.mul(u, f0, out=along).atan_()
        # Twice the inverse hyperbolic tangent, which torch is slow to compute.
        torch.div(v, torch.rsub(v, 0.5 / f1, alpha=0.5), out=across).log1p_()
        add_product(total, self.Ct.mT, angles, first=first)
        return inverse, unit, angles

    def slopes(
        self, grad: Tensor, z: Tensor, origin: Point, kept: Tensors, needed: tuple[bool, bool]
    ) -> tuple[Tensor | None, list[float]]:
        inverse, unit, angles = kept
        slope = unit.square().mul_(self.steep).add_(self.flat)  # one over that of the functions
        to_unit = torch.div(self.Ct @ grad, slope, out=slope)
        parts = unit * to_unit
        to_factors = parts.sum(1).tolist() if needed[1] else []
        to_stretched = to_unit.addcmul_(unit, parts.sum(0), value=-1).mul_(inverse)
        to_z = self.M.mT @ to_stretched if needed[0] else None
        if not needed[1]:
            return to_z, [0.0] * self.count
        (xx, xy, yx, yy), (sx, sy) = self.numbers[:4], to_stretched.sum(1).tolist()
        to_centre = -xx * sx - yx * sy, -xy * sx - yy * sy
        to_M, to_C = products(to_stretched, z), products(angles, grad)
        return to_z, [*self._to_shape(to_M, to_C, to_factors), *to_centre]

    def _to_shape(
        self, to_M: list[list[float]], to_C: list[list[float]], to_factors: list[float]
    ) -> tuple[float, float, float]:
        """Turns gradients in the matrices and the logarithms of the factors into those of the
        scale and the ellipticity."""
        # Relative to the direction: the real part is along it, the imaginary one of a turn of it.
        back = self.axis.conjugate()
        rows, columns = ([back * complex(*pair) for pair in pairs] for pairs in (to_M, to_C))
        to_scale = columns[0].real + 0.5 * columns[1].imag
        turn = self.scale * (columns[0].imag - 0.5 * columns[1].real)
        along, across = (complex(s).conjugate() for s in self.stretch)
        turn += (rows[0] * along).imag + (rows[1] * across).imag
        size = self.size
        to_size = rows[1].imag - rows[0].real
        to_size -= to_scale * self.scale * (size / (1 - size**2) + 0.5 / size)
        to_size += to_factors[0] * (0.5 / size + 1 / (1 - size))
        to_size += to_factors[1] * (0.5 / size - 1 / (1 + size))
        # The ellipticity has twice the angle of the direction.
        to_e = self.axis**2 * complex(to_size, 0.5 * turn / size)
        return self.root * to_scale, to_e.real, to_e.imag


def edge_of(dtype: torch.dtype) -> float:
    """Returns the ellipticity from which its derivatives keep half of the digits."""
    return 1e-4 if dtype == torch.float64 else 1e-2


def _pair(number: complex) -> tuple[float, float]:
    return number.real, number.imag


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
