"""Times a step of the training of a machine, and the memory that it takes.

``python -m lensrim.evaluation.bench.training`` prints, for the two networks of this package and
for the hourglass of torch_rim where it is installed, the time of a step (forward through all T
steps of the machine, and backward) and the most memory held during it, against T, the size of the
batch and the size of the maps, each varied alone. All work on the same problem, in turns, on a GPU
where there is one and on one thread of a CPU elsewhere.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch

from ...rim.networks import Hourglass, UNet
from .deconvolution import Deconvolution
from .machines import Machine, has_torch_rim, ours, torch_rim
from .memory import peak_memory
from .timing import Contender, Timing, keep_memory, time_in_turns

OURS = {"UNet": UNet, "Hourglass": Hourglass}
TORCH_RIM = "torch_rim"


@dataclass(frozen=True)
class Load:
    """Holds the size of a step of the training.

    Arguments:
        steps: Steps T of the machine.
        batch: Samples.
        side: Pixels along each side of the maps.
    """

    steps: int
    batch: int
    side: int


def loads(middle: Load, **axes: tuple[int, ...]) -> Iterator[Load]:
    """Varies each of the sizes alone, about those of ``middle``, which comes first."""
    yield middle
    for name, values in axes.items():
        for value in values:
            if value != getattr(middle, name):
                yield replace(middle, **{name: value})


def contender(name: str, load: Load, device: torch.device) -> Contender:
    """Creates a machine and a batch, and the step that is timed."""
    machine = machine_of(name, load, device)
    problem = Deconvolution(dims=2, n=load.side, device=device)
    x, y = problem.draw(load.batch, torch.Generator().manual_seed(0))

    def step() -> None:
        machine.module.zero_grad(set_to_none=True)
        machine.loss(x, y).backward()

    return Contender(step)


def machine_of(name: str, load: Load, device: torch.device) -> Machine:
    """Creates a machine with a network of the default size."""
    torch.manual_seed(0)
    problem = Deconvolution(dims=2, n=load.side, device=device)
    if name == TORCH_RIM:
        return torch_rim(problem, {}, steps=load.steps)
    return ours(problem, OURS[name], steps=load.steps)


def measure(
    load: Load, device: torch.device, *, seconds: float = 10.0
) -> Mapping[str, tuple[Timing, int | None]]:
    """Returns the times and the memory [bytes] of a step with each network."""
    names = [*OURS, *([TORCH_RIM] if has_torch_rim() else [])]
    makers = {name: partial(contender, name, load, device) for name in names}
    timings = time_in_turns(
        {name: make() for name, make in makers.items()}, device=device, seconds=seconds
    )
    return {name: (timings[name], peak_memory(make, device)) for name, make in makers.items()}


def format_measured(load: Load, found: Mapping[str, tuple[Timing, int | None]]) -> str:
    """Returns a line of the table: medians, quartiles, and memory."""
    line = f"{load.steps:>4}{load.batch:>5}{load.side:>5}²"
    for timing, memory in found.values():
        low, middle, high = (1e3 * t for t in timing.quartiles)
        held = "-" if memory is None else f"{memory / 1e6:.0f}"
        line += f" | {middle:>8.1f} [{low:.1f}, {high:.1f}] ms {held:>6} MB"
    return line


if __name__ == "__main__":
    torch.set_num_threads(1)
    keep_memory()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    middle = Load(8, 16, 64) if device.type == "cuda" else Load(8, 4, 32)
    names = [*OURS, *([TORCH_RIM] if has_torch_rim() else [])]
    sizes = {name: machine_of(name, middle, device).size for name in names}
    print("parameters: " + "  ".join(f"{name} {size}" for name, size in sizes.items()))
    print("   T    B  side")
    for load in loads(middle, steps=(4, 8, 16), batch=(4, 16, 64), side=(32, 64, 128)):
        print(format_measured(load, measure(load, device)), flush=True)
