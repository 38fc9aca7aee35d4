r"""The pixel convention, and its only owner.

Pixel :math:`(i, j)` (row, column) of an :math:`H \times W` map is a square of side ``spacing``,
and its coordinates are those of its *centre*,

.. math:: x_j = c_x + \left(j - \tfrac{W - 1}{2}\right) h \, , \qquad
          y_i = c_y + \left(i - \tfrac{H - 1}{2}\right) h \, ,

in arcsec: ``x`` grows with the column, ``y`` with the row. The field of view is measured between
outer edges, so the spacing is FOV / N, everywhere in the package.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from operator import index
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class PixelGrid:
    """Creates a grid of square pixels.

    Arguments:
        shape: Numbers of rows and columns :math:`(H, W)`.
        spacing: Side :math:`h` of a pixel [arcsec].
        center: Coordinates :math:`(c_x, c_y)` of the middle of the field of view [arcsec].

    Raises:
        ValueError: If the shape is not two whole numbers from 1, the spacing not positive, or the
            centre not two finite numbers.
    """

    shape: tuple[int, int]
    spacing: float
    center: tuple[float, float] = (0.0, 0.0)

    def __post_init__(self):
        shape, center, spacing = (
            _numbers(values, kind)
            for values, kind in (
                (self.shape, index),
                (self.center, float),
                ([self.spacing], float),
            )
        )
        if len(shape) != 2 or min(shape) < 1:
            raise ValueError(
                f"shape must be two positive whole numbers (rows, columns), got {self.shape}"
            )
        if not spacing or not 0 < spacing[0] < math.inf:
            raise ValueError(f"spacing must be a positive number of arcsec, got {self.spacing!r}")
        if len(center) != 2 or not all(map(math.isfinite, center)):
            raise ValueError(f"center must be two numbers of arcsec (x, y), got {self.center}")
        # lists, arrays and NumPy's numbers make the same grid, and the same key
        for name, value in (("shape", shape), ("spacing", spacing[0]), ("center", center)):
            object.__setattr__(self, name, value)

    @property
    def fov(self) -> tuple[float, float]:
        """Field of view along x and y, between outer edges [arcsec]."""
        return self.shape[1] * self.spacing, self.shape[0] * self.spacing

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Outer edges ``(x_min, x_max, y_min, y_max)`` [arcsec], as ``imshow`` takes them."""
        (fx, fy), (cx, cy) = self.fov, self.center
        return cx - fx / 2, cx + fx / 2, cy - fy / 2, cy + fy / 2

    def coordinates(
        self,
        subsample: int = 1,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> tuple[Tensor, Tensor]:
        """Returns the coordinates of the centres of the pixels, or of their sub-pixels [arcsec].

        Arguments:
            subsample: Number :math:`k` of sub-pixels along each side of a pixel.
            device: Device of the result.
            dtype: Type of the result. The arithmetic is always done in double precision.

        Returns:
            The maps :math:`x` and :math:`y`, each with shape :math:`(kH, kW)`.
        """
        h, w = (n * subsample for n in self.shape)
        step = self.spacing / subsample
        x = (
            self.center[0]
            + (torch.arange(w, device=device, dtype=torch.float64) - (w - 1) / 2) * step
        )
        y = (
            self.center[1]
            + (torch.arange(h, device=device, dtype=torch.float64) - (h - 1) / 2) * step
        )
        yy, xx = torch.meshgrid(y.to(dtype), x.to(dtype), indexing="ij")
        return xx, yy

    def to_index(self, x, y):
        """Maps coordinates [arcsec] to ``(column, row)``, 0 at the first pixel's centre."""
        (h, w), (cx, cy) = self.shape, self.center
        return (x - cx) / self.spacing + (w - 1) / 2, (y - cy) / self.spacing + (h - 1) / 2

    def from_index(self, column, row):
        """Maps fractional indices ``(column, row)`` to coordinates ``(x, y)`` [arcsec]."""
        (h, w), (cx, cy) = self.shape, self.center
        return cx + (column - (w - 1) / 2) * self.spacing, cy + (row - (h - 1) / 2) * self.spacing


def _numbers(values: Any, kind: Callable[[Any], Any]) -> tuple[Any, ...]:
    """Returns numbers of a kind; none where one is something else."""
    try:
        found = tuple(values)
        return () if any(isinstance(v, str) for v in found) else tuple(map(kind, found))
    except (TypeError, ValueError):
        return ()
