r"""Linear inversion: the source, the lens light and the sky that explain an image, given the
deflection.

The source is a Gaussian random field on a disc of diameter :math:`S` in the source plane,

.. math::
    s(\beta) = e(r) \sum_{mn} z_{mn} \sin \pi m (U + \tfrac12) \, \sin \pi n (V + \tfrac12) ,
    \qquad z_{mn} \sim \mathcal{N}\big(0, P(k_{mn})\big) , \qquad
    P(k) \propto \frac{A^2 \ell^2}{(1 + k^2 \ell^2)^{\nu + 1}} \, ,

with :math:`(u, v) = (\beta - c) / S`, :math:`r = |(u, v)|`, and :math:`k = \pi |(m, n)| / S`.
Galaxies are cuspy: they have more structure, and more light, toward their middle. The coordinate
is therefore stretched there, :math:`(U, V) = (u, v) R(r) / r` with
:math:`R = \mathrm{asinh}(r / \rho) / 2\, \mathrm{asinh}(1 / 2\rho)`, and the envelope
:math:`e = (1 + r^2/\rho^2)^{-3/4} (1 - 4 r^2)` fades outward, to zero on the border. Within the
core :math:`\rho` the field is a Matern field with standard deviation :math:`A` and correlation
length :math:`\ell` (of the stretched coordinate).

The image is linear in :math:`z` and in the amplitudes :math:`a` of further templates (lens light,
sky): :math:`d = \Phi z + T a + \eta`. Everything is in units of the noise, so with
:math:`C = [\Phi, T]`, prior precision :math:`\Lambda` and :math:`H = C^T C + \Lambda`, the
posterior mean is :math:`H^{-1} C^T d` and the log-evidence

.. math::
    \log p(d) = - \tfrac12 \left(d^T d - d^T C H^{-1} C^T d\right) - \tfrac12 \log \det H
                + \tfrac12 \log \det \Lambda + \mathrm{const} \, .

It is exact: modes are few (hundreds), and the data constrain none beyond them, so that the answer
does not depend on how many are kept once there are enough. The random field is the same wherever
the disc is centred, so evidences of different lens models can be compared.

References:
    Suyu+ 2006, MNRAS 371, 983; Vegetti & Koopmans 2009, MNRAS 392, 945.
"""

import math
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ..grid import PixelGrid
from ..lensing.ray_psf import RayPSF

FADE = 0.75
"""Exponent of the envelope: far out the prior's standard deviation falls as r^-1.5."""

TINY = 1e-12
"""Softening of the squared radius of the warp, in units of the disc."""

MODES, TUNED = 22, 18
"""Highest orders of the source modes: of an answer, and where the source prior of a machine's
start, or of an answer, climbs."""

NU = 1.0
"""Smoothness of the source prior: spectral index 2 (nu + 1) = 4."""


