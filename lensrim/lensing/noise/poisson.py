r"""Noise of counted photons over a background, with the variance of the model image.

.. math:: y_p \sim \mathcal{N}(F_p, \sigma_p^2) \, , \qquad
          \sigma_p^2 = \sigma_\mathrm{bg}^2 + \max(F_p, 0) / t_p \, ,

with the exposure :math:`t` that turns data units into counts. Where the variance follows the model
the normalisation is no constant, and the score per pixel is

.. math:: \frac{\partial \log p}{\partial F} = \frac{y - F}{\sigma^2}
          + \frac{1}{2 t \sigma^2} \left(\frac{(y - F)^2}{\sigma^2} - 1\right) \quad (F > 0) \, :

without the second term, or with it but without its :math:`-1`, it is biased. The normal
distribution stands for the Poisson one, which is good for counts (with those of the background) of
20 and more; its tail towards many counts is too short.
"""

import math

import torch
from torch import Tensor

from .base import Noise, check_noise, check_pixels, checked, used_pixels


class PoissonNoise(Noise):
    r"""Creates a noise model from background and exposure.

    Arguments:
        background: Standard deviation :math:`\sigma_\mathrm{bg}` without any light from the
            model: sky, dark current and read-out together [data units], with shape
            :math:`(B, 1, H, W)`, or any that broadcasts to it.
        exposure: Counts per data unit :math:`t`: for data in electrons per second the exposure
            time, for data in counts of a detector its gain; infinite for no Poisson noise. Of a
            shape that broadcasts against that of ``background``.
        mask: Pixels that are used, likewise; all of them by default.

    Raises:
        ValueError: If a used pixel has a background that is not finite and positive, or an
            exposure that is not positive.

    References:
        The same as lenstronomy's ``covariance_matrix`` of background and exposure.
    """

    def __init__(self, background: Tensor, exposure: Tensor, mask: Tensor | None = None):
        background, exposure = torch.broadcast_tensors(background, exposure)
        self.mask = used_pixels(background, mask)
        self.background = checked("background", background, self.mask)
        # Infinity is allowed: it is the inverse that must be finite.
        self._per_count = torch.where(
            self.mask, 1 / checked("exposure", exposure.clamp(max=1e30), self.mask), 0.0
        )

    def variance(self, model: Tensor) -> Tensor:
        r"""Computes :math:`\sigma^2(F)`, with shape :math:`(B, 1, H, W)`; finite everywhere.

        Raises:
            ValueError: If the noise has other pixels than the model's.
        """
        check_noise(self.background.shape, model)
        return self.background.square() + model.clamp(min=0) * self._per_count

    def residual(self, model: Tensor, image: Tensor) -> Tensor:
        r"""Computes :math:`r = (y - F) / \sigma(F)` on used pixels, zero on the others.

        Raises:
            ValueError: If the images, or the noise, have other pixels than the model's.
        """
        check_pixels(model, image)
        difference = torch.where(self.mask, torch.where(self.mask, image, 0.0) - model, 0.0)
        return difference * self.variance(model).rsqrt()

    def normalization(self, model: Tensor) -> Tensor:
        r"""Computes :math:`\sum_p \log \sqrt{2 \pi} \sigma_p(F)`, with shape :math:`(B)`."""
        norm = 0.5 * (2 * math.pi * self.variance(model)).log()
        return torch.where(self.mask, norm, 0.0).flatten(1).sum(1)

    def precision(self, model: Tensor) -> Tensor:
        r"""Computes :math:`1 / \sigma^2(F)`, zero on ignored pixels.

        What the variance itself tells of the model, :math:`1 / (2 t^2 \sigma^4)`, is left out.
        """
        return torch.where(self.mask, 1 / self.variance(model), 0.0)

    def sample(self, model: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Adds noise to images; on ignored pixels its standard deviation is 1."""
        noise = torch.randn(
            model.shape, generator=generator, dtype=model.dtype, device=model.device
        )
        return model + self.variance(model).sqrt() * noise
