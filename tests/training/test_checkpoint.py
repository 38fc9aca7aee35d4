"""Checkpoints: all of a training, whole or not at all, and refused in one line."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lensrim.errors import InputError
from lensrim.training.checkpoint import KEPT, Run, begin, surroundings
from lensrim.training.config import MAY_CHANGE, TrainConfig

CONFIG = TrainConfig(steps=10, warmup=2, batch_size=4)


@pytest.fixture(autouse=True)
def _own_random_numbers():
    with torch.random.fork_rng():
        yield


def a_run(config: TrainConfig = CONFIG, width: int = 4) -> Run:
    """A run after one step."""
    run = begin(nn.Linear(3, width), config)
    run.model(torch.randn(4, 3)).square().mean().backward()
    run.optimiser.step()
    run.average.update_parameters(run.model)
    run.step = 1
    run.recent = [{"loss": 0.5, "gradient_norm": 1.0, "metrics": [{"a": float("nan")}]}]
    run.lines = [{"step": 1, "loss": None, "metrics": {}}]
    return run


def test_all_of_it_comes_back(tmp_path: Path) -> None:
    run = a_run(replace(CONFIG, betas=(0.8, 0.9)))
    run.best, run.bad, run.skipped, run.barren = 0.25, 2, 3, 1
    run.seconds, run.waited = 1.5, 0.5
    run.save(tmp_path / "last.pt")
    other = begin(nn.Linear(3, 4), run.config)
    other.load(tmp_path / "last.pt")
    for name in ("model", "average"):
        ours, theirs = getattr(run, name).state_dict(), getattr(other, name).state_dict()
        assert list(ours) == list(theirs)
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert repr(other.optimiser.state_dict()) == repr(run.optimiser.state_dict())
    assert {repr(getattr(run, n)) == repr(getattr(other, n)) for n in KEPT} == {True}


def test_a_copy_of_the_average_is_not_trained() -> None:
    run = a_run()
    assert not run.average.training and run.model.training
    assert not any(p.requires_grad for p in run.average.parameters())
    assert int(run.average.n_averaged) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 11},
        {"batch_size": 8},
        {"parts": 2},
        {"learning_rate": 0.1},
        {"warmup": 3},
        {"betas": (0.9, 0.95)},
        {"seed": 1},
    ],
)
def test_another_configuration(tmp_path: Path, change: dict[str, Any]) -> None:
    a_run().save(tmp_path / "last.pt")
    (name,) = change
    old, new = CONFIG.to_dict()[name], replace(CONFIG, **change).to_dict()[name]
    with pytest.raises(InputError, match=f"{name} must be what the training began") as caught:
        begin(nn.Linear(3, 4), replace(CONFIG, **change)).load(tmp_path / "last.pt")
    assert f"began with, {old}, found {new}; set it back" in str(caught.value)


@pytest.mark.parametrize("name", sorted(MAY_CHANGE))
def test_what_may_change(tmp_path: Path, name: str) -> None:
    a_run().save(tmp_path / "last.pt")
    run = begin(nn.Linear(3, 4), replace(CONFIG, **{name: 7}))
    run.load(tmp_path / "last.pt")
    assert run.step == 1 and getattr(run.config, name) == 7


def test_another_model(tmp_path: Path) -> None:
    a_run(width=5).save(tmp_path / "last.pt")
    with pytest.raises(
        InputError, match=r"of this model, found another .*size mismatch"
    ) as caught:
        begin(nn.Linear(3, 4), CONFIG).load(tmp_path / "last.pt")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: b"not a checkpoint at all",
        lambda data: data[: len(data) // 2],
        lambda data: data[:-200],
        lambda data: bytes(1000),
    ],
)
def test_damaged(tmp_path: Path, damage) -> None:
    path = tmp_path / "last.pt"
    a_run().save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=r"last\.pt: checkpoint must be whole.*remove it"):
        begin(nn.Linear(3, 4), CONFIG).load(path)


@pytest.mark.parametrize("content", [{"model": {}}, [1, 2], {"format": "lensrim training 2"}])
def test_another_kind_of_file(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "last.pt")
    with pytest.raises(InputError, match=r"checkpoint of the format 'lensrim training 2', found"):
        begin(nn.Linear(3, 4), CONFIG).load(tmp_path / "last.pt")


class Trap:
    """Leaves a file behind when it is unpickled carelessly."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_in_it_is_executed(tmp_path: Path) -> None:
    torch.save({"format": Trap(tmp_path / "executed")}, tmp_path / "last.pt")
    with pytest.raises(InputError, match="checkpoint must be whole"):
        begin(nn.Linear(3, 4), CONFIG).load(tmp_path / "last.pt")
    assert os.listdir(tmp_path) == ["last.pt"]


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="checkpoint must be readable, found Is a directory"):
        begin(nn.Linear(3, 4), CONFIG).load(tmp_path)


def test_failure_leaves_the_old_file(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "last.pt"
    run = a_run()
    run.save(path)
    before = path.read_bytes()

    def fail(content: object, file) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", fail)
    with pytest.raises(OSError, match="No space left"):
        run.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["last.pt"]


def test_not_whole_after_a_failure() -> None:
    run = a_run()
    with run.changing():
        assert not run.whole
    assert run.whole
    with pytest.raises(KeyboardInterrupt, match="key"), run.changing():
        raise KeyboardInterrupt("key")
    assert not run.whole


def test_surroundings_are_given_back() -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    with surroundings(replace(CONFIG, threads=threads + 1), torch.device("cpu")):
        assert torch.get_num_threads() == threads + 1
        torch.rand(3)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
