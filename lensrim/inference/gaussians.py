r"""Concentric elliptical Gaussians on the pixels of a frame, and how they change with their shape.

The shape is :math:`\eta = (x_0, y_0, e_1^{in}, e_2^{in}, e_1^{out}, e_2^{out})`, the centre
[arcsec] and the ellipticities of the innermost and of the outermost Gaussian, between which they
run linearly. The covariance of Gaussian :math:`j` is

.. math:: \Sigma_j = \sigma_j^2 \begin{pmatrix} C & -B \\ -B & A \end{pmatrix} , \qquad
          A, C = \frac{|1 \mp \epsilon|^2}{1 - |\epsilon|^2} \, , \quad
          B = - \frac{2 \epsilon_2}{1 - |\epsilon|^2} \, ,

and its peak 1. Those wider than ``WIDE`` pixels are drawn with one ray per pixel: the average over
the :math:`k^2` rays of a pixel, of variance :math:`s^2` along each axis, adds :math:`s^2` to the
covariance and conserves the flux,

.. math:: \bar g_j = \sqrt{\frac{\det \Sigma_j}{\det(\Sigma_j + s^2)}} \;
          e^{- \frac12 (u, v) (\Sigma_j + s^2)^{-1} (u, v)^T} \, ,

to :math:`10^{-3} / \sigma^4` of the peak, with :math:`\sigma` the width along the minor axis
[pixel], and in a margin about the frame, too, from which the PSF brings in light: without it a
fifth is missing at the frame's border, which the fit makes up for elsewhere. What comes from
beyond the margin is taken to be as bright as within: the convolution is divided by that of ones.
The others are drawn with all rays, only where they are not zero, and convolved ray by ray
(:mod:`lensrim.lensing.ray_psf`) in a box that holds what the PSF makes of them: averages over a
pixel do not tell where in it a cusp is, which in bright galaxies is an error of several times the
noise.

All their derivatives are :math:`\partial g_j / \partial \eta_s = g_j \sum_k D_{jsk} b_k` with
:math:`b = (u, v, 1, u^2, u v, v^2)` of the distance :math:`(u, v)` from the centre and few numbers
:math:`D`. A fit needs of them only the sum over the Gaussians with given amplitudes, and the
products with a given image, each of which is a convolution or less, or one for each ray.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..grid import PixelGrid
from ..lensing.psf import PSF
from ..lensing.ray_psf import RayPSF
from .ascent import ray_coordinates
from .frame import Array

WIDE = 2.0
"""Width [pixel] from which one ray per pixel is enough."""

REACH = 5.7
"""Distance in standard deviations beyond which a Gaussian is zero to single precision."""

HELD = (0.5, 2.0)
"""Range in which the convolution of ones is, at least about: no gain exceeds its inverse."""

STEP = 4
"""Pixels by which boxes differ, that there are few of them."""

RayBlur = Callable[[int | None], RayPSF]
"""Makes the convolution of each ray: of the frame for ``None``, or of a square of so many pixels a
side that is dark nearer to its edges than the PSF reaches."""


@dataclass(frozen=True)
class Box:
    """Holds how a square about a pixel lies in the frame.

    Arguments:
        side: Pixels along each side.
        row, column: Its first pixel, in the frame, which it may exceed.
        shape: Rows and columns of the frame.
    """

    side: int
    row: int
    column: int
    shape: tuple[int, int]

    def put(self, pixels: Tensor) -> Tensor:
        """Returns the places in the box of pixels, given by their places in the frame."""
        width = self.shape[1]
        return (pixels // width - self.row) * self.side + pixels % width - self.column

    def cut(self, frame: Tensor) -> Tensor:
        """Cuts the box out of maps of the frame (..., N), zero where it exceeds this."""
        here, there = self._overlap()
        box = frame.new_zeros(*frame.shape[:-1], self.side, self.side)
        box[..., *here] = frame.unflatten(-1, self.shape)[..., *there]
        return box.flatten(-2)

    def paste(self, box: Tensor) -> Tensor:
        """Returns maps of the frame (..., N) that are zero but in the box."""
        here, there = self._overlap()
        frame = box.new_zeros(*box.shape[:-1], *self.shape)
        frame[..., *there] = box.unflatten(-1, (self.side, self.side))[..., *here]
        return frame.flatten(-2)

    def _overlap(self) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Rows and columns that are in both, of the box and of the frame."""
        here, there = [], []
        for first, count in zip((self.row, self.column), self.shape, strict=True):
            begin, end = max(first, 0), min(first + self.side, count)
            here.append(slice(begin - first, end - first))
            there.append(slice(begin, end))
        return (here[0], here[1]), (there[0], there[1])


