r"""Elastic weight consolidation: which weights of a machine are to stay, and the price if not.

To fit one observation better, the weights :math:`w` of a trained machine may be changed (Adam et
al. 2023), but not so that it forgets what lenses are. The penalty

.. math:: \lambda \sum_i F_i (w_i - w^0_i)^2 , \qquad
          F_i = \Big\langle \Big( \frac{\partial \ell}{\partial w_i} \Big)^2 \Big\rangle ,

holds each weight as firmly as the loss :math:`\ell` of the training depends on it near the
observation: the mean is over lenses like it, one at a time, whose truth is known because a
generator drew them around the machine's own answer (:mod:`lensrim.inference.nearby`).

With a loss :math:`\ell = -\log p` and data that the machine's own :math:`p` would give, :math:`F`
is the diagonal of the Fisher matrix. Other losses are not likelihoods: the scale of :math:`F`, and
so that of :math:`\lambda`, is the loss's own.

References:
    Kirkpatrick et al. 2017, PNAS 114, 3521; Adam, Perreault-Levasseur, Hezaveh & Welling 2023,
    ApJ 951, 6.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..training.loss import Loss, measured


def fisher(model: nn.Module, samples: Iterable[Any], loss: Loss) -> dict[str, Tensor]:
    """Computes the mean square gradient of a loss, weight by weight.

    Arguments:
        model: The machine; its weights and their gradients are left as they are.
        samples: Batches of one sample each, which the loss takes, on the model's device: the
            square of a mean over several would be smaller, and is no Fisher matrix.
        loss: The loss of the training.

    Returns:
        For each parameter that requires a gradient, by name, a tensor of its shape.

    Raises:
        InputError: If there are no samples, one is of several, or there is no weight to be
            changed.
    """
    weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not weights:
        raise InputError("model: must have weights that require a gradient, found none")
    total, count = {name: torch.zeros_like(p) for name, p in weights.items()}, 0
    for sample in samples:
        _check_one(sample)
        value, _ = measured(loss, model, sample)
        found = torch.autograd.grad(value, list(weights.values()), allow_unused=True)
        for name, gradient in zip(weights, found, strict=True):
            if gradient is not None:
                total[name] += gradient.square()
        count += 1
    if not count:
        raise InputError("samples: must be one or more, found none; draw some")
    return {name: each / count for name, each in total.items()}


def _check_one(sample: Any) -> None:
    """Checks that the first axis of the tensors of a batch, those that have one, is 1."""
    parts = sample.values() if isinstance(sample, Mapping) else sample
    for part in parts if isinstance(parts, Iterable) and not isinstance(parts, Tensor) else ():
        if isinstance(part, Tensor) and part.ndim > 1 and len(part) != 1:
            raise InputError(
                f"samples: must be batches of one, found one of {len(part)}; split them"
            )


@dataclass(frozen=True, eq=False)
class ElasticPenalty:
    r"""Creates the penalty :math:`\lambda \sum_i F_i (w_i - w^0_i)^2`.

    Arguments:
        fisher: :math:`F`, by the weights' names, from :func:`fisher`.
        weights: The weights :math:`w^0` that were trained, by name; copies are kept, so they may
            be a model's own.
        strength: :math:`\lambda`.

    Raises:
        InputError: If the names differ, or the strength is negative.
    """

    fisher: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    strength: float = 1.0

    def __post_init__(self) -> None:
        if set(self.fisher) - set(self.weights):
            missing = sorted(set(self.fisher) - set(self.weights))
            raise InputError(f"weights: must hold all of the fisher's, found none of {missing[0]}")
        if not self.strength >= 0:
            raise InputError(f"strength: must be 0 or more, found {self.strength}; change it")
        # A model's parameters, and what its state_dict holds, move with it: no price at all.
        kept = {name: self.weights[name].detach().clone() for name in self.fisher}
        object.__setattr__(self, "weights", kept)

    @classmethod
    def of(
        cls, model: nn.Module, samples: Iterable[Any], loss: Loss, *, strength: float = 1.0
    ) -> "ElasticPenalty":
        """Creates the penalty about the weights that a model has now; see :func:`fisher`."""
        return cls(fisher(model, samples, loss), dict(model.named_parameters()), strength)

    def __call__(self, model: nn.Module) -> Tensor:
        """Computes the penalty of a model's weights, to be added to what is minimised."""
        now = dict(model.named_parameters())
        parts = [
            (f * (now[name] - self.weights[name]).square()).sum()
            for name, f in self.fisher.items()
        ]
        return self.strength * torch.stack(parts).sum()
