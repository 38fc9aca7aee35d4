"""What is fitted: an image with its noise, its mask and its PSF."""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..grid import PixelGrid
from ..lensing.psf import PSF, PSFKind
from ..lensing.ray_psf import RayPSF

Array = NDArray[np.float64]

T = TypeVar("T", PSF, RayPSF)


@dataclass(frozen=True)
class Frame:
    """Holds an image as it is fitted.

    Arguments:
        image, sigma: Data and noise, with shape (H, W).
        mask: True where a pixel is used, with shape (H, W).
        grid: Pixels of the frame.
        psf: PSF stamp on these pixels.
        psf_kind: Whether the stamp holds the response of the pixel.
        fwhm: Full width at half maximum of the PSF [arcsec].
    """

    image: Array
    sigma: Array
    mask: NDArray[np.bool_]
    grid: PixelGrid
    psf: Array
    psf_kind: PSFKind
    fwhm: float

    def distance(self, center: tuple[float, float]) -> Array:
        """Returns the distance of every pixel from a place [arcsec], with shape (H, W)."""
        x, y = (c.numpy() for c in self.grid.coordinates(dtype=torch.float64))
        return np.hypot(x - center[0], y - center[1])

    def operator(
        self, subsample: int, device: torch.device | None = None, *, box: int | None = None
    ) -> PSF:
        """Returns the convolution of averages over ``subsample²`` rays.

        Arguments:
            subsample: Rays along a side of a pixel.
            device: Where.
            box: Side of a square of pixels in the place of the frame.
        """
        return self._operator(PSF, subsample, device, None if box is None else (box, box))

    def ray_operator(
        self, subsample: int, device: torch.device | None = None, *, box: int | None = None
    ) -> RayPSF:
        """Returns the convolution of each of ``subsample²`` rays.

        Arguments:
            subsample: Rays along a side of a pixel.
            device: Where.
            box: Side of a square of pixels, dark nearer to its edges than the PSF reaches, in the
                place of the frame.
        """
        if box is None:
            return self._operator(RayPSF, subsample, device)
        return self._operator(RayPSF, subsample, device, (box, box), periodic=True)

    def _operator(
        self,
        kind: type[T],
        subsample: int,
        device: torch.device | None,
        shape: tuple[int, int] | None = None,
        **options: Any,
    ) -> T:
        return kind(
            torch.as_tensor(self.psf, dtype=torch.float64),
            shape or self.grid.shape,
            psf_kind=self.psf_kind,
            subsample=subsample,
            dtype=torch.float32,
            device=device,
            **options,
        )
