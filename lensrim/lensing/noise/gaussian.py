r"""Gaussian noise, independent in each pixel, with a known standard deviation.

.. math:: y = F(x) + \eta \, , \qquad \eta_p \sim \mathcal{N}(0, \sigma_p^2) \, .

Correlations between pixels, as resampling makes them, are not modelled here.
"""

import math

import torch
from torch import Tensor

from .base import Noise, check_noise, check_pixels, checked, used_pixels


class GaussianNoise(Noise):
    r"""Creates a noise model from its standard deviations.

    Arguments:
        sigma: Standard deviation :math:`\sigma` [data units], with shape :math:`(B, 1, H, W)`, or
            any that broadcasts to it.
        mask: Pixels that are used, of the same shape; all of them by default. Values of ``sigma``
            and of the data where it is 0 are never read, so they may be NaN.

    Raises:
        ValueError: If a used pixel has a standard deviation that is not finite and positive.
    """

    def __init__(self, sigma: Tensor, mask: Tensor | None = None):
        self.mask = used_pixels(sigma, mask)
        self.sigma = checked("sigma", sigma, self.mask)
        self._inverse = torch.where(self.mask, 1 / self.sigma, 0.0)
        norm = self.sigma.log() + 0.5 * math.log(2 * math.pi)
        self._norm = torch.where(self.mask, norm, 0.0)

    @classmethod
    def from_variance(cls, variance: Tensor, mask: Tensor | None = None) -> "GaussianNoise":
        r"""Creates a noise model from variances :math:`\sigma^2` [data units²].

        Raises:
            ValueError: If a used pixel has a variance that is not finite and positive.
        """
        used = used_pixels(variance, mask)
        return cls(checked("variance", variance, used).sqrt(), used)

    @classmethod
    def from_weight(cls, weight: Tensor, mask: Tensor | None = None) -> "GaussianNoise":
        r"""Creates a noise model from weights :math:`1 / \sigma^2` [data units⁻²].

        A weight of zero says that a pixel holds no data: it is ignored, masked or not.

        Raises:
            ValueError: If a used pixel has a weight that is negative or not finite.
        """
        used = used_pixels(weight, mask) & (weight != 0)
        return cls(checked("weight", weight, used).rsqrt(), used)

    def residual(self, model: Tensor, image: Tensor) -> Tensor:
        r"""Computes :math:`r = (y - F(x)) / \sigma` on used pixels, zero on the others.

        Arguments:
            model: Noise-free images :math:`F(x)`, with shape :math:`(B, 1, H, W)`.
            image: Observed images :math:`y`, with shape :math:`(B, 1, H, W)`.

        Raises:
            ValueError: If the images, or the noise, have other pixels than the model's.
        """
        check_pixels(model, image)
        check_noise(self.sigma.shape, model)
        return (torch.where(self.mask, image, 0.0) - model) * self._inverse

    def normalization(self, model: Tensor) -> Tensor:
        r"""Computes :math:`\sum_p \log \sqrt{2 \pi} \sigma_p`, with shape :math:`(B)`."""
        check_noise(self.sigma.shape, model)
        return self._norm.expand(model.shape).flatten(1).sum(1)

    def precision(self, model: Tensor) -> Tensor:
        r"""Returns :math:`1 / \sigma^2`, zero on ignored pixels, with shape ``(B, 1, H, W)``."""
        check_noise(self.sigma.shape, model)
        return self._inverse.square().expand(model.shape)

    def sample(self, model: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Adds noise to images; on ignored pixels its standard deviation is 1."""
        check_noise(self.sigma.shape, model)
        noise = torch.randn(
            model.shape, generator=generator, dtype=model.dtype, device=model.device
        )
        return model + self.sigma * noise
