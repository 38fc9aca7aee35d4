r"""Several processes that make one training, each a share of the parts of every step.

    torchrun --nproc-per-node 4 -m lensrim.cli train recipe.toml

Step :math:`t` has the parts :math:`j = 0, \dots, P - 1`; process :math:`r` of :math:`W` makes
those with :math:`j \equiv r \pmod W`, and the gradient is the mean over all of them,

.. math:: g_t = \frac{1}{P} \sum_{j < P} \nabla \mathcal{L}(\theta_t, b_{t P + j}) ,

whatever :math:`W` is, but for the order of the sum. Gradients go over NCCL between GPUs and over
gloo between CPUs; what else the processes agree on, a few numbers a step, goes over gloo. One that
fails ends the others: by torchrun, or, without it, by the error that gloo raises when a connection
is lost. What is not guaranteed: without torchrun, a GPU that waits for one that died does so for
``TIMEOUT``.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from threading import Event, current_thread, main_thread
from types import FrameType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import InputError

T = TypeVar("T")

ADDRESS = ("RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun puts into the environment beside the number of processes."""

TIMEOUT = timedelta(minutes=30)
"""How long a process waits for the others, which may be making their first batches."""

PATIENCE = timedelta(days=7)
"""How long it waits for their shares of work that was dealt out, which may take hours longer."""


