"""Files that are read whole: nothing that would be waited for."""

import os
import stat

from .errors import InputError


def check_regular(path: str | os.PathLike[str], what: str) -> None:
    """Makes sure that a file is no pipe and no device; what a folder is, is told where it is read.

    Arguments:
        path: The file.
        what: What it must be, in words.

    Raises:
        InputError: If it is a pipe or a device.
        OSError: If there is none.
    """
    mode = os.stat(path).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        found = "a pipe" if stat.S_ISFIFO(mode) else "a device or a socket"
        raise InputError(
            f"{path}: {what} must be a regular file, found {found}; save what it gives to a file "
            "first"
        )
