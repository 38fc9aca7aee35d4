"""The memory that a piece of work takes, in a process of its own."""

import ctypes
import gc
import multiprocessing
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from .timing import Contender


def peak_memory(make: Callable[[], Contender], device: torch.device) -> int | None:
    """Runs a contender and returns the most memory that was held during it [bytes].

    It has run once before, so that what is compiled and loaded at first does not count, nor does
    what is held before the run by the interpreter, its libraries and the inputs. On CUDA it is
    torch's own account; on a CPU that of the kernel, in a new process.

    Arguments:
        make: Makes the contender, a function that can be pickled.
        device: Where the work is done.

    Returns:
        The bytes, or ``None`` where the system keeps no such account.
    """
    if device.type == "cuda":
        run = make().run
        run()
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
    run()
    send.send(peak_of(run))


def peak_of(run: Callable[[], object]) -> int | None:
    """Runs a function in this process, and returns by how much its memory grew at most [bytes].

    ``None`` where the kernel does not let its account be set back. Else it would tell of a peak
    that was over before.
    """
    gc.collect()
    # Memory that was freed, but is kept to be used again, would not be seen to grow.
    ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    before = _status("VmRSS")
    run()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    """Reads an entry of the kernel's account of this process [bytes]."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"the kernel's account of a process has no {name}")
