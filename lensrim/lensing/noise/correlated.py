r"""Correlated Gaussian noise, stationary, given by its power spectrum.

.. math:: C = \mathcal{F}^\dagger \, \mathrm{diag}(P) \, \mathcal{F} \, , \qquad
          r = \mathcal{F}^\dagger P^{-1/2} \mathcal{F} \, (y - F(x)) \, , \qquad
          \log |C| = \sum_k \log P_k \, ,

with the unitary discrete Fourier transform :math:`\mathcal{F}`. White noise has
:math:`P = \sigma^2` everywhere, and the mean of :math:`P` is the variance of a pixel. What is
exact:

* **No mask**: everything, for noise that is periodic on the image. Pixels at opposite edges are
  hence taken for neighbours. A masked strip along one row and one column, as wide as the
  correlations reach, undoes that.
* **With a mask**: the covariance of the used pixels is a part of :math:`C` that no Fourier
  transform makes diagonal. The residual of the ignored pixels is put to its conditional mean,
  :math:`-Q_{mm}^{-1} Q_{mu} d_u` with :math:`Q = C^{-1}`, upon which :math:`r^T r` is
  :math:`d_u^T C_{uu}^{-1} d_u`: :math:`\chi^2`, its mean (the number of used pixels), and the
  score are exact, as far as a fixed number of conjugate gradients solves for it. The
  normalisation is not: it is the number of used pixels times the mean over :math:`k`, its leading
  order. It does not depend on the model, so neither does its error.
"""

import math
from typing import Any

import torch
from torch import Tensor

from .base import Noise, check_noise, check_pixels


