"""The folder of a training: what is in it, and who writes it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._weights import clear_leftovers, replacing, write_weights
from ..errors import InputError
from .checkpoint import Run, stored
from .names import BEST, EMA, HISTORY, LAST


def as_json(name: str, said: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns what is said of a training as JSON holds it.

    Arguments:
        name: What it is called.
        said: What is said; None for nothing.

    Raises:
        InputError: If JSON cannot hold it: NaN, infinity, and what is no text, number, list or
            mapping.
    """
    try:
        return json.loads(json.dumps(dict(said or {}), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name}: must be what JSON can hold, found other ({error}); leave it out"
        ) from error


@dataclass(frozen=True)
class Folder:
    """Creates the keeper of a folder.

    Arguments:
        path: The folder.
        writes: Whether this process writes; where it does not, each call does nothing.
        said: What the headers of the weights say beside the step and the configuration.
    """

    path: Path
    writes: bool = True
    said: Mapping[str, Any] = field(default_factory=dict)

    def open(self) -> bytes | None:
        """Makes the folder, and reads the checkpoint that is there, if any is.

        Raises:
            InputError: If the folder, or the checkpoint, cannot be used.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for name in (LAST, EMA, BEST, HISTORY):
                clear_leftovers(self.path / name)
        except OSError as error:
            raise InputError(
                f"{self.path}: must be a folder for the training, found {error.strerror}; choose "
                "another"
            ) from error
        return stored(self.path / LAST) if (self.path / LAST).exists() else None

    def begin(self, run: Run) -> None:
        """Drops lines of the history that the checkpoint does not know."""
        if self.writes:
            with replacing(self.path / HISTORY) as file:
                file.writelines(f"{json.dumps(line)}\n".encode() for line in run.lines)

    def add(self, line: Mapping[str, Any]) -> None:
        """Adds a line to the history."""
        if self.writes:
            with open(self.path / HISTORY, "a", encoding="utf-8") as file:
                file.write(json.dumps(line) + "\n")

    def save(self, run: Run) -> None:
        """Writes the averaged weights, and then the checkpoint, which so vouches for them."""
        self.write_average(run, EMA)
        if self.writes:
            run.save(self.path / LAST)

    def write_average(self, run: Run, name: str, validation_loss: float | None = None) -> None:
        """Writes the averaged weights into a file."""
        if not self.writes:
            return
        said = {**self.said, "step": run.step, "config": run.config.to_dict()}
        if validation_loss is not None:
            said["validation_loss"] = validation_loss
        write_weights(self.path / name, run.average.module.state_dict(), said)
