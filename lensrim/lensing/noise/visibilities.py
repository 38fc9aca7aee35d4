r"""Gaussian noise of visibilities, independent in each and in its real and imaginary part.

.. math:: y_k = \mathcal{V}(F(x))_k + \eta_k + i \eta_k' \, , \qquad
          \eta_k, \eta_k' \sim \mathcal{N}(0, \sigma_k^2) \, ,

so :math:`\log p(y | x) = -\frac{1}{2} \sum_k |y_k - \mathcal{V}(F)_k|^2 / \sigma_k^2 - \sum_k \log
2 \pi \sigma_k^2`. Weights of an interferometer's data are :math:`1 / \sigma_k^2` of one part.
"""

import torch
from torch import Tensor

from ..visibilities import Interferometer
from .base import Noise, used_pixels
from .gaussian import GaussianNoise


class VisibilityNoise(Noise):
    r"""Creates the noise model of visibilities, which leads from images :math:`F` to data.

    In likelihood and score it stands where the noise of images does, with complex visibilities of
    shape :math:`(B, N)` in the place of the observed images. The simulator has no PSF then.
    Residuals hold real and imaginary parts, with shape :math:`(B, 2, N)`.

    Arguments:
        interferometer: Operator :math:`\mathcal{V}`.
        sigma: Standard deviation :math:`\sigma` of the real part, and of the imaginary one [flux],
            with shape :math:`(N)` or :math:`(B, N)`.
        mask: Visibilities that are used (1 = used, 0 = ignored), likewise; all of them by default.
            What is ignored is never read.

    Raises:
        ValueError: If there is not one for each visibility, or if that of a used one is not finite
            and positive.
    """

    def __init__(self, interferometer: Interferometer, sigma: Tensor, mask: Tensor | None = None):
        n = interferometer.points.shape[-2]
        if sigma.ndim not in (1, 2) or sigma.shape[-1] != n:
            raise ValueError(
                f"sigma must have a value for each of the {n} visibilities, with shape ({n},) or "
                f"(B, {n}), got {tuple(sigma.shape)}; expand it where all are the same"
            )
        self.interferometer = interferometer
        used = used_pixels(sigma, mask)
        self.parts = GaussianNoise(sigma.unsqueeze(-2), used.unsqueeze(-2))
        self.mask = self.parts.mask

    @classmethod
    def from_weight(
        cls, interferometer: Interferometer, weight: Tensor, mask: Tensor | None = None
    ) -> "VisibilityNoise":
        r"""Creates a noise model from weights :math:`1 / \sigma^2` [flux⁻²].

        A weight of zero says that a visibility holds no data: it is ignored, masked or not.

        Raises:
            ValueError: If a used visibility has a weight that is negative or not finite, or as
                above.
        """
        parts = GaussianNoise.from_weight(weight, mask)
        return cls(interferometer, parts.sigma, parts.mask)

    def residual(self, model: Tensor, image: Tensor) -> Tensor:
        r"""Computes :math:`(y - \mathcal{V}(F)) / \sigma`, with shape :math:`(B, 2, N)`.

        Arguments:
            model: Noise-free images :math:`F(x)`, with shape :math:`(B, 1, H, W)`.
            image: Observed visibilities :math:`y`, complex, with shape :math:`(B, N)`.
        """
        return self.parts.residual(_parts(self.interferometer(model)), _parts(image))

    def normalization(self, model: Tensor) -> Tensor:
        r"""Computes :math:`\sum_k \log 2 \pi \sigma_k^2`, with shape :math:`(B)`."""
        n = self.mask.shape[-1]
        return self.parts.normalization(model.new_zeros(()).expand(len(model), 2, n))

    def precision(self, model: Tensor) -> Tensor:
        r"""Computes the diagonal of :math:`\mathcal{V}^\dagger C^{-1} \mathcal{V}`, like images.

        It is the information in one pixel of which all others are known. Pixels within a
        synthesized beam of each other do not have it independently.
        """
        return self.interferometer.diagonal(self._weight()).expand(model.shape)

    def sample(self, model: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Draws visibilities of images; on ignored ones the standard deviation is 1."""
        drawn = self.parts.sample(_parts(self.interferometer(model)), generator=generator)
        return torch.view_as_complex(drawn.mT.contiguous())

    def residual_map(self, residual: Tensor, slope: Tensor, precision: Tensor) -> Tensor:
        r"""Computes the dirty image of the residual in units of its own noise.

        .. math:: \frac{\mathcal{V}^\dagger C^{-1} (y - \mathcal{V}(F))}
                  {\sqrt{\mathrm{diag} \, \mathcal{V}^\dagger C^{-1} \mathcal{V}}}

        has a variance of 1 at the truth, correlated as far as the synthesized beam reaches; it is
        zero where the primary beam is.
        """
        # The numerator is the slope of the likelihood, so it costs no transform.
        return slope * _inverse_root(precision)

    def dirty_image(self, visibilities: Tensor) -> Tensor:
        r"""Computes the dirty image of data, :meth:`residual_map` at an empty model.

        It is what a machine may be shown of visibilities as its observation.

        Arguments:
            visibilities: Visibilities, complex, with shape :math:`(B, N)`.

        Returns:
            Signal over noise of the naturally weighted image, with shape :math:`(B, 1, H, W)`.
        """
        weight = self._weight()
        used = torch.where(self.mask.squeeze(-2), visibilities, 0.0)
        image = self.interferometer.adjoint(weight * used)
        return image * _inverse_root(self.interferometer.diagonal(weight))

    def _weight(self) -> Tensor:
        """Returns the weights, zero on ignored visibilities, (B, N) or (1, N)."""
        return torch.atleast_2d(self.parts.precision(self.parts.sigma).squeeze(-2))


def _parts(visibilities: Tensor) -> Tensor:
    """Takes complex values (B, N) apart into real ones, (B, 2, N)."""
    return torch.view_as_real(visibilities).mT


def _inverse_root(precision: Tensor) -> Tensor:
    return torch.where(precision > 0, precision, torch.inf).rsqrt()
