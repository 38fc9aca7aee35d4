"""What can be told of a file of weights without torch: whether it is whole, and its header."""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from safetensors import SafetensorError, safe_open

from ._regular import check_regular
from .errors import InputError

KEY = "lensrim"
"""Of the header in the metadata of a file of weights."""

LONGEST = 2**25
"""Bytes that the header may have, with what it says of the tensors: read, it takes thirty times as
many."""


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Computes the SHA-256 of a file, in hexadecimal digits.

    Raises:
        InputError: If the file cannot be read, or is no regular one.
    """
    try:
        check_regular(path, "weights")
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def check_sum(path: str | os.PathLike[str], expected: str) -> None:
    """Makes sure that a packaged file is the one of its card.

    Raises:
        InputError: If its SHA-256 is another, or it cannot be read.
    """
    if (sha := sha256_of(path)) != expected:
        raise InputError(
            f"{os.fspath(path)}: must have the checksum of its card, {expected[:12]}..., found "
            f"{sha[:12]}...; install lensrim again"
        )


def _check_length(path: str | os.PathLike[str]) -> None:
    """Makes sure that the header can be held; one that the file does not hold is none.

    Raises:
        InputError: If it is longer than :data:`LONGEST` bytes.
    """
    with open(path, "rb") as file:
        length, size = int.from_bytes(file.read(8), "little"), os.fstat(file.fileno()).st_size
    if LONGEST < length <= size - 8:
        raise InputError(
            f"{path}: weights must have a header of {LONGEST >> 20} MB or less, found "
            f"{length >> 20} MB; give a file that lensrim wrote"
        )


def unreadable(path: str | os.PathLike[str], error: OSError) -> InputError:
    """Returns the error to raise where a file of weights cannot be read."""
    reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or error
    return InputError(f"{path}: weights must be a readable file, found {reason}; check the path")


@contextmanager
def opened(
    path: str | os.PathLike[str], framework: Literal["pt", "numpy"]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Opens a file of weights, and reads its header.

    Arguments:
        path: The file.
        framework: Whose tensors the file gives; "pt" loads torch.

    Raises:
        InputError: If the file is missing, is not a safetensors file, has no header of ours or one
            that is too long.
    """
    try:
        check_regular(path, "weights")
        _check_length(path)
        with safe_open(os.fspath(path), framework=framework) as file:
            metadata = file.metadata() or {}
            try:
                header = json.loads(metadata[KEY])
            except (KeyError, ValueError, RecursionError):
                header = None
            if not isinstance(header, dict):
                raise InputError(
                    f"{path}: weights must have a header under the key {KEY!r}, found "
                    f"{sorted(metadata) or 'no metadata'}; give a file that lensrim wrote"
                )
            yield file, header
    except OSError as error:
        raise unreadable(path, error) from error
    except SafetensorError as error:
        raise InputError(
            f"{path}: weights must be a safetensors file, found another or a damaged one "
            f"({' '.join(str(error).split())[:200]}); give a file that lensrim wrote, or fetch it "
            "again"
        ) from error
