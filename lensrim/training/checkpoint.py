r"""A training in progress, and the file that keeps all of it.

Beside the weights :math:`\theta` their moving average is kept, which has less of the noise of the
single steps: with :math:`\theta_n` the weights after the :math:`n`-th step that was not skipped,

.. math:: \bar\theta_1 = \theta_1 , \qquad
          \bar\theta_{n+1} = d_n \bar\theta_n + (1 - d_n) \, \theta_{n+1} , \qquad
          d_n = \min\left(d, \tfrac{1 + n}{10 + n}\right) .

A checkpoint is written whole or not at all, and reading one executes nothing that is in it.
"""

import math
import pickle
import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

from .._weights import replacing
from ..errors import InputError
from .config import MAY_CHANGE, TrainConfig
from .feed import gpus
from .names import BEST, EMA

Reason = Literal["steps", "patience", "time"]
"""Why a training ends: all steps made, patience at its end, or time up."""

FORMAT = "lensrim training 2"

KEPT = ("step", "lines", "best", "bad", "seconds", "waited", "recent", "skipped", "barren")
"""Fields of a run that a checkpoint holds beside the weights."""

_DAMAGED = (
    *(EOFError, LookupError, OSError, RuntimeError, ValueError, TypeError, AttributeError),
    *(AssertionError, struct.error, pickle.UnpicklingError),
)
"""What torch raises for a file that is not, or no longer, one of its own."""


@contextmanager
def refusing_damaged(message: str) -> Iterator[None]:
    """Says a message where torch cannot read a file, in the place of what it raises.

    Raises:
        InputError: With the message.
    """
    try:
        with warnings.catch_warnings():  # of what kind of pickle it is, which is refused
            warnings.simplefilter("ignore")
            yield
    except _DAMAGED as error:
        raise InputError(message) from error


def _differing(old: Mapping[str, Any], new: Mapping[str, Any], where: str = "") -> str:
    """Says what of a description was another one, and is now."""
    said = []
    for name in sorted({*old, *new}):
        before, now = old.get(name, "nothing"), new.get(name, "nothing")
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            said += [_differing(before, now, f"{where}{name}.")] if before != now else []
        elif before != now:
            said.append(f"{where}{name} {before}, found {now}")
    return ", ".join(said)


