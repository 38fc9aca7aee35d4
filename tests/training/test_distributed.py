"""Several processes make the training that one would make alone."""

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import processes
import pytest
import torch

from lensrim.errors import InputError
from lensrim.training.distributed import Group, joined

LAUNCHED = (
    *("gradient", "straight", "rim", "not_finite", "patient", "at_once", "stopped"),
    "refused",
)


def launch(folder: Path, *cases: str, size: int = 2) -> list[int]:
    """Runs cases in so many processes, and returns their exit statuses."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    path = os.pathsep.join(p for p in sys.path if p)
    started, said = [], folder / "said"
    for rank in range(size):
        with said.open("a") as file:
            started.append(
                subprocess.Popen(
                    [sys.executable, processes.__file__, str(folder), *cases],
                    env=os.environ | shared | {"RANK": str(rank), "PYTHONPATH": path},
                    stderr=file,
                )
            )
    try:
        statuses = [process.wait(timeout=120) for process in started]
    finally:
        for process in started:
            process.kill()
            process.wait()
    assert "dying" in cases or not any(statuses), said.read_text()
    return statuses


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two processes have left what came of their trainings."""
    path = tmp_path_factory.mktemp("together")
    launch(path, *LAUNCHED)
    return path


def read(folder: Path, case: str) -> list[dict[str, Any]]:
    return [torch.load(folder / f"{case}.{rank}.pt", weights_only=True) for rank in range(2)]


def alone(case: str, folder: Path) -> dict[str, Any]:
    with torch.random.fork_rng():
        return processes.CASES[case](Group(), folder / "alone" / case)


def assert_equal(one: dict[str, Any], two: dict[str, Any]) -> None:
    """Compares weights to the bit, and the rest but for times."""
    for name, value in one["weights"].items():
        assert torch.equal(value, two["weights"][name]), name
    assert untimed(one["lines"]) == untimed(two["lines"])


def untimed(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in line.items() if k not in ("seconds", "waited")} for line in lines]


def test_the_gradient_is_that_of_one_process(folder: Path, tmp_path: Path) -> None:
    first, second = (
        torch.cat([g.flatten() for g in r["gradient"]]) for r in read(folder, "gradient")
    )
    assert torch.equal(first, second)
    own = torch.cat([g.flatten() for g in alone("gradient", tmp_path)["gradient"]])
    assert (first - own).norm() < 1e-6 * own.norm()


@pytest.mark.parametrize("case", ["straight", "rim", "not_finite"])
def test_so_is_the_training(folder: Path, tmp_path: Path, case: str) -> None:
    first, second = read(folder, case)
    assert_equal(first, second)
    own = alone(case, tmp_path)
    for name, value in own["weights"].items():
        torch.testing.assert_close(first["weights"][name], value, rtol=1e-4, atol=1e-5)
    for line, wanted in zip(first["lines"], own["lines"], strict=True):
        for key in ("loss", "gradient_norm", "validation_loss"):
            assert line[key] == pytest.approx(wanted[key], rel=1e-4), key
        for key in ("metrics", "validation_metrics"):
            assert line[key]["bias"] == pytest.approx(wanted[key]["bias"], rel=1e-3, abs=1e-4)
        assert line["step"] == wanted["step"] and line["skipped"] == wanted["skipped"]


def test_what_is_not_finite_in_one_is_skipped_by_all(folder: Path) -> None:
    for result in read(folder, "not_finite"):
        assert [line["skipped"] for line in result["lines"]] == [0, 1, 1]
        assert all(bool(w.isfinite().all()) for w in result["weights"].values())


def test_all_stop_where_one_was_asked_to(folder: Path) -> None:
    straight = read(folder, "straight")[0]
    for result in read(folder, "stopped"):
        assert result["asked at"] == 4
        assert_equal(result, straight)


def test_all_lose_patience_and_have_no_time(folder: Path) -> None:
    for result in read(folder, "patient"):
        assert result["stopped"] == "patience" and result["step"] < 50
    for result in read(folder, "at_once"):
        assert result["stopped"] == "time" and result["step"] == 0


def test_there_is_one_history(folder: Path) -> None:
    assert len((folder / "straight" / "history.jsonl").read_text().splitlines()) == 3
    names = {"best.safetensors", "ema.safetensors", "history.jsonl", "last.pt"}
    assert {path.name for path in (folder / "straight").iterdir()} == names


def test_all_are_told_why(folder: Path) -> None:
    for result in read(folder, "refused"):
        assert "must be a multiple of the 2 processes, found 3; start as many" in result["parts"]
        assert "divide 3, or, where the recipe is your own, set parts = 4" in result["parts"]
        assert "must be what was kept here, found a damaged file" in result["kept"]
        assert "checkpoint must be whole" in result["damaged"]
        assert "found no gradient of network.idle" in result["unused"]
        assert "or train in one process" in result["unused"]


@pytest.mark.slow
def test_one_that_fails_ends_all(tmp_path: Path) -> None:
    assert all(launch(tmp_path, "dying"))


@pytest.mark.slow
def test_work_is_dealt_out_and_waited_for(tmp_path: Path) -> None:
    launch(tmp_path, "dealt")
    first, second = read(tmp_path, "dealt")
    assert first["mine"] == [0, 2, 4] and second["mine"] == [1, 3]
    assert first["made"] == second["made"] == [0, 1, 4, 9, 16]
    assert first["nothing"] == second["nothing"] == []


@pytest.mark.slow
def test_one_that_does_not_come_is_not_waited_for_with_patience(tmp_path: Path) -> None:
    launch(tmp_path, "alone")
    first, second = read(tmp_path, "alone")
    assert first["ended"] and not second["ended"]


def test_one_process_has_all_the_work() -> None:
    group = Group()
    assert group.dealt(3, lambda number: 10 * number) == [0, 10, 20]
    made: list[int] = []

    def asking(number: int) -> None:
        made.append(number)
        group.asked.set()

    for _ in range(2):  # between two numbers, and before the first
        with pytest.raises(KeyboardInterrupt, match="asked to end"):
            group.dealt(3, asking)
    assert made == [0]


def test_what_others_cannot_be_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    message = "WORLD_SIZE: .*found 2 in the environment without RANK, .*; start with torchrun, or"
    with pytest.raises(InputError, match=message), joined():
        raise AssertionError("joined nobody")


def test_signals_ask_and_a_second_key_interrupts() -> None:
    before = [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)]
    with joined() as group:
        group.heed()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # of those who send it twice
        with pytest.raises(KeyboardInterrupt, match="asked to end by a signal"):
            group.heed()
        with pytest.raises(KeyboardInterrupt, match="pressed once more"):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)] == before


def test_signals_are_left_to_the_main_thread() -> None:
    with ThreadPoolExecutor(1) as other:

        def join() -> int:
            with joined() as group:
                return group.size

        assert other.submit(join).result() == 1


def test_alone_nothing_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as group:
        assert (group.rank, group.size, group.leads) == (0, 1, True)
        assert not torch.distributed.is_initialized()
    with pytest.raises(InputError, match="parts: must be a multiple of the 4 processes, found 6"):
        Group(0, 4).check(6)
