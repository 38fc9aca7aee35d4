r"""The training loop.

    history = fit(model, batches, loss_fn, TrainConfig(steps=20_000), folder=Path("runs/first"))

trains until the steps are made, and leaves in the folder ``ema.safetensors`` (the averaged
weights, the latest), with ``validation`` ``best.safetensors`` (those of the best validation loss),
``history.jsonl`` (one line per validation) and ``last.pt`` (all that is needed to go on). The same
call after an interruption, by the clock, a key or a failure, goes on at the last checkpoint; after
the end it returns at once.

On a CPU a resumed training gives the same bits as one that was never stopped: batches, learning
rate and random numbers are functions of the step and its parts, and everything else is in the
checkpoint. What is not guaranteed: the same on a GPU, where sums are made in any order, or from
``batches`` and ``loss_fn`` that draw random numbers from elsewhere than torch. One folder serves
one training at a time, of one process or a group (:mod:`~lensrim.training.distributed`). A key
that falls into an update leaves the checkpoint before it; none does where signals are heeded
between the steps::

    with joined() as group:
        fit(..., group=group)

Mixed precision is the loss's own: physics needs float32, a network does not, so the loss runs its
network under ``torch.autocast(device.type, torch.bfloat16)`` and the rest outside of it. Weights,
their average and the optimiser stay in float32; bfloat16 has the range of float32, so that no
gradient is lost below it and none is scaled.
"""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..errors import InputError
from ..progress import progress
from .checkpoint import Reason, Run, begin, surroundings
from .config import TrainConfig
from .distributed import Group
from .feed import Batch, feed
from .folder import Folder, as_json
from .history import History, in_words, line_of
from .loss import Loss, measured, validate
from .names import BEST, LAST

MAX_BARREN = 20
"""Steps in a row that may be skipped."""


