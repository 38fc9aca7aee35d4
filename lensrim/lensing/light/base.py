"""What all lights share: the interface, sums, and the elliptical radius."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

from ..mass import CORE, Parameter, _maps
from ..shortcut import Member, Quick, all_members, shortcut_to


@runtime_checkable
class Light(Protocol):
    """What every light can do."""

    def surface_brightness(self, x: Tensor, y: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Sum(Quick):
    """Creates the sum of lights.

    Arguments:
        components: The lights that are added, at least one.
    """

    components: Sequence[Light]

    def shortcuts(self) -> list[Member]:
        return all_members(self.components)

    def surface_brightness(self, x: Tensor, y: Tensor) -> Tensor:
        """Computes the surface brightness.

        Arguments:
            x, y: Coordinates [arcsec], with shape :math:`(*, H, W)`.

        Returns:
            The sum, with the shape of the coordinates, and the batch of the parameters before it.
        """
        quick = shortcut_to(self, x, y)
        if quick is not None:
            return quick
        first, *others = (c.surface_brightness(x, y) for c in self.components)
        return sum(others, first)


def radius2(
    x: Tensor, y: Tensor, e1: Parameter, e2: Parameter, center_x: Parameter, center_y: Parameter
) -> Tensor:
    """Computes the squared product-average radius, softened at the centre [arcsec²]."""
    e1, e2, cx, cy = _maps(x, e1, e2, center_x, center_y)
    x, y = x - cx, y - cy
    wx, wy = x - e1 * x - e2 * y, y + e1 * y - e2 * x
    return (wx**2 + wy**2) / (1 - e1**2 - e2**2) + CORE**2
