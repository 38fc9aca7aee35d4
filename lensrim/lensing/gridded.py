r"""The likelihood of visibilities on the pixels of an image, exact, without visibilities.

Of Gaussian visibilities :math:`y = \mathcal{V} F + \eta` with weights :math:`w = 1 / \sigma^2` the
image :math:`F` meets no more than

.. math:: \chi^2(F) = E - 2 m^T F + F^T N F , \qquad
          m = \mathrm{Re} \, \mathcal{V}^\dagger w y , \quad
          N = \mathrm{Re} \, \mathcal{V}^\dagger w \mathcal{V} , \quad E = \sum_k w_k |y_k|^2 ,

the dirty image :math:`m`, weighted, and :math:`N`, which multiplies by the primary beam, convolves
with the dirty beam

.. math:: K(\Delta) = \sum_k \frac{w_k}{\hat D_k^2} \cos 2 \pi (u_k \Delta_x + v_k \Delta_y) ,

and multiplies by the primary beam again. On a grid of twice as many pixels a side the convolution
is exact by FFT, in a time that does not depend on the number of visibilities. Nothing is gridded
in the :math:`uv` plane. What is lost is the noise's normalisation, and every check of single
visibilities.

References:
    Fessler et al. 2005, IEEE TSP 53, 3393 (the Toeplitz matrix of nonuniform Fourier transforms).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .visibilities import Interferometer, check_samples, check_visibilities


@dataclass(frozen=True)
class Gridded:
    r"""Holds what visibilities say of images.

    Arguments:
        moment: Weighted dirty image :math:`m`, with shape :math:`(B, 1, H, W)`.
        transfer: Fourier transform of the dirty beam on the padded grid, real, with shape
            :math:`(B, 1, 2H, W + 1)`, or :math:`(1, \dots)` for one beam in every sample.
        beam: Primary beam :math:`A`, of a shape that broadcasts to that of the images.
        weight: Sum of the dirty beam's weights :math:`\sum_k w_k / \hat D_k^2= K(0)`, with shape
            :math:`(B)` or :math:`(1)`.
        energy: The energy :math:`E`, with shape :math:`(B)`.
    """

    moment: Tensor
    transfer: Tensor
    beam: Tensor
    weight: Tensor
    energy: Tensor

    @classmethod
    def of(cls, seen: Interferometer, weight: Tensor, visibilities: Tensor) -> "Gridded":
        r"""Takes visibilities in.

        Arguments:
            seen: The operator :math:`\mathcal{V}`.
            weight: Weights :math:`1 / \sigma^2`, of one part of a visibility, with shape
                :math:`(B, N)` or :math:`(1, N)`; zero where it holds no data.
            visibilities: Visibilities, with shape :math:`(B, N)`.

        Raises:
            ValueError: If a shape is wrong, the visibilities are not complex, or a weight is not a
                number of 0 or more.
        """
        count = seen.points.shape[-2]
        check_visibilities(visibilities, count)
        if weight.ndim != 2 or weight.shape[-1] != count:
            raise ValueError(
                f"weight must have shape (B, {count}) or (1, {count}), got {tuple(weight.shape)}"
            )
        if not bool((torch.isfinite(weight) & (weight >= 0)).all()):
            raise ValueError(f"weight must be finite and 0 or more, got {float(weight.min())}")
        check_samples("visibilities", len(visibilities), max(seen.samples, len(weight)))
        if len(weight) not in (1, len(visibilities)):
            raise ValueError(
                f"weight must be as many as the {len(visibilities)} samples, or one, got "
                f"{len(weight)}"
            )
        used = torch.where(weight > 0, visibilities, 0.0)
        diagonal = (weight * seen.factor.square().sum(-1)).expand(
            max(len(weight), len(seen.points)), -1
        )
        return cls(
            seen.adjoint(weight * used),
            transfer_of(seen, diagonal),
            seen.beam,
            diagonal.sum(-1),
            (weight * used.abs().square()).sum(-1),
        )

    def normal(self, image: Tensor) -> Tensor:
        """Computes :math:`N F`, with shape :math:`(B, 1, H, W)`."""
        h, w = image.shape[-2:]
        spectrum = torch.fft.rfft2(image * self.beam, s=(2 * h, 2 * w))
        seen = torch.fft.irfft2(spectrum * self.transfer, s=(2 * h, 2 * w))
        return seen[..., :h, :w] * self.beam

    def slope(self, image: Tensor) -> Tensor:
        r"""Computes the score :math:`\partial \log p / \partial F = m - N F`."""
        return self.moment - self.normal(image)

    def chi2(self, image: Tensor) -> Tensor:
        r"""Computes :math:`\chi^2`, with shape :math:`(B)`.

        It is the small difference of large numbers: in single precision it is known to about
        1e-6 of :math:`E`, so :math:`F^T N F` and :math:`m^T F` are added up in double precision.
        """
        rest = (image * (self.normal(image) - 2 * self.moment)).double()
        return (self.energy.double() + rest.flatten(1).sum(1)).to(self.energy.dtype)

    @property
    def precision(self) -> Tensor:
        r"""The diagonal of :math:`N`, with shape :math:`(B, 1, H, W)` or :math:`(1, \dots)`."""
        return self.weight[:, None, None, None] * self.beam.square()

    def kernel(self) -> Tensor:
        r"""Computes the dirty beam :math:`K`, at offsets from :math:`-H, -W` on, centre at
        ``[H, W]``, with shape :math:`(B, 1, 2H, 2W)`."""
        h = self.transfer.shape[-2]
        kernel = torch.fft.irfft2(self.transfer, s=(h, 2 * self.moment.shape[-1]))
        return torch.fft.fftshift(kernel, dim=(-2, -1))

    def matrix(self) -> Tensor:
        r"""Lays :math:`N` out, with shape :math:`(B, HW, HW)`: memory for small images only."""
        h, w = self.moment.shape[-2:]
        kernel = self.kernel().squeeze(-3)
        y, x = (torch.arange(n, device=kernel.device) for n in (h, w))
        rows = (y[:, None] - y + h)[:, None, :, None]
        columns = (x[:, None] - x + w)[None, :, None, :]
        matrix = kernel[:, rows, columns].flatten(3).flatten(1, 2)
        beam = self.beam.reshape(-1, h * w)
        return beam[:, :, None] * matrix * beam[:, None, :]


def transfer_of(seen: Interferometer, weight: Tensor) -> Tensor:
    r"""Transforms the dirty beam of weights (B, N), on twice as many pixels a side."""
    h, w = seen.grid.shape
    values = torch.complex(weight, torch.zeros_like(weight))
    kernel = seen.transform.adjoint(values, seen.points, (2 * h, 2 * w))
    # No two pixels of the image are as far apart as its first row and column.
    kernel[:, 0], kernel[:, :, 0] = 0.0, 0.0
    moved = torch.fft.ifftshift(kernel, dim=(-2, -1))
    return torch.fft.rfft2(moved).real.unsqueeze(-3)


def beam_covariance(cycles: Tensor, weight: Tensor) -> Tensor:
    r"""Fits a Gaussian to the middle of the dirty beam, by its curvature there.

    .. math:: S^{-1} = (2 \pi)^2 \frac{\sum_k w_k u_k u_k^T}{\sum_k w_k} .

    Arguments:
        cycles: Baselines :math:`u` [cycles per pixel], with shape :math:`(B, N, 2)`.
        weight: Weights, with shape :math:`(B, N)`.

    Returns:
        Its covariance :math:`S` [pixel²], with shape :math:`(B, 2, 2)`.
    """
    share = weight / weight.sum(-1, keepdim=True)
    moment = torch.einsum("bn,bni,bnj->bij", share, cycles, cycles)
    return torch.linalg.inv((2 * math.pi) ** 2 * moment)
