"""Lines of the history as scalars on TensorBoard, which the extra ``board`` brings."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError
from .history import scalars


@contextmanager
def board(folder: Path) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Opens a folder for TensorBoard.

    A training that goes on at a checkpoint makes some of its lines again: what the folder holds of
    the step of the first line, or of later ones, is withdrawn when that line is written.

    Arguments:
        folder: Where the files of events go.

    Yields:
        What takes a line: the ``record`` of :func:`~lensrim.training.loop.fit`.

    Raises:
        InputError: If TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise InputError(
            "tensorboard: must be installed to write for it, found none; run pip install "
            "'.[board]' in the checkout of lensrim, or do without"
        ) from error
    writers: list[SummaryWriter] = []

    def record(line: Mapping[str, Any]) -> None:
        step = line["step"]
        if not writers:
            writers.append(SummaryWriter(folder, purge_step=step))
        for name, value in scalars(line):
            writers[0].add_scalar(name, value, step)
        writers[0].flush()

    try:
        yield record
    finally:
        for writer in writers:
            writer.close()
