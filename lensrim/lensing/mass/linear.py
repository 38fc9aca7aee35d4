"""The deflection of an external shear and its gradient, in few steps."""

import torch
from torch import Tensor

from ..shortcut import Point, Shortcut, Tensors, add_product, products


class ShearDeflection(Shortcut):
    r"""Computes :math:`(\gamma_1 x + \gamma_2 y, \, \gamma_2 x - \gamma_1 y)`.

    Arguments:
        gamma1, gamma2, center_x, center_y: The parameters.
    """

    lead = (2,)
    linear = True

    def __init__(self, dtype: torch.dtype, *numbers: float) -> None:
        super().__init__(dtype, *numbers)
        self.shear = g1, g2 = numbers[:2]
        self.matrix = torch.tensor((g1, g2, g2, -g1), dtype=dtype, device="cpu").view(2, 2)

    @staticmethod
    def plain(x: Tensor, y: Tensor, *parameters: Tensor) -> Tensor:
        g1, g2, cx, cy = parameters
        x, y = x - cx, y - cy
        return torch.stack((g1 * x + g2 * y, g2 * x - g1 * y))

    def add(self, total: Tensor, z: Tensor, origin: Point, *, first: bool) -> Tensors:
        (g1, g2), (dx, dy) = self.shear, self._shift(origin)
        add_product(total, self.matrix, z, first=first)
        if dx or dy:
            total.add_(z.new_tensor([[g1 * dx + g2 * dy], [g2 * dx - g1 * dy]]))
        return ()

    def slopes(
        self, grad: Tensor, z: Tensor, origin: Point, kept: Tensors, needed: tuple[bool, bool]
    ) -> tuple[Tensor | None, list[float]]:
        to_z = self.matrix @ grad if needed[0] else None  # the matrix is symmetric
        if not needed[1]:
            return to_z, [0.0] * self.count
        (xx, xy), (yx, yy) = products(grad, z)
        (sx, sy), (dx, dy) = grad.sum(1).tolist(), self._shift(origin)
        g1, g2 = self.shear
        to_shear = xx - yy + sx * dx - sy * dy, xy + yx + sx * dy + sy * dx
        return to_z, [*to_shear, -g1 * sx - g2 * sy, g1 * sy - g2 * sx]

    def _shift(self, origin: Point) -> Point:
        return origin[0] - self.centre[0], origin[1] - self.centre[1]
