"""Files of weights, and their only reader and writer.

A file holds named tensors in the safetensors format, and a header: JSON under the key ``lensrim``
of the format's own metadata, which says what the tensors belong to. Nothing that is read is ever
executed. A file takes the place of an older one whole or not at all; what is not guaranteed: a
process that is killed leaves a hidden file ``.<name>.<host>.<process>.<random>`` behind, which can
be deleted.
"""

import hashlib
import json
import os
import platform
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ._weight_files import KEY, opened
from ._weight_files import sha256_of as sha256_of
from .errors import FULL, InputError

LARGEST = 3 * 2**28
"""Bytes of the tensors of a file, 768 MB: it is read, and copied into memory. The packaged machine
has 8 MB."""

OLD = 86_400.0
"""Age [s] at which a file that another machine left half written is taken for a dead one."""


def write_weights(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    header: Mapping[str, Any],
    *,
    half: bool = False,
) -> str:
    """Writes tensors and a header into a file, in place of the one that is there.

    Equal arguments give equal bytes.

    Arguments:
        path: The file; its folder must exist.
        tensors: Tensors of any shape, by name. Those that share memory are written out each.
        header: What JSON can hold: a tuple comes back as a list, NaN and infinity are refused.
        half: Whether to store floating tensors as float16, with a relative error of 5e-4; what is
            smaller than 6e-8 becomes coarse, and then zero.

    Returns:
        The SHA-256 of the file, in hexadecimal digits.

    Raises:
        InputError: If a tensor has values beyond those of float16 and ``half`` is asked for.
    """
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        kept = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        if half and kept.is_floating_point():
            short = kept.half()
            if bool((short.isinf() & ~kept.isinf()).any()):
                raise InputError(
                    f"{path}: values stored in half precision must be below 65 520, found "
                    f"{kept.abs().max().item():.3g} in {name}; write them without half"
                )
            kept = short
        stored[name] = kept
    data = save(stored, metadata={KEY: json.dumps(dict(header), allow_nan=False)})
    with replacing(Path(path)) as file:
        file.write(data)
    return hashlib.sha256(data).hexdigest()


def read_weights(
    path: str | os.PathLike[str],
    *,
    dtype: torch.dtype | None = torch.float32,
    most: int | None = LARGEST,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what :func:`write_weights` wrote.

    Arguments:
        path: The file.
        dtype: Type of the floating tensors; ``None`` for the types in the file.
        most: Bytes that the tensors may have, in the file and as they are returned; ``None`` for
            any number of them.

    Returns:
        The tensors, on the CPU, and the header.

    Raises:
        InputError: If the file is missing, is not a safetensors file, has no header of ours, or
            more than ``most`` bytes.
    """
    with opened(path, "pt") as (file, header):
        # Views of the file on the disk, of which nothing is read before they are copied.
        views = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        types = {
            n: dtype if dtype and t.is_floating_point() else t.dtype for n, t in views.items()
        }
        stored = sum(t.numel() * t.itemsize for t in views.values())
        kept = sum(t.numel() * types[n].itemsize for n, t in views.items())
        if most is not None and max(stored, kept) > most:
            raise InputError(
                f"{path}: weights must take {most >> 20} MB or less, found "
                f"{max(stored, kept) >> 20} MB; give a file that lensrim wrote"
            )
        tensors = {n: t.to(types[n], copy=True) for n, t in views.items()}
    return tensors, header


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Reads the header alone; see :func:`read_weights`."""
    with opened(path, "pt") as (_, header):
        return header


class Rows:
    """Creates a reader of single rows of a file of weights, which it keeps open.

    To open a file costs as long as to read its header, which may be long: 5 ms where it describes
    a thousand rows. A file that takes the place of this one is not seen.

    Arguments:
        path: The file.

    Raises:
        InputError: See :func:`read_weights`.
    """

    def __init__(self, path: str | os.PathLike[str]):
        with opened(path, "pt"):
            self._file: Any = safe_open(os.fspath(path), framework="pt").__enter__()

    def __call__(self, name: str, index: int) -> Tensor:
        """Returns a row of a tensor, by its index along the first axis, in the file's type."""
        return self._file.get_slice(name)[index : index + 1][0].clone()


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file for writing that takes the place of ``path`` when all is on the disk.

    After a failure, inside the ``with`` statement or at its end, the old file is still there.

    Raises:
        OSError: With the name of the file, if the disk is full or the file too large.
    """
    # Two machines that share a disk may have processes of one number.
    own = f"{platform.node()}.{os.getpid()}.{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.name}.{own}")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def clear_leftovers(path: Path) -> None:
    """Removes what writers of ``path`` left half written: those that are dead, or a day old."""
    for left in path.parent.glob(f".{path.name}.*"):
        try:
            if _is_dead(left, path) or time.time() - left.stat().st_mtime > OLD:
                left.unlink(missing_ok=True)
        except FileNotFoundError:  # its writer has just ended
            continue


def _is_dead(left: Path, path: Path) -> bool:
    """Whether a half-written file is of a process of this machine that has ended."""
    start, _, end = left.name.removeprefix(f".{path.name}.").rpartition(".")
    host, _, process = start.rpartition(".")
    return bool(end) and has_ended(host, process)


def has_ended(host: str, process: str) -> bool:
    """Whether this is the number of a process of this machine that has ended."""
    # elsewhere than on POSIX, to ask whether a process is there would end it
    if not (host == platform.node() and process.isdecimal() and os.name == "posix"):
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except OSError:  # it is another user's
        return False
    return False
