"""Writing of shards: in pieces, in parallel, and again where it was interrupted.

A shard is a function of its number alone. It is made in memory and takes its place whole, so that
a process may be killed at any moment: the next run checks what is there and makes what is not. Any
division of the shards, among the processes of a pool, the jobs of an array (``part``) or the
machines of a Dask cluster, gives the same files. What is not guaranteed: bytes of another version
of h5py, or of torch and NumPy, may differ, with the last digits of the numbers.
"""

import io
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..._processes import end_with_parent
from ..._weights import clear_leftovers, replacing
from ...errors import InputError
from .reading import INDEX, SCHEMA, DamagedShard, Header, digest, hdf5, open_shard, why_damaged

Make = Callable[[int], Mapping[str, Any]]
"""Makes the sample of a number: arrays, numbers and strings by name, always the same names."""


@dataclass(frozen=True)
class Plan:
    """Creates the description of a data set.

    Arguments:
        count: Number of samples.
        per_shard: Samples in a shard; the last may hold fewer.
        seed: Seed of the samples, for the record: the function that makes them knows it.
        recipe: What they are, as JSON holds it.

    Raises:
        InputError: If a number is below 1.
    """

    count: int
    per_shard: int
    seed: int
    recipe: Mapping[str, Any]

    def __post_init__(self) -> None:
        for name in ("count", "per_shard"):
            if getattr(self, name) < 1:
                raise InputError(f"{name}: must be 1 or more, found {getattr(self, name)}")

    def headers(self, part: tuple[int, int] = (1, 1)) -> list[Header]:
        """Returns the shards of part i of n (i from 1): every n-th of them.

        Raises:
            InputError: If i is not from 1 to n.
        """
        i, n = part
        if not 1 <= i <= n:
            raise InputError(f"shard: must be i/n with i from 1 to n, found {i}/{n}")
        recipe = json.dumps(self.recipe, sort_keys=True, allow_nan=False)
        starts = range(0, self.count, self.per_shard)
        return [
            Header(k, first, min(self.per_shard, self.count - first), self.seed, recipe)
            for k, first in enumerate(starts)
        ][i - 1 :: n]


def write_shards(
    folder: str | os.PathLike[str],
    make: Make,
    plan: Plan,
    *,
    part: tuple[int, int] = (1, 1),
    executor: Executor | None = None,
    overwrite: bool = False,
    report: Callable[[Header, bool], object] = lambda header, made: None,
) -> list[Path]:
    """Writes a data set, or what is left of it.

    Shards that are there and whole stay, also those of a longer data set of the same recipe; those
    that are damaged are made again.

    Arguments:
        folder: Where; made if it is missing.
        make: Makes the samples; a pure function that can be pickled, if there is an executor.
        plan: What to write.
        part: Which part of the shards, (i, n) with i from 1.
        executor: Where the shards are made: a pool (:func:`processes`), or a cluster
            (``dask.distributed.Client.get_executor``), whose machines must see the folder under
            the same name. In this process by default.
        overwrite: Whether to make all again, and to remove what is beyond the plan.
        report: Is told each shard that is there, and whether it was made now.

    Returns:
        The files that were made.

    Raises:
        InputError: If the folder holds shards of another recipe, seed or size, or a sample has
            other names or types than the one before.
    """
    hdf5()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    headers = plan.headers(part)
    if overwrite:
        _clear(folder, plan)
    else:
        _check_others(folder, plan)
    there = folder.resolve()  # a worker may run in another folder
    jobs = [(there, make, header, overwrite) for header in headers]
    for header, made in _spread(jobs, executor):
        if made:
            written.append(folder / header.name)
        report(header, made)
    write_index(folder, like=plan.headers()[0])
    return written


def _spread(jobs: Sequence[tuple], executor: Executor | None) -> Iterable[tuple[Header, bool]]:
    """Does the jobs here or there, and yields what they return as they end."""
    if executor is None:
        yield from (_write_one(*job) for job in jobs)
        return
    futures = [executor.submit(_write_one, *job) for job in jobs]
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


def _write_one(folder: Path, make: Make, header: Header, overwrite: bool) -> tuple[Header, bool]:
    """Makes one shard, unless it is there."""
    path = folder / header.name
    if not overwrite and _is_there(path, header):
        return header, False
    clear_leftovers(path)
    # as in a process of a pool: sums in parts differ in their last digits
    with one_thread():
        data = _packed([make(header.first + k) for k in range(header.count)], header)
    with replacing(path) as file:
        file.write(data)
    return header, True


