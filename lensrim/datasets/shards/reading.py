"""Shards: many samples in few HDF5 files, read lazily by many processes.

A sample is a mapping of arrays, numbers and strings. A shard ``shard-00007.h5`` holds those of a
range of numbers, each name as a data set with the samples along its first axis, compressed sample
by sample; arrays whose shapes differ from sample to sample are a group: ``values`` (all, one after
another), ``offsets`` and ``shapes``. The attributes of the file say what it is: ``schema``,
``recipe`` (JSON), ``seed``, ``number``, ``first``, ``count``, and ``sha256``, the digest of the
content. There are no times in it, so that equal content gives equal files.

``index.json`` lists the shards; it is made of those that are there, and nothing is read from it
but which of them are missing. Written by :func:`lensrim.datasets.shards.writing.write_shards`.

What is not guaranteed: a sample whose bytes were changed on the disk is noticed when it is read
(each has a checksum), but names and attributes are checked by :meth:`Shards.damaged` alone.
"""

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InputError

if TYPE_CHECKING:
    import h5py

SCHEMA = 1
"""Version of the layout of a shard."""

INDEX = "index.json"


def hdf5() -> Any:
    """Returns the module h5py.

    Raises:
        InputError: If it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError(
            "data sets in HDF5 need h5py, which is not installed: pip install '.[data]' in the "
            "checkout of lensrim"
        ) from error
    return h5py


@dataclass(frozen=True)
class Header:
    """Creates what a shard says of itself.

    Arguments:
        number: Its number, from 0.
        first, count: Number of its first sample, and of its samples.
        seed: Seed of the samples.
        recipe: What they are, as JSON.
    """

    number: int
    first: int
    count: int
    seed: int
    recipe: str

    @property
    def name(self) -> str:
        """Name of its file."""
        return f"shard-{self.number:05d}.h5"

    def is_like(self, other: "Header") -> bool:
        """Whether both are of one data set."""
        return (self.seed, self.recipe) == (other.seed, other.recipe)


class DamagedShard(InputError):
    """A shard that cannot be read, or whose content is not what was written."""


def open_shard(path: Path) -> tuple["h5py.File", Header, str]:
    """Opens a shard; returns the file, what it says of itself, and the digest that it states.

    Raises:
        DamagedShard: If it cannot be opened, or is not a shard of this schema.
    """
    h5py = hdf5()
    try:
        # A chunk is one sample's, and is not read twice: a cache of them would only fill up.
        file = h5py.File(path, "r", rdcc_nbytes=0)
    except OSError as error:
        raise DamagedShard(
            f"{path}: a shard must be an HDF5 file: {error}; write it again"
        ) from None
    try:
        schema = int(file.attrs["schema"])
        if schema != SCHEMA:
            raise InputError(
                f"{path}: a shard must have schema {SCHEMA}, found {schema}; write it again, or "
                "use the version of lensrim that wrote it"
            )
        numbers = {n: int(file.attrs[n]) for n in ("number", "first", "count", "seed")}
        header = Header(**numbers, recipe=str(file.attrs["recipe"]))
        return file, header, str(file.attrs["sha256"])
    except InputError:
        file.close()
        raise
    except (KeyError, OSError, RuntimeError, ValueError) as error:
        file.close()
        raise DamagedShard(
            f"{path}: a shard must say what it is, found {error!r}; write it again"
        ) from None


def content_of(file: "h5py.File") -> Iterator[tuple[str, Any]]:
    """Returns every data set of a shard, by its full name, in the order of the names."""
    h5py = hdf5()
    found: list[tuple[str, Any]] = []
    file.visititems(
        lambda name, item: found.append((name, item)) if isinstance(item, h5py.Dataset) else None
    )
    return iter(sorted(found, key=lambda pair: pair[0]))


def digest(content: Iterator[tuple[str, Any]]) -> str:
    """Computes the SHA-256 of arrays and lists of strings with their names, types and shapes."""
    total = hashlib.sha256()
    for name, item in content:
        values = item if isinstance(item, np.ndarray) else np.asarray(item[()])
        if values.dtype.kind == "O":
            texts = [t if isinstance(t, bytes) else str(t).encode() for t in values.ravel()]
            data, kind = b"".join(len(t).to_bytes(8, "little") + t for t in texts), "text"
        else:
            data, kind = values.tobytes(), values.dtype.str
        total.update(f"{name} {kind} {values.shape}\n".encode())
        total.update(data)
    return total.hexdigest()


@lru_cache(maxsize=128)
def _columns(path: str, process: int, changed: int) -> dict[str, Callable[[int], Any]]:
    """Opens a shard, and returns what reads a sample of it, by name.

    Some stay open: for each process its own, because HDF5 does not promise to survive a fork. To
    look up a data set costs more than to read it, and what is one number a sample is read at once.
    Of more than 128 shards that are read at random, most are opened anew for each sample: pairs of
    64 x 64 pixels then took 21 to 29 ms in place of 3, on one busy core. Put more into each.
    """
    h5py = hdf5()
    file, _, _ = open_shard(Path(path))

    def ragged(group: Any) -> Callable[[int], Any]:
        values, offsets, shapes = group["values"], group["offsets"][()], group["shapes"][()]
        return lambda k: values[offsets[k] : offsets[k + 1]].reshape(shapes[k])

    readers: dict[str, Callable[[int], Any]] = {}
    for name, item in file.items():
        if isinstance(item, h5py.Group):
            readers[name] = ragged(item)
        elif h5py.check_string_dtype(item.dtype) is not None:
            readers[name] = item.asstr()[()].__getitem__
        else:
            readers[name] = (item[()] if item.ndim == 1 else item).__getitem__
    return readers


@dataclass(frozen=True)
class Shards:
    """Creates the samples of a folder of shards: ``shards[i]`` reads the i-th there is.

    It holds no open file, and may be sent to other processes, forked or spawned.

    Arguments:
        folder: The folder.
        headers: The shards in it that can be read, in their order.
        strict: Whether a damaged shard is an error; else it is named in a warning and skipped, and
            what is asked of it is read at the same place of the next.
    """

    folder: Path
    headers: tuple[Header, ...]
    strict: bool = False

    @classmethod
    def open(
        cls, folder: str | os.PathLike[str], *, strict: bool = False, like: Header | None = None
    ) -> "Shards":
        """Looks at all shards of a folder, but not at their samples.

        Arguments:
            folder: The folder.
            strict: See :class:`Shards`.
            like: A shard of the data set that is wanted, where a folder may hold two, one of them
                half replaced by the other; what is of another recipe or seed is left out.

        Raises:
            InputError: If there is none, or they are of several recipes; if strict, also if one is
                damaged, or missing of those in the index.
        """
        folder = Path(folder)
        headers, bad = [], []
        for path in sorted(folder.glob("shard-*.h5")):
            try:
                file, header, _ = open_shard(path)
            except DamagedShard as error:
                bad.append(str(error))
            else:
                file.close()
                if like is None or header.is_like(like):
                    headers.append(header)
        known = {h.name for h in headers} | {p.name for p in folder.glob("shard-*.h5")}
        missing = [name for name in _indexed(folder) if name not in known]
        bad += [f"{folder / name}: a shard of the index is missing" for name in missing]
        for message in bad:
            _tell(message, strict)
        if not headers:
            raise InputError(f"{folder}: must be a folder of shards (shard-*.h5), found none")
        if not all(h.is_like(headers[0]) for h in headers):
            raise InputError(
                f"{folder}: the shards must be of one recipe and seed, found several; keep each in"
                " a folder of its own"
            )
        return cls(folder, tuple(headers), strict)

    def __len__(self) -> int:
        return sum(h.count for h in self.headers)

    @property
    def recipe(self) -> dict[str, Any]:
        """What the samples are."""
        return json.loads(self.headers[0].recipe)

    @property
    def digest(self) -> str:
        """Tells what they hold, wherever they lie: a digest of their recipe and their seed."""
        header = self.headers[0]
        return hashlib.sha256(f"{header.seed} {header.recipe}".encode()).hexdigest()[:16]

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Reads a sample.

        Raises:
            IndexError: If there is no such sample.
            DamagedShard: If it cannot be read and the shards are strict, or no shard can.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"sample must be from 0 to {len(self) - 1}, got {index}")
        which = 0
        while index >= self.headers[which].count:
            index -= self.headers[which].count
            which += 1
        for step in range(len(self.headers)):
            header = self.headers[(which + step) % len(self.headers)]
            path = self.folder / header.name
            try:
                columns = _columns(str(path), os.getpid(), path.stat().st_mtime_ns)
                return {name: read(index % header.count) for name, read in columns.items()}
            except (OSError, KeyError, RuntimeError, ValueError, DamagedShard) as error:
                _tell(f"{path}: the shard is damaged ({_one_line(error)})", self.strict)
        raise DamagedShard(f"{self.folder}: no shard can be read; write them again")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    def column(self, name: str) -> np.ndarray:
        """Reads one small quantity of all samples, with the samples along the first axis.

        Raises:
            DamagedShard: See :meth:`columns`.
        """
        return self.columns(name)[name]

    def columns(self, *names: str) -> dict[str, np.ndarray]:
        """Reads small quantities of all samples, each with the samples along the first axis.

        A shard of which one cannot be read is left out of all.

        Raises:
            DamagedShard: If one cannot be read and the shards are strict, or no shard can.
        """
        parts: list[dict[str, np.ndarray]] = []
        for header in self.headers:
            path = self.folder / header.name
            try:
                file, _, _ = open_shard(path)
                with file:
                    parts.append({name: _whole(file[name]) for name in names})
            except (OSError, KeyError, RuntimeError, ValueError, DamagedShard) as error:
                _tell(f"{path}: the shard is damaged ({_one_line(error)})", self.strict)
        if not parts:
            raise DamagedShard(f"{self.folder}: no shard can be read; write them again")
        return {name: np.concatenate([part[name] for part in parts]) for name in names}

    def damaged(self) -> dict[str, str]:
        """Reads everything, and returns what is wrong with each damaged shard, by file name."""
        found = {}
        for path in sorted(self.folder.glob("shard-*.h5")):
            if reason := why_damaged(path):
                found[path.name] = reason
        return found

    def without(self, names: Mapping[str, str]) -> "Shards":
        """Leaves out shards by the names of their files, as :meth:`damaged` returns them."""
        kept = tuple(h for h in self.headers if h.name not in names)
        if not kept:
            raise InputError(f"{self.folder}: all shards are damaged; write them again")
        return Shards(self.folder, kept, self.strict)


def why_damaged(path: Path) -> str:
    """Reads a whole shard, and tells what is wrong with it: nothing, if it is whole."""
    try:
        file, _, stated = open_shard(path)
        with file:
            found = digest(content_of(file))
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        return _one_line(error)
    return "" if found == stated else f"the digest must be {stated}, found {found}"


def _whole(item: Any) -> np.ndarray:
    """Reads a data set of numbers or strings."""
    return item.asstr()[()] if hdf5().check_string_dtype(item.dtype) is not None else item[()]


def _indexed(folder: Path) -> list[str]:
    """Names of the shards that the index lists."""
    try:
        return [entry["name"] for entry in json.loads((folder / INDEX).read_text())["shards"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _tell(message: str, strict: bool) -> None:
    if strict:
        raise DamagedShard(f"{message}; write it again")
    warnings.warn(f"{message}; it is skipped", stacklevel=3)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
