r"""Linear inversion: the source, the lens light and the sky that explain an image, given the
deflection.

The source is a sum of modes with coefficients :math:`z` (:mod:`~.source_modes`).
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

from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn import functional as F

from ..lensing.ray_psf import RayPSF
from .source_modes import SourceModes

PART = 0.8
"""Share of the pixels from which on all are drawn and convolved, lit by the source or not."""


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

    def cropped(self, rows: slice, columns: slice) -> "ImageData":
        """Cuts an image that is no batch; the PSF stays that of all of it."""
        data, weight, templates = (
            values.unflatten(0, self.shape)[rows, columns]
            for values in (self.data, self.weight, self.templates)
        )
        return replace(
            self,
            data=data.flatten(),
            weight=weight.flatten(),
            shape=(data.shape[0], data.shape[1]),
            templates=templates.flatten(0, 1),
        )

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
    if not isinstance(image.psf, RayPSF):
        return assemble(image, image.blur_means(modes.draw(position, core)))
    alone = image.data.ndim == 1 and position.device.type == "cpu"  # a GPU would wait for the part
    part = lit_part(position.detach(), image.shape) if alone else None
    if part is None:
        return assemble(image, image.blur(modes.draw_rays(position, core)))
    position = position.unflatten(2, image.shape)[:, :, *part]
    rays = modes.draw_rays(position.flatten(2, 3), core).unflatten(3, position.shape[2:4])
    seen, *reached = image.psf.gather_part(rays.flatten(0, 1), *part)
    columns = seen.unflatten(0, rays.shape[:2]).flatten(2)
    return assemble(image, image.cropped(*reached).weighted(columns), (reached[0], reached[1]))


def lit_part(position: Tensor, shape: tuple[int, int]) -> tuple[slice, slice] | None:
    """Finds the rows and columns of the pixels whose rays hit the disc of the source.

    Arguments:
        position: As :func:`design` has them.
        shape: Frame (H, W).

    Returns:
        They, or ``None`` if there are none, or so many that to do all of them is as well.
    """
    dark = position.square().sum(-1) >= 0.25  # what is not a number is not dark
    lit = (~dark).any(1).any(0).unflatten(0, shape)
    spans = [lit.any(side).nonzero()[:, 0].tolist() for side in (1, 0)]
    if not all(spans):
        return None
    rows, columns = (slice(span[0], span[-1] + 1) for span in spans)
    area = (rows.stop - rows.start) * (columns.stop - columns.start)
    return (rows, columns) if area < PART * shape[0] * shape[1] else None


def assemble(image: ImageData, columns: Tensor, part: tuple[slice, slice] | None = None) -> Design:
    """Adds the templates to the columns of the source and makes the normal equations.

    Arguments:
        image: The image.
        columns: The columns, with shape (B, K, N), or of the pixels of the part, (B, K, n).
        part: Rows and columns beyond which they are zero.
    """
    templates = image.templates.transpose(-1, -2).expand(len(columns), -1, -1)
    energy = image.data.square().sum(-1)
    if part is None:
        rows = torch.cat([columns, templates], dim=1)
        moment = (rows @ image.data.unsqueeze(-1)).squeeze(-1)
        return Design(rows.transpose(1, 2), rows @ rows.transpose(1, 2), moment, energy)
    (h, w), (i, j) = image.shape, part
    near = image.cropped(i, j)
    source, cross = columns @ columns.transpose(1, 2), columns @ near.templates
    other = templates @ templates.transpose(1, 2)
    gram = torch.cat(
        [torch.cat([source, cross], 2), torch.cat([cross.transpose(1, 2), other], 2)], 1
    )
    moment = torch.cat([columns @ near.data, templates @ image.data], dim=1)
    maps = columns.unflatten(2, (i.stop - i.start, j.stop - j.start))
    whole = F.pad(maps, (j.start, w - j.stop, i.start, h - i.stop)).flatten(2)
    return Design(torch.cat([whole, templates], dim=1).transpose(1, 2), gram, moment, energy)


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
