"""How training scales with the processes that share it, each with a batch of its own size.

    python -m lensrim.evaluation.bench.scaling --processes 1 2 --output scaling

starts the processes of each number in turns, as torchrun does, and lets them train a machine for
lenses on batches that are made beforehand: what is timed is the step alone, with what the
processes tell each other. With perfect (weak) scaling a process does as many lenses a second
among many as alone. Where the cores of one machine are shared, so is its memory's bandwidth: that
part of the loss is none of the network's.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from operator import getitem
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import torch

from ..._command_line import parsed
from ...inference.data_config import DataConfig
from ...inference.lens_config import LensConfig, build
from ...inference.objective import loss_of
from ...inference.recipe import Recipe
from ...training.config import TrainConfig
from ...training.distributed import Group, joined
from ...training.feed import to_device
from ...training.loop import fit

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ScalingOptions:
    """Creates the options of the benchmark."""

    processes: tuple[int, ...] = (1, 2)
    """Numbers of processes."""

    lenses: int = 4
    """Lenses of the batch of each process."""

    shape: int = 64
    """Side of their images [pixels]."""

    widths: tuple[int, ...] = (32, 64, 96)
    """Channels of the levels of the machine."""

    steps: int = 8
    """Steps that each training makes; the first two are not counted."""

    turns: int = 3
    """How often each number has its turn."""

    output: str | None = None
    """Folder for scaling.json and scaling.png; none are written without it."""

    worker: str | None = None
    """Used within: the file for what one training measured."""


def measure(options: ScalingOptions, group: Group, device: torch.device) -> dict[str, float]:
    """Trains in a group, and returns the seconds of a step, and of the exchange of gradients."""
    recipe = Recipe(
        data=DataConfig(shape=options.shape),
        model=LensConfig(widths=options.widths),
        train=TrainConfig(
            steps=options.steps,
            warmup=1,
            batch_size=options.lenses * group.size,
            parts=group.size,
            validate_every=1,
            checkpoint_every=options.steps,
        ),
    )
    batch = to_device(recipe.batches()(group.rank), device)
    model = build(recipe.model).to(device)
    with tempfile.TemporaryDirectory() as folder:
        batches = partial(getitem, dict.fromkeys(range(options.steps * group.size), batch))
        history = fit(
            model, batches, loss_of, recipe.train, folder=Path(folder), device=device, group=group
        )
    times = [line["seconds"] for line in history.lines]
    gradient = torch.zeros(sum(p.numel() for p in model.parameters()), device=device)
    exchanges = []
    for _ in range(10):
        begun = time.perf_counter()
        if group.size > 1:
            torch.distributed.all_reduce(gradient)
            float(gradient[0])  # waits for a GPU
        exchanges.append(time.perf_counter() - begun)
    return {
        "step": median(b - a for a, b in pairwise(times[1:])),
        "exchange": median(exchanges[2:]),
        "bytes": gradient.numel() * gradient.element_size(),
    }


def launch(options: ScalingOptions, size: int) -> dict[str, float]:
    """Lets so many processes train, and returns what the first of them measured."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        words = [f"--{name}={getattr(options, name)}" for name in ("lenses", "shape", "steps")]
        words += ["--widths", *map(str, options.widths), "--worker", str(found)]
        run = ["torch.distributed.run", "--standalone", f"--nproc-per-node={size}", "-m"]
        module = "lensrim.evaluation.bench.scaling"
        subprocess.run([sys.executable, "-m", *run, module, *words], check=True)
        return json.loads(found.read_text())


def rows(
    options: ScalingOptions, found: Mapping[int, Sequence[Mapping[str, float]]]
) -> list[dict[str, float]]:
    """Returns, for each number of processes, medians and extremes over its turns.

    Arguments:
        options: The options.
        found: What each turn of each number measured.
    """
    table = []
    for size, turns in found.items():
        rates = [options.lenses / turn["step"] for turn in turns]
        table.append(
            {
                "processes": size,
                "lenses_per_second": median(rates),
                "low": min(rates),
                "high": max(rates),
                "exchange_ms": 1e3 * median(turn["exchange"] for turn in turns),
                "exchange_bytes": turns[0]["bytes"],
            }
        )
    return table


def draw(table: Sequence[Mapping[str, float]]) -> "Figure":
    """Draws the lenses per second of one process over the number of processes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    sizes, rates = ([row[key] for row in table] for key in ("processes", "lenses_per_second"))
    spread = [
        [row["lenses_per_second"] - row["low"] for row in table],
        [row["high"] - row["lenses_per_second"] for row in table],
    ]
    axes.errorbar(sizes, rates, spread, fmt="o-", capsize=3, label="measured, with extremes")
    axes.axhline(rates[0], linestyle="--", color="0.5", label="perfect")
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [f"{size:g}" for size in sizes])
    axes.set_ylim(0, 1.15 * max(row["high"] for row in table))
    axes.set_xlabel("processes")
    axes.set_ylabel("lenses per second and process")
    axes.legend()
    return figure


def main(options: ScalingOptions) -> None:
    """Measures, prints, and writes if asked to."""
    if options.worker is not None:
        kind = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_num_threads(1)
        with joined(kind) as group:
            found = measure(options, group, group.device(kind))
            if group.leads:
                Path(options.worker).write_text(json.dumps(found))
        return
    measured: dict[int, list[dict[str, float]]] = {size: [] for size in options.processes}
    for _ in range(options.turns):
        for size, turns in measured.items():
            turns.append(launch(options, size))
    table = rows(options, measured)
    print(f"training on {options.shape}² pixels, {options.lenses} lenses for each process")
    for row in table:
        print(
            f"  {row['processes']} processes: {row['lenses_per_second']:.2f} lenses/s each "
            f"[{row['low']:.2f}, {row['high']:.2f}], "
            f"{100 * row['lenses_per_second'] / table[0]['lenses_per_second']:.0f} %; "
            f"gradients of {row['exchange_bytes'] / 1e6:.1f} MB in {row['exchange_ms']:.1f} ms"
        )
    if options.output is not None:
        folder = Path(options.output)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scaling.json").write_text(json.dumps(table, indent=1) + "\n")
        draw(table).savefig(folder / "scaling.png", dpi=100)


if __name__ == "__main__":
    main(parsed(ScalingOptions, prog="scaling", description="Weak scaling of a training."))
