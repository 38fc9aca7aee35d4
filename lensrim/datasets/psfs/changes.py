r"""Small changes of point spread functions: jitter, warps, and the errors of those that are given.

A PSF's Fourier transform is multiplied by that of a change in its cumulants,

.. math:: \tilde P(k) \to \tilde P(k) \left[ (1 - w) + w \, e^{- s^2 k^2 / 2} \right]
          \exp\left( - i \, k \cdot \mu - \tfrac12 \, k^T \Sigma \, k
                     + \tfrac{i}{6} \, (c \cdot k) \, k^2 \right) ,

which moves its centroid by :math:`\mu`, adds :math:`\Sigma` to its covariance and the skewness of
a coma :math:`c`, and puts a share :math:`w` of its light into wings of width :math:`s`. Its sum is
kept. A positive definite :math:`\Sigma` is a convolution with a Gaussian (jitter); one without
trace stretches the core (warp); a negative one narrows it. Above one half of a cycle per pixel,
what grows and what turns stays what it is there, so that narrowing does not blow up what is not
resolved. To second and third order this is what a resampling on affine and quadratic coordinates
does to the core; spikes and rings keep their places.
"""

import math
from dataclasses import astuple, dataclass

import numpy as np
import torch
from torch import Tensor

from ..ranges import check_ranges, check_shares


@dataclass(frozen=True)
class PsfChange:
    """Creates the change of one PSF, in pixels of the image.

    Arguments:
        xx, xy, yy: What is added to the covariance [pixel^2].
        shift_x, shift_y: Displacement of the centroid [pixel].
        coma_x, coma_y: What is added to the third cumulant along an axis [pixel^3].
        wings: Share of the light that goes into wings.
        wings_width: Standard deviation of the Gaussian that makes the wings [pixel].
    """

    xx: float = 0.0
    xy: float = 0.0
    yy: float = 0.0
    shift_x: float = 0.0
    shift_y: float = 0.0
    coma_x: float = 0.0
    coma_y: float = 0.0
    wings: float = 0.0
    wings_width: float = 1.0

    @classmethod
    def of(
        cls,
        fwhm: float,
        *,
        width: float = 0.0,
        blur: tuple[float, float] = (0.0, 0.0),
        ellipticity: tuple[float, float] = (0.0, 0.0),
        shift: tuple[float, float] = (0.0, 0.0),
        coma: tuple[float, float] = (0.0, 0.0),
        wings: float = 0.0,
        phi: float = 0.0,
    ) -> "PsfChange":
        """Makes the change that a PSF of a width should undergo.

        Arguments:
            fwhm: Its full width at half maximum [pixel].
            width: Relative change of the width.
            blur: Standard deviations, relative to the PSF's own, of a Gaussian along ``phi`` and
                across it, with which the PSF is convolved.
            ellipticity: (e1, e2) by which a round PSF becomes elliptical, of modulus
                (1 - q) / (1 + q).
            shift: Displacement [pixel].
            coma: Skewness along both axes.
            wings: Share of the light that goes into wings, of three times the width.
            phi: Position angle of the blur [rad].
        """
        sigma = fwhm / math.sqrt(8 * math.log(2))
        wider = (1 + width) ** 2 - 1
        mean, half = (blur[0] ** 2 + blur[1] ** 2) / 2, (blur[0] ** 2 - blur[1] ** 2) / 2
        plus = half * math.cos(2 * phi) + 2 * ellipticity[0]
        cross = half * math.sin(2 * phi) + 2 * ellipticity[1]
        return cls(
            xx=sigma**2 * (wider + mean + plus),
            xy=sigma**2 * cross,
            yy=sigma**2 * (wider + mean - plus),
            shift_x=shift[0],
            shift_y=shift[1],
            coma_x=coma[0] * sigma**3,
            coma_y=coma[1] * sigma**3,
            wings=wings,
            wings_width=3 * sigma,
        )


NUMBERS = len(astuple(PsfChange()))
"""Numbers of a change, in the order of its fields."""


