r"""Noise: independent and Gaussian in each pixel, with a known standard deviation.

.. math:: y = F(x) + \eta \, , \qquad \eta_p \sim \mathcal{N}(0, \sigma_p^2) \, .

A mask says which pixels are *used* (1 or ``True``); the others have no weight, whatever they hold.
Correlations between pixels, as resampling makes them, are not modelled.
"""

import math

import torch
from torch import Tensor


class GaussianNoise:
    r"""Creates a noise model.

    Arguments:
        sigma: Standard deviation :math:`\sigma` [data units], with shape :math:`(B, 1, H, W)`, or
            any that broadcasts to it.
        mask: Pixels that are used, of the same shape; all of them by default. Values of ``sigma``
            and of the data where it is 0 are never read, so they may be NaN.

    Raises:
        ValueError: If a used pixel has a standard deviation that is not finite and positive.
    """

    def __init__(self, sigma: Tensor, mask: Tensor | None = None):
        used = torch.ones_like(sigma, dtype=torch.bool) if mask is None else mask.bool()
        bad = used & ~(torch.isfinite(sigma) & (sigma > 0))
        if bool(bad.any()):
            raise ValueError(
                "sigma must be finite and positive on used pixels (mask 1 = used, 0 = ignored), "
                f"found {int(bad.sum())} where it is not; mask them"
            )
        self.mask = used
        self.sigma = torch.where(used, sigma, 1.0)
        self._inverse = torch.where(used, 1 / self.sigma, 0.0)

    def residual(self, model: Tensor, image: Tensor) -> Tensor:
        r"""Computes :math:`r = (y - F(x)) / \sigma` on used pixels, zero on the others.

        Arguments:
            model: Noise-free images :math:`F(x)`, with shape :math:`(B, 1, H, W)`.
            image: Observed images :math:`y`, with shape :math:`(B, 1, H, W)`.
        """
        return (torch.where(self.mask, image, 0.0) - model) * self._inverse

    def chi2(self, model: Tensor, image: Tensor) -> Tensor:
        r"""Computes :math:`\chi^2 = \sum_p r_p^2`, with shape :math:`(B)`."""
        return self.residual(model, image).square().flatten(1).sum(1)

    def pixels(self, shape: torch.Size | tuple[int, ...]) -> Tensor:
        """Counts the used pixels of each image of a batch with shape ``(B, 1, H, W)``."""
        return self.mask.expand(shape).flatten(1).sum(1)

    def precision(self, shape: torch.Size | tuple[int, ...]) -> Tensor:
        r"""Returns :math:`1 / \sigma^2`, zero on ignored pixels, with shape ``(B, 1, H, W)``."""
        return self._inverse.square().expand(shape)

    def log_prob(self, model: Tensor, image: Tensor) -> Tensor:
        r"""Computes :math:`-\chi^2 / 2 - \sum_p \log \sqrt{2 \pi} \sigma_p`, shape :math:`(B)`."""
        norm = torch.where(self.mask, self.sigma.log() + 0.5 * math.log(2 * math.pi), 0.0)
        return -0.5 * self.chi2(model, image) - norm.expand(model.shape).flatten(1).sum(1)

    def sample(self, model: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Adds noise to images; on ignored pixels its standard deviation is 1."""
        noise = torch.randn(
            model.shape, generator=generator, dtype=model.dtype, device=model.device
        )
        return model + self.sigma * noise
