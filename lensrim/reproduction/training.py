"""Machines that are trained for a paper, each in a folder of its own, in which it goes on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .._weights import read_weights
from ..rim import RIM, describe
from ..rim.saving import HEADER
from ..training.config import TrainConfig
from ..training.feed import MadeOnce, to_device
from ..training.loop import fit
from ..training.names import EMA
from .paper import Setting

Batch = Any

QUICK_PARTS = 8
"""Parts of a step of a training that only shows whether it works, at most."""


@dataclass(frozen=True)
class Trainee:
    """Describes a machine, or another network, and its training.

    Arguments:
        name: Its name, and that of its folder.
        make: Creates it untrained.
        draw: Makes the training batch of a number and of so many samples; where the configuration
            has workers it is sent to them.
        validation: Makes the batch for validations.
        loss: Computes what the training makes small: a mean over the samples.
        config: How it is trained.
        said: What decides on its batches beside their seed: a training does not go on with other
            data.
    """

    name: str
    make: Callable[[], nn.Module]
    draw: Callable[[int, int], Batch]
    validation: Callable[[], Batch]
    loss: Callable[[nn.Module, Batch], Tensor]
    config: TrainConfig
    said: Mapping[str, Any]


def train(trainee: Trainee, setting: Setting) -> tuple[nn.Module, float]:
    """Trains a machine, or goes on with it.

    Returns:
        It, with its averaged weights, on the setting's device, and the minutes that the training
        took in all sessions.
    """
    config = trainee.config
    config = quickened(config) if setting.quick else config
    config = replace(config, seed=setting.seed)
    with torch.random.fork_rng([]):
        torch.manual_seed(setting.seed)
        model = trainee.make()
    folder = setting.folder / trainee.name

    def loss_fn(network: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        return trainee.loss(network, batch), {}

    setting.say(
        f"training {trainee.name}: {parameters(model):,} parameters, {config.steps} steps of "
        f"{config.batch_size}"
    )
    history = fit(
        model,
        partial(_part, trainee.draw, config.part_size),
        loss_fn,
        config,
        folder=folder,
        validation=MadeOnce(lambda _: to_device(trainee.validation(), setting.device), 1),
        device=setting.device,
        header={"machine": trainee.name, "seed": setting.seed, **trainee.said},
        notes={HEADER: describe(model)} if isinstance(model, RIM) else {},
        report=setting.report,
        group=setting.group,
    )
    # the first process alone need see the file, and a later training may use this in all of them
    averaged = setting.group.from_first(lambda: read_weights(folder / EMA)[0])
    model.load_state_dict(averaged)
    return model.eval(), history.lines[-1]["seconds"] / 60


def parameters(model: nn.Module) -> int:
    """Counts the parameters of a network."""
    return sum(p.numel() for p in model.parameters())


def quickened(config: TrainConfig) -> TrainConfig:
    """Returns the configuration of a training that only shows whether it works.

    Parts have two samples, and steps as many parts as they have otherwise, but for at most
    :data:`QUICK_PARTS`, which does not depend on the number of processes: these may change before
    the training goes on. Batches are made by a worker, where there are workers.
    """
    parts = min(config.parts, QUICK_PARTS)
    workers = min(config.workers, 1)
    return replace(config, steps=2, warmup=1, batch_size=2 * parts, parts=parts, workers=workers)


def _part(draw: Callable[[int, int], Batch], size: int, number: int) -> Batch:
    """Makes the batch of a part; named, so that workers can be told of it."""
    return draw(number, size)