class CorrelatedNoise(Noise):
    r"""Creates a stationary noise model.

    Arguments:
        power: Power spectrum :math:`P` [data units²], at the frequencies of ``fftfreq`` along rows
            and columns, with shape :math:`(H, W)`, or :math:`(B, 1, H, W)` for one per sample.
        mask: Pixels that are used, of a shape that broadcasts to that of the images; all of them
            by default.
        iterations: Conjugate gradients with a mask. The error falls by
            :math:`(\sqrt{c} - 1) / (\sqrt{c} + 1)` in each, with :math:`c` the ratio of the
            highest power to the lowest; without a mask there is none.

    Raises:
        ValueError: If the power is not finite and positive, or not the same at :math:`k` and
            :math:`-k` (no real noise has such a one).
    """

    def __init__(self, power: Tensor, mask: Tensor | None = None, *, iterations: int = 50):
        if not bool((torch.isfinite(power) & (power > 0)).all()):
            raise ValueError(
                f"power must be finite and positive, got a least value of {power.min().item()}; "
                "noise without any power at a frequency has no density: raise it"
            )
        mirrored = power.flip((-2, -1)).roll((1, 1), (-2, -1))
        if not torch.allclose(power, mirrored, rtol=1e-3, atol=0.0):
            raise ValueError(
                "power must be the same at k and -k, in the order of fftfreq, got "
                f"{((power - mirrored).abs() / power).max().item():.2g} of relative difference; "
                "shift its zero frequency to the first element (ifftshift)"
            )
        self.shape, self.iterations = tuple(power.shape[-2:]), iterations
        ones = torch.ones(self.shape, dtype=torch.bool, device=power.device)
        self.mask = ones if mask is None else mask.bool()
        self.complete = mask is None or bool(self.mask.all())
        half = power[..., : self.shape[1] // 2 + 1]
        self._white, self._color = half.rsqrt(), half.sqrt()
        self._pixels = torch.broadcast_shapes(power.shape, self.mask.shape)
        self._log = power.log().mean((-2, -1))
        self._diagonal = (1 / power).mean((-2, -1), keepdim=True)

    def residual(self, model: Tensor, image: Tensor) -> Tensor:
        r"""Computes :math:`r`, whose squares add up to :math:`\chi^2`.

        Each value is a mixture of the pixels around it, ignored ones among them.

        Raises:
            ValueError: If the images do not have the shape of the power spectrum.
        """
        check_pixels(model, image)
        self._check(model)
        difference = torch.where(self.mask, torch.where(self.mask, image, 0.0) - model, 0.0)
        if not self.complete:
            difference = difference + _Fill.apply(difference, self)
        return self._filter(difference, self._white)

    def normalization(self, model: Tensor) -> Tensor:
        r"""Computes :math:`\frac{1}{2} \log |2 \pi C|`, with a mask to leading order only."""
        self._check(model)
        each = 0.5 * (self._log + math.log(2 * math.pi)).reshape(-1)
        return each * self.pixels(model.shape)

    def precision(self, model: Tensor) -> Tensor:
        r"""Computes the diagonal of :math:`C^{-1}` (all pixels used), zero on ignored pixels.

        It is the inverse variance of a pixel of which all others are known: the information in a
        structure of one pixel. Smooth ones have less of it than their sum.
        """
        self._check(model)
        return torch.where(self.mask, self._diagonal, 0.0).expand(model.shape)

    def sample(self, model: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
        """Adds noise to images, on ignored pixels too."""
        self._check(model)
        noise = torch.randn(
            model.shape, generator=generator, dtype=model.dtype, device=model.device
        )
        return model + self._filter(noise, self._color)

    def fill(self, difference: Tensor) -> Tensor:
        r"""Computes :math:`-Q_{mm}^{-1} Q_{mu} d_u` on ignored pixels, zero on the others."""
        pulled = self._inverse(torch.where(self.mask, difference, 0.0))
        return self._solve(torch.where(self.mask, 0.0, -pulled))

    def fill_adjoint(self, values: Tensor) -> Tensor:
        r"""Applies the transpose, :math:`-Q_{um} Q_{mm}^{-1}`."""
        solved = self._solve(torch.where(self.mask, 0.0, values))
        return torch.where(self.mask, -self._inverse(solved), 0.0)

    def _check(self, model: Tensor) -> None:
        if tuple(model.shape[-2:]) != self.shape:
            raise ValueError(
                f"images must have the shape {self.shape} of the power spectrum, "
                f"got {tuple(model.shape[-2:])}"
            )
        check_noise(self._pixels, model)

    def _solve(self, b: Tensor) -> Tensor:
        """Solves for the ignored pixels by conjugate gradients, in a fixed number of them."""
        x, r, p = torch.zeros_like(b), b, b
        norm = _dot(r, r)
        for _ in range(self.iterations):
            q = torch.where(self.mask, 0.0, self._inverse(p))
            # Once solved to the last digit all of these are zero, and stay it.
            step = _ratio(norm, _dot(p, q))
            x, r = x + step * p, r - step * q
            before, norm = norm, _dot(r, r)
            p = r + _ratio(norm, before) * p
        return x

    def _inverse(self, image: Tensor) -> Tensor:
        return self._filter(image, self._white.square())

    def _filter(self, image: Tensor, factor: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2(image) * factor, s=self.shape)


class _Fill(torch.autograd.Function):
    # Linear, so its derivatives are itself and its transpose: no iteration is recorded.
    generate_vmap_rule = True

    @staticmethod
    def forward(difference: Tensor, noise: CorrelatedNoise) -> Tensor:
        return noise.fill(difference)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.noise = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        return _FillAdjoint.apply(grad, ctx.noise), None


class _FillAdjoint(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(values: Tensor, noise: CorrelatedNoise) -> Tensor:
        return noise.fill_adjoint(values)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        ctx.noise = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:
        return _Fill.apply(grad, ctx.noise), None


def power_spectrum(covariance: Tensor, shape: tuple[int, int]) -> Tensor:
    r"""Computes the power spectrum of noise with a given covariance between pixels.

    Arguments:
        covariance: Covariance of two pixels by the offset between them [data units²], a stamp with
            odd sides whose middle is the variance, with shape :math:`(*, h, w)`; zero beyond.
        shape: Shape :math:`(H, W)` of the images, at least that of the stamp.

    Returns:
        The power, with shape :math:`(*, H, W)`; of one per sample :class:`CorrelatedNoise` wants
        :math:`(B, 1, H, W)`.

    Raises:
        ValueError: If the stamp has an even side or does not fit, or belongs to no noise: some of
            the power is not positive.
    """
    h, w = covariance.shape[-2:]
    if h % 2 == 0 or w % 2 == 0 or h > shape[0] or w > shape[1]:
        raise ValueError(
            f"covariance must have odd sides and fit into {shape}, got {(h, w)}; cut or pad it"
        )
    stamp = torch.nn.functional.pad(covariance, (0, shape[1] - w, 0, shape[0] - h))
    # in doubles: rounding is relative to the highest power, and noise has a thousandth of it, and
    # less, at the frequencies that tell the most
    power = torch.fft.fft2(stamp.double().roll((-(h // 2), -(w // 2)), (-2, -1))).real
    if not bool((power > 0).all()):
        raise ValueError(
            f"covariance must have positive power at all frequencies, got {power.min().item():.3g}"
            "; do not cut it where it is far from zero, or add white noise"
        )
    return power.to(covariance.dtype)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum((-2, -1), keepdim=True)


def _ratio(a: Tensor, b: Tensor) -> Tensor:
    return torch.where(b > 0, a / torch.where(b > 0, b, 1.0), 0.0)
