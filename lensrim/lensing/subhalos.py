r"""Many truncated isothermal subhalos as one mass model.

.. math::
    \kappa = \sum_i \frac{b_i}{2} \left( \frac{1}{r_i} - \frac{1}{\sqrt{r_i^2 + t_i^2}} \right) ,
    \qquad
    \alpha = \sum_i b_i \, \frac{r_i + t_i - \sqrt{r_i^2 + t_i^2}}{r_i} \, \hat r_i \, ,

the pseudo-Jaffe profile without a core: isothermal inside the truncation radius :math:`t`, with
total mass :math:`\pi b t` in units of the critical density.

References:
    Munoz, Kochanek & Keeton 2001, ApJ 558, 657.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .mass import CORE

CHUNK = 1 << 22
"""Pairs of a subhalo and a position that are held in memory at once."""


@dataclass(frozen=True)
class Subhalos:
    """Creates the sum of n subhalos; the memory of a value does not grow with their number.

    For other profiles, and where the memory of gradients must not grow either, see
    :class:`~lensrim.lensing.mass.Many`.

    Arguments:
        theta_E: Einstein radii :math:`b` they would have without truncation [arcsec], with shape
            (*, n).
        truncation: Truncation radii :math:`t` [arcsec], with shape (*, n).
        center_x, center_y: Centres [arcsec], with shape (*, n).
    """

    theta_E: Tensor
    truncation: Tensor
    center_x: Tensor
    center_y: Tensor

    def _parts(self, x: Tensor, y: Tensor):
        """Yields chunks of subhalos: b, t, offsets and distance, each with shape (*, m, h, w)."""
        n = self.theta_E.shape[-1]
        per = max(1, CHUNK // max(1, x.numel() * max(1, self.theta_E.numel() // max(n, 1))))
        for i in range(0, n, per):
            b, t, cx, cy = (
                p[..., i : i + per, None, None].to(x)
                for p in (self.theta_E, self.truncation, self.center_x, self.center_y)
            )
            dx, dy = x.unsqueeze(-3) - cx, y.unsqueeze(-3) - cy
            yield b, t, dx, dy, (dx**2 + dy**2 + CORE**2).sqrt()

    def _zero(self, x: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(x.shape, (*self.theta_E.shape[:-1], 1, 1))
        return x.new_zeros(shape)

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        total = self._zero(x)
        for b, t, _, _, r in self._parts(x, y):
            total = total + (b / 2 * (1 / r - 1 / torch.hypot(r, t))).sum(-3)
        return total

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        ax, ay = self._zero(x), self._zero(x)
        for b, t, dx, dy, r in self._parts(x, y):
            # r + t - hypot(r, t) without cancellation
            scale = b * 2 * t / (r + t + torch.hypot(r, t)) / r
            ax, ay = ax + (scale * dx).sum(-3), ay + (scale * dy).sum(-3)
        return ax, ay

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\gamma_1 = (\psi_{xx} - \psi_{yy})/2`, :math:`\gamma_2 = \psi_{xy}`."""
        g1, g2 = self._zero(x), self._zero(x)
        for b, t, dx, dy, r in self._parts(x, y):
            s = torch.hypot(r, t)
            # kappa less its mean inside
            size = b * ((1 / r - 1 / s) / 2 - 2 * t / (r + t + s) / r) / r**2
            g1, g2 = g1 + (size * (dx**2 - dy**2)).sum(-3), g2 + (2 * size * dx * dy).sum(-3)
        return g1, g2

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` [arcsec²], zero at the centre of each subhalo."""
        total = self._zero(x)
        for b, t, _, _, r in self._parts(x, y):
            s = torch.hypot(r, t)
            total = total + (b * (r + t - s + t * ((s + t) / (2 * t)).log())).sum(-3)
        return total

    def total_mass(self) -> Tensor:
        r"""Computes :math:`\pi b t` of each, in units of the critical density [arcsec²]."""
        return math.pi * self.theta_E * self.truncation
