"""Sums of mass models."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..shortcut import Member, Quick, all_members, shortcut_to
from .base import Deflector, Mass


@dataclass(frozen=True)
class Sum(Quick):
    """Creates the sum of mass models.

    Arguments:
        components: The models that are added.
    """

    components: Sequence[Mass]

    def shortcuts(self) -> list[Member]:
        return all_members(self.components)

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\kappa`, dimensionless."""
        return torch.stack(
            torch.broadcast_tensors(*(c.convergence(x, y) for c in self.components))
        ).sum(0)

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\alpha = \nabla \psi` [arcsec]."""
        quick = shortcut_to(self, x, y)
        if quick is not None:
            return quick[0], quick[1]
        return _added([c.deflection(x, y) for c in self.components])

    def shear(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes :math:`\gamma_1 = (\psi_{xx} - \psi_{yy})/2`, :math:`\gamma_2 = \psi_{xy}`."""
        return _added([c.shear(x, y) for c in self.components])

    def potential(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes :math:`\psi` [arcsec²]."""
        return torch.stack(
            torch.broadcast_tensors(*(c.potential(x, y) for c in self.components))
        ).sum(0)


def stacked_deflection(mass: Deflector, x: Tensor, y: Tensor) -> Tensor:
    """Computes both components of a deflection in one tensor, with shape (*, 2, H, W) [arcsec]."""
    quick = shortcut_to(mass, x, y) if isinstance(mass, Quick) else None
    if quick is not None:
        return quick.movedim(0, -3)
    # components may vary with different parameters: that of a sheet with its own centre
    return torch.stack(torch.broadcast_tensors(*mass.deflection(x, y)), -3)


def _added(parts: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    ax, ay = parts[0]
    for bx, by in parts[1:]:
        ax, ay = ax + bx, ay + by
    return ax, ay
