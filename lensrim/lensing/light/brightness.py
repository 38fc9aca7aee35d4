r"""The Sersic profile and its gradient, in few steps.

.. math:: I = A \, e^{b_n (1 - \rho)} , \qquad
          \rho = \left(\frac{|w|^2}{R_\mathrm{sersic}^2}\right)^{1 / 2n} , \qquad
          w = \frac{z - \epsilon \bar z}{\sqrt{1 - |\epsilon|^2}} = R_\mathrm{sersic} W z \, ,

with :math:`W` a matrix.
"""

from typing import Any

import torch
from torch import Tensor

from ..mass import CORE
from ..shortcut import Point, Shortcut, Tensors, products
from .base import radius2


def sersic_b(n: Any) -> Any:
    r"""Computes :math:`b_n`, with which half the light is inside :math:`R = R_\mathrm{sersic}`.

    The light inside is half of all to 2e-5 for :math:`n \geq 1`, to 2e-4 for :math:`n = 0.5`.

    Arguments:
        n: Sersic index, a tensor or a number.

    References:
        Ciotti & Bertin 1999, A&A 352, 447.
    """
    return (
        2 * n
        - 1 / 3
        + 4 / (405 * n)
        + 46 / (25515 * n**2)
        + 131 / (1148175 * n**3)
        - 2194697 / (30690717750 * n**4)
    )


def _slope_of_b(n: float) -> float:
    return (
        2
        - 4 / (405 * n**2)
        - 2 * 46 / (25515 * n**3)
        - 3 * 131 / (1148175 * n**4)
        + 4 * 2194697 / (30690717750 * n**5)
    )


class SersicBrightness(Shortcut):
    r"""Computes :math:`I`.

    Arguments:
        amp, R_sersic, n_sersic, e1, e2, center_x, center_y: The parameters.

    Single numbers are Python's: they take torch ten times as long.
    """

    def __init__(self, dtype: torch.dtype, *numbers: float) -> None:
        super().__init__(dtype, *numbers)
        self.amp, self.scale, self.n, self.e1, self.e2, *_ = numbers
        self.b, self.norm = sersic_b(self.n), (1 - self.e1**2 - self.e2**2) ** -0.5
        unit = self.norm / self.scale
        self.w = unit * (1 - self.e1), -unit * self.e2, unit * (1 + self.e1)
        xx, xy, yy = self.w
        self.W = torch.tensor((xx, xy, xy, yy), dtype=dtype, device="cpu").view(2, 2)

    @staticmethod
    def plain(x: Tensor, y: Tensor, *parameters: Tensor) -> Tensor:
        amp, scale, n, *place = parameters
        return brightness(radius2(x, y, *place), amp, scale, n)

    @staticmethod
    def takes(dtype: torch.dtype, *numbers: float) -> bool:
        amp, scale, n, e1, e2, *_ = numbers
        # Far outside of what is seen, numbers are too large for single precision on the way.
        sized = abs(amp) < 1e30 and 1e-15 < abs(scale) < 1e15 and 1e-2 < n < 1e4
        return sized and e1**2 + e2**2 < 1

    def add(self, total: Tensor, z: Tensor, origin: Point, *, first: bool) -> Tensors:
        w = self.W @ z
        wx, wy = w.unbind()
        r2 = wx.square().addcmul_(wy, wy).add_((CORE / self.scale) ** 2)
        log = r2.log()
        ratio = log.mul(0.5 / self.n).exp_()
        unit = torch.rsub(ratio, self.b, alpha=self.b).exp_()
        if first:
            torch.mul(unit, self.amp, out=total)
        else:
            total.add_(unit, alpha=self.amp)
        return w, r2, log, ratio, unit

    def slopes(
        self, grad: Tensor, z: Tensor, origin: Point, kept: Tensors, needed: tuple[bool, bool]
    ) -> tuple[Tensor | None, list[float]]:
        w, r2, log, ratio, unit = kept
        parts = unit.new_empty(3, *unit.shape)
        weight, falling, steep = parts
        torch.mul(torch.mul(grad, unit, out=weight), ratio, out=falling)
        to_w = w * (falling / r2).mul_(-self.amp * self.b / self.n)
        to_z = self.W @ to_w if needed[0] else None
        if not needed[1]:
            return to_z, [0.0] * self.count
        torch.mul(log, falling, out=steep)
        (xx, xy, yy), (sx, sy) = self.w, to_w.sum(1).tolist()
        to_centre = -xx * sx - xy * sy, -xy * sx - yy * sy
        return to_z, [*self._to_shape(parts.sum(1).tolist(), products(to_w, z)), *to_centre]

    def _to_shape(self, sums: list[float], to_W: list[list[float]]) -> tuple[float, ...]:
        """Turns sums over the positions into the gradient in all but the centre.

        Arguments:
            sums: Of the gradient times the profile without its amplitude, of that times the ratio
                of radii, and of that times the logarithm of the squared radius.
            to_W: Gradient in W.
        """
        weight, falling, steep = sums
        (xx, xy), (yx, yy) = to_W
        wxx, wxy, wyy = self.w
        to_norm = self.norm**2 * (xx * wxx + (xy + yx) * wxy + yy * wyy)
        unit = self.norm / self.scale
        to_n = _slope_of_b(self.n) * (falling - weight) - self.b * steep / (2 * self.n**2)
        return (
            weight,
            self.amp * self.b * falling / (self.n * self.scale),
            -self.amp * to_n,
            unit * (yy - xx) + to_norm * self.e1,
            -unit * (xy + yx) + to_norm * self.e2,
        )


def brightness(r2: Tensor, amp: Tensor, scale: Tensor, n: Tensor) -> Tensor:
    """Computes the profile from squared radii, one step after the other."""
    # A power of its own takes several times as long, with its gradients even more so.
    ratio = torch.exp((r2 / scale**2).log() / (2 * n))
    return amp * torch.exp(-sersic_b(n) * (ratio - 1))
