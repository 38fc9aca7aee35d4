"""Batches, in order and from any step on, made here or elsewhere."""

import multiprocessing
import os
import signal
from contextlib import closing
from functools import partial
from operator import getitem
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from lensrim.training.config import TrainConfig
from lensrim.training.feed import MadeOnce, feed, to_device

CPU = torch.device("cpu")
SEED_AT = TrainConfig().seed_at
BATCHES = [{"x": torch.full((2,), float(step)), "step": torch.tensor(step)} for step in range(6)]


def test_from_any_step() -> None:
    asked = []

    def batches(step: int):
        asked.append(step)
        return BATCHES[step]

    served = feed(batches, range(2, 6), device=CPU, seed_at=SEED_AT)
    assert int(next(served)["step"]) == 2
    assert asked == [2]  # in this process nothing is made before its time
    assert [int(batch["step"]) for batch in served] == [3, 4, 5]


def drawn(numbers: range, workers: int = 0) -> list[Tensor]:
    """Serves batches of as many of torch's global random numbers as the number of the batch."""
    with closing(
        feed(torch.rand, numbers, device=CPU, seed_at=SEED_AT, workers=workers)
    ) as served:
        return [*served]


def check_drawn(workers: int) -> None:
    state = torch.get_rng_state()
    found = drawn(range(3, 9), workers)
    assert len({float(batch[0]) for batch in found}) == 6
    for one, again in zip(found[2:], drawn(range(5, 9)), strict=True):
        assert torch.equal(one, again)
    assert torch.equal(torch.get_rng_state(), state)


def test_random_numbers_are_those_of_the_batch() -> None:
    check_drawn(0)


@pytest.mark.slow
def test_random_numbers_of_other_processes_too() -> None:
    check_drawn(1)


def test_random_numbers_of_the_finish_are_others_of_the_batch() -> None:
    def finish(batch: Tensor, number: int) -> Tensor:
        return torch.stack([batch, torch.rand(number)])

    def finished(numbers: range) -> list[Tensor]:
        return [*feed(torch.rand, numbers, device=CPU, seed_at=SEED_AT, finish=finish)]

    state, found = torch.get_rng_state(), finished(range(3, 6))
    assert len({float(value) for pair in found for value in pair[:, 0]}) == 6
    assert torch.equal(finished(range(5, 6))[0], found[2])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_from_other_processes() -> None:
    state = torch.get_rng_state()
    with closing(
        feed(partial(getitem, BATCHES), range(1, 6), device=CPU, seed_at=SEED_AT, workers=2)
    ) as served:
        assert [int(batch["x"][1]) for batch in served] == [1, 2, 3, 4, 5]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_the_end_of_a_job_is_left_to_the_training() -> None:
    with closing(
        feed(partial(getitem, BATCHES), range(6), device=CPU, seed_at=SEED_AT, workers=1)
    ) as served:
        assert int(next(served)["step"]) == 0
        workers = multiprocessing.active_children()
        assert workers
        for worker in workers:  # as clusters and terminals do, which tell all processes
            os.kill(worker.pid or 0, signal.SIGTERM)
            os.kill(worker.pid or 0, signal.SIGINT)
        assert [int(batch["step"]) for batch in served] == [1, 2, 3, 4, 5]


def test_moved_to_any_depth() -> None:
    tensor = torch.zeros(2)
    batch = {"a": tensor, "b": {"c": [tensor, (tensor, "name")]}, "n": 3, "none": None}
    moved = to_device(batch, torch.device("meta"))
    assert moved["a"].device.type == "meta"
    assert isinstance(moved["b"]["c"], list) and isinstance(moved["b"]["c"][1], tuple)
    assert moved["b"]["c"][1][0].device.type == "meta"
    assert moved["b"]["c"][1][1] == "name" and moved["n"] == 3 and moved["none"] is None
    assert to_device(batch, CPU)["a"] is tensor


def test_a_named_tuple_stays_one() -> None:
    class Pair(NamedTuple):
        x: Tensor
        y: Tensor

    moved = to_device(Pair(torch.ones(1), torch.zeros(1)), torch.device("meta"))
    assert isinstance(moved, Pair) and moved.x.is_meta and moved.y.is_meta


def test_every_second_number() -> None:
    served = feed(batches=BATCHES.__getitem__, numbers=range(1, 6, 2), device=CPU, seed_at=SEED_AT)
    assert [int(batch["step"]) for batch in served] == [1, 3, 5]


def test_made_once_when_asked_for() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return 10 * number

    batches = MadeOnce(make, 3)
    assert len(batches) == 3 and made == []
    assert [batches[2], batches[0], batches[2]] == [20, 0, 20] and made == [2, 0]
    assert list(batches) == [0, 10, 20] and made == [2, 0, 1]


def check_finished(workers: int) -> None:
    def finish(batch, step: int):
        return int(batch["step"]), step

    with closing(
        feed(
            partial(getitem, BATCHES),
            range(2, 6),
            device=CPU,
            seed_at=SEED_AT,
            workers=workers,
            ahead=3,
            finish=finish,
        )
    ) as served:
        assert [*served] == [(step, step) for step in range(2, 6)]


def test_batches_are_finished_with_their_number() -> None:
    check_finished(0)


@pytest.mark.slow
def test_those_of_other_processes_too() -> None:
    check_finished(2)