@dataclass(frozen=True)
class PsfChanges:
    """Creates a population of changes that the PSFs of an instrument really undergo.

    Arguments:
        jittered: Share of PSFs with jitter: a convolution with an elliptical Gaussian.
        jitter: Range of its larger standard deviation, relative to the PSF's own (log-uniform);
            the smaller one is any part of it (uniform).
        warped: Share of PSFs with a warp.
        ellipticity: Range of the warp's ellipticity (1 - q) / (1 + q) (log-uniform).
        coma: Range of the skewness that a warp adds (log-uniform).

    Raises:
        InputError: If a number is impossible.
    """

    jittered: float = 0.0
    jitter: tuple[float, float] = (0.1, 0.5)
    warped: float = 0.0
    ellipticity: tuple[float, float] = (0.005, 0.05)
    coma: tuple[float, float] = (0.01, 0.2)

    def __post_init__(self) -> None:
        check_shares(self, "jittered", "warped")
        check_ranges(self, "jitter", "ellipticity", "coma")


def draw_change(rng: np.random.Generator, prior: PsfChanges, fwhm: float) -> PsfChange | None:
    """Draws what an instrument does to a PSF of a width [pixel]; none, without a random number,
    where the shares are 0."""
    blur, phi = (0.0, 0.0), 0.0
    ellipticity = coma = (0.0, 0.0)
    changed = False
    if prior.jittered and rng.uniform() < prior.jittered:
        size = float(np.exp(rng.uniform(*np.log(prior.jitter))))
        blur, phi = (size, size * float(rng.uniform())), float(rng.uniform(0, np.pi))
        changed = True
    if prior.warped and rng.uniform() < prior.warped:
        ellipticity, coma = (
            directed(rng, float(np.exp(rng.uniform(*np.log(limits)))))
            for limits in (prior.ellipticity, prior.coma)
        )
        changed = True
    if not changed:
        return None
    return PsfChange.of(fwhm, blur=blur, phi=phi, ellipticity=ellipticity, coma=coma)


def directed(rng: np.random.Generator, size: float) -> tuple[float, float]:
    """Draws a vector of a length, of any direction."""
    angle = rng.uniform(0, 2 * np.pi)
    return size * float(np.cos(angle)), size * float(np.sin(angle))


def change_psfs(psf: Tensor, numbers: Tensor, *, oversample: int = 1) -> Tensor:
    """Changes PSFs.

    Arguments:
        psf: Stamps, with shape (B, P, P).
        numbers: The fields of a :class:`PsfChange` for each, with shape (B, ``NUMBERS``).
        oversample: Pixels of the stamps along a pixel of the image.

    Returns:
        Stamps with sum 1, of the same shape. What the pixels do not resolve may ring about zero,
        as in PSFs that were resampled.
    """
    side = psf.shape[-1]
    n = 2 * side
    # radians per pixel of the image
    axis = 2 * math.pi * oversample * torch.fft.fftfreq(n, dtype=psf.dtype, device=psf.device)
    ky, kx = axis[:, None], axis[None, : n // 2 + 1].abs()
    bound = (1 + ((kx**2 + ky**2) / math.pi**2) ** 2) ** -0.25
    numbers = numbers.to(psf)[:, :, None, None]
    xx, xy, yy, shift_x, shift_y, coma_x, coma_y, wings, wide = numbers.unbind(1)
    bx, by = kx * bound, ky * bound
    b2 = bx**2 + by**2
    power = -0.5 * (xx * kx**2 + 2 * xy * kx * ky + yy * ky**2)
    size = torch.where(power < 0, power, power * bound**2).exp()
    size = size * ((1 - wings) + wings * torch.exp(-0.5 * wide**2 * (kx**2 + ky**2)))
    phase = (coma_x * bx + coma_y * by) * b2 / 6 - (shift_x * kx + shift_y * ky)
    spectrum = torch.fft.rfft2(psf, s=(n, n)) * torch.polar(size, phase)
    changed = torch.fft.irfft2(spectrum, s=(n, n))
    # what went off the low edges has come round to the far ones, which are cut off
    changed = changed[:, :side, :side]
    return changed / changed.sum((-2, -1), keepdim=True)