@dataclass(frozen=True)
class Layer:
    """Holds Gaussians that are drawn on the same rays.

    Arguments:
        maps: Gaussians, with shape (Q, R, M).
        basis: The functions :math:`b`, with shape (6, R, M).
        slopes: The numbers :math:`D`, with shape (Q, 6, 6).
        place: The M pixels among the N of the frame, or of the box.
        blur: The convolution of each of the R rays, or of averages where R is 1.
        box: What of the frame is convolved; all of it if ``None``.
        gain: What the convolved Gaussians are multiplied by, with shape (N); nothing if ``None``.
    """

    maps: Tensor
    basis: Tensor
    slopes: Tensor
    place: Tensor | slice
    blur: PSF | RayPSF
    box: Box | None = None
    gain: Tensor | None = None

    def images(self) -> Tensor:
        """Returns the convolved Gaussians, with shape (Q, N)."""
        return self._seen(self.maps)

    def tangent(self, amplitudes: Tensor) -> Tensor:
        """Returns the derivatives of the image with amplitudes (Q), with shape (6, N)."""
        weights = (amplitudes[:, None, None] * self.slopes).movedim(0, -1)
        change = []
        for some in (slice(0, 2), slice(2, 6)):  # of the centre, and of the ellipticities
            w = weights[some, some]
            sums = (w.flatten(0, 1) @ self.maps.flatten(1)).unflatten(0, w.shape[:2])
            change.append((sums.unflatten(2, self.maps.shape[1:]) * self.basis[some]).sum(1))
        return self._seen(torch.cat(change))

    def pull(self, image: Tensor) -> Tensor:
        """Returns the products of an image (N) with all derivatives, with shape (Q, 6)."""
        image = image if self.gain is None else image * self.gain
        part = image if self.box is None else self.box.cut(image)
        pixels = part.to(self.blur.transfer).reshape(1, 1, *self.blur.shape)
        adjoint = self.blur.scatter if isinstance(self.blur, RayPSF) else self.blur.adjoint
        spread = adjoint(pixels)[0].flatten(1).to(image)
        moments = self.maps.flatten(1) @ (self.basis * spread[:, self.place]).flatten(1).T
        return torch.einsum("qsk,qk->qs", self.slopes, moments)

    def _seen(self, values: Tensor) -> Tensor:
        """Convolves values at the rays (m, R, M), and returns (m, N)."""
        (h, w), blur = self.blur.shape, self.blur
        rays = values.new_zeros(*values.shape[:2], h * w, dtype=blur.dtype)
        rays[..., self.place] = values.to(rays)
        rays = rays.unflatten(-1, (h, w))
        seen = blur.gather(rays) if isinstance(blur, RayPSF) else blur(rays)
        seen = seen.flatten(1).to(values)
        seen = seen if self.box is None else self.box.paste(seen)
        return seen if self.gain is None else seen * self.gain


@dataclass(frozen=True)
class Drawn:
    """Holds the Gaussians of one shape.

    Arguments:
        layers: Gaussians from the narrowest to the widest.
    """

    layers: tuple[Layer, ...]

    def images(self) -> Tensor:
        """Returns the convolved Gaussians, with shape (Q, N)."""
        return torch.cat([layer.images() for layer in self.layers])

    def tangent(self, amplitudes: Tensor) -> Tensor:
        """Returns the derivatives of the image with amplitudes (Q), with shape (6, N)."""
        parts = amplitudes.split([len(layer.maps) for layer in self.layers])
        pairs = zip(self.layers, parts, strict=True)
        return torch.stack([layer.tangent(a) for layer, a in pairs]).sum(0)

    def pull(self, image: Tensor) -> Tensor:
        """Returns the products of an image (N) with all derivatives, with shape (Q, 6)."""
        return torch.cat([layer.pull(image) for layer in self.layers])


