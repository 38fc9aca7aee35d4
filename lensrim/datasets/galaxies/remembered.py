"""What collections remember of the galaxies that were asked for, in the process that asked."""

from collections.abc import Callable
from functools import lru_cache

from .stamps import Galaxy


class Remembered:
    """Creates a function of names that makes each galaxy once, and can be sent to workers.

    What is remembered stays behind: a copy, or a worker, begins with nothing.

    Arguments:
        make: Makes the galaxy of a name.
        most: Galaxies that are remembered, the last ones; all if ``None``.
    """

    def __init__(self, make: Callable[[str], Galaxy], most: int | None = None):
        self._make, self._most = make, most
        self._made = lru_cache(maxsize=most)(make)

    def __call__(self, name: str) -> Galaxy:
        return self._made(name)

    def __reduce__(self) -> tuple[type["Remembered"], tuple[Callable[[str], Galaxy], int | None]]:
        return Remembered, (self._make, self._most)
