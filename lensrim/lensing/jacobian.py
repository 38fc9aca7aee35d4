r"""Derivatives of any deflection: shear, rotation and magnification, exact to rounding.

The lens equation :math:`\beta = \theta - \alpha(\theta)` has the Jacobian

.. math::
    A = \frac{\partial \beta}{\partial \theta} = 1 - \frac{\partial \alpha}{\partial \theta}
      = \begin{pmatrix} 1 - \kappa - \gamma_1 & -\gamma_2 + \omega \\
                        -\gamma_2 - \omega & 1 - \kappa + \gamma_1 \end{pmatrix} , \qquad
    \mu = \frac{1}{\det A} \, .

The rotation :math:`\omega` is zero for mass in one plane. The derivatives are taken in forward
mode (:func:`torch.func.jvp`), can themselves be differentiated, and work under
:func:`torch.func.vmap`. Within the softening of a singular centre they are those of the softened
model. A deflection must act on each position by itself.
"""

from typing import Any, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from .missing import replaced


@runtime_checkable
class Deflector(Protocol):
    """What bends light: a mass model, or many of them in several planes."""

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]: ...


class Jacobian(NamedTuple):
    r"""Derivatives of the deflection, dimensionless; ``xy`` is
    :math:`\partial \alpha_x / \partial y`."""

    xx: Tensor
    xy: Tensor
    yx: Tensor
    yy: Tensor


def linearise(mass: Deflector, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Jacobian]:
    r"""Computes the deflection and its derivatives together.

    Arguments:
        mass: Mass model, its parameters numbers or of shape :math:`(*)`.
        x, y: Coordinates [arcsec], with shape :math:`(*, H, W)` or :math:`(H, W)`.

    Returns:
        The components of :math:`\alpha` [arcsec] and :math:`\partial \alpha / \partial \theta`,
        all with shape :math:`(*, H, W)`.
    """
    x, y = torch.broadcast_tensors(x, y)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    # Both directions in one call, as rows: few positions cost a call, not their arithmetic.
    twice = tuple(torch.cat((c, c), -2) for c in (x, y))
    along = torch.cat((one, zero), -2), torch.cat((zero, one), -2)
    both: Any = torch.func.jvp(mass.deflection, twice, along)
    (ax, ay), (dx, dy) = both
    (xx, xy), (yx, yy) = dx.chunk(2, -2), dy.chunk(2, -2)
    return ax.chunk(2, -2)[0], ay.chunk(2, -2)[0], Jacobian(xx, xy, yx, yy)


def jacobian(mass: Deflector, x: Tensor, y: Tensor) -> Jacobian:
    r"""Computes :math:`\partial \alpha / \partial \theta`; arguments as :func:`linearise`."""
    return linearise(mass, x, y)[2]


def shear(mass: Deflector, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    r"""Computes the shear of any deflection.

    .. math:: \gamma_1 = (\partial_x \alpha_x - \partial_y \alpha_y) / 2 \, , \qquad
              \gamma_2 = (\partial_y \alpha_x + \partial_x \alpha_y) / 2

    Arguments:
        mass: Mass model, its parameters numbers or of shape :math:`(*)`.
        x, y: Coordinates [arcsec], with shape :math:`(*, H, W)` or :math:`(H, W)`.

    Returns:
        The components :math:`\gamma_1, \gamma_2`, dimensionless, with shape :math:`(*, H, W)`.
    """
    d = jacobian(mass, x, y)
    return (d.xx - d.yy) / 2, (d.xy + d.yx) / 2


def rotation(mass: Deflector, x: Tensor, y: Tensor) -> Tensor:
    r"""Computes :math:`\omega = (\partial_x \alpha_y - \partial_y \alpha_x) / 2`.

    It vanishes unless light is bent in several planes; arguments as :func:`shear`.
    """
    d = jacobian(mass, x, y)
    return (d.yx - d.xy) / 2


def inverse_magnification(mass: Deflector, x: Tensor, y: Tensor) -> Tensor:
    r"""Computes :math:`\mu^{-1} = \det A`, with its sign; arguments as :func:`shear`."""
    return determinant(jacobian(mass, x, y))


def magnification(mass: Deflector, x: Tensor, y: Tensor) -> Tensor:
    r"""Computes the signed magnification :math:`\mu`; it diverges on critical curves.

    Arguments:
        mass: Mass model, its parameters numbers or of shape :math:`(*)`.
        x, y: Coordinates [arcsec], with shape :math:`(*, H, W)` or :math:`(H, W)`. NaN stands for
            no image, and gives NaN, which no gradient knows of.

    References:
        Schneider, Ehlers & Falco 1992, Gravitational Lenses, chapter 5.
    """
    missing, x, y = replaced(x, y)
    return torch.where(missing, torch.nan, 1 / inverse_magnification(mass, x, y))


def determinant(d: Jacobian) -> Tensor:
    r"""Computes :math:`\det A` from :math:`\partial \alpha / \partial \theta`."""
    return (1 - d.xx) * (1 - d.yy) - d.xy * d.yx
