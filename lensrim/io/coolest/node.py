"""JSON read with errors that say where in the file something is wrong."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path
from sys import float_info
from typing import Any, NoReturn

from lensrim.errors import InputError
from lensrim.io.stream import open_stream

Range = tuple[float, float]
ANY: Range = (-inf, inf)
POSITIVE: Range = (0.0, inf)
LARGEST = 2**24
"""Bytes of a template, 16 MB; as JSON it takes up to fifty times as many in memory."""


@dataclass(frozen=True)
class Node:
    """A value of a JSON file and its place.

    Arguments:
        value: The value.
        file: The file.
        place: The keys and indices that lead to it, as in ``observation.noise``.
    """

    value: Any
    file: Path
    place: str = ""

    def refuse(self, rule: str, advice: str) -> NoReturn:
        """Raises an :class:`InputError` that names the place and what was found there."""
        found = json.dumps(self.value)
        found = found if len(found) <= 60 else found[:57] + "..."
        place = f"{self.file}: {self.place}" if self.place else str(self.file)
        raise InputError(f"{place}: {rule}, found {found}: {advice}")

    def get(self, key: str) -> "Node | None":
        """Returns what is under a key, or None where there is nothing or null."""
        if not isinstance(self.value, dict):
            self.refuse("must be an object", "give a template of COOLEST in plain JSON")
        if self.value.get(key) is None:
            return None
        return Node(self.value[key], self.file, f"{self.place}.{key}" if self.place else key)

    def __getitem__(self, key: str) -> "Node":
        found = self.get(key)
        if found is None:
            place = f"{self.file}: {self.place}" if self.place else str(self.file)
            raise InputError(f"{place}: must hold {key}, it does not: add it")
        return found

    def __iter__(self) -> Iterator["Node"]:
        if not isinstance(self.value, list):
            self.refuse("must be a list", "give a template of COOLEST in plain JSON")
        for i, value in enumerate(self.value):
            yield Node(value, self.file, f"{self.place}[{i}]")

    def text(self) -> str:
        """Returns a string."""
        if not isinstance(self.value, str):
            self.refuse("must be a text", "correct it")
        return self.value

    def number(self, allowed: Range = ANY) -> float:
        """Returns a finite number from the allowed range, its ends included."""
        value = self.value
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse("must be a number", "correct it")
        # An integer of JSON has any number of digits.
        if not abs(value) <= float_info.max or not allowed[0] <= value <= allowed[1]:
            self.refuse(f"must be {in_words(allowed)}", "correct it")
        return float(value)

    def numbers(self, allowed: Range = ANY) -> list[float]:
        """Returns a list of finite numbers from the allowed range."""
        return [node.number(allowed) for node in self]


def in_words(allowed: Range) -> str:
    """Writes a range out, for messages."""
    low, high = allowed
    if allowed == ANY:
        return "finite"
    return f"at least {low:g}" if high == inf else f"from {low:g} to {high:g}"


def read_json(path: Path) -> Node:
    """Reads a JSON file, with or without a byte order mark.

    Raises:
        InputError: If it is missing, no regular file, larger than :data:`LARGEST`, or not JSON.
    """
    handle, size = open_stream(path)
    try:
        with handle:
            if size > LARGEST:
                raise InputError(
                    f"{path}: a template must take {LARGEST >> 20} MB or less, found"
                    f" {size >> 20}: put its maps into FITS files"
                )
            return Node(json.loads(handle.read().decode("utf-8-sig")), path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}): check it") from None
    except (ValueError, RecursionError) as error:  # of the JSON, or of the encoding
        raise InputError(
            f"{path}: a template must be a JSON file, it is not ({error}): give another"
        ) from None
