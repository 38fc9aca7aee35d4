r"""CLEAN, Högbom's: point sources are taken out of the dirty image one by one.

The dirty image :math:`d = b * (A F)` [flux per beam] is the sky, seen through the primary beam
:math:`A`, convolved with the dirty beam :math:`b`, whose peak is 1. Again and again a share, the
gain, of the largest pixel becomes a component, and its dirty beam is subtracted, until no pixel
exceeds the noise by much. The components, convolved with a Gaussian of the dirty beam's middle,
and what is left are the restored image. There are no boxes, and one scale.

References:
    Högbom 1974, A&AS 15, 417.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..lensed.scene import Scene
from .skies import Correlator

GAIN = 0.2

STOPS = (1.0, 2.0, 3.0, 5.0)
"""Where to stop, in units of the dirty image's noise: chosen on separate lenses."""

MOST = 10_000
"""Components, should the noise never be reached."""


@dataclass(frozen=True)
class Cleaned:
    """Holds what CLEAN makes, in units of brightness, the primary beam divided out.

    Arguments:
        restored: The restored image, with shape (B, 1, n, n).
        components: The components alone, each in its pixel, likewise.
        count: Number of components, with shape (B).
    """

    restored: Tensor
    components: Tensor
    count: Tensor


def clean(scene: Scene, *, stop: float, gain: float = GAIN, most: int = MOST) -> Cleaned:
    """Cleans dirty images.

    Arguments:
        scene: The observations, of the sky itself.
        stop: Where to stop, in units of the noise.
        gain: Share of the largest pixel that becomes a component.
        most: Largest number of components.
    """
    seen = Correlator(scene.draws).gridded
    weight, primary = seen.weight[:, None, None], seen.beam.squeeze(1)
    residual = seen.moment.squeeze(1) / (primary * weight)
    b, n, m = residual.shape
    beams = (seen.kernel().squeeze(1) / weight).unfold(1, n, 1).unfold(2, m, 1)
    found, count = torch.zeros_like(residual), residual.new_zeros(b)
    batch = torch.arange(b, device=residual.device)
    limit = stop * weight.flatten().rsqrt()
    for _ in range(most):
        flat = residual.flatten(1)
        where = flat.abs().argmax(1)
        peak = flat[batch, where]
        going = peak.abs() > limit
        if not bool(going.any()):
            break
        part = torch.where(going, gain * peak, 0.0)
        i, j = where // m, where % m
        found[batch, i, j] += part
        residual = residual - part[:, None, None] * beams[batch, n - i, m - j]
        count += going
    size = Correlator(scene.draws).area
    sky = smoothed(found[:, None], scene.draws["spread"]) + residual[:, None] / size
    return Cleaned(sky / seen.beam, found[:, None] / seen.beam, count)


def smoothed(image: Tensor, spread: Tensor) -> Tensor:
    """Convolves images (B, 1, n, m) with Gaussians of covariances (B, 2, 2) [pixel²], sum 1."""
    n, m = (2 * size for size in image.shape[-2:])
    v = torch.fft.fftfreq(n, device=image.device)[:, None]
    u = torch.fft.rfftfreq(m, device=image.device)[None]
    xx, xy, yy = (spread[:, i, j, None, None] for i, j in ((0, 0), (0, 1), (1, 1)))
    exponent = xx * u.square() + 2 * xy * u * v + yy * v.square()
    transfer = (-2 * math.pi**2 * exponent).exp()[:, None]
    spectrum = torch.fft.rfft2(image, s=(n, m)) * transfer
    return torch.fft.irfft2(spectrum, s=(n, m))[..., : image.shape[-2], : image.shape[-1]]


def smoothed_error(scene: Scene, image: Tensor) -> Tensor:
    """Computes the relative error of images that have the resolution of the beam, (B)."""
    truth = smoothed(scene.truth, scene.draws["spread"])
    return (image - truth).flatten(1).norm(dim=1) / truth.flatten(1).norm(dim=1)


def chosen_stop(scene: Scene) -> float:
    """Chooses where to stop on separate lenses, by the error at the beam's resolution."""
    return min(
        STOPS,
        key=lambda stop: float(smoothed_error(scene, clean(scene, stop=stop).restored).mean()),
    )