class Gaussians:
    r"""Creates the Gaussians of a frame.

    Arguments:
        grid: The frame's pixels, N in number.
        sigmas: Widths :math:`\sigma_j` on the intermediate axis, ascending [arcsec], (Q).
        blur: Makes the convolution of averages over rays, in a square of so many pixels a side.
        ray_blur: Makes that of each ray.
        reach: Pixels to which the PSF of a ray reaches, at most.
        margin: Pixels about the frame on which wide Gaussians are drawn, too.
    """

    def __init__(
        self,
        grid: PixelGrid,
        sigmas: Array,
        blur: Callable[[int], PSF],
        ray_blur: RayBlur,
        *,
        reach: int,
        margin: int,
    ):
        self.grid, self.sigmas, self.reach = grid, sigmas, reach
        (h, w), side = grid.shape, max(grid.shape) + 2 * margin
        self.around = Box(side, (h - side) // 2, (w - side) // 2, (h, w))
        self.blur, self.ray_blur = blur(side), cache(ray_blur)
        self.rays, self.pixels = _rays(grid, self.blur.subsample), _rays(grid, 1)
        x = grid.center[0] + grid.spacing * (self.around.column + (side - w) / 2)
        y = grid.center[1] + grid.spacing * (self.around.row + (side - h) / 2)
        self.wide = _rays(PixelGrid((side, side), grid.spacing, (x, y)), 1)
        ones = torch.ones(1, 1, side, side, dtype=self.blur.dtype)
        # a PSF whose negative wings are cut off may hold more than all of its light
        self.gain = 1 / self.around.paste(self.blur(ones).flatten().double()).clamp(*HELD)
        self.narrow = int(np.searchsorted(sigmas, WIDE * grid.spacing))
        variance = float((self.rays[0] - self.pixels[0]).square().mean())
        self.variance = np.where(np.arange(len(sigmas)) < self.narrow, 0.0, variance)

    def draw(self, shape: Array) -> Drawn:
        """Draws the Gaussians of a shape."""
        forms, slopes = quadratic_forms(self.sigmas, shape, self.variance)
        n, layers = self.narrow, []
        if n:
            flattest = np.hypot(shape[2::2], shape[3::2]).max()
            longest = self.sigmas[n - 1] * np.sqrt((1 + flattest) / (1 - flattest))
            far = REACH * longest + self.grid.spacing
            u, v = self.pixels[0, 0] - shape[0], self.pixels[1, 0] - shape[1]
            near = (u * u + v * v < far**2).nonzero()[:, 0]
            rays, box = self.rays[:, :, near], self._box(shape, far)
            blur = self.ray_blur(None if box is None else box.side)
            place = near if box is None else box.put(near)
            layers.append(_layer(rays, shape, forms[:n], slopes[:n], place, blur, box))
        if n < len(self.sigmas):
            every, box = slice(None), self.around
            wide = _layer(self.wide, shape, forms[n:], slopes[n:], every, self.blur, box)
            layers.append(replace(wide, gain=self.gain))
        return Drawn(tuple(layers))

    def _box(self, shape: Array, far: float) -> Box | None:
        """Finds the box of what is drawn no farther than that from the centre [arcsec]; ``None``
        if it is no smaller than the frame with what surrounds it in a convolution."""
        radius = STEP * math.ceil((far / self.grid.spacing + 0.5) / STEP)
        half, (h, w) = radius + self.reach, self.grid.shape
        if (2 * half + 1) ** 2 >= (h + self.reach) * (w + self.reach):
            return None
        column, row = (round(float(c)) for c in self.grid.to_index(shape[0], shape[1]))
        return Box(2 * half + 1, row - half, column - half, (h, w))


def quadratic_forms(sigmas: Array, shape: Array, variance: Array) -> tuple[Tensor, Tensor]:
    r"""Computes the logarithms of Gaussians, :math:`f_0 + f_1 u^2 + f_2 u v + f_3 v^2`.

    Arguments:
        sigmas: Widths on the intermediate axis [arcsec], with shape (Q).
        shape: The shape, with shape (6).
        variance: What is added to the covariance along each axis [arcsec²], with shape (Q).

    Returns:
        The numbers :math:`f`, with shape (Q, 4), and the slopes :math:`D`, with shape (Q, 6, 6).
    """
    t = np.linspace(0, 1, len(sigmas))
    e1, e2 = (1 - t) * shape[2] + t * shape[4], (1 - t) * shape[3] + t * shape[5]
    left, s2, zero = 1 - e1**2 - e2**2, sigmas**2, np.zeros_like(t)
    form = np.stack([(1 - e1) ** 2 + e2**2, -2 * e2, (1 + e1) ** 2 + e2**2]) / left
    # by e1 and e2: the change of the numerator, and that of what it is divided by
    first = 2 / left * (np.stack([e1 - 1, zero, 1 + e1]) + e1 * form)
    second = 2 / left * (np.stack([e2, zero - 1, e2]) + e2 * form)
    a, b, c = s2 * form + variance * np.array([1.0, 0.0, 1.0])[:, None]
    det = a * c - b * b
    log = np.stack([0.5 * np.log(s2**2 / det), -0.5 * a / det, -b / det, -0.5 * c / det])
    slopes = np.zeros((6, 6, len(t)))
    slopes[0, :2], slopes[1, :2] = (-2 * log[1], -log[2]), (-log[2], -2 * log[3])
    for i, (d_a, d_b, d_c) in enumerate((s2 * first, s2 * second)):
        growth = (d_a * c + a * d_c - 2 * b * d_b) / det
        change = np.stack([-0.5 * growth, -0.5 * d_a / det, -d_b / det, -0.5 * d_c / det])
        change[1:] -= growth * log[1:]
        slopes[2 + i, 2:], slopes[4 + i, 2:] = (1 - t) * change, t * change
    return torch.from_numpy(log.T.copy()), torch.from_numpy(slopes.transpose(2, 0, 1).copy())


def _layer(
    rays: Tensor,
    shape: Array,
    forms: Tensor,
    slopes: Tensor,
    place: Tensor | slice,
    blur: PSF | RayPSF,
    box: Box | None = None,
) -> Layer:
    """Draws Gaussians on rays (2, R, M)."""
    u, v = rays[0] - shape[0], rays[1] - shape[1]
    basis = torch.stack([u, v, torch.ones_like(u), u * u, u * v, v * v])
    maps = (forms @ basis[2:].flatten(1)).exp_().unflatten(1, u.shape)
    return Layer(maps, basis, slopes, place, blur, box)


def _rays(grid: PixelGrid, k: int) -> Tensor:
    """Returns x and y of the rays, those of a pixel together, with shape (2, k², N)."""
    return torch.stack(ray_coordinates(grid, k))
