"""What every noise model can do, and what follows from it."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ..simulator import Simulator


class Noise(ABC):
    """The interface of noise models: likelihood and score need no more than this.

    Images have shape :math:`(B, 1, H, W)`. Observed are images, too, where a model does not say
    otherwise: :class:`~lensrim.lensing.noise.VisibilityNoise` has visibilities in their place, and
    residuals of another shape.
    """

    mask: Tensor
    """Pixels that are used, of a shape that broadcasts to that of the residual."""

    @abstractmethod
    def residual(self, model: Tensor, image: Tensor) -> Tensor:
        r"""Computes the whitened residual :math:`r = C^{-1/2} (y - F(x))`, like the images.

        Arguments:
            model: Noise-free images :math:`F(x)`.
            image: Observed images :math:`y`.
        """

    @abstractmethod
    def normalization(self, model: Tensor) -> Tensor:
        r"""Computes :math:`\frac{1}{2} \log |2 \pi C|` over the used pixels, shape :math:`(B)`."""

    @abstractmethod
    def precision(self, model: Tensor) -> Tensor:
        r"""Computes the diagonal of :math:`C^{-1}`, zero on ignored pixels, like the images."""

    @abstractmethod
    def sample(self, model: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Adds noise to images. What it adds on ignored pixels is finite and means nothing."""

    def check(self, simulator: Simulator) -> None:
        """Checks that what a simulator computes is what the noise takes for :math:`F(x)`.

        Images need nothing beyond their shape.

        Raises:
            ValueError: If it is not.
        """
        return

    def residual_map(self, residual: Tensor, slope: Tensor, precision: Tensor) -> Tensor:
        r"""Puts a residual on the image's pixels, in units of its noise, for a machine to see.

        Arguments:
            residual: Whitened residual :math:`r`.
            slope: :math:`\partial \log p / \partial F`, like the images.
            precision: Result of :meth:`precision`.

        Returns:
            The residual itself if the data are an image.
        """
        return residual

    def chi2(self, model: Tensor, image: Tensor) -> Tensor:
        r"""Computes :math:`\chi^2 = r^T r`, with shape :math:`(B)`."""
        return self.residual(model, image).square().flatten(1).sum(1)

    def log_prob(self, model: Tensor, image: Tensor) -> Tensor:
        r"""Computes :math:`\log p(y | x)`, with shape :math:`(B)`."""
        return -0.5 * self.chi2(model, image) - self.normalization(model)

    def pixels(self, shape: torch.Size | tuple[int, ...]) -> Tensor:
        """Counts the used data of each sample, whose residuals have the shape ``shape``."""
        return self.mask.expand(shape).flatten(1).sum(1)


def check_pixels(model: Tensor, image: Tensor) -> None:
    """Checks that observed images have the pixels of the model's, which would broadcast to them.

    There is one for each model, or one for all: the score of one model of many images would be
    the sum of theirs.

    Raises:
        ValueError: If they have not.
    """
    same = image.ndim == model.ndim and image.shape[1:] == model.shape[1:]
    if not same or len(image) not in (1, len(model)):
        raise ValueError(
            f"image must have the shape of the model's images, {tuple(model.shape)}, got "
            f"{tuple(image.shape)}; give it as (B, 1, H, W), on the simulator's image_grid, and "
            "repeat the state where one is meant for many images"
        )


def check_noise(noise: torch.Size, model: Tensor) -> None:
    """Checks that what is known of the noise is of the images, or of one for all.

    One of the shape (B, H, W) would pair each of B images with all.

    Arguments:
        noise: Shape of it.
        model: Images, with shape :math:`(B, 1, H, W)`.

    Raises:
        ValueError: If it does not broadcast to the shape of the images.
    """
    try:
        fits = torch.broadcast_shapes(noise, model.shape) == model.shape
    except RuntimeError:
        fits = False
    if not fits:
        raise ValueError(
            f"noise and mask must have the shape of the images, {tuple(model.shape)}, or one that "
            f"broadcasts to it, got {tuple(noise)}; give them as (B, 1, H, W), and repeat the "
            "model where one has many of them"
        )


def checked(name: str, values: Tensor, used: Tensor) -> Tensor:
    """Returns values with 1 on ignored pixels.

    Raises:
        ValueError: If they are not finite and positive on a used pixel, at which the compiler
            cannot look.
    """
    bad = used & ~(torch.isfinite(values) & (values > 0))
    if not torch.compiler.is_compiling() and bool(bad.any()):
        raise ValueError(
            f"{name} must be finite and positive on used pixels (mask 1 = used, 0 = ignored), "
            f"found {int(bad.sum())} where it is not; mask them"
        )
    return torch.where(used, values, 1.0)


def used_pixels(like: Tensor, mask: Tensor | None) -> Tensor:
    """Returns the mask as truth values, all of them true if there is none."""
    return torch.ones_like(like, dtype=torch.bool) if mask is None else mask.bool()
