"""What a training is made with, and the curves that follow from it.

The learning rate is a function of the step alone, so that a resumed training continues it.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from ..errors import InputError
from ..option_types import check_types
from .table import from_table

MAY_CHANGE = frozenset(
    {"workers", "ahead", "threads", "validate_every", "checkpoint_every", "patience"}
)
"""Fields that may differ when a training is resumed. The others decide what is learnt, even
``steps``, to which the learning rate's curve is stretched."""


def check_max_minutes(minutes: float | None) -> None:
    """Checks the option ``--max-minutes`` of a command that trains.

    Raises:
        InputError: If it is negative, or no number.
    """
    if minutes is not None and not minutes >= 0:
        raise InputError(f"--max-minutes: must be 0 or more, found {minutes}")


@dataclass(frozen=True)
class TrainConfig:
    """How to train."""

    steps: int = 100_000
    """Number of steps; the learning rate is at its end at the last."""

    batch_size: int = 32
    """Samples of a step, all its parts together. The loop takes the batches as they come: this
    says what they were made with, and a training is not resumed with another."""

    parts: int = 1
    """Batches of which a step is made, each of ``batch_size / parts`` samples; its gradient is the
    mean of theirs. More parts need less memory, and can be dealt out to as many processes, of
    whose number the gradient does not depend."""

    learning_rate: float = 3e-4
    """Peak of the learning rate."""

    warmup: int = 1000
    """Steps in which the learning rate rises to its peak."""

    final_rate: float = 0.01
    """Learning rate at the last step, as a fraction of the peak."""

    weight_decay: float = 1e-4
    """Decay of AdamW, for parameters of two dimensions or more: not for biases and scales."""

    betas: tuple[float, float] = (0.9, 0.99)
    """Memory of AdamW for the gradient and for its square."""

    clip: float = 1.0
    """Norm of the whole gradient above which it is scaled down to it."""

    ema: float = 0.999
    """Decay of the moving average of the weights, which validation sees and which is kept; less at
    first: see :meth:`decay_at`."""

    seed: int = 0
    """Seed of the randomness within the steps. The first weights are the caller's."""

    validate_every: int = 1000
    """Steps between validations, each of which is a line of the history."""

    checkpoint_every: int = 1000
    """Steps between checkpoints."""

    patience: int = 0
    """Validations in a row without a new best after which to stop; 0 for never."""

    workers: int = 0
    """Processes that make batches ahead; 0 to make them in this one."""

    ahead: int = 2
    """Batches that each of them makes ahead; more where few steps need a new one (``reuse``)."""

    threads: int = 0
    """Threads of torch; 0 to leave their number as it is. Another number may round otherwise."""

    def __post_init__(self):
        check_types(self, words=False)
        for each in fields(self):  # those of numpy are none that JSON could hold
            if isinstance(value := getattr(self, each.name), np.generic):
                object.__setattr__(self, each.name, value.item())
        object.__setattr__(self, "betas", tuple(map(float, self.betas)))
        inf = math.inf
        for name, values, low, high in (
            ("steps", [self.steps], 1, inf),
            ("batch_size", [self.batch_size], 1, inf),
            ("parts", [self.parts], 1, inf),
            ("warmup", [self.warmup], 0, self.steps),
            ("weight_decay", [self.weight_decay], 0, inf),
            ("betas", self.betas, 0, 1),
            ("ema", [self.ema], 0, 1),
            ("seed", [self.seed], 0, 2**63),
            ("validate_every", [self.validate_every], 1, inf),
            ("checkpoint_every", [self.checkpoint_every], 1, inf),
            ("patience", [self.patience], 0, inf),
            ("workers", [self.workers], 0, inf),
            ("ahead", [self.ahead], 1, inf),
            ("threads", [self.threads], 0, inf),
        ):
            if not all(low <= value < high for value in values):
                below = "" if high == inf else f" and below {high:g}"
                found = getattr(self, name)
                raise InputError(f"{name}: must be {low} or more{below}, found {found}; change it")
        if self.batch_size % self.parts:
            raise InputError(
                f"parts: must divide batch_size, {self.batch_size}, found {self.parts}; change one"
            )
        for name in ("learning_rate", "clip"):
            if not 0 < getattr(self, name) < inf:
                raise InputError(
                    f"{name}: must be positive and finite, found {getattr(self, name)}; change it"
                )
        if not 0 <= self.final_rate <= 1:
            raise InputError(
                f"final_rate: must be a fraction, 0 to 1, found {self.final_rate}; change it"
            )

    def rate_at(self, step: int) -> float:
        r"""Computes the learning rate of a step: linear up to its peak, then half a cosine down.

        .. math:: \eta_t = \eta \, \frac{t + 1}{w + 1} \quad (t < w) , \qquad
                  \eta_t = \eta \left[f + \frac{1 - f}{2}
                  \left(1 + \cos \pi \frac{t - w}{T - 1 - w}\right)\right]
                  \quad (w \le t \le T - 1) .

        Arguments:
            step: Number :math:`t` of steps made before.
        """
        if step < self.warmup:
            return self.learning_rate * (step + 1) / (self.warmup + 1)
        done = (step - self.warmup) / max(1, self.steps - 1 - self.warmup)
        wave = (1 + math.cos(math.pi * done)) / 2
        return self.learning_rate * (self.final_rate + (1 - self.final_rate) * wave)

    def decay_at(self, averaged: int) -> float:
        r"""Computes the decay of the moving average, :math:`\min(d, (1 + n) / (10 + n))`.

        Arguments:
            averaged: Number :math:`n` of weights averaged before.
        """
        return min(self.ema, (1 + averaged) / (10 + averaged))

    def seed_at(self, *numbers: int) -> int:
        """Mixes the seed and numbers into another: those of neighbours have nothing in common."""
        return int(np.random.SeedSequence([self.seed, *numbers]).generate_state(1, np.uint64)[0])

    @property
    def part_size(self) -> int:
        """Samples of a part."""
        return self.batch_size // self.parts

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as JSON can hold them."""
        return {**asdict(self), "betas": list(self.betas)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainConfig":
        """Creates a configuration from what :meth:`to_dict` returned; defaults for what lacks.

        Raises:
            InputError: If a key is unknown, or a value is not of the field's type or range.
        """
        return from_table(cls, values)
