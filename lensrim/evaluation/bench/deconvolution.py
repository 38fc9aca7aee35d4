r"""A problem whose posterior is known: blurred and noisy smooth random fields.

A Gaussian random field :math:`x \sim N(0, C)` of unit variance on :math:`n^d` pixels is blurred by
a Gaussian of 2 pixels and noisy, :math:`y = A x + \sigma \epsilon`. A machine sees :math:`y`
through the score of the likelihood, :math:`A^T (y - A x) / \sigma^2`, and has to learn the prior;
the best that it can do is the posterior mean,

.. math:: \bar x = C A^T (A C A^T + \sigma^2 I)^{-1} y .
"""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...rim.fields import ScoreFn


@dataclass(frozen=True)
class Deconvolution:
    r"""Creates the problem.

    Arguments:
        dims: Dimensions :math:`d` of the maps.
        n: Pixels along each axis.
        sigma: Standard deviation :math:`\sigma` of the noise.
        decay: Inverse length of the correlation along an axis, of Matérn's kind of order 3/2
            [1/pixel]; along several the correlations are multiplied.
        device: Where it is computed.
    """

    dims: int = 1
    n: int = 32
    sigma: float = 0.05
    decay: float = 0.35
    device: torch.device = torch.device("cpu")

    @cached_property
    def apart(self) -> Tensor:
        """Distances of the pixels along an axis."""
        pixels = torch.arange(self.n, dtype=torch.float64)
        return (pixels[:, None] - pixels).abs()

    @cached_property
    def prior(self) -> Tensor:
        """The covariance C along an axis, in double precision; that of all is their product."""
        return (1 + self.decay * self.apart) * (-self.decay * self.apart).exp()

    @cached_property
    def blur(self) -> Tensor:
        """The blur A along an axis, in double precision, with rows of sum 1."""
        return torch.softmax(-((self.apart / 2) ** 2) / 2, 1)

    @cached_property
    def root(self) -> Tensor:
        """A root of the prior's covariance, in single precision."""
        return torch.linalg.cholesky(self.prior).float().to(self.device)

    @cached_property
    def operator(self) -> Tensor:
        """The blur, in single precision."""
        return self.blur.float().to(self.device)

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draws fields and their observations, each with shape (B, 1, n, ...)."""
        shape = (2, batch, 1, *[self.n] * self.dims)
        white, noise = torch.randn(shape, generator=generator).to(self.device)
        x = along_axes(self.root, white)
        return x, along_axes(self.operator, x) + self.sigma * noise

    def score_fn(self, y: Tensor) -> ScoreFn:
        """Returns the score of the likelihood of observations, in the field ``x``."""
        blur = self.operator

        def score(state):
            residual = (y - along_axes(blur, state["x"])) / self.sigma**2
            return {"x": along_axes(blur.T, residual)}, {}

        return score

    def posterior_mean(self, y: Tensor) -> Tensor:
        """Computes the posterior mean, in double precision."""
        prior, blur = self.prior, self.blur
        for _ in range(self.dims - 1):
            prior, blur = torch.kron(prior, self.prior), torch.kron(blur, self.blur)
        evidence = blur @ prior @ blur.T + self.sigma**2 * torch.eye(len(blur)).double()
        gain = torch.linalg.solve(evidence, blur @ prior)
        return (y.double().cpu().flatten(2) @ gain).reshape(y.shape)


def along_axes(matrix: Tensor, maps: Tensor) -> Tensor:
    """Multiplies maps (B, C, n, ...) along each of their axes by a matrix (n, n)."""
    for axis in range(2, maps.ndim):
        maps = torch.movedim(torch.movedim(maps, axis, -1) @ matrix.T, -1, axis)
    return maps
