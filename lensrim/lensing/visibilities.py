r"""Visibilities: what an interferometer measures of an image.

.. math:: V(u, v) = \int A(x, y) \, I(x, y) \, e^{-2 \pi i (u x + v y)} \, dx \, dy \, ,

with the primary beam :math:`A`, coordinates in radians from the phase centre, and baselines
:math:`u, v` in wavelengths. ``x`` grows with the column, ``y`` with the row, as everywhere: where
East is to the left, as in most images, :math:`u` is turned (:math:`-u`), and data with the other
sign of the exponent are conjugated first. There is no w term: fields are small.

**Units.** An image holds flux per pixel [Jy, if the visibilities are], as images do everywhere
here, so no factor of area appears: a point source of flux :math:`S` has :math:`|V| = S`. Maps in
flux per square arcsec are multiplied by ``grid.spacing ** 2``, those in flux per beam by pixel
area over beam area.

**Pixels.** An interferometer has none. Where the image is an average over :math:`k \times k` rays
per pixel, this response of the pixel, :math:`\hat D_k(f) = \sin \pi f / (k \sin (\pi f / k))` per
axis with :math:`f = u h` cycles per pixel, is divided out: it is 0.92 at half the highest
frequency (:math:`k = 2`). The result is exact for a sky without structure finer than two pixels.
"""

import math

import torch
from torch import Tensor, nn

from ..grid import PixelGrid
from .nufft import Nufft, Transform

ARCSEC = math.pi / 180 / 3600
"""One second of arc [radian]."""