def fit(
    model: nn.Module,
    batches: Callable[[int], Batch],
    loss_fn: Loss,
    config: TrainConfig,
    *,
    folder: Path | str,
    validation: Sequence[Batch] = (),
    max_minutes: float | None = None,
    begun: float | None = None,
    device: torch.device | str | None = None,
    header: Mapping[str, Any] | None = None,
    notes: Mapping[str, Any] | None = None,
    report: Callable[[str], None] = lambda line: None,
    record: Callable[[Mapping[str, Any]], None] = lambda line: None,
    quiet: bool = True,
    finish: Callable[[Batch, int], Batch] | None = None,
    group: Group = Group(),
) -> History:
    """Trains a model, or goes on with it.

    Arguments:
        model: The model, changed in place. It ends with the latest weights, not the averaged ones.
        batches: Makes the batch of a number, and nothing else: it must not depend on what was
            asked for before; torch's global random numbers are those of the batch's number. Part
            :math:`j` of step :math:`t`, both counted from 0, has the number
            ``t * config.parts + j``. With ``config.workers`` it is sent to other processes.
        loss_fn: The loss, called with the model and a batch, both on the device. The model may be
            wrapped: with a group it must be called to be used, as ``model(...)``, each time with
            all of its parameters that require a gradient.
        config: How to train.
        folder: Where the files of the training are, or go.
        validation: Batches of one size that are never trained on. A group shares them: a process
            asks for its own only.
        max_minutes: Time after which no step is started.
        begun: When that time began, by ``time.perf_counter()``: now by default.
        device: Where to train; where the model is by default.
        header: What the headers of the weights say beside ``step``, ``validation_loss`` (of the
            best) and ``config``: above all what the model is made of, and of what the batches
            are. A training is not resumed with another one.
        notes: What they say besides, and what may change when a training is resumed.
        report: Called with a line of text for each validation.
        record: Called with each line of the history.
        quiet: Whether to show no progress bar.
        finish: Finishes a batch, given its number, on the device: what is faster there than in
            ``config.workers``. Torch's random numbers are seeded likewise.
        group: The processes that make this training together: see
            :func:`~lensrim.training.distributed.joined`. The first alone writes and reports.

    Raises:
        InputError: If the folder cannot be used, holds a training that cannot be resumed, the
            parts of a step cannot be dealt out to the group, the loss is not of its form, the
            header or the notes are not what JSON can hold, or several processes train a model of
            which it does not use all.
        RuntimeError: If 20 steps in a row have a loss or gradient that is not finite.
        KeyboardInterrupt: After a checkpoint, if a key or a signal asked for it.
    """
    begun, folder = perf_counter() if begun is None else begun, Path(folder)
    if not isinstance(config, TrainConfig):
        raise InputError(f"config: must be a TrainConfig, found a {type(config).__name__}")
    if config.patience and not validation:
        raise InputError("patience: needs validation batches, found none; give some, or 0")
    if max_minutes is not None and not max_minutes >= 0:
        raise InputError(f"max_minutes: must be 0 or more, found {max_minutes}; change it")
    group.check(config.parts)
    last = group.from_first(Folder(folder).open)
    device = next(model.parameters()).device if device is None else torch.device(device)
    with surroundings(config, device):
        run = begin(model.to(device), config)
        run.header = as_json("header", header)
        if last is not None:
            run.load(folder / LAST, last)
        stopped = run.stopped()
        if stopped and not run.line_due:
            return History(run.lines, run.step, run.best, stopped)
        files = Folder(folder, group.leads, {**as_json("notes", notes), **run.header})
        files.begin(run)
        network = group.wrap(model)
        loop = _Loop(run, group, network, loss_fn, validation, files, report, record)
        if last is None:
            loop.save()
        limit = math.inf if max_minutes is None else run.seconds + 60 * max_minutes
        origin = begun - run.seconds
        numbers = range(
            run.step * config.parts + group.rank, config.steps * config.parts, group.size
        )
        feeding = feed(
            batches,
            numbers,
            device=device,
            seed_at=config.seed_at,
            workers=config.workers,
            ahead=config.ahead,
            finish=finish,
        )
        shown = not quiet and group.leads
        with (
            closing(feeding),
            progress("train", total=config.steps, initial=run.step, enabled=shown) as bar,
        ):
            try:
                stopped = loop.go(feeding, lambda: perf_counter() - origin, limit, bar)
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
    group: Group
    network: nn.Module
    loss_fn: Loss
    validation: Sequence[Batch]
    folder: Folder
    report: Callable[[str], None]
    record: Callable[[Mapping[str, Any]], None]

    def go(
        self,
        feeding: Generator[Batch, None, None],
        clock: Callable[[], float],
        limit: float,
        bar: tqdm,
    ) -> Reason:
        """Makes steps until there is a reason to stop, and returns it.

        Arguments:
            feeding: Serves the parts of the steps that fall to this process.
            clock: Tells the seconds spent in all sessions together.
            limit: Time [s] from which no step is started.
            bar: Shows the steps.
        """
        run, first = self.run, self.run.step
        while True:
            self.agree(clock)
            # Before a validation, which may fail where no step did: it is made again.
            due = run.step % run.config.checkpoint_every == 0
            if run.step > first and (due or (run.line_due and self.validation)):
                self.save()
            if run.line_due:
                self.write_line()
                self.agree(clock)
            if stopped := run.stopped(limit):
                return stopped
            loss, rate = self.step(feeding, clock)
            bar.set_postfix({"loss": f"{loss:.4g}", "rate": f"{rate:.2g}"}, refresh=False)
            bar.update()

    def agree(self, clock: Callable[[], float]) -> None:
        """Lets all processes of the group have the same time, and the same reason to stop."""
        run = self.run
        run.seconds, run.waited, asked = self.group.largest(
            clock(), run.waited, self.group.asked.is_set()
        )
        self.group.heed(asked)

    def step(
        self, feeding: Generator[Batch, None, None], clock: Callable[[], float]
    ) -> tuple[float, float]:
        """Makes one step, or skips it if its loss or gradient is not finite: weights and buffers,
        such as running means, then stay as they are. So do buffers if it is interrupted.

        Returns:
            The loss and the learning rate.
        """
        run, config, group = self.run, self.run.config, self.group
        rate = config.rate_at(run.step)
        for options in run.optimiser.param_groups:
            options["lr"] = rate
        run.optimiser.zero_grad()
        share = config.parts // group.size
        buffers = {name: each.clone() for name, each in run.model.named_buffers()}
        losses, numbers, waited = [], [], 0.0
        try:
            for part in range(share):
                begun = clock()
                batch = next(feeding)
                waited += clock() - begun
                # Of the part alone: whoever makes it, and after whatever interruption.
                at = run.step * config.parts + group.rank + group.size * part
                torch.manual_seed(config.seed_at(at))
                with group.adding(self.network, last=part == share - 1):
                    loss, metrics = measured(self.loss_fn, self.network, batch)
                    (loss / share).backward()
                losses.append(loss.item())
                numbers.append(metrics)
        except BaseException:  # this step will be made again
            _restore(run.model, buffers)
            raise
        group.check_used(run.model)
        norm = nn.utils.clip_grad_norm_(run.model.parameters(), config.clip)
        loss = group.mean(sum(losses) / share)
        finite = math.isfinite(loss) and math.isfinite(norm)
        with run.changing():
            if finite:
                run.optimiser.step()
                run.average.update_parameters(run.model)
                run.recent.append({"loss": loss, "gradient_norm": norm.item(), "metrics": []})
                run.own.append(numbers)
            else:
                _restore(run.model, buffers)
            run.barren = 0 if finite else run.barren + 1
            run.skipped += not finite
            run.waited += waited
            run.step += 1
        if run.barren >= MAX_BARREN:
            raise RuntimeError(
                f"{MAX_BARREN} steps in a row, up to step {run.step}, had a loss or gradient that "
                f"is not finite (the last: loss {loss:g}, gradient norm {norm.item():g}); "
                "lower learning_rate, or look for what is not finite in the batches"
            )
        return loss, rate

    def write_line(self) -> None:
        """Validates, adds a line to the history, and keeps the weights if they are the best."""
        run = self.run
        loss, metrics = validate(
            self.loss_fn, run.average.module, self.validation, run.config, run.device, self.group
        )
        self.pool()
        better = loss is not None and (run.best is None or loss < run.best)
        line = line_of(run, loss, metrics)
        if better:
            self.folder.write_average(run, BEST, loss)
        with run.changing():
            run.lines.append(line)
            run.recent, run.skipped, run.waited = [], 0, 0.0
            if better:
                run.best, run.bad = loss, 0
            elif self.validation:
                run.bad += 1
            self.folder.add(line)
        if self.group.leads:
            self.record(line)
            with tqdm.external_write_mode(nolock=True):  # not into the bar
                self.report(in_words(line, best=better))

    def pool(self) -> None:
        """Puts the metrics of all processes into ``recent``."""
        run = self.run
        everyone = self.group.gathered(run.own)
        with run.changing():
            steps = run.recent[len(run.recent) - len(run.own) :]
            for measured, shares in zip(steps, zip(*everyone, strict=True), strict=True):
                measured["metrics"] = [numbers for share in shares for numbers in share]
            run.own = []

    def save(self) -> None:
        """Writes the checkpoint."""
        self.pool()
        self.folder.save(self.run)


@torch.no_grad()
def _restore(model: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    """Puts the buffers of a model back."""
    for name, each in model.named_buffers():
        each.copy_(buffers[name])
