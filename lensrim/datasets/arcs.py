"""Where the arcs are, as measured on an image: in training and in use alike."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ..grid import PixelGrid
from ..lensing.psf import PSF


def arc_weights(
    image: Tensor,
    sigma: Tensor,
    mask: Tensor,
    psf: Tensor,
    *,
    center: Tensor,
    hole: Tensor,
    level: float = 3.0,
) -> tuple[Tensor, Tensor]:
    """Measures the arcs on an image without lens light.

    Arguments:
        image, sigma, mask: The image, with shape (B, 1, H, W).
        psf: Its PSF, finite and of positive sum, with shape (B, P, P).
        center: Centre of the lens [pixel of the image, from its middle], with shape (B, 2).
        hole: Radius about it within which nothing is an arc [pixel], with shape (B).
        level: Significance after smoothing by the PSF above which a pixel is lit.

    Returns:
        Weights with sum 1, with shape (B, 1, H, W), and the brightness of the brightest pixel (B).
        Neither depends on the unit of the brightness, but for that of the latter.
    """
    shape = (image.shape[-2], image.shape[-1])
    unit = typical_noise(sigma)
    image, sigma = (each / unit[:, None, None, None] for each in (image, sigma))
    # a pixel whose noise is large, but does not mark it as bad, would drown all others in the
    # rounding of a transform in single precision
    wide = torch.float64 if image.device.type != "mps" else image.dtype
    smooth, variance = (
        PSF(stamp, shape, subsample=1, trusted=True, dtype=wide)(values.to(wide))
        for stamp, values in (
            (psf, image * mask),
            (psf.square(), (sigma.to(wide) * mask).square()),
        )
    )
    variance = variance * psf.to(wide).square().sum((-2, -1))[:, None, None, None]
    lit = smooth > level * variance.clamp(min=1e-20).sqrt()
    grown = F.max_pool2d(lit.float(), 3, stride=1, padding=1)
    x, y = PixelGrid(shape, 1.0).coordinates(device=image.device)
    cx, cy = center[:, :, None, None].unbind(1)
    use = mask * (torch.hypot(x - cx, y - cy) >= hole[:, None, None])[:, None]
    light = (image * use).clamp(min=0) * grown + 1e-12 * use
    return light / light.sum((1, 2, 3), keepdim=True), unit * light.amax((1, 2, 3))


def signal_to_noise(batch: Mapping[str, Tensor]) -> Tensor:
    """Computes the arcs' brightest pixel over the typical noise of the frame, with shape (B)."""
    return batch["amplitude"] / typical_noise(batch["sigma"])


def typical_noise(sigma: Tensor) -> Tensor:
    """Computes the median noise of each frame, with shape (B)."""
    return sigma.flatten(1).median(1).values
