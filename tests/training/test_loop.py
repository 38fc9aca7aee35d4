"""The training loop: what a step does, and why it ends."""

import json
import math
import os
import platform
import subprocess
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import lensrim.training.loop
from lensrim._weights import read_weights
from lensrim.errors import InputError
from lensrim.training.config import TrainConfig
from lensrim.training.loop import fit

CONFIG = TrainConfig(
    steps=10, warmup=2, learning_rate=0.05, ema=0.9, validate_every=3, checkpoint_every=4
)


def batches(step: int) -> dict[str, Any]:
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
    return {"x": x, "truth": {"y": x.sum(1, keepdim=True)}}


VALIDATION = [batches(1000), batches(1001)]


def a_model() -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.25), nn.Tanh(), nn.Linear(8, 1))


def loss_fn(model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
    error = model(batch["x"]) - batch["truth"]["y"]
    return error.square().mean(), {"bias": error.mean().item()}


class Recorder:
    """A loss that notes what it is called with, and hands out scripted validation losses."""

    def __init__(self, script: list[float] | None = None):
        self.script = script
        self.weights: list[list[Tensor]] = []
        self.averages: list[dict[str, Tensor]] = []
        self.losses: list[float] = []
        self.norms: list[float] = []

    def __call__(self, model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
        loss, metrics = loss_fn(model, batch)
        if not model.training:
            self.averages.append({k: v.clone() for k, v in model.state_dict().items()})
            return torch.tensor(self.script.pop(0)) if self.script else loss, metrics
        self.weights.append([p.detach().clone() for p in model.parameters()])
        self.losses.append(loss.item())
        gradient = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
        self.norms.append(torch.cat([g.flatten() for g in gradient]).norm().item())
        return loss, metrics


@pytest.fixture
def clock(monkeypatch) -> list[float]:
    """The time [s], which stands still unless it is changed."""
    now = [1000.0]
    monkeypatch.setattr(lensrim.training.loop, "perf_counter", lambda: now[0])
    return now


def test_it_learns(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=150, validate_every=50)
    lines: list[str] = []
    history = fit(
        a_model(), batches, loss_fn, config, folder=tmp_path, validation=VALIDATION,
        report=lines.append,
    )  # fmt: skip
    losses = [line["validation_loss"] for line in history.lines]
    assert losses[2] < losses[1] < losses[0]
    assert history.best == losses[2] and history.step == 150 and history.stopped == "steps"
    assert len(lines) == 3 and lines[2].startswith("step 150: loss ") and "(best)" in lines[2]
    files = ["best.safetensors", "ema.safetensors", "history.jsonl", "last.pt"]
    assert sorted(os.listdir(tmp_path)) == files


def test_lines_of_the_history(tmp_path: Path, clock: list[float]) -> None:
    seen = Recorder()

    def timed(model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
        clock[0] += 2.0 * model.training
        return seen(model, batch)

    history = fit(a_model(), batches, timed, CONFIG, folder=tmp_path, validation=VALIDATION)
    text = (tmp_path / "history.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == history.lines
    assert [line["step"] for line in history.lines] == [3, 6, 9, 10]
    assert [line["seconds"] for line in history.lines] == [6, 12, 18, 20]
    assert [line["skipped"] for line in history.lines] == [0, 0, 0, 0]
    rates = [line["learning_rate"] for line in history.lines]
    assert rates == [CONFIG.rate_at(step) for step in (2, 5, 8, 9)]
    assert rates[-1] == pytest.approx(0.05 * CONFIG.final_rate)
    for line, part in zip(history.lines, [slice(0, 3), slice(3, 6), slice(6, 9)], strict=False):
        assert line["loss"] == fmean(seen.losses[part])
        assert line["gradient_norm"] == pytest.approx(median(seen.norms[part]))
        assert set(line["metrics"]) == set(line["validation_metrics"]) == {"bias"}


def test_time_without_a_batch_is_told(tmp_path: Path, clock: list[float]) -> None:
    def slowly(number: int) -> dict[str, Any]:
        clock[0] += 3.0 if number < 3 else 1.0
        return batches(number)

    def finish(batch: Any, number: int) -> Any:
        clock[0] += 2.0 if number == 4 else 0.0
        return batch

    def timed(model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
        clock[0] += 1.0
        return loss_fn(model, batch)

    said: list[str] = []
    history = fit(
        a_model(), slowly, timed, CONFIG, folder=tmp_path, validation=VALIDATION[:1],
        finish=finish, report=said.append,
    )  # fmt: skip
    waited = [line["waited"] for line in history.lines]
    # of the time since the line before, in which the validation of that line is
    assert waited == pytest.approx([9 / 12, 5 / 9, 3 / 7, 1 / 3])
    assert said[0].endswith(", waited 75 %")


def test_lines_are_recorded(tmp_path: Path) -> None:
    kept: list[Any] = []
    history = fit(a_model(), batches, loss_fn, CONFIG, folder=tmp_path, record=kept.append)
    assert kept == list(history.lines)


def test_parts_make_the_step_of_the_whole(tmp_path: Path) -> None:
    def halves(number: int) -> dict[str, Any]:
        whole, half = batches(number // 2), slice(8 * (number % 2), 8 * (number % 2) + 8)
        return {"x": whole["x"][half], "truth": {"y": whole["truth"]["y"][half]}}

    one, two = (a_model() for _ in range(2))
    for model in (one, two):
        model[1].p = 0.0  # chance differs by part
    config = replace(CONFIG, batch_size=16)
    whole = fit(one, batches, loss_fn, config, folder=tmp_path / "1", validation=VALIDATION)
    parts = fit(
        two, halves, loss_fn, replace(config, parts=2), folder=tmp_path / "2",
        validation=VALIDATION,
    )  # fmt: skip
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    for line, expected in zip(parts.lines, whole.lines, strict=True):
        for key in ("loss", "gradient_norm", "validation_loss"):
            assert line[key] == pytest.approx(expected[key], rel=1e-4)
        assert line["metrics"]["bias"] == pytest.approx(expected["metrics"]["bias"], abs=1e-5)


def test_one_part_that_is_not_finite_spoils_the_step(tmp_path: Path) -> None:
    config, asked = replace(CONFIG, parts=2), []

    def noted(number: int) -> dict[str, Any]:
        asked.append(number)
        return broken_in(range(10, 11))(number)

    history = fit(a_model(), noted, loss_fn, config, folder=tmp_path)
    assert asked == list(range(20))
    assert [line["skipped"] for line in history.lines] == [0, 1, 0, 0]


def test_chance_is_that_of_the_part(tmp_path: Path) -> None:
    drawn: list[float] = []

    def drawing(model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
        drawn.append(torch.rand(1).item())
        for _ in range(len(drawn)):  # more or fewer draws before make no difference
            torch.rand(1)
        return loss_fn(model, batch)

    fit(a_model(), batches, drawing, replace(CONFIG, parts=2), folder=tmp_path / "1")
    expected, drawn[:] = list(drawn), []
    fit(
        a_model(), batches, drawing, replace(CONFIG, parts=2), folder=tmp_path / "2", max_minutes=0
    )
    fit(a_model(), batches, drawing, replace(CONFIG, parts=2), folder=tmp_path / "2")
    assert drawn == expected and len(set(drawn)) == 20


def test_a_loss_may_run_its_network_in_bfloat16(tmp_path: Path) -> None:
    def mixed(model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
        with torch.autocast(batch["x"].device.type, torch.bfloat16):
            found = model(batch["x"])
        assert found.dtype == torch.bfloat16
        error = found.float() - batch["truth"]["y"]
        return error.square().mean(), {}

    config = replace(CONFIG, steps=150, validate_every=50)
    model = a_model()
    history = fit(model, batches, mixed, config, folder=tmp_path, validation=VALIDATION)
    losses = [line["validation_loss"] for line in history.lines]
    assert losses[2] < losses[1] < losses[0]
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    states = [v for state in saved["optimiser"]["state"].values() for v in state.values()]
    kept = [
        *saved["average"].values(),
        *states,
        *read_weights(tmp_path / "ema.safetensors")[0].values(),
    ]
    assert {v.dtype for v in kept if v.is_floating_point()} == {torch.float32}


def test_optimiser_follows_the_curve(tmp_path: Path) -> None:
    config = replace(CONFIG, final_rate=0.5)
    fit(a_model(), batches, loss_fn, config, folder=tmp_path)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert {g["lr"] for g in saved["optimiser"]["param_groups"]} == {config.rate_at(9)}


def test_average(tmp_path: Path) -> None:
    seen, model = Recorder(), a_model()
    fit(model, batches, seen, CONFIG, folder=tmp_path)
    weights = [*seen.weights[1:], [p.detach() for p in model.parameters()]]
    expected = [value.double() for value in weights[0]]
    for n, values in enumerate(weights[1:], start=1):
        d = min(0.9, (1 + n) / (10 + n))
        expected = [d * e + (1 - d) * v.double() for e, v in zip(expected, values, strict=True)]
    read, _ = read_weights(tmp_path / "ema.safetensors", dtype=torch.float64)
    for (name, _), wanted in zip(model.named_parameters(), expected, strict=True):
        torch.testing.assert_close(read[name], wanted, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("clip", [0.01, 1e6])
def test_clipping(tmp_path: Path, clip: float) -> None:
    seen = Recorder()
    config = replace(CONFIG, steps=1, warmup=0, clip=clip)
    history = fit(a_model(), batches, seen, config, folder=tmp_path)
    assert history.lines[0]["gradient_norm"] == pytest.approx(seen.norms[0])
    states = torch.load(tmp_path / "last.pt", weights_only=True)["optimiser"]["state"]
    first = torch.cat([state["exp_avg"].flatten() for state in states.values()])
    expected = 0.1 * min(clip, seen.norms[0])
    assert first.norm().item() == pytest.approx(expected, rel=1e-4)


def test_decay_is_for_matrices(tmp_path: Path) -> None:
    config = replace(CONFIG, weight_decay=0.1, steps=2, warmup=0, final_rate=1.0)

    def zero(model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
        return 0 * model(batch["x"]).sum(), {}

    model, before = a_model(), a_model()
    fit(model, batches, zero, config, folder=tmp_path)
    for new, old in zip(model.parameters(), before.parameters(), strict=True):
        factor = (1 - 0.05 * 0.1) ** 2 if old.ndim == 2 else 1.0
        torch.testing.assert_close(new, old * factor)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e30])
def test_a_step_that_is_not_finite_is_skipped(tmp_path: Path, value: float) -> None:
    def spoilt(step: int) -> dict[str, Any]:
        batch = batches(step)
        batch["truth"]["y"][0] = value if step == 5 else batch["truth"]["y"][0]
        return batch

    seen, model = Recorder(), a_model()
    history = fit(model, spoilt, seen, CONFIG, folder=tmp_path, validation=VALIDATION)
    same = [all(map(torch.equal, a, b)) for a, b in pairwise(seen.weights)]
    assert same == [False] * 5 + [True] + [False] * 3
    assert all(bool(p.isfinite().all()) for p in model.parameters())
    assert [line["skipped"] for line in history.lines] == [0, 1, 0, 0]
    assert history.lines[1]["loss"] == fmean(seen.losses[3:5])
    assert history.step == 10 and history.lines[3]["learning_rate"] == CONFIG.rate_at(9)
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert int(saved["average"]["n_averaged"]) == 9


def broken_in(*ranges: range) -> Callable[[int], dict[str, Any]]:
    def broken(step: int) -> dict[str, Any]:
        batch = batches(step)
        spoilt = any(step in steps for steps in ranges)
        return {**batch, "x": batch["x"] * float("nan")} if spoilt else batch

    return broken


def test_too_many_in_a_row(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=40, validate_every=40)
    message = r"20 steps in a row, up to step 23, .* loss nan, gradient norm nan\); lower learning"
    with pytest.raises(RuntimeError, match=message):
        fit(a_model(), broken_in(range(3, 40)), loss_fn, config, folder=tmp_path)
    # Going on from step 20, the steps that were skipped before still count.
    assert torch.load(tmp_path / "last.pt", weights_only=True)["barren"] == 17
    with pytest.raises(RuntimeError, match="20 steps in a row, up to step 23"):
        fit(a_model(), broken_in(range(3, 40)), loss_fn, config, folder=tmp_path)


def test_as_many_as_may_be(tmp_path: Path) -> None:
    config = replace(CONFIG, steps=50, validate_every=10)
    history = fit(
        a_model(), broken_in(range(10, 29), range(30, 49)), loss_fn, config, folder=tmp_path
    )
    assert [line["skipped"] for line in history.lines] == [0, 10, 9, 10, 9]
    assert history.lines[1]["loss"] is None and history.lines[1]["gradient_norm"] is None
    assert history.lines[1]["metrics"] == {}


def test_patience(tmp_path: Path) -> None:
    nan = float("nan")
    script = [5.0, 4.0, 4.5, 4.0, 3.0, nan, 3.2, 3.1, 2.0, 2.5]
    config = replace(CONFIG, validate_every=1, patience=3)
    seen, model = Recorder(script), a_model()
    history = fit(model, batches, seen, config, folder=tmp_path, validation=VALIDATION[:1])
    assert history.stopped == "patience" and history.step == 8 and history.best == 3.0
    found = [line["validation_loss"] for line in history.lines]
    assert found == pytest.approx([5.0, 4.0, 4.5, 4.0, 3.0, None, 3.2, 3.1])
    best, header = read_weights(tmp_path / "best.safetensors")
    assert header["step"] == 5 and header["validation_loss"] == 3.0
    assert all(torch.equal(best[name], value) for name, value in seen.averages[4].items())
    assert read_weights(tmp_path / "ema.safetensors")[1]["step"] == 8

    again = fit(model, broken_in(range(99)), seen, config, folder=tmp_path, validation=VALIDATION)
    assert again == history
    more = replace(config, patience=4)
    after = fit(model, batches, seen, more, folder=tmp_path, validation=VALIDATION[:1])
    assert after.stopped == "steps" and after.step == 10 and after.best == 2.0
    assert read_weights(tmp_path / "best.safetensors")[1]["step"] == 9


def test_no_validation(tmp_path: Path) -> None:
    history = fit(a_model(), batches, loss_fn, CONFIG, folder=tmp_path)
    assert history.best is None
    assert {line["validation_loss"] for line in history.lines} == {None}
    assert not (tmp_path / "best.safetensors").exists()
    with pytest.raises(InputError, match="patience: needs validation batches, found none"):
        fit(a_model(), batches, loss_fn, replace(CONFIG, patience=1), folder=tmp_path)


def test_validation_is_without_gradient_and_chance(tmp_path: Path) -> None:
    drawn = []

    def noisy(model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
        if not model.training:
            assert not torch.is_grad_enabled()
            drawn.append(torch.rand(1).item())
        return loss_fn(model, batch)

    one, two = a_model(), a_model()
    fit(one, batches, noisy, CONFIG, folder=tmp_path / "1", validation=VALIDATION[:1])
    assert len(drawn) == 4 and len(set(drawn)) == 1
    fit(two, batches, noisy, replace(CONFIG, validate_every=2), folder=tmp_path / "2")
    assert all(map(torch.equal, one.parameters(), two.parameters()))


def test_headers(tmp_path: Path) -> None:
    header = {"network": {"width": 8}}
    folder = tmp_path / "new" / "folder"
    fit(a_model(), batches, loss_fn, CONFIG, folder=folder, validation=VALIDATION, header=header)
    for name in ("best", "ema"):
        said = read_weights(folder / f"{name}.safetensors")[1]
        assert said["network"] == {"width": 8}
        assert TrainConfig.from_dict(said["config"]) == CONFIG


@pytest.mark.parametrize("name", ["header", "notes"])
@pytest.mark.parametrize("said", [{"a": math.nan}, {"a": torch.ones(1)}])
def test_what_json_cannot_hold_is_told(tmp_path: Path, name: str, said: dict) -> None:
    with pytest.raises(InputError, match=f"^{name}: must be what JSON can hold, found other"):
        fit(a_model(), batches, loss_fn, CONFIG, folder=tmp_path, **{name: said})


def test_what_was_left_half_written_goes(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = ("last.pt", "ema.safetensors", "best.safetensors", "history.jsonl")
    left = [tmp_path / f".{n}.{platform.node()}.{dead.pid}.0123" for n in names]
    other = tmp_path / f".{names[0]}.{platform.node()}.{os.getpid()}.0123"  # of one that lives
    for path in (*left, other):
        path.write_bytes(b"half")
    fit(a_model(), batches, loss_fn, CONFIG, folder=tmp_path)
    assert not any(path.exists() for path in left) and other.exists()


def test_notes_may_change(tmp_path: Path) -> None:
    for notes, minutes in (({"place": "here"}, 0), ({"place": "there"}, None)):
        fit(
            a_model(), batches, loss_fn, CONFIG, folder=tmp_path, header={"width": 8},
            notes={"width": 9, **notes}, max_minutes=minutes,
        )  # fmt: skip
        said = read_weights(tmp_path / "ema.safetensors")[1]
        assert said["place"] == notes["place"] and said["width"] == 8


def test_random_numbers_and_threads_are_the_callers(tmp_path: Path) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    config = replace(CONFIG, threads=threads + 1)
    fit(a_model(), batches, loss_fn, config, folder=tmp_path)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("minutes", [float("nan"), -1.0])
def test_a_time_that_is_none_is_refused(tmp_path: Path, minutes: float) -> None:
    with pytest.raises(InputError, match="max_minutes: must be 0 or more, found"):
        fit(a_model(), batches, loss_fn, CONFIG, folder=tmp_path, max_minutes=minutes)


def test_time_counts_from_where_it_began(tmp_path: Path, clock: list[float]) -> None:
    def go(begun: float) -> int:
        return fit(
            a_model(), batches, loss_fn, CONFIG, folder=tmp_path, max_minutes=1, begun=begun
        ).step

    assert go(clock[0] - 60) == 0
    assert go(clock[0] - 59) == 10


@pytest.mark.parametrize(
    ("returned", "match"),
    [
        (lambda loss: loss, "must return the loss and a dictionary of metrics, found a Tensor"),
        (lambda loss: (loss, loss), "must return the loss and a dictionary of metrics"),
        (lambda loss: (loss.expand(3), {}), r"one number, found a Tensor of shape \(3,\)"),
        (lambda loss: (loss.item(), {}), "must be a tensor of one number, found a float"),
    ],
)
def test_another_form_of_loss_is_refused(
    tmp_path: Path, returned: Callable[[Tensor], Any], match: str
) -> None:
    def other(model: nn.Module, batch: Any) -> Any:
        return returned(loss_fn(model, batch)[0])

    with pytest.raises(InputError, match=f"loss_fn: .*{match}"):
        fit(a_model(), batches, other, CONFIG, folder=tmp_path)


def test_metrics_may_be_tensors_of_the_graph(tmp_path: Path) -> None:
    def graphed(model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, Any]]:
        loss, _ = loss_fn(model, batch)
        return loss, {"itself": loss}

    history = fit(a_model(), batches, graphed, CONFIG, folder=tmp_path, validation=VALIDATION)
    for line in history.lines:
        assert line["metrics"]["itself"] == pytest.approx(line["loss"])


def test_folder_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file: must be a folder for the training, found"):
        fit(a_model(), batches, loss_fn, CONFIG, folder=tmp_path / "file")


@pytest.mark.gpu
def test_on_a_gpu(tmp_path: Path, clock: list[float]) -> None:
    def timed(model: nn.Module, batch: Any) -> tuple[Tensor, dict[str, float]]:
        assert batch["truth"]["y"].device.type == "cuda"
        clock[0] += 60.0 * model.training
        return loss_fn(model, batch)

    models = a_model(), a_model()
    ways = (tmp_path / "straight", [None]), (tmp_path / "in parts", [4.0, None])
    for model, (folder, parts) in zip(models, ways, strict=True):
        for minutes in parts:
            fit(
                model, batches, timed, CONFIG, folder=folder, validation=VALIDATION,
                max_minutes=minutes, device="cuda",
            )  # fmt: skip
    for one, two in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert one.device.type == "cuda"
        torch.testing.assert_close(one, two)


def test_a_step_that_is_skipped_leaves_running_means(tmp_path: Path) -> None:
    """One batch that is not finite must not spoil all validations after it."""

    def spoilt(step: int) -> dict[str, Any]:
        batch = batches(step)
        return {**batch, "x": batch["x"] * (math.nan if step == 3 else 1.0)}

    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    history = fit(model, spoilt, loss_fn, CONFIG, folder=tmp_path, validation=VALIDATION)
    assert sum(line["skipped"] for line in history.lines) == 1
    assert all(line["validation_loss"] is not None for line in history.lines)
    assert all(bool(each.isfinite().all()) for each in model.buffers())
