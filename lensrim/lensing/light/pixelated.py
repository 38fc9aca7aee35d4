"""A map of surface brightness as a light, which sums and lensing treat like any profile."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...grid import PixelGrid
from ..interpolation import Bilinear, Interpolation
from ..mass import Parameter
from ..source import PixelatedSource


@dataclass(frozen=True)
class Pixelated:
    r"""Creates a light from its surface brightness at the centres of pixels; zero around them.

    Arguments:
        pixels: Surface brightness [data units per image pixel], with shape
            :math:`(*, n_y, n_x)`.
        grid: Grid of the pixels.
        center_x, center_y: Offset of the grid [arcsec].
        interpolation: How the map is read between its pixels.

    Raises:
        ValueError: If the pixels are not those of the grid.
    """

    pixels: Tensor
    grid: PixelGrid
    center_x: Parameter = 0.0
    center_y: Parameter = 0.0
    interpolation: Interpolation = Bilinear()

    def __post_init__(self):
        if tuple(self.pixels.shape[-2:]) != tuple(self.grid.shape):
            raise ValueError(
                f"pixels must have the grid's shape {tuple(self.grid.shape)} in their last two "
                f"dimensions, got {tuple(self.pixels.shape)}"
            )

    def surface_brightness(self, x: Tensor, y: Tensor) -> Tensor:
        """Computes the surface brightness, with the shape of the coordinates."""
        cx, cy = (
            torch.as_tensor(c, dtype=x.dtype, device=x.device)
            for c in (self.center_x, self.center_y)
        )
        center = torch.stack(torch.broadcast_tensors(cx, cy), -1)
        x, y = torch.broadcast_tensors(x, y)
        beta = torch.stack((x, y), -3)
        # All that is batched becomes one dimension.
        lead = torch.broadcast_shapes(beta.shape[:-3], self.pixels.shape[:-2], center.shape[:-1])
        values = PixelatedSource(self.grid, self.interpolation)(
            self.pixels.to(x).expand(*lead, *self.grid.shape).reshape(-1, 1, *self.grid.shape),
            beta.expand(*lead, *beta.shape[-3:]).reshape(-1, *beta.shape[-3:]),
            center=center.expand(*lead, 2).reshape(-1, 2),
        )
        return values.reshape(*lead, *x.shape[-2:])