@contextmanager
def one_thread() -> Iterator[None]:
    """Computes on one thread of torch."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_there(path: Path, header: Header) -> bool:
    """Whether a shard is there, whole, and the one that is wanted."""
    if not path.exists():
        return False
    try:
        file, found, _ = open_shard(path)
        file.close()
    except DamagedShard:
        return False
    more = found.count > header.count  # of a longer data set, whose samples begin alike
    return (more or found == header) and not why_damaged(path)


def _check_others(folder: Path, plan: Plan) -> None:
    """Refuses to mix two data sets, or two divisions of one."""
    wanted = plan.headers()[0]
    for path in sorted(folder.glob("shard-*.h5")):
        try:
            file, found, _ = open_shard(path)
        except DamagedShard:
            continue
        file.close()
        if not found.is_like(wanted):
            raise InputError(
                f"{path}: a folder holds shards of one recipe and seed, found another's; choose "
                "another folder, or overwrite"
            )
        if found.first != found.number * plan.per_shard or found.count > plan.per_shard:
            raise InputError(
                f"{path}: a folder holds shards of one size, {plan.per_shard} samples were asked "
                f"for, found {found.count} from sample {found.first}; ask for the same, choose "
                "another folder, or overwrite"
            )


def _clear(folder: Path, plan: Plan) -> None:
    """Removes the shards of a longer data set."""
    wanted = {header.name for header in plan.headers()}
    for path in folder.glob("shard-*.h5"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)


def _packed(samples: Sequence[Mapping[str, Any]], header: Header) -> bytes:
    """Makes the bytes of a shard."""
    h5py = hdf5()
    columns = dict(sorted(_columns(samples).items()))
    memory, made = io.BytesIO(), []
    with h5py.File(memory, "w") as file:
        for name, values in columns.items():
            strings = values.dtype.kind == "O"
            small = values.ndim == 1 or values.size == 0
            options: dict[str, Any] = {"track_times": False}
            if strings:
                options["dtype"] = h5py.string_dtype()
            elif small:
                options |= {"fletcher32": values.size > 0}
            else:
                chunk = (1, *values.shape[1:])
                # gzip has a checksum of its own
                options |= {"chunks": chunk, "shuffle": True}
                options |= {"compression": "gzip", "compression_opts": 1}
            # All are closed with the file: where one is closed decides where HDF5 puts what
            # follows, and another thread may hold on to it, as the profiler of Dask does.
            made.append(file.create_dataset(name, data=values, **options))
        for key in ("number", "first", "count", "seed", "recipe"):
            file.attrs[key] = getattr(header, key)
        file.attrs["schema"] = SCHEMA
        file.attrs["sha256"] = digest(iter(columns.items()))
    return memory.getvalue()


def _columns(samples: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Puts the samples together by name; those of different shapes one after another."""
    names = list(samples[0])
    columns: dict[str, np.ndarray] = {}
    for sample in samples:
        if set(sample) != set(names):
            raise InputError(f"samples must have the same names, found {set(sample) ^ set(names)}")
    for name in names:
        values = [sample[name] for sample in samples]
        if all(isinstance(value, str) for value in values):
            columns[name] = np.array(values, dtype=object)
            continue
        arrays = [np.asarray(value) for value in values]
        kinds = {a.dtype for a in arrays}
        if len(kinds) > 1 or arrays[0].dtype.kind not in "biufc":
            raise InputError(
                f"{name}: samples must be arrays of numbers of one type, or strings, found "
                f"{sorted(map(str, kinds))}"
            )
        if len({a.shape for a in arrays}) == 1:
            columns[name] = np.stack(arrays)
            continue
        if len({a.ndim for a in arrays}) > 1:
            raise InputError(f"{name}: samples must have as many dimensions, found several")
        columns[f"{name}/values"] = np.concatenate([a.ravel() for a in arrays])
        columns[f"{name}/offsets"] = np.cumsum([0, *(a.size for a in arrays)])
        columns[f"{name}/shapes"] = np.array([a.shape for a in arrays])
    return columns


def write_index(folder: Path, *, like: Header | None = None) -> None:
    """Writes ``index.json`` of the shards that are there; of the data set of one, if it is given.

    Writers beside each other each write it after their last shard, and look again for shards that
    came meanwhile; the last has them all.
    """
    while True:
        paths = sorted(folder.glob("shard-*.h5"))
        entries, about = [], {}
        for path in paths:
            try:
                file, header, sha256 = open_shard(path)
            except DamagedShard:
                continue
            file.close()
            if like is not None and not header.is_like(like):
                continue
            about = {"schema": SCHEMA, "seed": header.seed, "recipe": json.loads(header.recipe)}
            entry = {"name": header.name, "first": header.first, "count": header.count}
            entries.append(entry | {"bytes": path.stat().st_size, "sha256": sha256})
        with replacing(folder / INDEX) as file:
            file.write((json.dumps(about | {"shards": entries}, indent=1) + "\n").encode())
        if sorted(folder.glob("shard-*.h5")) == paths:
            return


def processes(count: int) -> Executor:
    """Starts a pool of processes for :func:`write_shards`; use it in a ``with`` statement.

    They are spawned, run with one thread of torch each, and end with this process, even where it
    is killed.
    """
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_prepare)


def _prepare() -> None:
    import torch

    torch.set_num_threads(1)
    end_with_parent()
