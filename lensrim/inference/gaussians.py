r"""Concentric elliptical Gaussians on the pixels of a frame, and how they change with their shape.

The shape is :math:`\eta = (x_0, y_0, e_1^{in}, e_2^{in}, e_1^{out}, e_2^{out})`, centre [arcsec]
and ellipticities of the innermost and of the outermost Gaussian, between which they run linearly.
Gaussian :math:`j` is the quadratic form

.. math:: g_j = \exp\left(- \frac{A_j u^2 + B_j u v + C_j v^2}{2 \sigma_j^2}\right) , \qquad
          A, C = \frac{|1 \mp \epsilon|^2}{1 - |\epsilon|^2} \, , \quad
          B = - \frac{4 \epsilon_2}{1 - |\epsilon|^2} \, ,

of the distance :math:`(u, v)` from the centre, so that

.. math:: \frac{\partial g_j}{\partial \eta_s} = g_j \sum_k D_{jsk} \, b_k \, , \qquad
          b = (u, v, u^2, u v, v^2) \, ,

with few numbers :math:`D`. A fit needs of these derivatives only the sum over the Gaussians for
given amplitudes and the products with a given image, each of which is a convolution or less.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..lensing.psf import PSF

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Drawn:
    """Holds the Gaussians of one shape.

    Arguments:
        maps: Gaussians with amplitude 1 at the rays, with shape (Q, k², N), N = H·W.
        basis: The functions :math:`b` at the rays, with shape (5, k², N).
        slopes: The numbers :math:`D`, with shape (Q, 6, 5).
        blur: The convolution of averages over the rays.
    """

    maps: Tensor
    basis: Tensor
    slopes: Tensor
    blur: PSF

    def images(self) -> Tensor:
        """Returns the convolved Gaussians, with shape (Q, N)."""
        return self._seen(self.maps)

    def tangent(self, amplitudes: Tensor) -> Tensor:
        """Returns the derivatives of the image with amplitudes (Q), with shape (6, N)."""
        weights = (amplitudes[:, None, None] * self.slopes).movedim(0, -1)  # (6, 5, Q)
        maps = self.maps.flatten(1)
        change = []
        for some, k in ((slice(0, 2), slice(0, 2)), (slice(2, 6), slice(2, 5))):
            w = weights[some, k]
            sums = (w.flatten(0, 1) @ maps).reshape(*w.shape[:2], *self.maps.shape[1:])
            change.append((sums * self.basis[k]).sum(1))
        return self._seen(torch.cat(change))

    def pull(self, image: Tensor) -> Tensor:
        """Returns the products of an image (N) with every derivative, with shape (Q, 6)."""
        pixels = image.to(self.blur.transfer).reshape(1, 1, *self.blur.shape)
        spread = self.blur.adjoint(pixels).flatten().to(self.maps) / self.maps.shape[1]
        moments = self.maps.flatten(1) @ (self.basis * spread).flatten(1).T
        return torch.einsum("qsk,qk->qs", self.slopes, moments)

    def _seen(self, rays: Tensor) -> Tensor:
        pixels = rays.mean(1).to(self.blur.transfer).reshape(-1, 1, *self.blur.shape)
        return self.blur(pixels).flatten(1).to(self.maps)


class Gaussians:
    r"""Creates the Gaussians of a frame.

    Arguments:
        sigmas: Widths :math:`\sigma_j` on the intermediate axis [arcsec], with shape (Q).
        x, y: Rays [arcsec], those of a pixel together, each with shape (k², N).
        blur: The convolution of averages over the rays, with single precision.
    """

    def __init__(self, sigmas: Array, x: Tensor, y: Tensor, blur: PSF):
        self.x, self.y, self.blur = x, y, blur
        self.precision = -0.5 / torch.from_numpy(sigmas).to(x) ** 2
        self.place = torch.linspace(0, 1, len(sigmas), dtype=x.dtype)

    def draw(self, shape: Array) -> Drawn:
        """Draws the Gaussians of a shape."""
        u, v = self.x - shape[0], self.y - shape[1]
        basis = torch.stack([u, v, u * u, u * v, v * v])
        t, factor = self.place, self.precision[:, None]
        e1, e2 = ((1 - t) * shape[i] + t * shape[i + 2] for i in (2, 3))
        zero, left = torch.zeros_like(t), 1 - e1**2 - e2**2
        form = torch.stack([(1 - e1) ** 2 + e2**2, -4 * e2, (1 + e1) ** 2 + e2**2], -1)
        form = form / left[:, None]
        ratio = 2 / left[:, None]
        # d(form) / d(e1) and d(e2): the numerator's change, and that of what it is divided by
        first = ratio * (torch.stack([e1 - 1, zero, 1 + e1], -1) + e1[:, None] * form)
        second = ratio * (torch.stack([e2, zero - 2, e2], -1) + e2[:, None] * form)
        a, b, c = (factor * form).unbind(-1)
        slopes = form.new_zeros(len(t), 6, 5)
        slopes[:, 0, :2] = -torch.stack([2 * a, b], -1)
        slopes[:, 1, :2] = -torch.stack([b, 2 * c], -1)
        for s, (share, change) in enumerate(
            (share, change) for share in (1 - t, t) for change in (first, second)
        ):
            slopes[:, 2 + s, 2:] = share[:, None] * factor * change
        exponent = (factor * form) @ basis[2:].flatten(1)
        return Drawn(exponent.exp_().reshape(-1, *u.shape), basis, slopes, self.blur)
