r"""What a machine is shown: data, and the view of them that is solved for.

Data of a Gaussian noise say of an image :math:`F`, in pixels,

.. math:: \log p(y | F) = m^T F - \frac{1}{2} F^T N F + \mathrm{const} , \qquad
          m = A^T C^{-1} y , \quad N = A^T C^{-1} A ,

with what lies between the image and the data, :math:`A`: nothing for a camera, whose :math:`N` is
diagonal, baselines for an interferometer. A view makes the image linearly of what is sought: of a
source, through a lens, or of the image itself.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ...inference.inversion import ImageData
from ..misfit import noise_free
from .lenses import Draws


@runtime_checkable
class Data(Protocol):
    """What data say of the images, in units of the brightest pixel or so."""

    @property
    def moment(self) -> Tensor:
        """The moment :math:`m`, with shape (B, 1, n, n)."""
        ...

    @property
    def precision(self) -> Tensor:
        """The diagonal of :math:`N`, with shape (B, 1, n, n); zero where there are no data."""
        ...

    @property
    def information(self) -> Tensor:
        """What :math:`N` gives of a smooth image, relative to it: sums of its rows, likewise."""
        ...

    @property
    def scale(self) -> Tensor:
        """What makes residuals in units of the images of a score, with shape (B, 1, 1, 1)."""
        ...

    @property
    def noise(self) -> Tensor:
        """Typical noise in units of the images, with shape (B)."""
        ...

    @property
    def width(self) -> Tensor:
        """Width of the PSF or the synthesized beam at half its maximum [pixel], (B)."""
        ...

    @property
    def lit(self) -> Tensor:
        """1 where the true arcs exceed the noise and are observed, with shape (B, 1, n, n)."""
        ...

    def normal(self, image: Tensor) -> Tensor:
        """Computes :math:`N F`, with shape (B, 1, n, n)."""
        ...

    def misfits(self, image: Tensor) -> dict[str, Tensor]:
        """Computes the χ² of images, one is expected of the truth, by name, with shape (B)."""
        ...

    def whitened(self, subsample: int) -> ImageData:
        """Returns the data for :mod:`lensrim.inference.inversion`, with so many rays a side."""
        ...

    def columns(self, whitened: ImageData, images: Tensor) -> Tensor:
        """Puts images (B, K, n, n), as they are observed, in units of the noise: (B, K, N)."""
        ...


@runtime_checkable
class View(Protocol):
    """How images are made of what is sought."""

    @property
    def side(self) -> Tensor:
        """Side of the map that is sought [pixel of the image], with shape (B)."""
        ...

    def __call__(self, source: Tensor) -> Tensor:
        """Computes the image."""
        ...

    def adjoint(self, image: Tensor) -> Tensor:
        """Applies the transpose."""
        ...

    def spread(self, image: Tensor) -> Tensor:
        """Adds pixels up where what is sought is seen by them."""
        ...

    def truth(self, draws: Draws) -> Tensor:
        """Returns what is true, with shape (B, 1, n, n)."""
        ...


@dataclass(frozen=True)
class Sky:
    """Creates the view of the images themselves: what is sought is the image.

    Arguments:
        side: Pixels of a side, with shape (B).
    """

    side: Tensor

    def __call__(self, source: Tensor) -> Tensor:
        return source

    def adjoint(self, image: Tensor) -> Tensor:
        return image

    def spread(self, image: Tensor) -> Tensor:
        return image

    def truth(self, draws: Draws) -> Tensor:
        return draws["clean"]


@dataclass(frozen=True)
class Scene:
    """Holds observations, and how they are looked at.

    Arguments:
        draws: The observations, and what is true of them: ``clean`` is the noise-free image.
        data: What the data say.
        view: What is sought.
    """

    draws: Draws
    data: Data
    view: View

    @property
    def truth(self) -> Tensor:
        """What is true of what is sought, with shape (B, 1, n, n)."""
        return self.view.truth(self.draws)

    def score(self, source: Tensor) -> Tensor:
        """Computes the gradient of the log-likelihood, with shape (B, 1, n, n)."""
        return self.view.adjoint(self.data.moment - self.data.normal(self.view(source)))

    def bare(self, source: Tensor) -> Tensor:
        """Computes D of the images of sources (:mod:`lensrim.reproduction.misfit`), (B)."""
        data = self.data
        off = data.normal(self.view(source) - self.draws["clean"])
        return noise_free(off, data.precision, data.lit)

    def numbers(self) -> Tensor:
        """Describes observations by numbers of order 1, with shape (B, 3): noise, PSF and map."""
        data = self.data
        numbers = [-data.noise.log10() - 1.5, data.width / 2 - 1, (self.view.side / 14).log()]
        return torch.stack(numbers, 1)

    def errors(self, source: Tensor) -> dict[str, Tensor]:
        """Measures answers.

        Returns:
            By name, with shape (B): ``relative L2`` and ``RMSE`` (of the peak); the misfits of the
            data; and ``D``, see :meth:`bare`.
        """
        truth = self.truth
        off = (source - truth).flatten(1)
        return {
            "relative L2": off.norm(dim=1) / truth.flatten(1).norm(dim=1),
            "RMSE": off.square().mean(1).sqrt() / truth.amax((1, 2, 3)),
            **self.data.misfits(self.view(source)),
            "D": self.bare(source),
        }
