"""The quick pass of a survey: many lenses on a device at once, before the chain does the others.

Processes look at lenses ahead (:func:`lensrim.inference.quick.look`), this one answers batches of
them on the device, and the processes write what comes of it: reading, computing and writing
overlap. A lens is done where its answer is good. All others are left to the chain, whatever the
reason: the answer is doubtful, the machine is not valid for it, its file is bad, its process died.
So nothing is lost, and a bad file is told by the chain, once.
"""

import multiprocessing
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from time import perf_counter
from typing import Any

import torch

from .._processes import end_with_parent
from ..errors import InputError
from ..inference.machine import Machine, load_machine
from ..inference.quick import STAGE, Found, Seen, answers, finish, look, with_seconds
from ..inference.reconstruct import Reconstruction
from ..inference.report import summary_of
from ..io.read import read_about
from .catalogue import DoLens
from .lenses import Lens
from .rows import State, states_of
from .workers import single_threaded

AHEAD = 2
"""Batches that are looked at ahead of the one that is answered."""


@dataclass(frozen=True)
class Looked:
    """Holds a lens that is ready for the device.

    Arguments:
        lens: The lens.
        seen: What was seen of it.
        inputs: Its files, as they were before they were read.
        seconds: How long it took [s], without reading.
    """

    lens: Lens
    seen: Seen
    inputs: tuple[State, ...]
    seconds: float


@dataclass(frozen=True)
class Quickly:
    """Creates the quick pass.

    Arguments:
        workers: Processes that look and write.
        batch: Lenses on the device at once, at most; fewer where its memory does not suffice.
    """

    workers: int
    batch: int

    def __call__(self, work: DoLens, lenses: Sequence[Lens]) -> Iterator[str]:
        """Does what it can, and yields the names of the lenses that are done.

        Arguments:
            work: How products are written.
            lenses: The lenses; only those whose search is to be quick are looked at.
        """
        groups: dict[tuple[str, str], list[Lens]] = defaultdict(list)
        for lens in lenses:
            if is_quick(lens):
                groups[lens.fit.model, lens.fit.device].append(lens)
        for (model, device), group in groups.items():
            with suppress(InputError):  # the chain tells
                machine = load_machine(model)
                machine.rim.to("cuda" if device == "cuda" else "cpu")
                yield from self._done(work, machine, group)

    def _done(self, work: DoLens, machine: Machine, lenses: Sequence[Lens]) -> Iterator[str]:
        context = multiprocessing.get_context("spawn")
        with single_threaded():
            pool = ProcessPoolExecutor(self.workers, context, initializer=end_with_parent)
        with pool, suppress(BrokenProcessPool):  # what it has not done is the chain's
            try:
                yield from self._run(pool, work, machine, lenses)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _run(
        self, pool: ProcessPoolExecutor, work: DoLens, machine: Machine, lenses: Sequence[Lens]
    ) -> Iterator[str]:
        waiting = iter(lenses)
        looking: set[Future[Looked | None]] = set()
        writing: set[Future[str | None]] = set()
        ready: dict[int, list[Looked]] = defaultdict(list)
        while True:
            room = AHEAD * self.batch - len(looking) - sum(map(len, ready.values()))
            looking |= {pool.submit(looked, lens) for lens in islice(waiting, max(room, 0))}
            pending: set[Future[Any]] = {*looking, *writing}
            if pending:
                wait(pending, return_when=FIRST_COMPLETED)
            for future in [each for each in writing if each.done()]:
                writing.remove(future)
                if (name := future.result()) is not None:
                    yield name
            for future in [each for each in looking if each.done()]:
                looking.remove(future)
                if (one := future.result()) is not None:
                    ready[one.seen.square.side].append(one)
            for side in [s for s, some in ready.items() if len(some) >= self.batch or not looking]:
                some, ready[side] = ready[side][: self.batch], ready[side][self.batch :]
                if not ready[side]:
                    del ready[side]
                for one, found, seconds in answered(machine, some):
                    writing.add(pool.submit(written, work, one, found, seconds))
            if not (looking or writing or ready):
                return


def is_quick(lens: Lens) -> bool:
    """Whether a lens is to be done by the quick pass."""
    return not lens.problem and lens.fit.search == "quick" and lens.fit.stage == STAGE


def looked(lens: Lens) -> Looked | None:
    """Looks at a lens; at what it cannot, the chain will."""
    inputs = tuple(states_of(lens.files()))
    try:
        lens.read.check()
        lens.fit.check()
        observation = read_about(lens.path, lens.read, center=lens.fit.center, size=lens.fit.size)
        begun = perf_counter()
        return Looked(lens, look(observation, lens.fit), inputs, perf_counter() - begun)
    except Exception:  # the chain tells
        return None


def answered(machine: Machine, some: Sequence[Looked]) -> Iterator[tuple[Looked, Found, float]]:
    """Answers lenses at once, or fewer at once where the memory does not suffice.

    Returns:
        Each lens, what was found, and its share of the seconds.
    """
    begun = perf_counter()
    try:
        found = answers(machine, [one.seen for one in some])
    except (RuntimeError, ValueError):
        # want of memory among them; or one of them is to blame, which must not take the others
        found = None
    if found is not None:
        seconds = (perf_counter() - begun) / len(some)
        yield from ((one, each, seconds) for one, each in zip(some, found, strict=True))
        return
    if machine_on_gpu(machine):
        torch.cuda.empty_cache()
    if len(some) > 1:
        half = len(some) // 2
        yield from answered(machine, some[:half])
        yield from answered(machine, some[half:])


def machine_on_gpu(machine: Machine) -> bool:
    """Whether a machine is on a GPU."""
    return next(machine.rim.parameters()).is_cuda


@lru_cache(maxsize=2)
def _machine(model: str) -> Machine:
    """Loads a machine, once in each process; the device has its own."""
    return load_machine(model)


def written(work: DoLens, one: Looked, found: Found, seconds: float) -> str | None:
    """Makes the product of a lens and writes it, where the answer is good.

    Returns:
        The name of the lens; None of one that is left to the chain.
    """
    begun = perf_counter()
    try:
        fit = one.lens.fit
        product, reasons = finish(one.seen, found, _machine(fit.model), fit)
    except Exception:  # the chain tells
        return None
    if reasons:
        return None
    spent = one.seconds + seconds + perf_counter() - begun
    product = with_seconds(product, spent)
    result = Reconstruction(product, summary_of(product, ()), one.seen.observation.files)
    return None if work.keep(one.lens, result, one.inputs).reason else one.lens.name
