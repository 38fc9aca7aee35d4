"""Files that are written together: all of them or none.

They are written under temporary names in their own folder and renamed at the end; a failure at any
point puts back what was there before. What is not guaranteed: a process that is killed leaves a
hidden folder ``.lensrim-*`` behind, which can be deleted.
"""

import errno
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

from .._weights import has_ended
from ..errors import InputError

STAGING = ".lensrim-"
"""How the names of temporary folders begin."""

SKEW = 300.0
"""Seconds by which the clocks of machines that share a folder may differ."""

SUFFIXES = (".fits", ".json", ".reg", ".png")
"""Of the files of a product."""


def planned_files(
    name: str,
    path: str | os.PathLike[str],
    *,
    overwrite: bool = False,
    inputs: Iterable[Path] = (),
) -> dict[str, Path]:
    """Returns the files of a product by suffix, or raises if they cannot be written.

    Ask before a long fit; nothing is created.

    Arguments:
        name: Name of the observation.
        path: Folder, for ``<name>_lensrim.fits`` and the files beside it, or the FITS file itself,
            with a name that ends in ``.fits``.
        overwrite: Whether existing files may be replaced.
        inputs: Files that were read, which are never replaced.

    Raises:
        InputError: If a file exists or is an input, or the folder cannot be written to.
    """
    path = Path(path)
    if Path(name).name != name:
        raise InputError(f"name of the observation must be a file name, found {name!r}; rename it")
    folder, stem = path, f"{name}_lensrim"
    if path.suffix == ".fits" and not path.is_dir():
        folder, stem = path.parent, path.stem
    existing = next(p for p in [folder, *folder.absolute().parents] if os.path.lexists(p))
    if not existing.is_dir():
        raise InputError(f"{existing}: output must be a folder, found a file; choose another")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"{existing}: output folder must be writable, it is not; choose another")
    files = {suffix: folder / f"{stem}{suffix}" for suffix in SUFFIXES}
    for file in files.values():
        if file.exists() and any(i.exists() and file.samefile(i) for i in inputs):
            raise InputError(
                f"{file}: the output must not be a file that was read; choose another output"
            )
        if os.path.lexists(file) and not (overwrite and file.is_file()):
            raise InputError(
                f"{file}: a product is not replaced unasked, found an existing file; "
                "choose another output or give --overwrite"
            )
    return files


def write_together(
    writers: Mapping[Path, Callable[[Path], object]], *, stale: tuple[Path, ...] = ()
) -> None:
    """Writes files of one folder, which is made if it is missing.

    Arguments:
        writers: Functions that write each of the files, given a temporary path with the same name.
        stale: Files that go when the new ones come, if they exist.

    Raises:
        InputError: If the system refuses.
    """
    folder = next(iter(writers)).parent
    missing = [p for p in [folder, *folder.parents] if not p.exists()]
    done = False
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=staging_prefix(), dir=folder) as temporary:
            staging = Path(temporary)
            for file, write in writers.items():
                write(staging / file.name)
            for file in writers:
                _on_the_disk(staging / file.name)
            _rename(staging, list(writers), {*writers, *stale})
        done = True
    except OSError as error:
        raise InputError(
            f"{next(iter(writers))}: the product cannot be written ({error.strerror or error}); "
            "choose another output or make room"
        ) from error
    finally:
        for created in [] if done else missing:
            with suppress(OSError):
                created.rmdir()


def _on_the_disk(file: Path) -> None:
    """Waits until a file is on the disk: what vouches for it is written after it."""
    with open(file, "rb+") as handle:
        try:
            os.fsync(handle.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some systems cannot
                raise


def staging_prefix() -> str:
    """Returns how the names of this process's temporary folders begin."""
    return f"{STAGING}{platform.node()}.{os.getpid()}."


def clear_staging(folder: Path, *, since: float) -> None:
    """Removes temporary folders that were left in a folder.

    They are those of processes of this machine that have ended, and of others those that are
    older than the work that asks by ``SKEW``: another process may write here at the same time.

    Arguments:
        folder: The folder.
        since: When that work began, in seconds of :func:`time.time`.
    """
    for left in folder.glob(f"{STAGING}*"):
        host, _, process = left.name.removeprefix(STAGING).rpartition(".")[0].rpartition(".")
        with suppress(FileNotFoundError):  # its writer has just ended
            old = host != platform.node() and left.stat().st_mtime < since - SKEW
            if has_ended(host, process) or old:
                rmtree(left, ignore_errors=True)


def _rename(staging: Path, new: list[Path], old: set[Path]) -> None:
    """Moves files from ``staging`` to their places, and what was there before out of the way.

    A new file takes the place of an old one at once, so that whoever is killed here has lost
    neither, but on file systems where a file has one name only.
    """
    attic = staging / "replaced"
    attic.mkdir()
    moved: list[tuple[Path, bool]] = []
    try:
        for file in (*new, *sorted(old - set(new))):
            there = os.path.lexists(file)
            moved.append((file, there))
            if there:
                _keep(file, attic / file.name)
            if file in new:
                os.replace(staging / file.name, file)
            else:
                file.unlink(missing_ok=True)
    except BaseException:
        for file, there in reversed(moved):
            if not there:
                file.unlink(missing_ok=True)
            elif os.path.lexists(attic / file.name):
                os.replace(attic / file.name, file)
        raise


def _keep(file: Path, kept: Path) -> None:
    """Gives a file that is about to be replaced a second name, or else moves it there."""
    try:
        os.link(file, kept, follow_symlinks=False)
    except (OSError, NotImplementedError):
        os.replace(file, kept)
