"""Checksums of files, without torch: who only asks whether a file is whole needs none."""

import hashlib
import os

from .errors import InputError


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Computes the SHA-256 of a file, in hexadecimal digits.

    Raises:
        InputError: If the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: str | os.PathLike[str], error: OSError) -> InputError:
    """Returns the error to raise where a file of weights cannot be read."""
    reason = "no such file" if isinstance(error, FileNotFoundError) else error.strerror or error
    return InputError(f"{path}: weights must be a readable file, found {reason}; check the path")
