"""The memory that a piece of work takes, in a process of its own."""

import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from .timing import Contender


def peak_memory(make: Callable[[], Contender], device: torch.device) -> int | None:
    """Runs a contender once and returns the most memory that was held during it [bytes].

    What is held before the run, by the interpreter, its libraries and the inputs, is not counted.
    On CUDA it is torch's own account; on a CPU that of the kernel, in a new process.

    Arguments:
        make: Makes the contender, a function that can be pickled.
        device: Where the work is done.

    Returns:
        The bytes, or ``None`` where the system keeps no such account.
    """
    if device.type == "cuda":
        run = make().run
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if not sys.platform.startswith("linux"):
        return None
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(make, torch.get_num_threads(), send))
    process.start()
    send.close()
    try:
        return receive.recv()
    except EOFError:  # it died, as when there was not enough memory
        return None
    finally:
        process.join()


def _measure(make: Callable[[], Contender], threads: int, send) -> None:
    torch.set_num_threads(threads)
    run = make().run
    before = _status("VmRSS")
    run()
    send.send(_status("VmHWM") - before)


def _status(name: str) -> int:
    """Reads an entry of the kernel's account of this process [bytes]."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel's account of a process has no {name}")
