"""The truth that an answer is compared with, as maps on the answer's pixels."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .. import metrics
from ..grid import PixelGrid
from .maps import Maps
from .mass import region_of
from .mocks import Mock
from .rendering import TrueSource

Map = NDArray[np.float64]


@dataclass(frozen=True)
class Known:
    """Creates what is known of an observation.

    Arguments:
        grid: Pixels of the image.
        sigma: Standard deviation of their noise, with shape (H, W).
        arcs: Noise-free arcs, with shape (H, W).
        arc_mask: Where they exceed the noise, with shape (H, W).
        kappa: Mean convergence of each pixel, with shape (H, W).
        alpha: Deflection along x and y [arcsec], each with shape (H, W).
        region: Where the convergence is compared, with shape (H, W).
        theta_E: Einstein radius, the unit of errors of the deflection [arcsec].
        source: The galaxy in the source plane.
    """

    grid: PixelGrid
    sigma: Map
    arcs: Map
    arc_mask: NDArray[np.bool_]
    kappa: Map
    alpha: tuple[Map, Map]
    region: NDArray[np.bool_]
    theta_E: float
    source: TrueSource

    @classmethod
    def of(cls, mock: Mock) -> "Known":
        """Takes the truth of a mock."""
        truth, seen = mock.truth, mock.observation
        return cls(
            grid=seen.grid,
            sigma=seen.sigma,
            arcs=truth.arcs,
            arc_mask=truth.arc_mask,
            kappa=truth.kappa,
            alpha=(truth.alpha_x, truth.alpha_y),
            region=region_of(mock),
            theta_E=truth.macro_theta_E,
            source=truth.source,
        )

    @property
    def weights(self) -> Map:
        """Brightness of the arcs where they exceed the noise, with shape (H, W)."""
        return self.arcs * self.arc_mask

    @property
    def flux(self) -> float:
        """Flux of the source [data unit]."""
        return self.source.flux / self.grid.spacing**2

    def source_on(self, maps: Maps, *, mass_sheet: bool = False) -> Map:
        """The true source on the source pixels of maps, in their gauge of the deflection.

        Arguments:
            maps: What is compared with it.
            mass_sheet: Whether to stretch it by what no image tells, about the mean of the arcs.
        """
        grid, weights = maps.source_grid, self.weights
        shift, scale = metrics.deflection_gauge(maps.alpha, self.alpha, weights), 1.0
        center = np.array(grid.center)
        if mass_sheet:
            scale = metrics.deflection_scale(maps.alpha, self.alpha, weights, self.grid)
            scale = min(max(scale, 0.5), 2.0)  # a wrong minimum has no gauge
            middle = [float((weights * r).sum() / weights.sum()) for r in self.rays(maps.alpha)]
            center = middle + scale * (center - middle)
        place = (float(center[0] + shift[0]), float(center[1] + shift[1]))
        return self.source.on_grid(PixelGrid(grid.shape, grid.spacing * scale, place))

    def reached(self, maps: Maps) -> NDArray[np.bool_]:
        """The source's pixels that a ray of the arcs' pixels hits, or one beside it."""
        from scipy import ndimage

        grid = maps.source_grid
        rays = [each[self.arc_mask] for each in self.rays(maps.alpha)]
        column, row = (np.rint(index).astype(int) for index in grid.to_index(*rays))
        (h, w), hit = grid.shape, np.zeros(grid.shape, dtype=bool)
        inside = (row >= 0) & (row < h) & (column >= 0) & (column < w)
        hit[row[inside], column[inside]] = True
        return np.asarray(ndimage.binary_dilation(hit, np.ones((3, 3), dtype=bool)), dtype=bool)

    def rays(self, alpha: tuple[Map, Map]) -> list[Map]:
        """Where the pixels' centres are in the source plane, by a deflection [arcsec]."""
        theta = self.grid.from_index(*np.meshgrid(*map(np.arange, self.grid.shape[::-1])))
        return [t - a for t, a in zip(theta, alpha, strict=True)]
