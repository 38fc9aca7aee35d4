"""What a paper is here, and what comes of doing it again."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor

from ..evaluation.percentiles import percentile
from ..training.distributed import Group

Scale = Literal["small", "full"]
"""``small``: minutes on two cores; ``full``: as the paper had it, as far as it is known."""

NOT_FOUND = "not found"
"""In the place of a paper's number that we could not look up."""


@dataclass(frozen=True)
class Setting:
    """Says how a paper is done again.

    Arguments:
        folder: Where all that comes of it goes; what is there already is not done again.
        scale: The scale.
        seed: Seed of the weights and of all draws.
        data: Folder of the user's own data, such as the paper had; ``None`` for what comes with
            the package.
        quick: Whether to try whether all works: trainings of a few steps, few draws, and the
            machines of the small scale.
        device: Where to train, and to judge.
        group: The processes that do it together.
        report: Called with lines of text.
    """

    folder: Path
    scale: Scale = "small"
    seed: int = 0
    data: Path | None = None
    quick: bool = False
    device: torch.device = torch.device("cpu")
    group: Group = field(default_factory=Group)
    report: Callable[[str], None] = print

    def say(self, text: str) -> None:
        """Reports a line of text, once for all processes."""
        if self.group.leads:
            self.report(text)


def median(values: Tensor) -> float:
    """Returns the median of values (B), in the middle of the two of an even number.

    That of torch is the lower one, which of 24 errors is 3 to 10 per cent too small.
    """
    return percentile(values.double().numpy(), 50)


@dataclass(frozen=True)
class Number:
    """Holds a measured mean or median.

    Arguments:
        value: The number.
        error: Its standard error; ``None`` where none is given.
    """

    value: float
    error: float | None = None

    @classmethod
    def mean(cls, values: Tensor) -> "Number":
        """Takes the mean of values (B)."""
        return cls(float(values.mean()), float(values.std()) / len(values) ** 0.5)

    @classmethod
    def share(cls, found: Tensor) -> "Number":
        """Takes the share of what is true (B), with its binomial error."""
        value = float(found.double().mean())
        return cls(value, (value * (1 - value) / len(found)) ** 0.5)

    @classmethod
    def median(cls, values: Tensor) -> "Number":
        """Takes the median of values (B), with the error of that of a normal distribution."""
        low, high = torch.quantile(values.double(), values.new_tensor([0.16, 0.84]).double())
        return cls(median(values), 1.25 * float(high - low) / 2 / len(values) ** 0.5)

    def __str__(self) -> str:
        if self.error is None:
            return f"{self.value:.4g}"
        return f"{self.value:.4g} ± {self.error:.2g}"


@dataclass(frozen=True)
class Line:
    """Holds a line of the table.

    Arguments:
        quantity: What is measured, and on what.
        paper: The paper's number, and where in it; ``not found`` where we could not look it up.
        published: Of the machine as published, at this scale.
        ours: Of ours.
        rival: Of the best of those who do without a machine, at their end.
        rival_name: Who that is.
        early: Of the best of them after as many calls of the score as the machine as published
            makes, where that was judged.
        early_name: Who that is.
    """

    quantity: str
    paper: str
    published: Number
    ours: Number
    rival: Number | None = None
    rival_name: str = ""
    early: Number | None = None
    early_name: str = ""


@dataclass(frozen=True)
class Result:
    """Holds what came of it.

    Arguments:
        lines: The table *paper, as published, ours, the others*.
        figures: Figures of Matplotlib, by name.
        tables: Further tables, by name: rows of columns by name.
        differs: What differs from the paper, in data or size.
        minutes: Time of the trainings in all sessions [min], by machine.
    """

    lines: Sequence[Line]
    figures: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, object]]] = field(default_factory=dict)
    differs: Sequence[str] = ()
    minutes: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class Paper(Protocol):
    """A paper that can be done again."""

    @property
    def name(self) -> str:
        """Its name on the command line."""
        ...

    @property
    def title(self) -> str:
        """Its title."""
        ...

    @property
    def arxiv(self) -> str:
        """Its number on arXiv."""
        ...

    @property
    def reproduces(self) -> str:
        """What of it is done again."""
        ...

    def cost(self, scale: Scale) -> str:
        """Says what a scale costs, and whether that was measured."""
        ...

    def run(self, setting: Setting) -> Result | None:
        """Does it again, or goes on with it; only the first process of a group has a result.

        Raises:
            InputError: If the setting cannot be used.
        """
        ...