class Interferometer(nn.Module):
    r"""Creates the operator from images to visibilities, linear, with its adjoint.

    Arguments:
        grid: Grid of the images; its coordinates are offsets from the phase centre.
        uv: Baselines :math:`u, v` [wavelengths], each once, with shape :math:`(N, 2)`, or
            :math:`(B, N, 2)` for other ones in each sample; where these differ in number, fill up
            with zeros and mask them.
        beam: Primary beam :math:`A`, with shape :math:`(H, W)`, or :math:`(B, 1, H, W)` for one
            per sample; 1 if ``None``.
        subsample: Number :math:`k` of rays along each side of a pixel of which an image is the
            average, as in :class:`~lensrim.lensing.simulator.Simulator`; 1 for values at the
            centres of the pixels.
        transform: How it is computed. :class:`~lensrim.lensing.nufft.Nufft` needs the extra
            ``vis``, :class:`~lensrim.lensing.nufft.Direct`, fast enough for a thousand
            visibilities, needs nothing.
        dtype: Type of the images; that of the visibilities is the complex one.
        device: Device of both; that of ``uv`` by default.

    Raises:
        ValueError: If a shape is wrong, a value is not finite, or a baseline is too long for the
            pixels: :math:`|u| h > 1/2` for one of its components.
    """

    points: Tensor
    factor: Tensor
    beam: Tensor

    def __init__(
        self,
        grid: PixelGrid,
        uv: Tensor,
        *,
        beam: Tensor | None = None,
        subsample: int = 2,
        transform: Transform = Nufft(),
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ):
        super().__init__()
        uv = torch.as_tensor(uv, dtype=torch.float64, device=device)
        if uv.ndim not in (2, 3) or uv.shape[-1] != 2:
            raise ValueError(f"uv must have shape (N, 2) or (B, N, 2), got {tuple(uv.shape)}")
        h = grid.spacing * ARCSEC
        cycles = uv.reshape(-1, *uv.shape[-2:]) * h
        # Written so that a baseline that is not a number is refused, too.
        if not bool((cycles.abs() <= 0.5).all()):
            finest = 0.5 / (float(uv.abs().max()) * ARCSEC)
            raise ValueError(
                "uv must be finite and at most half a cycle per pixel along each axis, got "
                f"{float(cycles.abs().max()):.3g} with pixels of {grid.spacing} arcsec; take "
                f"pixels of {finest:.3g} arcsec or less, or leave these baselines out"
            )
        self.grid, self.transform, self.subsample = grid, transform, subsample
        response = (torch.sinc(cycles) / torch.sinc(cycles / subsample)).prod(-1)
        # The transform has its origin on a pixel, coordinates have theirs at the phase centre.
        x, y = grid.from_index(grid.shape[1] // 2, grid.shape[0] // 2)
        phase = -2 * math.pi / grid.spacing * (x * cycles[..., 0] + y * cycles[..., 1])
        factor = torch.stack([phase.cos(), phase.sin()], -1) / response.unsqueeze(-1)
        beam = uv.new_ones(grid.shape) if beam is None else beam
        if beam.ndim not in (2, 4) or beam.shape[-2:] != grid.shape:
            raise ValueError(
                f"beam must have the shape {grid.shape} of the grid, or (B, 1, H, W), got "
                f"{tuple(beam.shape)}; compute it at grid.coordinates()"
            )
        if not bool(torch.isfinite(beam).all()):
            raise ValueError("beam must be finite; set it to zero where it is not known")
        for name, value in (("points", 2 * math.pi * cycles), ("factor", factor), ("beam", beam)):
            self.register_buffer(name, value.to(uv.device, dtype), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        r"""Computes visibilities.

        Arguments:
            image: Images [flux per pixel], with shape :math:`(B, 1, H, W)`.

        Returns:
            Visibilities [flux], complex, with shape :math:`(B, N)`.

        Raises:
            ValueError: If the images have another shape than the grid.
        """
        if image.shape[-2:] != self.grid.shape:
            raise ValueError(
                f"images must have the shape {self.grid.shape} of the grid, "
                f"got {tuple(image.shape[-2:])}"
            )
        seen = (image * self.beam).squeeze(-3)
        # One sample with baselines of its own for each image, or one image for many.
        seen = seen.expand(max(len(seen), len(self.points)), -1, -1)
        return self.transform.forward(seen, self.points) * torch.view_as_complex(self.factor)

    def adjoint(self, visibilities: Tensor) -> Tensor:
        r"""Applies the adjoint, :math:`\mathrm{Re} \, \mathcal{V}^\dagger V`.

        It is that for real and imaginary parts as separate data: :math:`\sum_k \mathrm{Re} \,
        V_k^* \mathcal{V}(I)_k = \sum_p I_p \, (\mathrm{Re} \, \mathcal{V}^\dagger V)_p`.

        Arguments:
            visibilities: Complex values, with shape :math:`(B, N)`.

        Returns:
            Images, with shape :math:`(B, 1, H, W)`.
        """
        values = visibilities * torch.view_as_complex(self.factor).conj()
        image = self.transform.adjoint(values, self.points, self.grid.shape)
        return image.unsqueeze(-3) * self.beam

    def diagonal(self, weight: Tensor) -> Tensor:
        r"""Computes the diagonal of :math:`\mathrm{Re} \, \mathcal{V}^\dagger w \mathcal{V}`.

        Arguments:
            weight: Weights :math:`w` of the visibilities, with shape :math:`(B, N)`.

        Returns:
            :math:`A^2 \sum_k w_k / \hat D_k^2`, with shape :math:`(B, 1, H, W)`.
        """
        total = (weight * self.factor.square().sum(-1)).sum(-1)
        return total[:, None, None, None] * self.beam.square()


def gaussian_beam(
    grid: PixelGrid, fwhm: float, *, center: tuple[float, float] = (0.0, 0.0)
) -> Tensor:
    r"""Returns a Gaussian primary beam, :math:`A = \exp(-4 \ln 2 \, r^2 / \mathrm{FWHM}^2)`.

    Arguments:
        grid: Grid of the images.
        fwhm: Full width at half maximum of the power [arcsec]; :math:`1.13 \lambda / D` for the
            antennas of ALMA.
        center: Where the antennas point [arcsec].

    Returns:
        The beam, in double precision, with shape :math:`(H, W)`.
    """
    return torch.exp(-4 * math.log(2) * _radius(grid, center).square() / fwhm**2)


def airy_beam(
    grid: PixelGrid,
    diameter: float,
    *,
    blockage: float = 0.0,
    center: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    r"""Returns the primary beam of uniformly lit circular antennas,

    .. math:: A = \left(\frac{a(x) - \epsilon^2 a(\epsilon x)}{1 - \epsilon^2}\right)^2 , \qquad
              a(x) = \frac{2 J_1(x)}{x} , \qquad x = \pi D r / \lambda \, .

    Arguments:
        grid: Grid of the images.
        diameter: Diameter of the antennas in wavelengths, :math:`D / \lambda`.
        blockage: Diameter of the blocked middle relative to it, :math:`\epsilon`.
        center: Where the antennas point [arcsec].

    Returns:
        The beam, in double precision, with shape :math:`(H, W)`.

    Raises:
        ValueError: If the blockage is not from 0 to below 1.
    """
    if not 0 <= blockage < 1:
        raise ValueError(f"blockage must be a part of the diameter, 0 to below 1, got {blockage}")
    x = math.pi * diameter * ARCSEC * _radius(grid, center)
    voltage = _jinc(x) - blockage**2 * _jinc(blockage * x)
    return (voltage / (1 - blockage**2)).square()


def _radius(grid: PixelGrid, center: tuple[float, float]) -> Tensor:
    x, y = grid.coordinates(dtype=torch.float64)
    return torch.hypot(x - center[0], y - center[1])


def _jinc(x: Tensor) -> Tensor:
    safe = torch.where(x > 0, x, 1.0)
    return torch.where(x > 0, 2 * torch.special.bessel_j1(safe) / safe, 1.0)
