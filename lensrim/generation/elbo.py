r"""The loss of an autoencoder: minus the evidence lower bound, by the training's engine.

.. math:: -\mathcal{L} = \frac{1}{2 \sigma^2} \lVert u - \hat u(z) \rVert^2 + \beta_t \sum_j
          \max\left(\langle \mathrm{KL}_j \rangle, f\right) , \qquad
          \mathrm{KL}_j = \tfrac{1}{2} \left(\mu_j^2 + \sigma_j^2 - \ln \sigma_j^2 - 1\right) ,

with :math:`z \sim q(z|x)`, in the standardised form :math:`u` of the images. It is divided by the
number of pixels. :math:`\beta_t` rises linearly to :math:`\beta`, so that latent numbers are used
before they are paid for; ``free_bits`` :math:`f` [nat] is what each may hold at no price (its mean
over the batch), against their collapse to the prior.

References:
    Kingma & Welling 2014, arXiv:1312.6114; Higgins et al. 2017, ICLR (:math:`\beta`); Kingma et
    al. 2016, arXiv:1606.04934 (free bits).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import InputError


@dataclass(frozen=True)
class ELBO:
    r"""Creates the loss; an instance is a ``loss_fn`` of :func:`lensrim.training.loop.fit`.

    Arguments:
        sigma: Standard deviation :math:`\sigma` of the pixels about what is decoded, in units of
            the data's own scatter: how much detail is worth how many nats.
        beta: Weight :math:`\beta` of the divergence at the end.
        warmup: Steps in which it rises from 0.
        free_bits: Divergence of each latent number that costs nothing [nat].
    """

    sigma: float = 0.2
    beta: float = 1.0
    warmup: int = 500
    free_bits: float = 0.0

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise InputError(f"sigma: must be positive, found {self.sigma}; change it")
        for name in ("beta", "warmup", "free_bits"):
            if not getattr(self, name) >= 0:
                raise InputError(f"{name}: must be 0 or more, found {getattr(self, name)}")

    def beta_at(self, step: float) -> float:
        r"""Computes :math:`\beta_t`."""
        return self.beta * min(1.0, (step + 1) / max(1, self.warmup))

    def __call__(
        self, model: nn.Module, batch: Mapping[str, Tensor]
    ) -> tuple[Tensor, dict[str, float]]:
        """Computes the loss of a batch, and numbers that describe it.

        Arguments:
            model: The autoencoder, or what wraps it.
            batch: ``image``, with shape (B, 1, S, S), and ``step``, the number of the step.
        """
        seen, decoded, mean, log_variance = model(batch["image"])
        square = (decoded - seen).square().flatten(1)
        kl = divergence(mean, log_variance).mean(0)
        paid = kl.clamp(min=self.free_bits).sum()
        loss = square.sum(1).mean() / (2 * self.sigma**2)
        loss = (loss + self.beta_at(float(batch["step"])) * paid) / square.shape[1]
        numbers = {
            "rms": float(square.detach().mean().sqrt()),
            "divergence": float(kl.detach().sum()),
            "used": float((kl.detach() > 0.1).sum()),
        }
        return loss, numbers


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of normal distributions from N(0, 1), each by itself [nat]."""
    return (mean.square() + log_variance.exp() - log_variance - 1) / 2
