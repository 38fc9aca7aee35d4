"""Files as streams of bytes, unpacked where they are gzip-compressed, and never too many of them.

What a file says of itself is not believed: a gzip file of a megabyte may unpack to a gigabyte.
Only regular files are opened: a pipe cannot be read twice, and would be waited for.
"""

import gzip
import io
import re
import stat
import zlib
from pathlib import Path

from lensrim.errors import InputError

SUFFIX = re.compile(r"\.(fits?|fts)(\.(gz|fz))?$", re.IGNORECASE)
"""How the name of a FITS file ends."""

UNPACKED = 2**29
"""Bytes to which the gzip files of an observation may unpack; they are held in memory."""

_PIECE = 2**20


def stem(path: Path) -> str:
    """Returns a file's or folder's name without the FITS suffix."""
    return SUFFIX.sub("", path.name) or path.resolve().name


def one_line(error: BaseException) -> str:
    """Returns an exception's text without line breaks."""
    return " ".join(str(error).split()) or type(error).__name__


def is_file(path: Path) -> bool:
    """Whether there is a file of this name; a name that no file can have is none."""
    try:
        return path.is_file()
    except (OSError, ValueError):  # it is too long, or holds a null
        return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder of this name; a name that no folder can have is none."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def open_stream(path: Path, held: int = 0) -> tuple[io.BufferedIOBase, int]:
    """Returns a handle on the unpacked bytes of a file, and their number.

    Arguments:
        path: The file.
        held: Bytes of other gzip files, which are held in memory already.

    Raises:
        InputError: If the file is missing, empty, no regular file, not readable, or a gzip file
            that is damaged or unpacks, with the others, to more than :data:`UNPACKED` bytes.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(
                f"{path}: must be a regular file, found {_kind(status.st_mode)}: save what it"
                " gives to a file first"
            )
        handle = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file: check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be opened ({error.strerror}): check the path") from None
    except InputError:
        raise
    except ValueError as error:  # a null in the name
        raise InputError(f"{path}: cannot be opened ({error}): check the path") from None
    if status.st_size == 0:
        handle.close()
        raise InputError(f"{path}: the file is empty (0 bytes): fetch or write it again")
    try:
        packed = peek(handle, 0, 2) == b"\x1f\x8b"
        if not packed:
            return handle, status.st_size
        with handle:
            return _unpacked(handle, path, held)
    except OSError as error:
        handle.close()
        raise InputError(f"{path}: cannot be read ({one_line(error)}): fetch it again") from None


def _unpacked(handle: io.BufferedIOBase, path: Path, held: int) -> tuple[io.BytesIO, int]:
    """Unpacks a gzip file into memory, piece by piece."""
    content, size = io.BytesIO(), 0
    try:
        with gzip.GzipFile(fileobj=handle) as unpacking:
            while piece := unpacking.read(_PIECE):
                size += content.write(piece)
                if held + size > UNPACKED:
                    beside = " with those beside it" if held else ""
                    raise InputError(
                        f"{path}: a gzip file{beside} must unpack to {UNPACKED >> 20} MB or less,"
                        " found more: unpack it (gunzip) if it is what you think, and cut the lens"
                        " out"
                    )
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(
            f"{path}: the gzip file is truncated or damaged ({one_line(error)}): fetch it again"
        ) from None
    if size == 0:
        raise InputError(f"{path}: the file is empty (a gzip file of 0 bytes): fetch it again")
    content.seek(0)
    return content, size


def peek(handle: io.BufferedIOBase, start: int, count: int) -> bytes:
    """Reads bytes, and goes back to the beginning."""
    handle.seek(start)
    content = handle.read(count)
    handle.seek(0)
    return content


def _kind(mode: int) -> str:
    kinds = {
        stat.S_ISDIR: "a folder",
        stat.S_ISFIFO: "a pipe",
        stat.S_ISSOCK: "a socket",
        stat.S_ISCHR: "a device",
        stat.S_ISBLK: "a device",
    }
    return next((name for test, name in kinds.items() if test(mode)), "something else")
