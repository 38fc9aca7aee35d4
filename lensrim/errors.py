"""Errors that speak to the user of the package rather than to its developer."""

import errno
import sys
from collections.abc import Callable

# EDQUOT is not everywhere.
FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""Numbers of the errors of a write that finds no room; such errors do not name the file."""


class InputError(ValueError):
    """Raised for input that cannot be used.

    The message is one line: what was read and where (file, HDU, keyword or argument), the rule
    that it breaks, the value found, and what to do next. The command line prints it as it is and
    exits with status 2.
    """


class InstallationError(RuntimeError):
    """Raised where the installation does not compute what it must.

    The message is one line: what fails, what was found, and what to do. The command line prints
    it as it is and exits with status 1.
    """


def printable(text: str) -> str:
    """Writes out what a terminal would obey; a file's name or header may hold it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def line_of(text: str) -> str:
    """Makes one printable line of a text."""
    return printable(" ".join(text.split()))


def status_of(command: Callable[[], object]) -> int:
    """Runs a command of a module; input that cannot be used is told in one line.

    Returns:
        Its exit status: 0, or 2 where an :class:`InputError` was raised.
    """
    try:
        command()
    except InputError as error:
        print("lensrim: error:", line_of(str(error)), file=sys.stderr)
        return 2
    return 0
