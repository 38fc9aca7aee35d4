"""Batches: made ahead by other processes if asked to, and moved to the device."""

import signal
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

MAKING, FINISHING = 2, 3
"""What is done to a batch, by a number that decides on the random numbers beside its own."""

Batch = Any
"""Tensors, in dictionaries, lists and tuples to any depth, and what is :class:`Movable`."""


@runtime_checkable
class Movable(Protocol):
    """What moves itself; with a method ``pin_memory``, through pinned memory."""

    def to(self, device: torch.device) -> Any: ...


class _Numbered(Dataset):
    """Creates the list of the batches that are left; each is made when it is asked for."""

    def __init__(
        self, batches: Callable[[int], Batch], numbers: range, seed_at: Callable[[int, int], int]
    ):
        self.batches, self.numbers, self.seed_at = batches, numbers, seed_at

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, index: int) -> Batch:
        # Made here or in another process: the random numbers of the steps must not notice.
        with torch.random.fork_rng([]):
            torch.manual_seed(self.seed_at(self.numbers[index], MAKING))
            return self.batches(self.numbers[index])


class MadeOnce(Sequence):
    """Creates a list of batches, each of which is made when it is asked for, and kept.

    Arguments:
        make: Makes the batch of a number.
        size: How many there are.
    """

    def __init__(self, make: Callable[[int], Batch], size: int):
        self.make, self.size = make, size
        self.made: dict[int, Batch] = {}

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Batch:
        if not 0 <= index < self.size:
            raise IndexError(index)
        if index not in self.made:
            self.made[index] = self.make(index)
        return self.made[index]


def feed(
    batches: Callable[[int], Batch],
    numbers: range,
    *,
    device: torch.device,
    seed_at: Callable[[int, int], int],
    workers: int = 0,
    ahead: int = 2,
    finish: Callable[[Batch, int], Batch] | None = None,
) -> Generator[Batch, None, None]:
    """Serves batches in the order of their numbers.

    Torch's global random numbers in ``batches`` and in ``finish`` are those of the batch's number,
    whoever makes it, and after whatever was made before. Those of the caller are left alone.

    Close it, or let it go, to end the processes.

    Arguments:
        batches: Makes the batch of a number.
        numbers: Their numbers.
        device: Where the batches go.
        seed_at: Gives the seed of torch's random numbers for a batch's number and what is done.
        workers: Processes that make them ahead; 0 to make each in this one when it is due.
        ahead: Batches that each process makes ahead.
        finish: Does the rest of the work, with the number of the batch, on the device.
    """
    loader = DataLoader(
        _Numbered(batches, numbers, seed_at),
        batch_size=None,
        num_workers=workers,
        prefetch_factor=ahead if workers else None,
        # A fork would copy the locks of torch's threads in whatever state they are.
        multiprocessing_context="spawn" if workers else None,
        persistent_workers=workers > 0,
        worker_init_fn=_unmoved if workers else None,
        pin_memory=device.type == "cuda",
        # Its own: it would take a number from those of the steps.
        generator=torch.Generator(),
    )
    for number, batch in zip(numbers, loader, strict=True):
        batch = to_device(batch, device)
        if finish:
            with torch.random.fork_rng(gpus(device)):
                torch.manual_seed(seed_at(number, FINISHING))
                batch = finish(batch, number)
        yield batch


def gpus(device: torch.device) -> list[torch.device]:
    """Returns the devices with random numbers of their own that work on ``device`` draws."""
    return [device] if device.type == "cuda" else []


def _unmoved(worker: int) -> None:
    """Leaves signals that end a job to the training, which closes its workers when it is saved."""
    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, signal.SIG_IGN)


def to_device(batch: Batch, device: torch.device) -> Batch:
    """Moves all tensors of a batch."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if isinstance(batch, Movable):
        return batch.to(device)
    if isinstance(batch, Mapping):
        return {name: to_device(part, device) for name, part in batch.items()}
    if isinstance(batch, list | tuple):
        moved = [to_device(part, device) for part in batch]
        if hasattr(batch, "_fields"):  # a named tuple
            return type(batch)(*moved)
        return moved if isinstance(batch, list) else tuple(moved)
    return batch
