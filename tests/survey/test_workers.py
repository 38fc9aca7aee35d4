"""The crews of a survey: every job comes back once, also where its process does not."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from jobs import Job, Unpicklable, threads, work

from lensrim.errors import InputError
from lensrim.survey.workers import Alone, Cluster, Crew, Workers


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_outlives_deaths(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    jobs = [Job(k, tmp_path, {1: 1, 3: 9}.get(k, 0)) for k in range(6)]
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        done = {each.job.number: each for each in Cluster(client).run(work, jobs)}
    assert sorted(done) == list(range(6))
    assert {k for k, each in done.items() if each.lost} == {3}
    assert "its worker died" in done[3].lost
    assert all(done[k].result[0] == k**2 for k in (0, 1, 2, 4, 5))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_error_of_the_survey_ends_it_on_a_cluster_too(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
        pytest.raises(InputError, match="no room"),
    ):
        list(Cluster(client).run(work, [Job(0, tmp_path, error="no room")]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("closed", [True, False])
def test_a_lost_scheduler_is_told(closed: bool, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=1, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        client = distributed.Client(cluster, timeout=5)
        done = Cluster(client).run(work, [Job(k, tmp_path) for k in range(40)])
        next(done)
        if closed:
            client.close()
        else:
            client.restart()
        with pytest.raises(InputError, match="--dask: the scheduler is lost"):
            list(done)
