"""Images of known systems, by a path of their own: closed forms, many rays per pixel.

Nothing here is shared with the simulator that fits: the source is a real galaxy's stamp,
interpolated by a cubic spline at the traced position of each of ``oversample``² rays per pixel;
the optical point spread function is convolved on that fine grid, which reaches beyond the frame by
the radius of the PSF; then the pixels integrate. The PSF handed to the fit is what a measurement
would give: the optical one integrated over native pixels (``psf_kind = "effective"``).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..datasets.haloes.scaled import PlacedHalo
from ..datasets.halos import Lens
from ..datasets.psfs.kinds import block_mean
from ..datasets.systems import AnyGalaxy, Placement, SersicLight, System
from ..grid import PixelGrid
from .deflection import deflection, pixel_coordinates

Map = NDArray[np.float64]


@dataclass(frozen=True)
class TrueSource:
    """Creates a galaxy in the source plane.

    Arguments:
        galaxy: Its stamp.
        placement: Where it stands, and how it is turned and scaled.
        scale: Surface brightness of its peak [data unit per image pixel].
        second: Another one, which is added to it, if there is any.
    """

    galaxy: AnyGalaxy
    placement: Placement
    scale: float = 1.0
    second: "TrueSource | None" = None

    @classmethod
    def of(cls, system: System, scale: float = 1.0) -> "TrueSource":
        """Creates the source of a system, ``scale`` times as bright as its galaxies' stamps."""
        other = system.companion
        second = other and cls(other.galaxy, other.placement, other.brightness * scale)
        return cls(system.galaxy, system.placement, scale, second)

    @property
    def stamp_scale(self) -> float:
        """Side of a stamp pixel in the source plane [arcsec]."""
        return (
            self.placement.half_light_radius
            / self.galaxy.half_light_radius
            * self.galaxy.pixel_scale
        )

    @property
    def flux(self) -> float:
        """Total flux [data unit per image pixel x arcsec^2]."""
        rest = 0.0 if self.second is None else self.second.flux
        return rest + float(self.galaxy.image.sum() * self.stamp_scale**2 * self.scale)

    def brightness(self, x: Map, y: Map) -> Map:
        """Computes the surface brightness at points of the source plane [arcsec]."""
        from scipy import ndimage

        place, image = self.placement, self.galaxy.image
        dx, dy = x - place.center_x, y - place.center_y
        u = (np.cos(place.angle) * dx + np.sin(place.angle) * dy) / self.stamp_scale
        v = (np.cos(place.angle) * dy - np.sin(place.angle) * dx) / self.stamp_scale
        u = -u if place.flip else u
        index = [v + (image.shape[0] - 1) / 2, u + (image.shape[1] - 1) / 2]
        rest = 0.0 if self.second is None else self.second.brightness(x, y)
        return rest + self.scale * ndimage.map_coordinates(
            image, index, order=3, mode="constant", cval=0.0
        )

    def on_grid(self, grid: PixelGrid) -> Map:
        """Computes the mean surface brightness of each pixel of a grid in the source plane."""
        k = int(np.clip(np.ceil(2 * grid.spacing / self.stamp_scale), 4, 24))
        return block_mean(self.brightness(*pixel_coordinates(grid, k)), k)


def sersic(light: SersicLight, grid: PixelGrid, oversample: int) -> Map:
    """Computes the lens light on the fine pixels of a grid, 1 at the effective radius.

    The fine pixels about the cuspy centre are averages over 9 x 9 points.
    """
    from scipy.special import gammaincinv

    b = gammaincinv(2 * light.n_sersic, 0.5)

    def profile(x: Map, y: Map) -> Map:
        dx, dy = x - light.center_x, y - light.center_y
        major = dx * np.cos(light.phi) + dy * np.sin(light.phi)
        minor = dy * np.cos(light.phi) - dx * np.sin(light.phi)
        r = np.sqrt(light.q * major**2 + minor**2 / light.q) / light.R_sersic
        return np.exp(-b * (r ** (1 / light.n_sersic) - 1))

    x, y = pixel_coordinates(grid, oversample)
    image, step = profile(x, y), grid.spacing / oversample
    near = np.hypot(x - light.center_x, y - light.center_y) < 5 * step
    offset = ((np.arange(9) + 0.5) / 9 - 0.5) * step
    dx, dy = np.meshgrid(offset, offset)
    points = profile(x[near][:, None] + dx.ravel(), y[near][:, None] + dy.ravel())
    image[near] = points.mean(1)
    return image


@dataclass(frozen=True)
class Canvas:
    """Creates the fine pixels on which a frame is rendered.

    Arguments:
        grid: The frame.
        psf: Optical PSF on fine pixels, from :func:`fine_psf`.
        oversample: Fine pixels along a native pixel.
    """

    grid: PixelGrid
    psf: Map
    oversample: int

    @property
    def margin(self) -> int:
        """Native pixels that are rendered around the frame."""
        return (self.psf.shape[0] // self.oversample) // 2 + 1

    @property
    def padded(self) -> PixelGrid:
        """The frame with its margin."""
        h, w = (n + 2 * self.margin for n in self.grid.shape)
        return PixelGrid((h, w), self.grid.spacing, self.grid.center)

    def expose(self, image: Map) -> Map:
        """Convolves a fine image of the padded frame, and integrates over native pixels."""
        from scipy.signal import fftconvolve

        blurred = block_mean(fftconvolve(image, self.psf, mode="same"), self.oversample)
        return blurred[self.margin : -self.margin, self.margin : -self.margin]

    def arcs(self, lens: Lens | PlacedHalo, source: TrueSource) -> Map:
        """Renders the lensed source on the fine pixels of the padded frame, without the PSF."""
        x, y = pixel_coordinates(self.padded, self.oversample)
        alpha_x, alpha_y = deflection(lens, x, y)
        return source.brightness(x - alpha_x, y - alpha_y)
