r"""The training loop.

    history = fit(model, batches, loss_fn, TrainConfig(steps=20_000), folder=Path("runs/first"))

trains until the steps are made, and leaves in the folder ``best.safetensors`` and
``ema.safetensors`` (the averaged weights with the best validation loss, and the latest),
``history.jsonl`` (one line per validation) and ``last.pt`` (all that is needed to go on). The same
call after an interruption, by the clock, a key or a failure, goes on at the last checkpoint; after
the end it returns at once.

On a CPU a resumed training gives the same bits as one that was never stopped: batches and learning
rate are functions of the step, and everything else is in the checkpoint. What is not guaranteed:
the same on a GPU, where sums are made in any order, or from ``batches`` and ``loss_fn`` that draw
random numbers from elsewhere than torch. One folder serves one process at a time.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from .._weights import replacing, write_weights
from ..errors import InputError
from ..progress import progress
from .checkpoint import Reason, Run, begin, gpus, random_state, surroundings
from .config import TrainConfig
from .feed import Batch, feed, to_device

Loss = Callable[[nn.Module, Batch], tuple[Tensor, dict[str, float]]]
"""Computes the loss of a batch, and numbers that describe it."""

LAST, EMA, BEST, HISTORY = "last.pt", "ema.safetensors", "best.safetensors", "history.jsonl"
"""Files of the folder."""

MAX_BARREN = 20
"""Steps in a row that may be skipped."""


@dataclass(frozen=True)
class History:
    """Holds how a training went.

    Arguments:
        lines: For each validation ``step``, ``learning_rate``, ``loss`` and ``metrics`` (means
            over the steps since the line before), ``gradient_norm`` (their median, before
            clipping), ``validation_loss``, ``validation_metrics``, ``seconds`` (since the
            beginning, all sessions together) and ``skipped`` (steps since the line before).
            What is not finite, or was not measured, is ``None``.
        step: Number of steps made.
        best: Best validation loss.
        stopped: Why it ended.
    """

    lines: Sequence[Mapping[str, Any]]
    step: int
    best: float | None
    stopped: Reason


def fit(
    model: nn.Module,
    batches: Callable[[int], Batch],
    loss_fn: Loss,
    config: TrainConfig,
    *,
    folder: Path,
    validation: Sequence[Batch] = (),
    max_minutes: float | None = None,
    device: torch.device | str | None = None,
    header: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = lambda line: None,
    quiet: bool = True,
    finish: Callable[[Batch, int], Batch] | None = None,
) -> History:
    """Trains a model, or goes on with it.

    Arguments:
        model: The model, changed in place. It ends with the latest weights, not the averaged ones.
        batches: Makes the batch of a step, counted from 0, and nothing else: it must not depend on
            what was asked for before. With ``config.workers`` it is sent to other processes.
        loss_fn: The loss, called with the model and a batch, both on the device.
        config: How to train.
        folder: Where the files of the training are, or go.
        validation: Batches of one size that are never trained on.
        max_minutes: Time after which no step is started.
        device: Where to train; where the model is by default.
        header: What the headers of the weights say beside ``step``, ``validation_loss`` (of the
            best) and ``config``: above all what the model is made of, and of what the batches
            are. A training is not resumed with another one.
        report: Called with a line of text for each validation.
        quiet: Whether to show no progress bar.
        finish: Finishes the batch of a step, given its number, on the device: what is faster there
            than in ``config.workers``. It must not draw torch's global random numbers.

    Raises:
        InputError: If the folder cannot be used, or holds a training that cannot be resumed.
        RuntimeError: If 20 steps in a row have a loss or gradient that is not finite.
    """
    begun = perf_counter()
    if config.patience and not validation:
        raise InputError("patience: needs validation batches, found none; give some, or 0")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: must be a folder for the training, found {error.strerror}; choose another"
        ) from error
    device = next(model.parameters()).device if device is None else torch.device(device)
    with surroundings(config, device):
        run = begin(model.to(device), config)
        run.header = json.loads(json.dumps(dict(header or {})))
        if resumed := (folder / LAST).exists():
            run.load(folder / LAST)
        stopped = run.stopped()
        if stopped and not run.line_due:
            return History(run.lines, run.step, run.best, stopped)
        loop = _Loop(run, loss_fn, validation, folder, run.header, report, finish)
        limit = math.inf if max_minutes is None else run.seconds + 60 * max_minutes
        origin = begun - run.seconds
        loop.prepare(resumed)
        with progress("train", total=config.steps - run.step, enabled=not quiet) as bar:
            try:
                stopped = loop.go(batches, lambda: perf_counter() - origin, limit, bar.update)
            except KeyboardInterrupt:
                # In the middle of an update the last checkpoint is better than a mixture.
                if run.whole:
                    loop.save()
                raise
        loop.save()
        return History(run.lines, run.step, run.best, stopped)


@dataclass(frozen=True)
class _Loop:
    """Holds what the steps of a run need."""

    run: Run
    loss_fn: Loss
    validation: Sequence[Batch]
    folder: Path
    header: Mapping[str, Any]
    report: Callable[[str], None]
    finish: Callable[[Batch, int], Batch] | None

    def go(
        self,
        batches: Callable[[int], Batch],
        clock: Callable[[], float],
        limit: float,
        tick: Callable[[], object],
    ) -> Reason:
        """Makes steps until there is a reason to stop, and returns it.

        Arguments:
            batches: Makes the batch of a step.
            clock: Tells the seconds spent in all sessions together.
            limit: Time [s] from which no step is started.
            tick: Called after each step.
        """
        run, first = self.run, self.run.step
        config = run.config
        feeding = feed(
            batches,
            first,
            config.steps,
            device=run.device,
            workers=config.workers,
            ahead=config.ahead,
            finish=self.finish,
        )
        with closing(feeding):
            while True:
                run.seconds = clock()
                if run.line_due:
                    self.write_line()
                    run.seconds = clock()
                if stopped := run.stopped(limit):
                    return stopped
                if run.step > first and run.step % config.checkpoint_every == 0:
                    self.save()
                self.step(next(feeding))
                tick()

    def step(self, batch: Batch) -> None:
        """Makes one step, or skips it if its loss or gradient is not finite."""
        run, config = self.run, self.run.config
        for group in run.optimiser.param_groups:
            group["lr"] = config.rate_at(run.step)
        run.optimiser.zero_grad()
        loss, metrics = self.loss_fn(run.model, batch)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(run.model.parameters(), config.clip)
        finite = bool(torch.isfinite(loss) & torch.isfinite(norm))
        with run.changing():
            if finite:
                run.optimiser.step()
                run.average.update_parameters(run.model)
                numbers = {name: float(value) for name, value in metrics.items()}
                measured = {"loss": loss.item(), "gradient_norm": norm.item(), "metrics": numbers}
                run.recent.append(measured)
            run.barren = 0 if finite else run.barren + 1
            run.skipped += not finite
            run.step += 1
            run.random = random_state(run.device)
        if run.barren >= MAX_BARREN:
            raise RuntimeError(
                f"{MAX_BARREN} steps in a row, up to step {run.step}, had a loss or gradient that "
                f"is not finite (the last: loss {loss.item():g}, gradient norm {norm.item():g}); "
                "lower learning_rate, or look for what is not finite in the batches"
            )

    def validate(self) -> tuple[float | None, dict[str, float | None]]:
        """Computes the mean loss and metrics of the averaged weights over the validation set."""
        # Every validation draws the same numbers, and leaves those of the steps alone.
        with torch.random.fork_rng(gpus(self.run.device)), torch.no_grad():
            torch.manual_seed(self.run.config.seed)
            results = [
                self.loss_fn(self.run.average.module, to_device(batch, self.run.device))
                for batch in self.validation
            ]
        return _mean([loss.item() for loss, _ in results]), _means([m for _, m in results])

    def write_line(self) -> None:
        """Validates, adds a line to the history, and keeps the weights if they are the best."""
        run, recent = self.run, self.run.recent
        loss, metrics = self.validate()
        better = loss is not None and (run.best is None or loss < run.best)
        line = {
            "step": run.step,
            "learning_rate": run.config.rate_at(run.step - 1),
            "loss": _mean([measured["loss"] for measured in recent]),
            "metrics": _means([measured["metrics"] for measured in recent]),
            "gradient_norm": median(m["gradient_norm"] for m in recent) if recent else None,
            "validation_loss": loss,
            "validation_metrics": metrics,
            "seconds": run.seconds,
            "skipped": run.skipped,
        }
        if better:
            self.write_average(BEST, loss)
        with run.changing():
            run.lines.append(line)
            run.recent, run.skipped = [], 0
            if better:
                run.best, run.bad = loss, 0
            elif self.validation:
                run.bad += 1
            with open(self.folder / HISTORY, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")
        self.report(
            f"step {run.step}: loss {_shown(line['loss'])}, validation {_shown(loss)}"
            f"{' (best)' if better else ''}, gradient {_shown(line['gradient_norm'])}, "
            f"{run.seconds / 60:.1f} min"
        )

    def prepare(self, resumed: bool) -> None:
        """Drops lines of the history that the checkpoint does not know; writes the first one."""
        with replacing(self.folder / HISTORY) as file:
            file.writelines(f"{json.dumps(line)}\n".encode() for line in self.run.lines)
        if not resumed:
            self.save()

    def save(self) -> None:
        """Writes the averaged weights, and then the checkpoint, which so vouches for them."""
        self.write_average(EMA)
        self.run.save(self.folder / LAST)

    def write_average(self, name: str, validation_loss: float | None = None) -> None:
        """Writes the averaged weights into a file of the folder."""
        run = self.run
        said = {"step": run.step, "config": run.config.to_dict()}
        if validation_loss is not None:
            said["validation_loss"] = validation_loss
        weights = run.average.module.state_dict()
        write_weights(self.folder / name, weights, {**self.header, **said})


def _mean(values: Sequence[float]) -> float | None:
    """Averages numbers; none, or any that is not finite, give ``None``, as JSON has no NaN."""
    return fmean(values) if values and all(map(math.isfinite, values)) else None


def _means(measured: Sequence[Mapping[str, float]]) -> dict[str, float | None]:
    """Averages the numbers of each name."""
    names = dict.fromkeys(name for numbers in measured for name in numbers)
    return {name: _mean([float(n[name]) for n in measured if name in n]) for name in names}


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
