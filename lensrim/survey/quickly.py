"""The quick pass of a survey: many lenses on a device at once, before the chain does the others.

Processes look at lenses ahead (:func:`lensrim.inference.quick.look`), this one answers batches of
them on the device, and the processes write what comes of it: reading, computing and writing
overlap. A lens is done where its answer is good. All others are left to the chain, whatever the
reason: the answer is doubtful, the machine is not valid for it, its file is bad, its process died.
So nothing is lost, and a bad file is told by the chain, once. Nothing is at work any more when the
pass ends, however it ends.
"""

import multiprocessing
import signal
from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from time import perf_counter
from typing import Any

import torch

from .._processes import end_with_parent
from ..errors import InputError
from ..inference.devices import is_out_of_memory
from ..inference.machine import Machine, load_machine
from ..inference.quick import (
    STAGE,
    Found,
    NoAnswer,
    Seen,
    answers,
    finish,
    look,
    unfit,
    with_seconds,
)
from ..inference.reconstruct import Reconstruction
from ..io.read import read_about
from ..io.stream import one_line
from .lenses import Lens
from .rows import State, states_of
from .work import DoLens, Outcome
from .workers import TRIES

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
        workers: Processes that look and write, each with one thread.
        batch: Lenses on the device at once, at most; fewer where its memory does not suffice.
    """

    workers: int
    batch: int

    def __call__(self, work: DoLens, lenses: Sequence[Lens]) -> Iterator[Outcome]:
        """Does what it can, and yields what is done, and what has no good answer with the reason.

        Arguments:
            work: How products are written.
            lenses: The lenses; only those whose search is to be quick are looked at.

        Raises:
            InputError: If a product cannot be written.
            OSError: If a row cannot be.
        """
        groups: dict[tuple[str, str], list[Lens]] = defaultdict(list)
        for lens in lenses:
            if is_quick(lens):
                device = "cuda" if lens.fit.device == "cuda" else "cpu"
                groups[lens.fit.model, device].append(lens)
        for (model, device), group in groups.items():
            try:
                machine = load_machine(model)
                machine.rim.to(device)
            except (InputError, RuntimeError):  # the chain tells
                continue
            waiting, answerer = iter(group), Answerer(machine, self.batch)
            for _ in range(TRIES):
                done = yield from self._until_one_dies(work, answerer, waiting)
                if done:
                    break

    def _until_one_dies(
        self, work: DoLens, answerer: "Answerer", waiting: Iterator[Lens]
    ) -> Iterator[Outcome]:
        """Goes on until all is done, or a process dies: what was in work then is the chain's.

        Returns:
            Whether all is done.
        """
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(self.workers, context, initializer=_begin)
        looking: list[Future[Looked | Outcome | None]] = []
        writing: list[Future[Outcome]] = []
        ready: dict[int, list[Looked]] = defaultdict(list)
        left = True
        try:
            while left or looking or writing or ready:
                room = max(AHEAD * self.batch, 2 * self.workers) - len(looking)
                room -= sum(map(len, ready.values()))
                more = list(islice(waiting, max(room, 0)))
                left = bool(more) or room <= 0
                looking += [pool.submit(looked, lens) for lens in more]
                pending: list[Future[Any]] = [*looking[:1], *writing]
                if pending:
                    wait(pending, return_when=FIRST_COMPLETED)
                for future in [each for each in writing if each.done()]:
                    writing.remove(future)
                    yield future.result()
                # in their order, so that batches do not depend on who was faster
                while looking and looking[0].done():
                    one = looking.pop(0).result()
                    if isinstance(one, Outcome):
                        yield one
                    elif isinstance(one, Looked):
                        ready[one.seen.square.side].append(one)
                # all are seen, or there is no room for more, of sides with few lenses each
                least = self.batch if looking or (left and room > 0) else 1
                for side in [each for each, some in ready.items() if len(some) >= least]:
                    some, rest = ready[side][: self.batch], ready.pop(side)[self.batch :]
                    if rest:
                        ready[side] = rest
                    for answered in answerer(some):
                        writing.append(pool.submit(written, work, *answered))
        except BrokenProcessPool:
            for future in writing:
                if future.done() and future.exception() is None:
                    yield future.result()
            return False
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return True


def _begin() -> None:
    """Begins a process of the pass: one thread, no signal from the keyboard, not outliving us."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it comes to all; the first process ends us
    end_with_parent()


def is_quick(lens: Lens) -> bool:
    """Whether a lens is to be done by the quick pass."""
    return not lens.problem and lens.fit.search == "quick" and lens.fit.stage == STAGE


@lru_cache(maxsize=2)
def _machine(model: str) -> Machine:
    """Loads a machine, once in each process; the device has its own."""
    return load_machine(model)


def looked(lens: Lens) -> Looked | Outcome | None:
    """Looks at a lens; at what it cannot, the chain will."""
    inputs = tuple(states_of(lens.files()))
    try:
        lens.read.check()
        replace(lens.fit, device="cpu").check()  # the GPU is the first process's
        observation = read_about(lens.path, lens.read, center=lens.fit.center, size=lens.fit.size)
        begun = perf_counter()
        seen = look(observation, lens.fit)
        if reasons := unfit(_machine(lens.fit.model), seen):
            return Outcome(lens.name, "; ".join(reasons))
        return Looked(lens, seen, inputs, perf_counter() - begun)
    except Exception:  # the chain tells
        return None


@dataclass
class Answerer:
    """Creates what answers batches on the device.

    Arguments:
        machine: The machine, on the device.
        most: Lenses at once, at most.
        fits: Of each side, how many the memory was seen to suffice for, where that is fewer.
    """

    machine: Machine
    most: int
    fits: dict[int, int] = field(default_factory=dict)

    def __call__(self, some: Sequence[Looked]) -> Iterator[tuple[Looked, Found, float]]:
        """Answers lenses of one side: each with what was found, and its share of the seconds.

        What cannot be answered, even alone, is left out.
        """
        if not some:
            return
        side = some[0].seen.square.side
        size = self.fits.get(side, self.most)
        if len(some) > size:
            for first in range(0, len(some), size):
                yield from self(some[first : first + size])
            return
        begun = perf_counter()
        try:
            found = answers(self.machine, [one.seen for one in some])
        except Exception as error:  # one of them is to blame, and must not take the others along
            found = None
            if is_out_of_memory(error):
                self.fits[side] = max(1, len(some) // 2)
        if (
            found is None
        ):  # not in the clauses above: there, the error holds what filled the memory
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if len(some) > 1:
                half = len(some) // 2
                yield from self(some[:half])
                yield from self(some[half:])
            return
        seconds = (perf_counter() - begun) / len(some)
        for one, each in zip(some, found, strict=True):
            yield one, each, seconds


def written(work: DoLens, one: Looked, found: Found, seconds: float) -> Outcome:
    """Makes the product of a lens and writes it, where the answer is good.

    Returns:
        What came of it, with the reason where it is left to the chain.
    """
    begun, fit, name = perf_counter(), one.lens.fit, one.lens.name
    try:
        product, reasons = finish(one.seen, found, _machine(fit.model), fit)
    except Exception as error:  # the chain tells what is wrong with the lens, if anything
        said = f"{type(error).__name__} of the quick answer"
        return Outcome(name, one_line(error) if isinstance(error, NoAnswer) else said)
    if reasons:
        return Outcome(name, "; ".join(reasons))
    product = with_seconds(product, one.seconds + seconds + perf_counter() - begun)
    result = Reconstruction(product, "", one.seen.observation.files)
    return work.keep(one.lens, result, one.inputs)
