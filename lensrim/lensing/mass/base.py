"""What the mass models share: their interface, the geometry of round ones, complex arithmetic."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..shortcut import Parameter

CORE = 1e-6
"""Softening of the singular centre [arcsec]."""


@runtime_checkable
class Deflector(Protocol):
    """What deflects light, and may not know more of itself."""

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]: ...


@runtime_checkable
class Mass(Protocol):
    """What every mass model can do."""

    def potential(self, x: Tensor, y: Tensor) -> Tensor: ...

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]: ...

    def convergence(self, x: Tensor, y: Tensor) -> Tensor: ...

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]: ...


class Circular:
    r"""Gives a round profile its maps from functions of the distance :math:`r` alone.

    With the mean convergence inside, :math:`\bar\kappa(r)`, and :math:`z = x + i y`,

    .. math:: \alpha = \bar\kappa \, z , \qquad
              \gamma_1 + i \gamma_2 = (\kappa - \bar\kappa) \, \frac{z^2}{|z|^2} \, .

    A profile is a frozen dataclass with ``center_x`` and ``center_y`` that defines ``_kappa``,
    ``_mean`` and ``_psi`` of :math:`r \geq` :data:`CORE`; the softening keeps :math:`r = 0` away.
    """

    center_x: Parameter
    center_y: Parameter

    def _kappa(self, r: Tensor) -> Tensor:
        raise NotImplementedError

    def _mean(self, r: Tensor) -> Tensor:
        raise NotImplementedError

    def _psi(self, r: Tensor) -> Tensor:
        raise NotImplementedError

    def _offset(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        cx, cy = _maps(x, self.center_x, self.center_y)
        x, y = x - cx, y - cy
        return x, y, (x**2 + y**2 + CORE**2).sqrt()

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        return self._kappa(self._offset(x, y)[2])

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        x, y, r = self._offset(x, y)
        mean = self._mean(r)
        return mean * x, mean * y

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\gamma_1 = (\psi_{xx} - \psi_{yy})/2`, :math:`\gamma_2 = \psi_{xy}`."""
        x, y, r = self._offset(x, y)
        size, cos, sin = self._kappa(r) - self._mean(r), x / r, y / r
        return size * (cos**2 - sin**2), size * 2 * cos * sin

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` up to a constant [arcsec²]."""
        return self._psi(self._offset(x, y)[2])


def _maps(like: Tensor, *parameters: Parameter) -> tuple[Tensor, ...]:
    """Gives parameters with shape ``(*)`` two trailing dimensions, to broadcast over maps."""
    return tuple(
        torch.as_tensor(p, dtype=like.dtype, device=like.device)[..., None, None]
        for p in parameters
    )


def _times(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Multiplies two complex numbers given as (real, imaginary) pairs."""
    return a[0] * b[0] - a[1] * b[1], a[0] * b[1] + a[1] * b[0]


def _over(a: tuple[Tensor, Tensor], b: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Divides two complex numbers given as (real, imaginary) pairs."""
    size2 = b[0] ** 2 + b[1] ** 2
    return (a[0] * b[0] + a[1] * b[1]) / size2, (a[1] * b[0] - a[0] * b[1]) / size2


def _square_root(a: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Takes the root with a positive real part of a complex number off the negative axis."""
    real = ((torch.hypot(*a) + a[0]) / 2).sqrt()
    return real, a[1] / (2 * real)
