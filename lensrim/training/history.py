"""What a training tells of itself: a line for each validation, in a file, in words, as scalars."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

from .checkpoint import Reason, Run


@dataclass(frozen=True)
class History:
    """Holds how a training went.

    Arguments:
        lines: For each validation ``step``, ``learning_rate``, ``loss`` and ``metrics`` (means
            over the steps since the line before), ``gradient_norm`` (their median, before
            clipping), ``validation_loss``, ``validation_metrics``, ``seconds`` (since the
            beginning, all sessions together), ``waited`` (the fraction of the time since the line
            before in which there was no batch to train on: the time of the network that was lost
            to making the data) and ``skipped`` (steps since the line before).
            What is not finite, or was not measured, is ``None``.
        step: Number of steps made.
        best: Best validation loss.
        stopped: Why it ended.
    """

    lines: Sequence[Mapping[str, Any]]
    step: int
    best: float | None
    stopped: Reason


def line_of(
    run: Run, validation_loss: float | None, metrics: Mapping[str, float | None]
) -> dict[str, Any]:
    """Returns the line that is due after a validation.

    Arguments:
        run: The training.
        validation_loss, metrics: What the validation measured.
    """
    recent = run.recent
    spent = run.seconds - (run.lines[-1]["seconds"] if run.lines else 0.0)
    return {
        "step": run.step,
        "learning_rate": run.config.rate_at(run.step - 1),
        "loss": mean([measured["loss"] for measured in recent]),
        "metrics": means([numbers for measured in recent for numbers in measured["metrics"]]),
        "gradient_norm": median(m["gradient_norm"] for m in recent) if recent else None,
        "validation_loss": validation_loss,
        "validation_metrics": dict(metrics),
        "seconds": run.seconds,
        "waited": run.waited / spent if spent > 0 else 0.0,
        "skipped": run.skipped,
    }


def in_words(line: Mapping[str, Any], *, best: bool) -> str:
    """Says what a line says; ``best`` is whether its weights are the best so far."""
    return (
        f"step {line['step']}: loss {_shown(line['loss'])}, "
        f"validation {_shown(line['validation_loss'])}{' (best)' if best else ''}, "
        f"gradient {_shown(line['gradient_norm'])}, {line['seconds'] / 60:.1f} min, "
        f"waited {100 * line['waited']:.0f} %"
    )


def scalars(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields each number of a line but its step, with its name, or ``group/name``."""
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}/{n}", float(v)) for n, v in value.items() if v is not None)
        elif value is not None and name != "step":
            yield name, float(value)


def mean(values: Sequence[float]) -> float | None:
    """Averages numbers; none, or any that is not finite, give ``None``, as JSON has no NaN."""
    return fmean(values) if values and all(map(math.isfinite, values)) else None


def means(measured: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Averages the numbers of each name."""
    names = dict.fromkeys(name for numbers in measured for name in numbers)
    return {name: mean([float(n[name]) for n in measured if name in n]) for name in names}


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
