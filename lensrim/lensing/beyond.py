r"""The deflection of mass beyond a map of convergence.

A map of :math:`\kappa` ends at the frame, the mass does not. What its deflection lacks is nearly a
gradient without divergence inside the frame: a constant, a shear, and higher orders. The shear is
fitted where the arcs are; the rest is kept as a field. For an isothermal lens in a frame of four
Einstein radii it is a tenth of a pixel at the arcs, which a source cannot make up for.

The field also holds what a map of pixels does not tell of a singular centre, within some pixels of
it.
"""

import torch
from torch import Tensor

from ..grid import PixelGrid
from .convergence import KappaToAlpha


def shear_of_map(
    alpha: Tensor, kappa: Tensor, weight: Tensor, operator: KappaToAlpha
) -> tuple[Tensor, Tensor]:
    r"""Finds what the deflection of a map of convergence lacks: a shear, and a rest.

    Arguments:
        alpha: The whole deflection at the pixels' centres [arcsec], with shape
            :math:`(B, 2, H, W)`.
        kappa: The map, with shape :math:`(B, 1, H, W)`.
        weight: Weights of the fit, with shape :math:`(B, 1, H, W)`.
        operator: The deflection of such maps.

    Returns:
        As :func:`part_shear`.
    """
    return part_shear(alpha - operator.maps(kappa), operator.grid, weight)


def part_shear(missing: Tensor, grid: PixelGrid, weight: Tensor) -> tuple[Tensor, Tensor]:
    r"""Parts a deflection into an external shear and a rest.

    Arguments:
        missing: Deflection at the pixels' centres [arcsec], with shape :math:`(B, 2, H, W)`.
        grid: The pixels.
        weight: Weights of the fit, with shape :math:`(B, 1, H, W)`.

    Returns:
        The shear, with shape :math:`(B, 2)`, and the rest, with shape :math:`(B, 2, H, W)`, which
        keeps the constant. Both are computed in double precision.
    """
    dtype = missing.dtype
    x, y = grid.coordinates(device=missing.device, dtype=torch.float64)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    rows = torch.stack([torch.stack([x, y, one, zero]), torch.stack([-y, x, zero, one])])
    weight, missing = weight.double()[:, 0], missing.double()
    normal = torch.einsum("cpij,bij,cqij->bpq", rows, weight, rows)
    right = torch.einsum("cpij,bij,bcij->bp", rows, weight, missing)
    shear = torch.linalg.solve(normal, right)[:, :2]
    rest = missing - torch.einsum("cpij,bp->bcij", rows[:, :2], shear)
    return shear.to(dtype), rest.to(dtype)
