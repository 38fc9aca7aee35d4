r"""Point sources: images of no extent, seen through the PSF.

A point of flux :math:`f` at :math:`p` is :math:`f P(x_i - p)` in pixel :math:`i`. Between its
samples the PSF is the band-limited function through them, so that a shift by any fraction of a
pixel is a factor in Fourier space,

.. math:: \hat y = \hat P \sum_j f_j \, e^{-2 \pi i \, k \cdot p_j} \quad (\text{effective})
          \qquad \text{or} \qquad \hat P \, \mathrm{sinc}(\pi k) \sum_j \ldots \quad
          (\text{optical}) \, ,

with :math:`k` in cycles per pixel. The pixel response is in the result once, nothing is averaged
over rays, and the derivatives in the positions are exact. All points take one Fourier transform.
The pixels' sum is the flux that falls on them; for a finely sampled effective PSF only if that
holds the response of the pixel, as it says.

A PSF with structure finer than two of its own samples is not band-limited: between the samples it
rings, by as much as its transform holds at the Nyquist frequency (3 per cent for a Gaussian with a
FWHM of two pixels, 3e-4 for one of three). Give finer samples of such a PSF.
"""

import math
from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor, nn

from ...grid import PixelGrid
from ..fourier import odd_fast_length
from ..missing import replaced
from ..psf import PSFKind, normalize_psf


@dataclass(frozen=True)
class PointSource:
    r"""Creates the images of a point source, or of several.

    Arguments:
        x, y: Positions on the sky [arcsec], with shape :math:`(*, n)`; NaN where there is no
            point, whose flux then is not looked at.
        flux: Fluxes, the sum over all pixels [data units], with a shape that broadcasts to theirs.
            Lensed, an image has :math:`|\mu|` times the flux of the source.
    """

    x: Tensor
    y: Tensor
    flux: Tensor


class PointPSF(nn.Module):
    r"""Creates the operator from point sources to their image.

    Arguments:
        psf: PSF, with shape :math:`(h, w)`, or :math:`(B, h, w)` for one per sample; odd sides,
            centred. It is scaled to sum 1.
        grid: Grid of the image.
        psf_kind: ``effective`` if the PSF holds the pixel response, ``optical`` if not.
        psf_subsample: Number of samples of the PSF along each side of a pixel.
        dtype: Type of the images.
        device: Device of the images; that of the PSF by default.

    Raises:
        ValueError: If a side of the PSF is even, its sum is not positive, its kind is unknown, or
            ``psf_subsample`` is less than 1.
    """

    transfer: Tensor
    frequency_x: Tensor
    frequency_y: Tensor

    def __init__(
        self,
        psf: Tensor,
        grid: PixelGrid,
        *,
        psf_kind: PSFKind = "effective",
        psf_subsample: int = 1,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        if psf_kind not in get_args(PSFKind):
            raise ValueError(f"psf_kind must be one of {get_args(PSFKind)}, got {psf_kind!r}")
        if psf_subsample < 1:
            raise ValueError(f"psf_subsample must be at least 1, got {psf_subsample}")
        psf = normalize_psf(torch.as_tensor(psf, dtype=torch.float64, device=device))
        if psf.ndim not in (2, 3):
            raise ValueError(f"psf must have shape (h, w) or (B, h, w), got {tuple(psf.shape)}")
        p = psf_subsample
        self.grid, self.subsample = grid, p
        self.reach = tuple((side // 2) / p for side in psf.shape[-2:])
        self.size = tuple(
            odd_fast_length(n + 2 * math.ceil(r))
            for n, r in zip(grid.shape, self.reach, strict=True)
        )
        fine = [p * n for n in self.size]
        h, w = psf.shape[-2:]
        stamp = nn.functional.pad(psf, (0, fine[1] - w, 0, fine[0] - h))
        stamp = torch.roll(stamp, (-(h // 2), -(w // 2)), dims=(-2, -1))
        transfer = torch.fft.fft2(stamp)
        for axis, n in ((-2, fine[0]), (-1, fine[1])):
            f = torch.fft.fftfreq(n, d=1 / p, dtype=torch.float64, device=psf.device)
            name = "frequency_y" if axis == -2 else "frequency_x"
            self.register_buffer(name, f.to(dtype), persistent=False)
            if psf_kind == "optical":
                transfer = transfer * (torch.sinc(f)[:, None] if axis == -2 else torch.sinc(f))
        self.register_buffer("transfer", torch.view_as_real(transfer).to(dtype), persistent=False)

    def forward(self, points: PointSource) -> Tensor:
        r"""Computes the image, with shape :math:`(B, 1, H, W)`.

        Points are seen as far outside the image as the stamp reaches into it.

        Arguments:
            points: Positions and fluxes with shape :math:`(B, n)`, or :math:`(n)`.
        """
        missing, x, y = replaced(points.x, points.y)
        column, row = self.grid.to_index(x, y)
        flux = torch.where(missing, 0.0, points.flux)
        for index, n, reach in ((row, self.grid.shape[0], 0), (column, self.grid.shape[1], 1)):
            outside = (index - (n - 1) / 2).abs() - n / 2
            # Farther out, the periodic transform would let them in at the other side.
            flux = torch.where(outside < self.reach[reach], flux, 0.0)
        waves_y = _waves(row, self.frequency_y)
        waves_x = _waves(column, self.frequency_x) * flux.unsqueeze(-1)
        waves = waves_y.transpose(-2, -1) @ waves_x
        spectrum = waves.reshape(-1, *waves.shape[-2:]) * torch.view_as_complex(self.transfer)
        # To keep the samples at the pixel centres is to add up the frequencies they cannot tell.
        spectrum = spectrum.unflatten(-1, (self.subsample, -1)).sum(-2)
        spectrum = spectrum.unflatten(-2, (self.subsample, -1)).sum(-3)
        image = torch.fft.ifft2(spectrum).real
        return image[..., : self.grid.shape[0], : self.grid.shape[1]].unsqueeze(1)


def _waves(index: Tensor, frequency: Tensor) -> Tensor:
    phase = -2 * math.pi * index.unsqueeze(-1) * frequency
    return torch.complex(phase.cos(), phase.sin())
