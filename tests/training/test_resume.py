"""A training that was stopped, by whatever, ends with the same bits as one that was not."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from operator import getitem
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lensrim.training.loop
from lensrim._weights import sha256_of
from lensrim.errors import InputError
from lensrim.training.config import TrainConfig
from lensrim.training.distributed import Group, joined
from lensrim.training.loop import History, fit

CONFIG = TrainConfig(
    steps=10, warmup=2, learning_rate=0.05, ema=0.9, validate_every=3, checkpoint_every=4
)
FILES = ["best.safetensors", "ema.safetensors", "history.jsonl", "last.pt"]
Batch = dict[str, Tensor]


def batches(step: int) -> Batch:
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
    return {"x": x, "y": x.square().sum(1, keepdim=True)}


VALIDATION = [batches(1000), batches(1001)]


class Interrupted(Exception):
    """Something that goes wrong."""


class Training:
    """A training of ten steps, each of which takes a minute of a clock of its own."""

    def __init__(self, monkeypatch):
        self.now = 0.0
        self.interrupt: Callable[[nn.Module], None] = lambda model: None
        monkeypatch.setattr(lensrim.training.loop, "perf_counter", lambda: self.now)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        # Dropout draws random numbers before the interruption: they must be drawn again.
        error = model(batch["x"]) - batch["y"]
        self.interrupt(model)
        self.now += 60.0 * model.training
        return error.square().mean(), {"bias": error.mean().item()}

    def go(
        self,
        folder: Path,
        batches: Callable[[int], Batch] = batches,
        config: TrainConfig = CONFIG,
        *,
        seed: int = 1,
        max_minutes: float | None = None,
        group: Group = Group(),
    ) -> History:
        with torch.random.fork_rng([]):
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.25), nn.Tanh(), nn.Linear(8, 1))
        torch.rand(seed)  # the caller's random numbers must not matter
        return fit(
            model,
            batches,
            self.loss,
            config,
            folder=folder,
            validation=VALIDATION,
            max_minutes=max_minutes,
            group=group,
        )


@pytest.fixture
def training(monkeypatch) -> Training:
    return Training(monkeypatch)


@pytest.fixture
def straight(training: Training, tmp_path: Path) -> Path:
    """The folder of a training that was never stopped."""
    training.go(tmp_path / "straight")
    return tmp_path / "straight"


def assert_same(one: Any, two: Any) -> None:
    """Compares to the bit, at any depth."""
    assert type(one) is type(two)
    if isinstance(one, Tensor):
        assert one.dtype == two.dtype and torch.equal(one, two)
    elif isinstance(one, dict):
        assert list(one) == list(two)
        for name in one:
            assert_same(one[name], two[name])
    elif isinstance(one, list | tuple):
        assert len(one) == len(two)
        for a, b in zip(one, two, strict=True):
            assert_same(a, b)
    else:
        assert one == two


def checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "last.pt", weights_only=True)


def assert_same_training(one: Path, two: Path) -> None:
    """Compares weights, average, optimiser, random numbers, history and files."""
    assert_same(checkpoint(one), checkpoint(two))
    assert sorted(os.listdir(one)) == sorted(os.listdir(two)) == FILES
    for name in FILES[:3]:
        assert sha256_of(one / name) == sha256_of(two / name), name


def steps_of_the_history(folder: Path) -> list[str]:
    return [line.split(",")[0] for line in (folder / "history.jsonl").read_text().splitlines()]


def test_the_same_twice(training: Training, straight: Path, tmp_path: Path) -> None:
    training.go(tmp_path / "again")
    assert_same_training(straight, tmp_path / "again")


@pytest.mark.parametrize("first", [1, 3, 4, 5, 6, 9])
def test_stopped_by_the_clock(
    training: Training, straight: Path, tmp_path: Path, first: int
) -> None:
    folder = tmp_path / "in parts"
    history = training.go(folder, max_minutes=first)
    assert history.step == first and history.stopped == "time"
    assert checkpoint(folder)["step"] == first
    history = training.go(folder, seed=2, max_minutes=100)
    assert history.step == 10 and history.stopped == "steps"
    assert_same_training(straight, folder)


def test_no_step_is_started_when_the_time_is_up(training: Training, tmp_path: Path) -> None:
    assert training.go(tmp_path, max_minutes=2.5).step == 3
    assert training.go(tmp_path, max_minutes=0).step == 3
    assert training.go(tmp_path, max_minutes=1).step == 4


def test_no_time_at_all(training: Training, straight: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in parts"
    assert training.go(folder, max_minutes=0).step == 0
    training.go(folder, seed=2)  # the first weights are in the folder, too
    assert_same_training(straight, folder)


def failing_at(step: int, error: BaseException) -> Callable[[int], Batch]:
    def failing(asked: int) -> Batch:
        if asked == step:
            raise error
        return batches(asked)

    return failing


@pytest.mark.parametrize(("failure", "kept"), [(2, 0), (5, 4), (7, 6), (8, 8), (9, 9)])
def test_stopped_by_a_failure(
    training: Training, straight: Path, tmp_path: Path, failure: int, kept: int
) -> None:
    folder = tmp_path / "in parts"
    with pytest.raises(Interrupted, match="no batch"):
        training.go(folder, failing_at(failure, Interrupted("no batch")))
    assert checkpoint(folder)["step"] == kept
    assert len(steps_of_the_history(folder)) == failure // 3
    training.go(folder, seed=2)
    assert_same_training(straight, folder)
    assert steps_of_the_history(folder) == [f'{{"step": {step}' for step in (3, 6, 9, 10)]


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_a_validation_that_fails_costs_no_step(
    training: Training, straight: Path, tmp_path: Path, lines: int
) -> None:
    folder, validated = tmp_path / "in parts", []

    def fail(model: nn.Module) -> None:
        validated.extend([0] * (not model.training))
        if len(validated) == 2 * (lines + 1):
            raise Interrupted("no memory")

    training.interrupt = fail
    with pytest.raises(Interrupted, match="no memory"):
        training.go(folder)
    training.interrupt = lambda model: None
    assert checkpoint(folder)["step"] == (3, 6, 9, 10)[lines]
    training.go(folder, seed=2)
    assert_same_training(straight, folder)


def test_batches_that_draw(training: Training, tmp_path: Path) -> None:
    def drawing(number: int) -> Batch:
        x = torch.randn(16, 3)
        return {"x": x, "y": x.sum(1, keepdim=True)}

    training.go(tmp_path / "straight", drawing)
    training.go(tmp_path / "in parts", drawing, max_minutes=5)
    training.go(tmp_path / "in parts", drawing, seed=2)
    assert_same_training(tmp_path / "straight", tmp_path / "in parts")


@pytest.mark.parametrize("step", [0, 5, 9])
def test_stopped_by_a_key(training: Training, straight: Path, tmp_path: Path, step: int) -> None:
    folder, made = tmp_path / "in parts", []

    def interrupt(model: nn.Module) -> None:
        made.extend([0] * model.training)
        if len(made) == step + 1:
            raise KeyboardInterrupt("key")

    training.interrupt = interrupt
    with pytest.raises(KeyboardInterrupt, match="key"):
        training.go(folder)
    training.interrupt = lambda model: None
    assert checkpoint(folder)["step"] == step
    training.go(folder, seed=2)
    assert_same_training(straight, folder)


@pytest.mark.parametrize("lines", [0, 1, 3])
def test_stopped_by_a_key_in_a_validation(
    training: Training, straight: Path, tmp_path: Path, lines: int
) -> None:
    folder, validated = tmp_path / "in parts", []

    def interrupt(model: nn.Module) -> None:
        validated.extend([0] * (not model.training))
        if len(validated) == 2 * (lines + 1):
            raise KeyboardInterrupt("key")

    training.interrupt = interrupt
    with pytest.raises(KeyboardInterrupt, match="key"):
        training.go(folder)
    training.interrupt = lambda model: None
    assert checkpoint(folder)["step"] == (3, 6, 9, 10)[lines]
    assert len(checkpoint(folder)["lines"]) == lines
    training.go(folder, seed=2)
    assert_same_training(straight, folder)


def test_stopped_by_a_key_in_an_update(
    training: Training, straight: Path, tmp_path: Path, monkeypatch
) -> None:
    folder, step, updates = tmp_path / "in parts", torch.optim.AdamW.step, []

    def interrupted(self: torch.optim.AdamW) -> None:
        step(self)
        updates.append(0)
        if len(updates) == 7:
            raise KeyboardInterrupt("key")

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", interrupted)
        with pytest.raises(KeyboardInterrupt, match="key"):
            training.go(folder)
    assert checkpoint(folder)["step"] == 6  # not the mixture
    training.go(folder, seed=2)
    assert_same_training(straight, folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_an_update_costs_no_step(
    training: Training, straight: Path, tmp_path: Path, monkeypatch, number: int
) -> None:
    folder, step, updates = tmp_path / "in parts", torch.optim.AdamW.step, []

    def told(self: torch.optim.AdamW) -> None:
        updates.append(0)
        if len(updates) == 7:
            signal.raise_signal(number)
        step(self)

    with monkeypatch.context() as patch, joined() as group:
        patch.setattr(torch.optim.AdamW, "step", told)
        with pytest.raises(KeyboardInterrupt, match="asked to end by a signal"):
            training.go(folder, group=group)
    assert checkpoint(folder)["step"] == 7
    training.go(folder, seed=2)
    assert_same_training(straight, folder)


def test_a_signal_ends_a_validation_after_its_batch(
    training: Training, straight: Path, tmp_path: Path
) -> None:
    folder, validated = tmp_path / "in parts", []

    def tell(model: nn.Module) -> None:
        validated.extend([0] * (not model.training))
        if len(validated) == 1:
            signal.raise_signal(signal.SIGTERM)

    training.interrupt = tell
    with joined() as group, pytest.raises(KeyboardInterrupt, match="asked to end by a signal"):
        training.go(folder, group=group)
    training.interrupt = lambda model: None
    assert len(validated) == 1
    assert checkpoint(folder)["step"] == 3 and not checkpoint(folder)["lines"]
    training.go(folder, seed=2)
    assert_same_training(straight, folder)


def test_finished(training: Training, straight: Path, tmp_path: Path) -> None:
    before = {name: (straight / name).stat().st_mtime_ns for name in FILES}
    history = training.go(straight, failing_at(0, Interrupted("asked for a batch")))
    assert history.step == 10 and history.stopped == "steps"
    assert [line["step"] for line in history.lines] == [3, 6, 9, 10]
    assert {name: (straight / name).stat().st_mtime_ns for name in FILES} == before


def test_damaged_checkpoint(training: Training, straight: Path) -> None:
    content = (straight / "last.pt").read_bytes()
    (straight / "last.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=r"last\.pt: checkpoint must be whole.*begin anew"):
        training.go(straight)


def test_another_configuration(training: Training, straight: Path) -> None:
    message = r"last\.pt: steps must be what the training began with, 10, found 20; set it back"
    with pytest.raises(InputError, match=message):
        training.go(straight, config=replace(CONFIG, steps=20))


def test_other_intervals(training: Training, straight: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in parts"
    training.go(folder, max_minutes=5)
    config = replace(CONFIG, validate_every=2, checkpoint_every=1, patience=9)
    history = training.go(folder, config=config, seed=2)
    assert [line["step"] for line in history.lines] == [3, 6, 8, 10]
    for name in ("model", "average", "optimiser"):
        assert_same(checkpoint(folder)[name], checkpoint(straight)[name])


@pytest.mark.slow
def test_with_another_process(training: Training, straight: Path, tmp_path: Path) -> None:
    folder, config = tmp_path / "in parts", replace(CONFIG, workers=1)
    made = partial(getitem, [batches(step) for step in range(10)])
    training.go(folder, made, config, max_minutes=4)
    assert checkpoint(folder)["step"] == 4
    training.go(folder, made, config, seed=2)
    for name in set(checkpoint(folder)) - {"config"}:
        assert_same(checkpoint(folder)[name], checkpoint(straight)[name])


def test_another_header_is_refused(tmp_path: Path) -> None:
    def loss(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        return (model(batch["x"]) - batch["y"]).square().mean(), {}

    def go(data: int) -> History:
        model, header = nn.Linear(3, 1), {"data": data}
        return fit(model, batches, loss, CONFIG, folder=tmp_path, header=header, max_minutes=0)

    assert go(1).step == go(1).step == 0
    with pytest.raises(InputError, match=r"must be of what it began with, data 1, found 2;"):
        go(2)
