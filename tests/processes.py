"""What one of several processes does in the tests of a group: trains, and writes what came of it.

python processes.py FOLDER CASE...
"""

import math
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from lensrim.reproduction.judged import kept_by_first
from lensrim.rim import (
    RIM,
    Adam,
    Exp,
    Field,
    Fields,
    Raw,
    State,
    UNet,
    Unroll,
    energy_score,
    sizes,
    to_free,
    trajectory_loss,
)
from lensrim.training import distributed
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
FIELDS = {"image": Field(1, 2, step=0.5, link=Exp()), "level": Field(1, 0, step=0.5)}
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


def machine(fields: Fields, **options: Any) -> RIM:
    """A small recurrent inference machine, that knows no chance."""
    torch.manual_seed(1)
    encodings = (Adam(), Raw())
    network = UNet(2, **sizes(fields, encodings=2), widths=(4, 6), lift=4, embedding=5)
    return RIM(network, fields, precondition=encodings, **options)


def images(number: int) -> Batch:
    x = torch.rand(8, 1, 9, 9, generator=torch.Generator().manual_seed(number))
    return {"image": 0.1 + x, "level": x.mean((1, 2, 3))[:, None]}


def energy(x: State, y: Tensor) -> Tensor:
    model = F.avg_pool2d(x["image"], 3, 1, 1) + x["level"][:, :, None, None]
    return ((y - model) / 0.1).square().sum((1, 2, 3)) / 2


def errors_of(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    y = F.avg_pool2d(batch["image"], 3, 1, 1) + batch["level"][:, :, None, None]
    start = {"image": torch.zeros_like(y), "level": torch.zeros_like(batch["level"])}
    trajectory = model(y, energy_score(energy, y, fields=FIELDS), start)
    loss, _ = trajectory_loss(trajectory, to_free(batch, FIELDS))
    return loss, {"bias": trajectory.last["level"].mean()}


def trained(
    group: Group,
    folder: Path,
    config: TrainConfig = CONFIG,
    make: Callable[[], nn.Module] = Machine,
    **options: Any,
) -> dict:
    """Trains a machine, and returns all that came of it."""
    model = make()
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


def rim(group: Group, folder: Path) -> dict:
    """Trains a machine that computes its steps twice, to spare memory."""

    def make() -> RIM:
        return machine(FIELDS, steps=3, unroll=Unroll(checkpoint=True), learn_memory=True)

    validation = [images(1000 + i) for i in range(3)]
    return trained(
        group, folder, make=make, batches=images, loss_fn=errors_of, validation=validation
    )


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
        group.asked.clear()
        return {**trained(group, folder), "asked at": step}
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
    try:
        trained(
            group, folder / "unused", make=with_idle_part, batches=images, loss_fn=maps_alone,
            validation=[],
        )  # fmt: skip
    except ValueError as error:
        found["unused"] = str(error)
    if group.leads:
        (folder / "judged.pt").write_bytes(b"nothing that was kept")
    try:
        kept_by_first(folder / "judged.pt", {}, dict, group)
    except ValueError as error:
        found["kept"] = str(error)
    return found


def with_idle_part() -> nn.Module:
    model = machine({"image": FIELDS["image"]}, steps=1)
    model.network.register_parameter("idle", nn.Parameter(torch.zeros(2)))
    return model


def maps_alone(model: nn.Module, batch: Batch) -> tuple[Tensor, dict[str, float]]:
    x = batch["image"]
    moved = model(x, lambda state: ({"image": x - state["image"]}, {}), {"image": 0 * x}).last
    return (moved["image"] - x).square().mean(), {}


def dying(group: Group, folder: Path) -> dict:
    def broken(number: int) -> Batch:
        if number == 9:
            raise RuntimeError("no batch")
        return batches(number)

    return trained(group, folder, batches=broken)


def dealt(group: Group, folder: Path) -> dict:
    """Makes squares, one of which takes longer than a process waits for the others elsewhere."""
    mine: list[int] = []

    def square(number: int) -> int:
        mine.append(number)
        if number == 4:
            time.sleep(1.3 * distributed.TIMEOUT.total_seconds())
        return number**2

    made = group.dealt(5, square)
    nothing = group.dealt(0, square)
    group.asked.set()
    try:
        group.dealt(group.rank + 1, square)
    except KeyboardInterrupt:
        group.asked.clear()
        return {"made": made, "mine": mine, "nothing": nothing}
    raise AssertionError("nobody stopped")


def alone(group: Group, folder: Path) -> dict:
    """Has work dealt out, to which the other process does not come."""
    if not group.leads:
        time.sleep(2 * distributed.TIMEOUT.total_seconds())
        return {"ended": False}
    try:
        group.dealt(2, lambda number: number)
    except RuntimeError:
        return {"ended": True}
    raise AssertionError("was not left alone")


CASES: dict[str, Callable[[Group, Path], dict]] = {
    case.__name__: case
    for case in (
        gradient,
        straight,
        rim,
        not_finite,
        patient,
        at_once,
        stopped,
        refused,
        dying,
        dealt,
        alone,
    )
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    out = Path(sys.argv[1])
    if {"dealt", "alone"} & set(sys.argv):
        distributed.TIMEOUT = timedelta(seconds=15)
    with joined() as here:
        for case in sys.argv[2:]:
            torch.save(CASES[case](here, out / case), out / f"{case}.{here.rank}.pt")
