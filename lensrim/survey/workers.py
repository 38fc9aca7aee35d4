"""Who does the work of a survey: this process, some processes here, or a Dask cluster.

A crew does jobs in any order and tells what came of each. Where a process dies in the middle of a
job (it was killed, it ran out of memory, a library crashed) it is replaced and its job is done
again, in the end by another; a job whose process died ``TRIES`` times is given back as lost. What
is not guaranteed: a job may be begun more than once, so it must do no harm to do it again.

An error that a job raises is of the survey, not of its lens, and is raised here.
"""

import multiprocessing
import os
import signal
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, runtime_checkable

from .._processes import end_with_parent
from ..errors import InputError

TRIES = 3
"""How often a job is begun whose process dies of it."""
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

Work = Callable[[Any], Any]
"""Does a job; a pure function, or an object that can be pickled."""


@dataclass(frozen=True)
class Done:
    """Holds what came of a job: what was returned, or why its process was lost."""

    job: Any
    result: Any = None
    lost: str = ""


@runtime_checkable
class Crew(Protocol):
    """Does jobs."""

    def run(self, work: Work, jobs: Sequence[Any]) -> Iterator[Done]:
        """Does the jobs, and yields each as it ends."""
        ...


class Alone:
    """Does the jobs in this process, one after another. If the process dies, all ends."""

    def run(self, work: Work, jobs: Sequence[Any]) -> Iterator[Done]:
        """Does the jobs in their order."""
        for job in jobs:
            yield Done(job, work(job))


class Workers:
    """Creates a crew of processes of this machine, each with one thread.

    One thread each, also where there is one process: the last digits of a sum depend on how many
    threads share it, and a lens must not depend on how many others are done beside it. The
    processes end with this one, even where it is killed.

    Arguments:
        count: Number of processes.
        tries: How often a job is begun whose process dies of it.
    """

    def __init__(self, count: int, *, tries: int = TRIES):
        self.count, self.tries = count, tries

    def run(self, work: Work, jobs: Sequence[Any]) -> Iterator[Done]:
        """Does the jobs in about their order.

        Raises:
            RuntimeError: If the processes die before they begin.
        """
        waiting = deque(range(len(jobs)))
        begun: Counter[int] = Counter()
        unborn = 0  # processes in a row that died before they were ready
        crew = [_Worker(work) for _ in range(min(self.count, len(jobs)))]
        try:
            while waiting or any(worker.job is not None for worker in crew):
                for worker in crew:
                    if waiting and worker.is_idle:
                        begun[waiting[0]] += 1
                        worker.give(waiting[0], jobs[waiting.popleft()])
                ready = wait([worker.pipe for worker in crew if not worker.is_idle])
                for k, worker in enumerate(crew):
                    if worker.pipe not in ready:
                        continue
                    job = worker.job
                    try:
                        kind, content = worker.pipe.recv()
                    except (EOFError, OSError):
                        how = worker.end()
                        crew[k] = _Worker(work)
                        unborn += job is None
                        if unborn > self.tries:
                            raise RuntimeError(f"processes must start, they die: {how}") from None
                        if job is not None and begun[job] < self.tries:
                            waiting.append(job)  # after the others, which may be innocent
                        elif job is not None:
                            lost = f"its process died {begun[job]} times, the last by {how}"
                            yield Done(jobs[job], lost=lost)
                        continue
                    if kind == "error":
                        raise content
                    unborn, worker.is_ready, worker.job = 0, True, None
                    if job is not None:
                        yield Done(jobs[job], content)
        finally:
            for worker in crew:
                worker.end()


class _Worker:
    """A process that does jobs, and the pipe to it."""

    def __init__(self, work: Work):
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.job: int | None = None
        self.is_ready = False
        self.process = context.Process(target=_serve, args=(theirs, work), daemon=True)
        with _single_threaded():
            self.process.start()
        theirs.close()  # or its death would not be seen at this end

    @property
    def is_idle(self) -> bool:
        """Whether it has begun, and has nothing to do."""
        return self.is_ready and self.job is None

    def give(self, number: int, job: Any) -> None:
        """Hands a job over; of one that has just died it is seen when it is listened to."""
        self.job = number
        try:
            self.pipe.send(job)
        except OSError:
            pass

    def end(self) -> str:
        """Ends the process, and says how it ended."""
        self.pipe.close()
        self.process.join(0.1)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        code = self.process.exitcode or 0
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Lets processes that are started begin with one thread; libraries look at their start."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe: Connection, work: Work) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it comes to all; the first process ends us
    end_with_parent()
    pipe.send(("ready", None))
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        try:
            answer = ("done", work(job))
        except Exception as error:
            answer = ("error", error)
        pipe.send(answer)


class Cluster:
    """Creates a crew of a Dask cluster, whose machines see the same files under the same names.

    Its workers go into the folder of this process, so that relative paths mean the same; they
    should have one thread each, and serve nobody else meanwhile. The scheduler itself gives the
    job of a worker that dies to another.

    Arguments:
        client: A ``distributed.Client``.
    """

    def __init__(self, client: Any):
        self.client = client

    def run(self, work: Work, jobs: Sequence[Any]) -> Iterator[Done]:
        """Does the jobs in any order.

        Raises:
            InputError: If the scheduler is lost.
        """
        from distributed import KilledWorker, as_completed  # pyright: ignore

        there = _There(work, os.getcwd())
        futures = {self.client.submit(there, job, pure=False): job for job in jobs}
        try:
            for future in as_completed(list(futures)):
                job = futures.pop(future)
                lost = future.cancelled() or self.client.status != "running"
                error = None if lost else future.exception()
                if isinstance(error, KilledWorker):
                    yield Done(job, lost="its worker died, and so did the others that tried")
                elif lost:
                    raise InputError(
                        "--dask: the scheduler is lost; start it, and this command again: what "
                        "is done stays"
                    )
                elif error is not None:
                    raise error
                else:
                    yield Done(job, future.result())
                future.release()
        finally:
            if self.client.status == "running":
                self.client.cancel(list(futures))


@dataclass(frozen=True)
class _There:
    """Does work in a folder, with one thread."""

    work: Work
    folder: str

    def __call__(self, job: Any) -> Any:
        import torch

        torch.set_num_threads(1)
        if os.getcwd() != self.folder:
            os.chdir(self.folder)
        return self.work(job)