@dataclass(frozen=True)
class Group:
    """Holds the place of this process among those of a training; by default it is alone.

    Each method but :meth:`adding` must be called by all processes, in the same order.

    Arguments:
        rank: Its number :math:`r`; the first one alone writes and reports.
        size: Number :math:`W` of processes.
        local: Its number among those of its machine, and that of its GPU.
        asked: Set when the process was asked to end, by a signal.
    """

    rank: int = 0
    size: int = 1
    local: int = 0
    asked: Event = field(default_factory=Event)

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def device(self, kind: str) -> torch.device:
        """Returns the device of this process, of a kind (``cpu``, ``cuda``)."""
        several = kind == "cuda" and self.size > 1
        return torch.device(kind, self.local) if several else torch.device(kind)

    def wrap(self, model: nn.Module) -> nn.Module:
        """Returns what is called in place of a model, so that its gradients are shared."""
        return model if self.size == 1 else DistributedDataParallel(model)

    def adding(self, network: nn.Module, *, last: bool) -> AbstractContextManager:
        """Returns the context of a part's forward and backward pass: shared after the last."""
        shares = isinstance(network, DistributedDataParallel)
        return network.no_sync() if shares and not last else nullcontext()

    def largest(self, *values: float) -> list[float]:
        """Returns of each value the largest of all processes."""
        if self.size == 1:
            return list(values)
        pooled = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(pooled, dist.ReduceOp.MAX)
        return pooled.tolist()

    def mean(self, value: float) -> float:
        """Returns the mean of a value over all processes; NaN if it is NaN in one."""
        if self.size == 1:
            return value
        pooled = torch.tensor(value, dtype=torch.float64)
        dist.all_reduce(pooled, dist.ReduceOp.SUM)
        return pooled.item() / self.size

    def gathered(self, item: T) -> list[T]:
        """Returns the items of all processes, in their order."""
        if self.size == 1:
            return [item]
        items: list[Any] = [None] * self.size
        dist.all_gather_object(items, item)
        return items

    def dealt(self, count: int, make: Callable[[int], T]) -> list[T]:
        r"""Returns what is made of the numbers below ``count``, in their order, in all processes.

        Number :math:`n` falls to process :math:`n \bmod W`. Before it all meet, and wait for
        one another for ``TIMEOUT``; who is done waits for the others, for as long as ``PATIENCE``:
        shares may take very different times.

        Arguments:
            count: How many numbers there are.
            make: Makes something of one, on the CPU.

        Raises:
            KeyboardInterrupt: In all processes, if one had been asked to end before. Between two
                numbers only in the process that was asked: the others go on until torchrun ends
                them, or until they find it gone.
        """
        # All meet here, and wait for one another no longer than for a step; to make the group that
        # waits longer they would meet with its patience.
        self.heed()
        patient = dist.new_group(timeout=PATIENCE, backend="gloo") if self.size > 1 else None
        own: list[T] = []
        for number in range(self.rank, count, self.size):
            if self.asked.is_set():
                raise KeyboardInterrupt("asked to end by a signal")
            own.append(make(number))
        if patient is None:
            return own
        assert isinstance(patient, dist.ProcessGroup)
        shares: list[Any] = [None] * self.size
        dist.all_gather_object(shares, own, group=patient)
        dist.destroy_process_group(patient)
        return [shares[number % self.size][number // self.size] for number in range(count)]

    def from_first(self, make: Callable[[], T]) -> T:
        """Returns what the first process makes, or raises in all what it raises."""
        if self.size == 1:
            return make()
        made: list[Any] = [None, None]
        if self.leads:
            try:
                made[0] = make()
            except InputError as error:
                made[1] = error
        dist.broadcast_object_list(made, src=0)
        if made[1] is not None:
            raise made[1]
        return made[0]

    def heed(self, asked: float | None = None) -> None:
        """Ends all processes if one was asked to.

        Arguments:
            asked: Whether one was, if that is known; otherwise it is asked of all.

        Raises:
            KeyboardInterrupt: If one was.
        """
        if self.largest(self.asked.is_set())[0] if asked is None else asked:
            raise KeyboardInterrupt("asked to end by a signal")

    def check(self, parts: int) -> None:
        """Checks that the parts of a step can be dealt out evenly.

        Raises:
            InputError: If they cannot.
        """
        if parts % self.size:
            raise InputError(
                f"parts: must be a multiple of the {self.size} processes, found {parts}; start as "
                f"many as divide {parts}, or, where the recipe is your own, set parts = "
                f"{self.size * max(1, round(parts / self.size))}"
            )

    def check_used(self, model: nn.Module) -> None:
        """Checks that each parameter has a gradient, without which several cannot share them.

        Raises:
            InputError: If one has none.
        """
        if self.size == 1:
            return
        unused = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
        if unused:
            raise InputError(
                "model: with several processes the loss must use each parameter, found no "
                f"gradient of {', '.join(unused[:3])}{', ...' if unused[3:] else ''} (a memory "
                "that nothing reads after the step that writes it has none); give them "
                "requires_grad_(False), or train in one process"
            )


@contextmanager
def joined(kind: str = "cpu") -> Iterator[Group]:
    """Joins the other processes that torchrun has started; without it, the process is alone.

    SIGTERM and SIGINT do not interrupt: they ask for the end after the step in progress, or the
    batch of a validation, which a training announces to all processes. Where the process is alone
    a key that is pressed once more interrupts at once. Torchrun kills what has not ended 30 s
    after its own SIGTERM. Signals are left as they are outside of the main thread.

    Arguments:
        kind: Kind of the device to train on: ``cpu`` or ``cuda``.

    Raises:
        InputError: If there is no GPU left for this process, or the environment does not say which
            of several it is.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        group = Group()
        with _asked_by_signals(group):
            yield group
        return
    lacking = [name for name in ADDRESS if name not in os.environ]
    if lacking:
        raise InputError(
            f"WORLD_SIZE: must come with {', '.join(ADDRESS)}, found {size} in the environment "
            f"without {', '.join(lacking)}; start with torchrun, or unset WORLD_SIZE"
        )
    group = Group(int(os.environ["RANK"]), size, int(os.environ.get("LOCAL_RANK", "0")))
    if kind == "cuda":
        if group.local >= torch.cuda.device_count():
            raise InputError(
                f"--nproc-per-node: must be at most the GPUs of the machine, found a process "
                f"{group.local + 1} for {torch.cuda.device_count()}; start fewer"
            )
        torch.cuda.set_device(group.device(kind))
    dist.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo", timeout=TIMEOUT)
    with _asked_by_signals(group):
        yield group
        # Not after a failure: it could wait for processes that are no more.
        dist.destroy_process_group()


@contextmanager
def _asked_by_signals(group: Group) -> Iterator[None]:
    """Lets the signals by which terminals and clusters end a job ask for the end."""

    def ask(number: int, frame: FrameType | None) -> None:
        # Not the second SIGTERM, which many send twice; nor in a group, where torchrun passes on
        # the key that all have been told of.
        if number == signal.SIGINT and group.asked.is_set() and group.size == 1:
            raise KeyboardInterrupt("the key was pressed once more")
        group.asked.set()

    if current_thread() is not main_thread():
        yield
        return
    signals = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(s, ask) for s in signals]
    try:
        yield
    finally:
        for s, handler in zip(signals, before, strict=True):
            signal.signal(s, handler)