@dataclass(frozen=True)
class SourceModes:
    """Creates the modes of the source.

    Arguments:
        count: Highest order along an axis; orders with :math:`m^2 + n^2 \\leq` ``count²`` are
            kept.
    """

    count: int
    m: Tensor = field(init=False, repr=False)
    n: Tensor = field(init=False, repr=False)

    def __post_init__(self):
        order = torch.arange(1, self.count + 1)
        m, n = torch.meshgrid(order, order, indexing="ij")
        keep = m**2 + n**2 <= self.count**2 + 1
        object.__setattr__(self, "m", m[keep])
        object.__setattr__(self, "n", n[keep])

    def __len__(self) -> int:
        return len(self.m)

    @property
    def row_lengths(self) -> list[int]:
        """Number of orders n, from 1, that belong to each order m; the modes are in that order."""
        return torch.bincount(self.m, minlength=self.count + 1)[1:].tolist()

    def power(self, hyper: Tensor) -> Tensor:
        r"""Returns the prior variance of the coefficient of every mode, with shape :math:`(*, K)`.

        The modes are used without their factor :math:`2/S`, which is put into the variance
        instead.

        Arguments:
            hyper: :math:`\log A`, :math:`\log \ell / S`, :math:`\log S` and :math:`\log \rho`,
                with shape :math:`(*, 4)`.
        """
        order = math.pi * torch.sqrt((self.m**2 + self.n**2).to(hyper))
        amplitude, ratio = hyper[..., :2].exp()[..., None].unbind(-2)
        return (
            16 * math.pi * NU * (amplitude * ratio) ** 2 / (1 + (order * ratio) ** 2) ** (NU + 1)
        )

    def warp(self, position: Tensor, core: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""Returns the sines along both warped axes and the envelope.

        Arguments:
            position: Position from the centre in units of the side, with shape
                :math:`(B, S, R, 2)`.
            core: Core :math:`\rho` of the warp in units of the side, with shape :math:`(B)`.

        Returns:
            Two tensors with shape :math:`(B, M, S, R)`, and the envelope, zero outside the
            disc, with shape :math:`(B, S, R)`.
        """
        core = core[:, None, None]
        r2 = position.square().sum(-1)
        radius = (r2 + TINY).sqrt()
        stretch = torch.asinh(radius / core) / (2 * radius * torch.asinh(0.5 / core))
        order = math.pi * torch.arange(
            1, self.count + 1, dtype=position.dtype, device=position.device
        )
        warped = (position * stretch[..., None] + 0.5)[:, None]
        x, y = torch.sin(warped * order[:, None, None, None]).unbind(-1)
        envelope = (core**2 / (r2 + core**2)) ** FADE * (1 - 4 * r2).clamp(min=0)
        return x, y, envelope

    def draw(self, position: Tensor, core: Tensor) -> Tensor:
        """Evaluates every mode, averaged over the rays S, with shape (B, K, R)."""
        x, y, envelope = self.warp(position, core)
        x = x * (envelope / x.shape[2])[:, None]
        rows = [(x[:, m : m + 1] * y[:, :n]).sum(2) for m, n in enumerate(self.row_lengths)]
        return torch.cat(rows, dim=1)

    def draw_rays(self, position: Tensor, core: Tensor) -> Tensor:
        """Evaluates every mode at every ray, with shape (B, K, S, R)."""
        x, y, envelope = self.warp(position, core)
        x = x * envelope[:, None]
        rows = [x[:, m : m + 1] * y[:, :n] for m, n in enumerate(self.row_lengths)]
        return torch.cat(rows, dim=1)

    def on_pixels(self, grid: PixelGrid, scale: Tensor, core: Tensor) -> Tensor:
        """Draws every mode on the pixels of a grid about the centre, with shape (B, K, h, w).

        Arguments:
            grid: The pixels.
            scale: Length of the grid's unit in units of the disc, with shape (B).
            core: Core of the warp in units of the disc, with shape (B).
        """
        x, y = grid.coordinates(dtype=core.dtype, device=core.device)
        position = torch.stack(torch.broadcast_tensors(x, y), -1).reshape(1, 1, -1, 2)
        return self.draw(position * scale[:, None, None, None], core).unflatten(-1, grid.shape)

    def slope(self, position: Tensor, core: Tensor, z: Tensor) -> Tensor:
        """Returns the gradient of the source with coefficients z (B, K), shape (B, S, R, 2)."""
        with torch.enable_grad():
            position = position.detach().requires_grad_()
            x, y, envelope = self.warp(position, core)
            source = envelope * torch.einsum("bmsr,bmn,bnsr->bsr", x, self.square(z), y)
            return torch.autograd.grad(source.sum(), position)[0]

    def square(self, z: Tensor) -> Tensor:
        """Lays coefficients (K) out as a matrix (M, M), zero where none is kept."""
        out = z.new_zeros(*z.shape[:-1], self.count, self.count)
        out[..., self.m - 1, self.n - 1] = z
        return out


@runtime_checkable
class Optics(Protocol):
    """What lies between the light of each pixel and the data: a PSF, or baselines."""

    @property
    def dtype(self) -> torch.dtype:
        """Type in which they work."""
        ...

    def __call__(self, image: Tensor) -> Tensor:
        """Applies them to maps (B, C, H, W)."""
        ...


@dataclass(frozen=True)
class ImageData:
    """Holds an image in units of its noise, with what is linear in it besides the source.

    A batch of images, each for the deflection of the same index, has B before the other
    dimensions of ``data``, ``weight``, ``templates`` and the PSF.

    Arguments:
        data: Pixels divided by their noise, less the expected templates, with shape (N), N = H·W;
            0 where a pixel is ignored.
        weight: One over the noise, with shape (N); 0 where a pixel is ignored, which costs less
            than to leave it out.
        shape: Frame (H, W).
        subsample: Rays along each side of a pixel.
        psf: The convolution, or other optics, of averages over ``subsample²`` rays; or of each
            ray.
        templates: Convolved templates divided by the noise, with shape (N, Q), scaled so that
            their amplitudes have a standard normal prior about the expectation that was
            subtracted.
    """

    data: Tensor
    weight: Tensor
    shape: tuple[int, int]
    subsample: int
    psf: Optics | RayPSF
    templates: Tensor

    @property
    def precision(self) -> torch.dtype:
        """Type in which modes are drawn and convolved: that of the PSF."""
        return self.psf.dtype

    def blur(self, rays: Tensor) -> Tensor:
        """Convolves rays (B, C, k², H·W) and divides the pixels by the noise: (B, C, N)."""
        b, c, k2 = rays.shape[:3]
        rays = rays.to(self.precision)
        if isinstance(self.psf, RayPSF):
            lead = (b * c,) if self.data.ndim == 1 else (b, c)
            seen = self.psf.gather(rays.reshape(*lead, k2, *self.shape))
            return self.weighted(seen.reshape(b, c, -1))
        return self.blur_means(rays.mean(2))

    def blur_means(self, means: Tensor) -> Tensor:
        """As :meth:`blur`, of averages over the rays of a pixel (B, C, H·W)."""
        maps = means.to(self.precision).unflatten(-1, self.shape)
        b, c = maps.shape[:2]
        if self.data.ndim == 1:  # one PSF for all: faster as one long batch
            maps = maps.reshape(b * c, 1, *self.shape)
        return self.weighted(self.psf(maps).reshape(b, c, -1))

    def weighted(self, images: Tensor) -> Tensor:
        """Puts images (B, C, N) into units of the noise; the result is of double precision."""
        return (images * self.weight.to(images).unsqueeze(-2)).to(self.weight)


@dataclass(frozen=True)
class Design:
    """Holds the normal equations of a batch of deflections.

    Arguments:
        columns: :math:`C = [\\Phi, T]`, with shape (B, N, K + Q).
        gram: :math:`C^T C`, with shape (B, K + Q, K + Q).
        moment: :math:`C^T d`, with shape (B, K + Q).
        energy: :math:`d^T d`, a number or one per image.
    """

    columns: Tensor
    gram: Tensor
    moment: Tensor
    energy: Tensor


@dataclass(frozen=True)
class Solution:
    """Holds the posterior of the linear parameters for a batch of lens models.

    Arguments:
        mean: Posterior mean of [z, a], with shape (B, K + Q).
        log_evidence: Log-evidence without its constant, with shape (B).
        chi2: Sum of the squared normalised residuals, with shape (B).
        factor: Lower Cholesky factor of the scaled normal matrix, with shape (B, K + Q, K + Q).
        scale: Prior standard deviations, with shape (B, K + Q).
    """

    mean: Tensor
    log_evidence: Tensor
    chi2: Tensor
    factor: Tensor
    scale: Tensor

    @property
    def effective(self) -> Tensor:
        """Number of effective parameters, the trace of the hat matrix, with shape (B)."""
        inverse = torch.cholesky_inverse(self.factor)
        return self.scale.shape[-1] - inverse.diagonal(dim1=-2, dim2=-1).sum(-1)


def design(image: ImageData, modes: SourceModes, position: Tensor, core: Tensor) -> Design:
    """Builds the normal equations for rays that land at ``position``.

    Arguments:
        image: The image.
        modes: The source modes.
        position: Source-plane positions of the rays from the centre of the source disc in units
            of its side, with shape (B, k², H·W, 2).
        core: Core of the warp in units of the side, with shape (B).
    """
    # Single precision leaves 1e-7 of the brightest pixel in the columns; their products, which
    # square the condition number, are made in double.
    position, core = position.to(image.precision), core.to(image.precision)
    if isinstance(image.psf, RayPSF):
        columns = image.blur(modes.draw_rays(position, core))
    else:
        columns = image.blur_means(modes.draw(position, core))
    return assemble(image, columns)


def assemble(image: ImageData, columns: Tensor) -> Design:
    """Adds the templates to the columns of the source (B, K, N) and makes the normal equations."""
    templates = image.templates.transpose(-1, -2).expand(len(columns), -1, -1)
    rows = torch.cat([columns, templates], dim=1)
    moment = (rows @ image.data.unsqueeze(-1)).squeeze(-1)
    energy = image.data.square().sum(-1)
    return Design(rows.transpose(1, 2), rows @ rows.transpose(1, 2), moment, energy)


def solve(system: Design, modes: SourceModes, hyper: Tensor) -> Solution:
    """Solves the normal equations under the prior ``hyper``, with shape (B, 4)."""
    power = modes.power(hyper)
    extra = system.gram.shape[-1] - power.shape[-1]
    scale = torch.cat([power.sqrt(), power.new_ones(*power.shape[:-1], extra)], dim=-1)
    eye = torch.eye(scale.shape[-1], dtype=scale.dtype, device=scale.device)
    whitened = scale[..., :, None] * system.gram * scale[..., None, :]
    factor = torch.linalg.cholesky(whitened + eye)
    moment = scale * system.moment
    half = torch.linalg.solve_triangular(factor, moment[..., None], upper=False)
    white = torch.linalg.solve_triangular(factor.transpose(-1, -2), half, upper=True)[..., 0]
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    penalised = system.energy - half[..., 0].square().sum(-1)
    return Solution(
        mean=scale * white,
        log_evidence=-0.5 * (penalised + log_det),
        chi2=penalised - white.square().sum(-1),
        factor=factor,
        scale=scale,
    )
