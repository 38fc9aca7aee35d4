"""The benchmark: the table, the growth with the number of pixels and lenses, and their files."""

import contextlib
import io
import platform
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import torch

from ... import __version__
from ...errors import InputError
from ...inference.devices import check_cuda
from .memory import peak_memory
from .ours import pixel_gradient
from .peers import installed
from .report import draw_growth, format_growth, format_row, write_csv, write_json
from .scenes import PixelScene
from .timing import Contender, Race, keep_memory, race, time_in_turns
from .works import OURS, Work, parametric_works, pixel_work, subhalo_work

SIDES, BATCHES = (32, 64, 128, 256, 512), (1, 4, 16, 64, 256)
"""Where the growth is measured: pixels along each side for one lens, and lenses of 128² pixels."""


@dataclass(frozen=True)
class BenchOptions:
    """Creates the options of a benchmark; they are those of ``lensrim bench``."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where this package works; auto takes a GPU where there is one. Peers take part on a CPU."""

    threads: int = 1
    """CPU threads of every contender."""

    quick: bool = False
    """Whether to take few repetitions, small sizes, and to leave out what is compiled."""

    compiled: bool = True
    """Whether torch.compile takes part, which takes minutes at first."""

    peers: bool = True
    """Whether the other packages that are installed take part."""

    repetitions: int = 21
    """How often each contender is timed."""

    output: str | None = None
    """Folder for bench.csv, bench.json and growth.png; none are written without it."""

    seed: int = 0
    """Seed of the order in which contenders are timed."""

    def check(self) -> None:
        """Makes sure that the options can be used.

        Raises:
            InputError: If one is out of its range, or there is no such device.
        """
        for name in ("threads", "repetitions"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name}: must be at least 1, found {getattr(self, name)}")
        if self.device == "cuda":
            check_cuda()


def run(options: BenchOptions) -> dict[str, Any]:
    """Runs the benchmark, prints each row when it is done, and writes the files.

    Returns:
        What ``bench.json`` holds: ``setting``, ``rows`` and ``growth``.

    Raises:
        InputError: If the options cannot be used.
    """
    options.check()
    gpu = options.device != "cpu" and torch.cuda.is_available()
    device = torch.device("cuda" if gpu else "cpu")
    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    keep_memory()
    try:
        versions = installed() if options.peers and not gpu else {}
        setting = _setting(options, device, versions)
        print("  ".join(f"{k}: {v}" for k, v in setting.items()))
        rows = []
        for work in _works(options, device, set(versions)):
            row = _row(work, options, device)
            print(format_row(row), flush=True)
            rows.append(row)
        growth = _growth(options, device)
        print(format_growth(growth))
    finally:
        torch.set_num_threads(threads)
    found = {"setting": setting, "rows": rows, "growth": growth}
    if options.output is not None:
        folder = Path(options.output)
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(rows, folder / "bench.csv")
        write_json(found, folder / "bench.json")
        draw_growth(growth).savefig(folder / "growth.png", dpi=100)
    return found


def _setting(
    options: BenchOptions, device: torch.device, versions: Mapping[str, str]
) -> dict[str, Any]:
    """Returns the circumstances that the numbers belong to."""
    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else _processor()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine,
        "device": device.type,
        "threads": options.threads,
        "lensrim": __version__,
        "torch": torch.__version__,
        **versions,
    }


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _works(options: BenchOptions, device: torch.device, present: set[str]) -> Iterator[Work]:
    """Makes the works one by one: what one holds is let go before the next."""
    compiled = options.compiled and not options.quick
    for batch in (1, 16, 64) if device.type == "cuda" else (1, 16):
        yield pixel_work(batch, device, present)
    for dtype in (torch.float32, torch.float64):
        yield from parametric_works(dtype, device, present, compiled=compiled)
    count = 1000 if options.quick and device.type == "cpu" else 10_000
    yield subhalo_work(count, device, present, compiled=compiled, seconds=30.0)


def _row(work: Work, options: BenchOptions, device: torch.device) -> dict[str, Any]:
    """Runs one work and returns its numbers, in milliseconds per lens."""
    raced = _race(work, options, device)
    rows = []
    for name in work.makers:
        entry: dict[str, Any] = {"contender": name}
        if name in raced.timings:
            timing = raced.timings[name]
            low, middle, high = (1e3 * t / work.lenses for t in timing.quartiles)
            entry |= {"ms": middle, "ms_low": low, "ms_high": high}
            entry["repetitions"] = len(timing.seconds)
            if name != OURS:
                low, middle, high = timing.over(raced.timings[OURS])
                entry |= {"ratio": middle, "ratio_low": low, "ratio_high": high}
                if name in work.bars:
                    entry |= {"bar": work.bars[name], "met": middle >= work.bars[name]}
            if work.memory and (peak := peak_memory(work.makers[name], device)) is not None:
                entry["peak_MB"] = peak / 1e6
        else:
            entry["note"] = raced.refused[name]
        rows.append(entry)
    row: dict[str, Any] = {"work": work.name, "contenders": rows}
    if device.type == "cuda" and work.bytes_moved:
        seconds = raced.timings[OURS].quartiles[1]
        bandwidth = _bandwidth(device)
        row["bandwidth_GBps"] = bandwidth / 1e9
        row["bytes_per_lens"] = work.bytes_moved / work.lenses
        row["roofline_fraction"] = work.bytes_moved / seconds / bandwidth
        row["lenses_per_second"] = work.lenses / seconds
    return row


def _race(work: Work, options: BenchOptions, device: torch.device) -> Race:
    quiet = contextlib.redirect_stdout(io.StringIO())
    with warnings.catch_warnings(), quiet:  # the peers', about themselves
        warnings.simplefilter("ignore")
        return race(
            work.makers,
            device=device,
            reference=OURS,
            tolerance=work.tolerance,
            repetitions=min(options.repetitions, 5) if options.quick else options.repetitions,
            seconds=work.seconds / 10 if options.quick else work.seconds,
            seed=options.seed,
        )


def _growth(options: BenchOptions, device: torch.device) -> dict[str, list[dict[str, float]]]:
    """Times the gradient in maps of more and more pixels, and of more and more lenses."""
    sides = SIDES[:-1] if options.quick and device.type == "cpu" else SIDES
    batches = BATCHES[:-1] if options.quick and device.type == "cpu" else BATCHES
    found = {}
    for axis, scenes in (
        ("N", {n: PixelScene(n, 1, device) for n in sides}),
        ("B", {b: PixelScene(128, b, device) for b in batches}),
    ):
        timings = time_in_turns(
            {str(v): pixel_gradient(scene) for v, scene in scenes.items()},
            device=device,
            repetitions=3 if options.quick else min(options.repetitions, 11),
            seconds=2.0 if options.quick else 20.0,
            seed=options.seed,
        )
        found[axis] = [
            {axis: int(value)}
            | dict(
                zip(("ms_low", "ms", "ms_high"), (1e3 * t for t in timing.quartiles), strict=True)
            )
            for value, timing in timings.items()
        ]
    return found


def _bandwidth(device: torch.device) -> float:
    """Measures the bytes per second at which the memory of a GPU is read and written by a copy."""
    source = torch.zeros(1 << 28, dtype=torch.float32, device=device)
    target = torch.empty_like(source)
    copy = time_in_turns(
        {"copy": Contender(lambda: target.copy_(source))}, device=device, repetitions=5
    )["copy"]
    return 2 * source.numel() * source.element_size() / copy.quartiles[0]
