"""Times the making of training pairs, stage by stage, and their share of a training step.

``python -m lensrim.evaluation.bench.pairs`` prints, for each size of the batch, the milliseconds
and pairs per second of the stages: ``draw`` (the numbers, on the CPU; with workers it runs beside
the rest), ``upload``, ``render`` and ``start`` on the device, and ``train``, the loss of a machine
of the default size and its gradient. A GPU's operations are counted by what torch dispatches that
is no view, about a kernel each, and so are the places where the CPU waits for it. On a CPU one
thread is timed.
"""

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..._command_line import parsed
from ...datasets.pairs.pairs import Pairs
from ...inference.learnt import with_start
from ...inference.lens_config import LensConfig, build
from ...inference.objective import loss_of
from .timing import Contender, Timing, keep_memory, time_in_turns

PAIRS = ("draw", "upload", "render")
"""The stages that make pairs."""


@dataclass(frozen=True)
class Options:
    """What is timed."""

    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    """Where the pairs are rendered."""

    batch_sizes: tuple[int, ...] = (16, 64)
    """Pairs in a batch."""

    side: int = 64
    """Side of the images [pixel]."""

    seconds: float = 60.0
    """Time for each size, but for three rounds of each stage."""

    pairs_only: bool = False
    """Whether to leave out the starts and the training, which take far longer."""


@dataclass(frozen=True)
class Measured:
    """Holds what was measured of batches of one size.

    Arguments:
        batch_size: Pairs in a batch.
        timings: Of each stage [s per batch].
        operations: Operations of ``render`` that are no views.
        waits: Places in ``render`` where the CPU waits for the GPU; ``None`` without one.
    """

    batch_size: int
    timings: dict[str, Timing]
    operations: int
    waits: int | None

    @property
    def seconds(self) -> dict[str, float]:
        """Medians of the stages [s per batch]."""
        return {name: timing.quartiles[1] for name, timing in self.timings.items()}

    @property
    def share(self) -> float:
        """Share of a training step, starts included, that makes the pairs."""
        return sum(self.seconds[name] for name in PAIRS) / sum(self.seconds.values())

    def lines(self) -> list[str]:
        """Returns the lines of the table."""
        size, seconds = self.batch_size, self.seconds
        lines = []
        for name, timing in self.timings.items():
            low, middle, high = (1e3 * t / size for t in timing.quartiles)
            lines.append(
                f"{size:>4}  {name:<7}{middle:>9.3f} [{low:.3f}, {high:.3f}] ms a pair"
                f"{1e3 / middle:>10.0f} pairs/s"
            )
        whole = sum(seconds[name] for name in PAIRS[1:])
        waits = "" if self.waits is None else f", of which {self.waits} wait for the GPU"
        lines.append(
            f"{size:>4}  upload and render {size / whole:.0f} pairs/s, "
            f"{self.operations} operations{waits}"
        )
        if "train" in seconds:
            lines.append(f"{size:>4}  share of a training step {100 * self.share:.2g} %")
        return lines


class _Counting(TorchDispatchMode):
    """Counts operations whose result is no view of what they were given."""

    def __init__(self) -> None:
        super().__init__()
        self.names: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        views = any(r.alias_info and not r.alias_info.is_write for r in func._schema.returns)
        self.names[func._schema.name] += not views
        return func(*args, **(kwargs or {}))


def dispatched(work: Callable[[], object]) -> Counter[str]:
    """Counts by name what torch dispatches in a piece of work, without views."""
    with _Counting() as counting:
        work()
    return counting.names


def waits(work: Callable[[], object]) -> int:
    """Counts where a piece of work waits for the GPU."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            work()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("synchroniz" in str(each.message) for each in caught)


def measure(size: int, options: Options) -> Measured:
    """Times batches of one size."""
    device = torch.device(options.device)
    pairs = Pairs(size, shape=(options.side, options.side))
    drawn = pairs.draw(0)
    there = drawn.to(device)
    batch = pairs.render(there, device)
    number = iter(range(1, 1 << 30))
    stages: dict[str, Callable[[], object]] = {
        "draw": lambda: pairs.draw(next(number)),
        "upload": lambda: drawn.to(device),
        "render": lambda: pairs.render(there, device),
    }
    if not options.pairs_only:
        prepared = with_start(batch, 0)
        machine = build(LensConfig()).to(device)
        stages["start"] = lambda: with_start(batch, 0)
        stages["train"] = lambda: loss_of(machine, prepared)[0].backward()
    timings = time_in_turns(
        {name: Contender(run) for name, run in stages.items()},
        device=device,
        seconds=options.seconds,
    )
    count = dispatched(stages["render"]).total()
    return Measured(
        size, timings, count, waits(stages["render"]) if device.type == "cuda" else None
    )


def run(options: Options) -> None:
    """Measures, and prints the table."""
    torch.set_num_threads(1)
    keep_memory()
    name = torch.cuda.get_device_name() if options.device == "cuda" else "one thread of a CPU"
    print(f"{name}, {options.side} x {options.side} pixels, torch {torch.__version__}")
    for size in options.batch_sizes:
        print("\n".join(measure(size, options).lines()), flush=True)


if __name__ == "__main__":
    run(parsed(Options, description="Time the making of training pairs."))
