"""Timings of several contenders in turns.

Every repetition runs every contender once, in an order drawn anew, so that what else the machine
does meets all of them alike, and a contender is compared with another within each repetition. A
first result is compared with that of a reference before anything is timed: who computes something
else is refused.
"""

import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

Result = Sequence[np.ndarray]
"""What a contender computes, arrays of the same meaning for all."""


@dataclass(frozen=True)
class Contender:
    """Holds one way to do a piece of work.

    Arguments:
        run: Does the work once, and waits for what it has started elsewhere than on a CUDA
            device. What it returns is thrown away by the clock.
        result: Does the work once and returns it for comparison; ``None`` for a part of the work
            that has no result of its own.
    """

    run: Callable[[], object]
    result: Callable[[], Result] | None = None


@dataclass(frozen=True)
class Timing:
    """Holds the seconds that a contender took, repetition by repetition."""

    seconds: tuple[float, ...]

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """Lower quartile, median and upper quartile."""
        return _quartiles(self.seconds)

    def over(self, other: "Timing") -> tuple[float, float, float]:
        """Quartiles of the ratio to another contender within the same repetition."""
        pairs = zip(self.seconds, other.seconds, strict=True)
        return _quartiles([a / b for a, b in pairs])


@dataclass(frozen=True)
class Race:
    """Holds the timings of one piece of work, and why a contender has none."""

    timings: Mapping[str, Timing]
    refused: Mapping[str, str] = field(default_factory=dict)


def race(
    makers: Mapping[str, Callable[[], Contender]],
    *,
    device: torch.device,
    reference: str,
    tolerance: float,
    **options: float,
) -> Race:
    """Compares the results of contenders, then times them in turns.

    Arguments:
        makers: Make the contenders, by name.
        device: Device of this package's work.
        reference: Name of the contender whose result is right.
        tolerance: Largest :func:`difference` from it.
        options: As for :func:`time_in_turns`.
    """
    right_one = makers[reference]()
    right = [] if right_one.result is None else right_one.result()
    kept, refused = {reference: right_one}, {}
    for name, make in makers.items():
        if name == reference:
            continue
        try:
            contender = make()
            distance = 0.0
            if contender.result is not None:
                distance = difference(contender.result(), right)
        # A peer may fail in any way that its authors thought of.
        except Exception as error:
            refused[name] = f"failed: {' '.join(str(error).split())[:200]}"
            continue
        if distance <= tolerance:
            kept[name] = contender
        else:
            refused[name] = f"refused: another result, by {distance:.1e} of it"
    return Race(time_in_turns(kept, device=device, **options), refused)  # type: ignore[arg-type]


def time_in_turns(
    contenders: Mapping[str, Contender],
    *,
    device: torch.device,
    repetitions: int = 21,
    seconds: float = 20.0,
    shortest: float = 2e-2,
    seed: int = 0,
) -> dict[str, Timing]:
    """Times each contender once per repetition, in an order drawn anew.

    Arguments:
        contenders: The contenders by name.
        device: Where they work; on CUDA its own clock is read.
        repetitions: How often each is timed, at most.
        seconds: Time after which no further repetition begins, but for the first three.
        shortest: Duration of one timing, for which a quick contender runs several times [s]: a
            fit does, and one run alone is slowed by what the last contender left in the caches.
        seed: Seed of the orders.
    """
    begin = time.perf_counter()
    calls = {name: _calls(c.run, device, shortest) for name, c in contenders.items()}
    times: dict[str, list[float]] = {name: [] for name in contenders}
    order, generator = list(contenders), np.random.default_rng(seed)
    for repetition in range(repetitions):
        if repetition >= 3 and time.perf_counter() - begin > seconds:
            break
        generator.shuffle(order)
        for name in order:
            times[name].append(_duration(contenders[name].run, calls[name], device))
    return {name: Timing(tuple(t)) for name, t in times.items()}


def difference(found: Result, right: Result) -> float:
    """Returns the norm of the difference of two results over that of the right one, at worst.

    Infinite where shapes or numbers of arrays differ, and where a value is not a number. A norm,
    not the largest value: the slope of a bilinear source jumps between its pixels, and a ray at
    the seam may be rounded to either side.
    """
    if [np.shape(a) for a in found] != [np.shape(b) for b in right]:
        return float("inf")
    parts = [
        np.linalg.norm(np.subtract(a, b)) / np.linalg.norm(b)
        for a, b in zip(found, right, strict=True)
    ]
    worst = max(parts, default=0.0)
    return float(worst) if np.isfinite(worst) else float("inf")


def keep_memory() -> None:
    """Lets the process keep the memory that it frees, where the C library is glibc.

    Otherwise large temporaries are returned and asked for again in patterns that depend on who ran
    before, and the kernel's work for that, more than a third of a gradient on some virtual
    machines, is timed in place of the contenders'.
    """
    if not sys.platform.startswith("linux"):
        return
    import ctypes

    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    trim, top_pad, mmap = -1, -2, -3
    for parameter, value in ((trim, (1 << 31) - 1), (top_pad, 1 << 26), (mmap, 1 << 25)):
        mallopt(parameter, value)


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high


def _calls(run: Callable[[], object], device: torch.device, shortest: float) -> int:
    """Runs a contender until it is warm, and returns how many runs one timing takes."""
    for _ in range(2):
        once = _duration(run, 1, device)
    return max(1, min(1000, round(shortest / max(once, 1e-9))))


def _duration(run: Callable[[], object], calls: int, device: torch.device) -> float:
    """Times a number of runs, and returns the seconds of one."""
    if device.type == "cuda":
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize(device)
        begin.record()
        for _ in range(calls):
            run()
        end.record()
        torch.cuda.synchronize(device)
        return begin.elapsed_time(end) / 1e3 / calls
    begin = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - begin) / calls
