"""What is common to the making of pairs and of starts: pixels of the source, and convergence."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...grid import PixelGrid
from ...lensing.mass import flux_average
from ...lensing.mass.base import Mass

Map = NDArray[np.float64]

FINE = 0.2
"""Side of a pixel of the source [pixel of the image]."""


def convergence(mass: Mass, grid: PixelGrid, center: Tensor, *, core: int = 9) -> Tensor:
    """Averages the convergence of a batch over pixels, more finely about each centre.

    Arguments:
        mass: Mass model, its parameters of shape (B).
        grid: The pixels.
        center: The centres, with shape (B, 2).
        core: Odd side of the square of pixels about the centre [pixels].

    Returns:
        The maps, with shape (B, 1, H, W).
    """
    device = center.device
    kappa = flux_average(mass, grid, 2, torch.float32, device=device)
    (h, w), half = grid.shape, core // 2
    column, row = (
        c.round().long().clamp(half, n - 1 - half)
        for c, n in zip(grid.to_index(*center.unbind(1)), (w, h), strict=True)
    )
    patch = PixelGrid((core, core), grid.spacing)
    middle = torch.stack(grid.from_index(column, row), 1).float()
    inner = flux_average(mass, patch, 24, torch.float32, offset=middle, device=device)
    step = torch.arange(-half, half + 1, device=device)
    sample = torch.arange(len(center), device=device)[:, None, None]
    kappa[sample, (row[:, None] + step)[..., None], (column[:, None] + step)[:, None]] = inner
    return kappa[:, None].clamp(min=1e-4)
