r"""The Sersic profile and its gradient, in few steps.

.. math:: I = A \, e^{b_n (1 - \rho)} , \qquad
          \rho = \left(\frac{|w|^2}{R_\mathrm{sersic}^2}\right)^{1 / 2n} , \qquad
          w = \frac{z - \epsilon \bar z}{\sqrt{1 - |\epsilon|^2}} = W z \, ,

with :math:`W` a matrix. On a CPU a step costs as much as what it computes of a map of 128 pixels a
side.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..mass import CORE, offsets
from ..operation import Shortcut, Tensors
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
    r"""Computes :math:`I`, with shape :math:`(*)`.

    Its inputs are the coordinates :math:`x, y`, with that shape, and together :math:`A,
    R_\mathrm{sersic}, n, e_1, e_2` and the coordinates of the centre, with shape (7).
    """

    @staticmethod
    def plain(x: Tensor, y: Tensor, parameters: Tensor) -> Tensor:
        amp, scale, n, *place = parameters.unbind()
        return brightness(radius2(x, y, *place), amp, scale, n)

    @staticmethod
    def values(x: Tensor, y: Tensor, parameters: Tensor) -> tuple[Tensor, Tensors]:
        p = _Numbers(parameters)
        z = offsets(x, y, *p.centre)
        w = p.W @ z
        r2 = torch.addcmul(w[0].square(), w[1], w[1]).add_(CORE**2)
        log = r2.log()
        ratio = (log * (0.5 / p.n)).sub_(p.log_scale / p.n).exp_()
        unit = (ratio * -p.b).add_(p.b).exp_()
        return unit.view(x.shape) * p.amp, (z, w, r2, log, ratio, unit)

    @staticmethod
    def slopes(
        parameters: Tensor, kept: Tensors, grads: Tensors, needed: tuple[bool, bool]
    ) -> tuple[Tensor | None, Tensor | None]:
        p = _Numbers(parameters)
        z, w, r2, log, ratio, unit = kept
        weight = grads[0].flatten() * unit
        falling = weight * ratio
        to_w = w * (falling / r2).mul_(-p.amp * p.b / p.n)
        to_z = p.W.mT @ to_w if needed[0] else None
        if not needed[1]:
            return to_z, None
        sums = [float(t.sum()) for t in (weight, falling, log.mul(falling))]
        return to_z, p.slopes(sums, to_w @ z.mT, to_w.sum(1))


class _Numbers:
    """Holds the parameters and what follows from them.

    They are Python's numbers: single ones take torch ten times as long.
    """

    def __init__(self, parameters: Tensor) -> None:
        self.amp, self.scale, self.n, self.e1, self.e2, *self.centre = parameters.tolist()
        self.b, self.log_scale = sersic_b(self.n), math.log(abs(self.scale))
        self.norm = (1 - self.e1**2 - self.e2**2) ** -0.5
        rows = (1 - self.e1, -self.e2), (-self.e2, 1 + self.e1)
        self.w = [[self.norm * each for each in row] for row in rows]
        self.W = parameters.new_tensor(self.w)

    def slopes(self, sums: Sequence[float], to_W: Tensor, to_offsets: Tensor) -> Tensor:
        """Turns sums over the positions into the gradient in the parameters.

        Arguments:
            sums: Of the gradient times the profile without its amplitude, of that times the ratio
                of radii, and of that times the logarithm of the squared radius.
            to_W: Gradient in W.
            to_offsets: Sum of the gradients in W times the position.
        """
        weight, falling, steep = sums
        (xx, xy), (yx, yy) = to_W.tolist()
        (wxx, wxy), (_, wyy) = self.w
        to_norm = self.norm**2 * (xx * wxx + (xy + yx) * wxy + yy * wyy)
        to_ratio = (falling * self.log_scale - steep / 2) / self.n**2
        to_n = self.b * to_ratio + _slope_of_b(self.n) * (falling - weight)
        return to_W.new_tensor(
            [
                weight,
                self.amp * self.b * falling / (self.n * self.scale),
                -self.amp * to_n,
                self.norm * (yy - xx) + to_norm * self.e1,
                -self.norm * (xy + yx) + to_norm * self.e2,
                *(-(self.W.mT @ to_offsets)).tolist(),
            ]
        )


def brightness(r2: Tensor, amp: Tensor, scale: Tensor, n: Tensor) -> Tensor:
    """Computes the profile from squared radii, one step after the other."""
    # A power of its own takes several times as long, with its gradients even more so.
    ratio = torch.exp((r2 / scale**2).log() / (2 * n))
    return amp * torch.exp(-sersic_b(n) * (ratio - 1))


def is_regular(parameters: Tensor) -> bool:
    """Returns whether the numbers are those of a profile, and none of their functions fails."""
    _, scale, n, e1, e2, *_ = parameters.tolist()
    # Beyond the bounds, far outside of what is seen, powers of Python's numbers raise.
    sized = 1e-100 < abs(scale) < 1e100 and 1e-30 < n < 1e30
    return sized and e1**2 + e2**2 < 1
