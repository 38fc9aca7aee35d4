"""What one of several processes does in the tests of a group: trains, and writes what came of it.

python processes.py FOLDER CASE...
"""

import math
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lensrim.training.config import TrainConfig
from lensrim.training.distributed import Group, joined
from lensrim.training.loop import fit

CONFIG = TrainConfig(
    steps=6,
    warmup=1,
    learning_rate=0.01,
    batch_size=32,
    parts=4,
    clip=1e6,
    ema=0.9,
    validate_every=2,
    checkpoint_every=4,
)
Batch = dict[str, Tensor]


class Machine(nn.Module):
    """A network with chance and a buffer, that makes a part of its steps twice to spare memory."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.first, self.second = nn.Linear(3, 16), nn.Linear(16, 1)
        self.drop = nn.Dropout(0.25)
        self.register_buffer("scale", torch.tensor(2.0))

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(3):
            step = checkpoint(self.step, x, use_reentrant=False)
            assert isinstance(step, Tensor)
            x = x + self.scale * step
        return self.second(torch.tanh(self.first(x)))

    def step(self, x: Tensor) -> Tensor:
        return torch.tanh(self.second(self.drop(torch.tanh(self.first(x)))))


def batches(number: int) -> Batch:
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(number))
    return {"x": x, "y": x.square().sum(1, keepdim=True)}


VALIDATION = [batches(1000 + i) for i in range(3)]


def spoilt(number: int) -> Batch:
    """Makes batches with a gradient, and then a loss alone, that is not finite in one part."""
    batch = batches(number)
    x = batch["x"] * (math.nan if number == 9 else 1.0)
    return {**batch, "x": x, "more": torch.tensor(math.inf if number == 17 else 0.0)}


def loss_fn(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    error = model(batch["x"]) - batch["y"]
    more = batch.get("more", torch.tensor(0.0))
    return error.square().mean() + more, {"bias": error.mean().item()}


def trained(group: Group, folder: Path, config: TrainConfig = CONFIG, **options: Any) -> dict:
    """Trains a machine, and returns all that came of it."""
    model = Machine()
    options = {"batches": batches, "loss_fn": loss_fn, "validation": VALIDATION} | options
    history = fit(model, config=config, folder=folder, group=group, **options)
    return {
        "lines": list(history.lines),
        "stopped": history.stopped,
        "step": history.step,
        "weights": {name: value.clone() for name, value in model.state_dict().items()},
        "gradient": [p.grad.clone() for p in model.parameters() if p.grad is not None],
    }


def gradient(group: Group, folder: Path) -> dict:
    return trained(group, folder, replace(CONFIG, steps=1, warmup=0))


def straight(group: Group, folder: Path) -> dict:
    return trained(group, folder)


def not_finite(group: Group, folder: Path) -> dict:
    return trained(group, folder, batches=spoilt)


def patient(group: Group, folder: Path) -> dict:
    config = replace(CONFIG, steps=50, validate_every=1, patience=2, learning_rate=1e-12)
    return trained(group, folder, config)


def at_once(group: Group, folder: Path) -> dict:
    return trained(group, folder, max_minutes=0)


def stopped(group: Group, folder: Path) -> dict:
    """Is asked to end in the fourth step, by a signal to the last process alone, and goes on."""
    calls = []

    def asking(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        calls.append(0)
        if group.rank == group.size - 1 and len(calls) == 8:
            signal.raise_signal(signal.SIGTERM)
        return loss_fn(model, batch)

    try:
        trained(group, folder, loss_fn=asking)
    except KeyboardInterrupt:
        step = group.from_first(lambda: torch.load(folder / "last.pt")["step"])
        return {**trained(replace(group, asked=Event()), folder), "asked at": step}
    raise AssertionError("nobody stopped")


def refused(group: Group, folder: Path) -> dict:
    """Notes what each process is told of settings and files that cannot be used."""
    found = {}
    for name, config in (("parts", replace(CONFIG, batch_size=24, parts=3)), ("damaged", CONFIG)):
        if group.leads:
            (folder / name).mkdir(parents=True)
            (folder / name / "last.pt").write_bytes(b"no checkpoint")
        try:
            trained(group, folder / name, config)
        except ValueError as error:
            found[name] = str(error)
    return found


def dying(group: Group, folder: Path) -> dict:
    def broken(number: int) -> Batch:
        if number == 9:
            raise RuntimeError("no batch")
        return batches(number)

    return trained(group, folder, batches=broken)


CASES: dict[str, Callable[[Group, Path], dict]] = {
    case.__name__: case
    for case in (gradient, straight, not_finite, patient, at_once, stopped, refused, dying)
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    with joined() as here:
        for case in sys.argv[2:]:
            torch.save(CASES[case](here, out / case), out / f"{case}.{here.rank}.pt")
