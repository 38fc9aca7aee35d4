"""Devices: whether a GPU computes, and whether an error says that its memory does not suffice."""

import torch

from ..errors import InputError
from ..io.stream import one_line

FULL = (
    "CUDA error: out of memory",
    "CUDA driver error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUFFT_ALLOC_FAILED",
    "CUSOLVER_STATUS_ALLOC_FAILED",
)
"""What a runtime error says where a GPU's memory does not suffice."""


def check_cuda() -> None:
    """Makes sure that there is a CUDA device, and that it computes.

    Raises:
        InputError: If there is none, or it does not.
    """
    advice = "give --device cpu, or install a torch that is built for this GPU"
    if not torch.cuda.is_available():
        raise InputError(f"--device cuda: torch finds no CUDA device: {advice}")
    try:
        # a device that is found may be of a kind that this torch has no kernels for, or taken
        (torch.zeros(1, device="cuda") + 1).item()
    except (RuntimeError, AssertionError) as error:
        if is_out_of_memory(error):
            raise InputError(
                f"--device cuda: the CUDA device has no memory left ({one_line(error)}): wait "
                "until others have freed it, or give --device cpu"
            ) from error
        raise InputError(
            f"--device cuda: the CUDA device must compute, it fails ({one_line(error)}): {advice}"
        ) from error


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or what it was raised from, says that a GPU's memory does not suffice.

    Torch's allocator has an error of its own; CUDA itself, which may not have enough to begin
    with, and its libraries say it in words.
    """
    while error is not None:
        if isinstance(error, torch.cuda.OutOfMemoryError) or (
            isinstance(error, RuntimeError) and any(each in str(error) for each in FULL)
        ):
            return True
        error = error.__cause__
    return False
