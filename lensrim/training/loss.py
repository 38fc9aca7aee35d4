"""What a training measures: the loss of a batch, and that of the validation set."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from .config import TrainConfig
from .distributed import Group
from .feed import Batch, gpus, to_device
from .history import mean, means

Loss = Callable[[nn.Module, Batch], tuple[Tensor, Mapping[str, float]]]
"""Computes the loss of a batch, a mean over its samples, and numbers that describe it."""


def measured(loss_fn: Loss, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    """Computes a loss, and its metrics as numbers.

    Raises:
        InputError: If it is not of the form of ``Loss``.
    """
    found = loss_fn(model, batch)
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping)):
        raise InputError(
            "loss_fn: must return the loss and a dictionary of metrics, found a "
            f"{type(found).__name__}; return loss, {{}} where there are none"
        )
    loss, metrics = found
    if not isinstance(loss, Tensor) or loss.numel() != 1:
        shape = f" of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else ""
        raise InputError(
            "loss_fn: the loss must be a tensor of one number, found a "
            f"{type(loss).__name__}{shape}; return the mean over the batch"
        )
    return loss, {name: _number(name, value) for name, value in metrics.items()}


def _number(name: str, value: Any) -> float:
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError):
        shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
        raise InputError(
            f"loss_fn: every metric must be one number, found {name!r}, a "
            f"{type(value).__name__}{shape}; return its mean"
        ) from None


def validate(
    loss_fn: Loss,
    model: nn.Module,
    batches: Sequence[Batch],
    config: TrainConfig,
    device: torch.device,
    group: Group,
) -> tuple[float | None, dict[str, float | None]]:
    """Computes the mean loss and metrics of a model over the validation set.

    Arguments:
        loss_fn: The loss.
        model: The model, on the device.
        batches: The validation set; a group shares it.
        config: How it is trained: whoever makes it, every validation draws the same numbers.
        device: Where the batches go.
        group: The processes, one of which may be asked to end between two batches.

    Raises:
        KeyboardInterrupt: If it was.
    """
    results = []
    with torch.random.fork_rng(gpus(device)), torch.no_grad():
        for first in range(0, len(batches), group.size):
            group.heed()
            i = first + group.rank
            if i >= len(batches):
                continue
            torch.manual_seed(config.seed_at(i, 1))
            batch = to_device(batches[i], device)
            # Once more: a batch that is made when it is asked for may have drawn some.
            torch.manual_seed(config.seed_at(i, 1))
            loss, metrics = measured(loss_fn, model, batch)
            results.append((loss.item(), metrics))
    pooled = [result for some in group.gathered(results) for result in some]
    return mean([loss for loss, _ in pooled]), means([metrics for _, metrics in pooled])