@dataclass
class Run:
    """Holds a training in progress.

    Arguments:
        model: What is trained.
        average: Moving average of its weights.
        optimiser: Its optimiser.
        config: How it is trained.
        header: What is trained, and on what, as JSON can hold it.
        step: Number of steps made.
        lines: The history, one line per validation.
        best: Best validation loss; ``None`` before the first.
        bad: Validations since the best.
        seconds: Time spent in all sessions together.
        waited: That of it since the last line in which steps waited for their batches.
        recent: What each step since the last line measured.
        own: Metrics of the steps after those of ``recent``, of this process alone.
        skipped: Steps skipped since the last line.
        barren: Steps skipped in a row, up to now.
        whole: Whether the fields belong to one and the same step.
    """

    model: nn.Module
    average: AveragedModel
    optimiser: Optimizer
    config: TrainConfig
    header: dict[str, Any] = field(default_factory=dict)
    step: int = 0
    lines: list[dict[str, Any]] = field(default_factory=list)
    best: float | None = None
    bad: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    recent: list[dict[str, Any]] = field(default_factory=list)
    own: list[list[dict[str, float]]] = field(default_factory=list)
    skipped: int = 0
    barren: int = 0
    whole: bool = True

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def line_due(self) -> bool:
        """Whether a line of the history must follow the last step, and is not there yet."""
        due = self.step % self.config.validate_every == 0 or self.step == self.config.steps
        return due and self.step > 0 and (not self.lines or self.lines[-1]["step"] < self.step)

    def stopped(self, limit: float = math.inf) -> Reason | None:
        """Tells why no step is to follow, if none is; ``limit`` is a number of seconds."""
        if self.step >= self.config.steps:
            return "steps"
        if 0 < self.config.patience <= self.bad:
            return "patience"
        return "time" if self.seconds >= limit else None

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Marks what must happen completely: an exception inside leaves the run not whole."""
        self.whole = False
        yield
        self.whole = True

    def save(self, path: Path) -> None:
        """Writes a checkpoint, in place of the one that is there."""
        content = {
            "format": FORMAT,
            "config": self.config.to_dict(),
            "header": self.header,
            "model": self.model.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            **{name: getattr(self, name) for name in KEPT},
        }
        with replacing(path) as file:
            torch.save(content, file)

    def load(self, path: Path, data: bytes | None = None) -> None:
        """Takes up the training of a checkpoint, in place.

        Arguments:
            path: Its file.
            data: What is in the file, if it was read before.

        Raises:
            InputError: If the file is damaged or not a checkpoint, or is one of another model or
                of a configuration that differs in more than :data:`MAY_CHANGE`, or of another
                header.
        """
        content = _content(path, stored(path) if data is None else data)
        _check_config(path, content["config"], self.config.to_dict())
        if content["header"] != self.header:
            raise InputError(
                f"{path}: the training must be of what it began with, "
                f"{_differing(content['header'], self.header)}; {_way_out(path)}"
            )
        try:
            self.model.load_state_dict(content["model"])
            self.average.load_state_dict(content["average"])
            self.optimiser.load_state_dict(content["optimiser"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise InputError(
                f"{path}: must be a checkpoint of this model, found another "
                f"({' '.join(str(error).split())[:200]}); choose another folder"
            ) from error
        for name in KEPT:
            setattr(self, name, content[name])


def begin(model: nn.Module, config: TrainConfig) -> Run:
    """Creates a run that has made no step."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas)

    def add(averages: Iterable[Tensor], values: Iterable[Tensor], averaged: Tensor | int) -> None:
        weight = 1 - config.decay_at(int(averaged))
        for average, value in zip(averages, values, strict=True):
            average.lerp_(value, weight)

    average = AveragedModel(model, multi_avg_fn=add)
    average.eval().requires_grad_(False)
    return Run(model.train(), average, optimiser, config)


@contextmanager
def surroundings(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Gives back the caller's random numbers and number of threads in the end."""
    threads = torch.get_num_threads()
    with torch.random.fork_rng(gpus(device)):
        try:
            if config.threads:
                torch.set_num_threads(config.threads)
            yield
        finally:
            torch.set_num_threads(threads)


def stored(path: Path) -> bytes:
    """Reads the file of a checkpoint.

    Raises:
        InputError: If it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path}: checkpoint must be readable, found {error.strerror or error}; "
            "check the file, or choose another folder"
        ) from error


def _content(path: Path, data: bytes) -> dict[str, Any]:
    """Returns what is in a checkpoint, whatever device it was made on, on the CPU."""
    with refusing_damaged(
        f"{path}: checkpoint must be whole, found a damaged file or one of another kind; "
        "remove it to begin anew, or choose another folder"
    ):
        content = torch.load(BytesIO(data), map_location="cpu", weights_only=True)
    wanted = {"config", "header", "model", "average", "optimiser", *KEPT}
    if (
        not isinstance(content, dict)
        or content.get("format") != FORMAT
        or not wanted <= set(content)
    ):
        raise InputError(
            f"{path}: must be a checkpoint of the format {FORMAT!r}, found another file; "
            "remove it to begin anew, or choose another folder"
        )
    return content


def _check_config(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """Raises if a field that decides what is learnt is not what the training began with."""
    for name in sorted({*old, *new} - MAY_CHANGE):
        if old.get(name) != new.get(name):
            raise InputError(
                f"{path}: {name} must be what the training began with, {old.get(name)}, found "
                f"{new.get(name)}; {_way_out(path)}"
            )


def _way_out(path: Path) -> str:
    """Says what can be done where a recipe is not that of a checkpoint."""
    there = [path.parent / name for name in (BEST, EMA)]
    weights = next((file for file in there if file.is_file()), there[-1]).resolve()
    return (
        "set it back, or choose another folder, and begin with the weights of this one: by start "
        f"= '{weights}' in a recipe, or by load_rim and load_state_dict in Python"
    )
