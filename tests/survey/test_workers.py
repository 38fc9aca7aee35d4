"""The crews of a survey: every job comes back once, also where its process does not."""

import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from lensrim.errors import InputError
from lensrim.survey.workers import Alone, Crew, Workers


@dataclass(frozen=True)
class Job:
    """A job of :func:`work`: its number, and where and how often its process dies of it."""

    number: int
    folder: Path
    deaths: int = 0
    error: str = ""


def work(job: Job) -> tuple[int, int, str | None]:
    begun = job.folder / f"{job.number}.{time.monotonic_ns()}"
    begun.touch()
    if len(list(job.folder.glob(f"{job.number}.*"))) <= job.deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    if job.error:
        raise InputError(job.error)
    return job.number**2, os.getpid(), os.environ.get("OMP_NUM_THREADS")


def threads(job: object) -> int:
    import torch

    return torch.get_num_threads()


class Unpicklable:
    """Work that kills the process that unpickles it."""

    def __reduce__(self):
        return os._exit, (3,)

    def __call__(self, job: object) -> None: ...


def test_alone_keeps_the_order(tmp_path: Path) -> None:
    jobs = [Job(k, tmp_path) for k in range(4)]
    assert [done.result[0] for done in Alone().run(work, jobs)] == [0, 1, 4, 9]


@pytest.mark.parametrize("crew", [Alone(), Workers(2)])
def test_no_jobs_are_soon_done(crew: Crew) -> None:
    assert list(crew.run(work, [])) == []


def test_workers_do_every_job_once_and_outlive_deaths(tmp_path: Path) -> None:
    deaths = {1: 1, 4: 2, 5: 9}  # once, twice, whenever it is tried
    jobs = [Job(k, tmp_path, deaths.get(k, 0)) for k in range(8)]
    before = os.environ.get("OMP_NUM_THREADS")
    done = list(Workers(2).run(work, jobs))
    assert os.environ.get("OMP_NUM_THREADS") == before
    assert sorted(each.job.number for each in done) == list(range(8))
    for each in done:
        if each.job.number == 5:
            assert each.lost == "its process died 3 times, the last by SIGKILL"
            continue
        assert each.lost == ""
        square, process, count = each.result
        assert square == each.job.number**2
        assert process != os.getpid()
        assert count == "1"
    begun = [len(list(tmp_path.glob(f"{k}.*"))) for k in range(8)]
    assert begun == [1, 2, 1, 1, 3, 3, 1, 1]


@pytest.mark.slow
def test_a_worker_has_one_thread() -> None:
    assert [done.result for done in Workers(1).run(threads, [0])] == [1]


def test_an_error_of_the_survey_ends_it(tmp_path: Path) -> None:
    jobs: Sequence[Job] = [Job(0, tmp_path, error="no room"), Job(1, tmp_path)]
    with pytest.raises(InputError, match="no room"):
        list(Workers(1).run(work, jobs))


def test_processes_that_cannot_start_are_told() -> None:
    with pytest.raises(RuntimeError, match="processes must start, they die: exit status 3"):
        list(Workers(1).run(Unpicklable(), [0]))
