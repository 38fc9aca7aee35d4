"""Shards: the same files however they are made, whole after any death, and damage is named."""

import hashlib
import json
import os
import pickle
import platform
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stamps import slow_stamp, stamp
from torch.utils.data import DataLoader

from lensrim.datasets.presets import Population
from lensrim.datasets.shards.reading import DamagedShard, Shards
from lensrim.datasets.shards.samples import DESCRIPTION, Samples, StoredPairs
from lensrim.datasets.shards.writing import Plan, processes, write_index, write_shards
from lensrim.errors import InputError

PLAN = Plan(count=22, per_shard=4, seed=7, recipe={"what": "stamps", "range": [0.5, 2.0]})


def sums(folder: Path) -> dict[str, str]:
    """The digests of all files of a folder."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


def assert_equal(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert np.array_equal(found[name], value), name
        assert np.asarray(found[name]).dtype.kind == np.asarray(value).dtype.kind, name


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set written at once by one process."""
    folder = tmp_path_factory.mktemp("reference")
    write_shards(folder, stamp, PLAN)
    return folder


@pytest.fixture
def copy(reference: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    for path in reference.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path


def damage(path: Path, *, what: str = "kappa") -> None:
    """Changes one byte in the middle of a data set's first sample."""
    import h5py

    with h5py.File(path) as file:
        item = file[what]
        place = item.id.get_chunk_info(0).byte_offset + item.id.get_chunk_info(0).size // 2
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)


def test_what_is_read_is_what_was_made(reference: Path) -> None:
    shards = Shards.open(reference, strict=True)
    assert len(shards) == PLAN.count
    assert shards.recipe == PLAN.recipe
    for i, sample in enumerate(shards):
        assert_equal(sample, stamp(i))
    assert shards[3]["stamp"].shape != shards[4]["stamp"].shape
    assert list(shards.column("halo")) == [stamp(i)["halo"] for i in range(PLAN.count)]
    assert shards.damaged() == {}
    with pytest.raises(IndexError, match="from 0 to 21, got 22"):
        shards[22]


def test_the_index_lists_what_is_there(reference: Path) -> None:
    index = json.loads((reference / "index.json").read_text())
    assert (index["schema"], index["seed"], index["recipe"]) == (1, 7, PLAN.recipe)
    assert [e["first"] for e in index["shards"]] == [0, 4, 8, 12, 16, 20]
    assert [e["count"] for e in index["shards"]] == [4, 4, 4, 4, 4, 2]
    assert all(e["bytes"] == (reference / e["name"]).stat().st_size for e in index["shards"])
    assert all(len(e["sha256"]) == 64 for e in index["shards"])


def in_parts(folder: Path) -> None:
    for i in (3, 1, 2):
        write_shards(folder, stamp, PLAN, part=(i, 3))


def by_threads(folder: Path) -> None:
    with ThreadPoolExecutor(3) as pool:
        write_shards(folder, stamp, PLAN, executor=pool)


def by_another_process(folder: Path) -> None:
    with processes(1) as pool:
        write_shards(folder, stamp, PLAN, executor=pool)


def by_processes(folder: Path) -> None:
    with processes(2) as pool:
        write_shards(folder, stamp, PLAN, executor=pool, part=(1, 2))
    write_shards(folder, stamp, PLAN, part=(2, 2))


def little_by_little(folder: Path) -> None:
    for count in (3, 9, 22):  # the last shard grows
        write_shards(folder, stamp, replace(PLAN, count=count))


def by_dask(folder: Path) -> None:
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        write_shards(folder, stamp, PLAN, executor=client.get_executor(pure=False))


@pytest.mark.parametrize(
    "way",
    [
        in_parts,
        by_threads,
        by_another_process,
        pytest.param(by_processes, marks=pytest.mark.slow),
        little_by_little,
        pytest.param(by_dask, marks=pytest.mark.oracle),
    ],
)
def test_the_files_are_the_same_however_they_are_made(way, reference: Path, tmp_path: Path):
    way(tmp_path)
    assert sums(tmp_path) == sums(reference)


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
def test_killed_at_any_moment_and_run_again_it_gives_the_same(reference: Path, tmp_path: Path):
    rng = np.random.default_rng(int.from_bytes(os.urandom(4), "big"))
    deaths = 0
    for enough in (0, 1, 3, 4):
        child = os.fork()
        if child == 0:
            write_shards(tmp_path, slow_stamp, PLAN)
            os._exit(0)
        while len(list(tmp_path.glob("shard-*.h5"))) < enough:
            assert os.waitpid(child, os.WNOHANG)[0] == 0
        time.sleep(rng.uniform(0, 0.008))
        os.kill(child, signal.SIGKILL)
        deaths += os.WIFSIGNALED(os.waitpid(child, 0)[1])
        for path in tmp_path.glob("shard-*.h5"):
            assert sums(reference)[path.name] == sums(tmp_path)[path.name]
    assert deaths >= 3
    write_shards(tmp_path, slow_stamp, PLAN)
    assert sums(tmp_path) == sums(reference)


def test_the_rest_of_a_dead_writer_is_cleared_away(tmp_path: Path) -> None:
    host, dead = platform.node(), os.spawnlp(os.P_NOWAIT, "true", "true")
    os.waitpid(dead, 0)
    mine, others = (f".shard-00001.h5.{h}.{os.getpid()}.ab" for h in (host, "elsewhere"))
    gone, old = f".shard-00001.h5.{host}.{dead}.cd", ".shard-00001.h5.elsewhere.7.ef"
    for name in (mine, others, gone, old):
        (tmp_path / name).write_bytes(b"half")
    os.utime(tmp_path / old, (0, 0))
    write_shards(tmp_path, stamp, PLAN)
    assert {p.name for p in tmp_path.glob(".shard*")} == {mine, others}


def test_what_is_there_is_not_made_again(copy: Path) -> None:
    told = []
    assert (
        write_shards(copy, stamp, PLAN, report=lambda h, new: told.append((h.number, new))) == []
    )
    assert told == [(k, False) for k in range(6)]
    assert len(write_shards(copy, stamp, PLAN, overwrite=True)) == 6


def test_a_shorter_plan_takes_nothing_away(copy: Path) -> None:
    before = sums(copy)
    assert write_shards(copy, stamp, replace(PLAN, count=6)) == []
    assert sums(copy) == before
    assert len(write_shards(copy, stamp, replace(PLAN, count=6), overwrite=True)) == 2
    assert len(Shards.open(copy, strict=True)) == 6


@pytest.mark.parametrize("per_shard", [2, 8])
def test_shards_of_two_sizes_are_not_mixed(copy: Path, per_shard: int) -> None:
    before = sums(copy)
    with pytest.raises(InputError, match=r"of one size, \d samples were asked for, found 4"):
        write_shards(copy, stamp, replace(PLAN, per_shard=per_shard))
    assert sums(copy) == before


@pytest.mark.parametrize("change", [{"seed": 8}, {"recipe": {"what": "others"}}])
def test_two_data_sets_are_not_mixed(copy: Path, change: dict) -> None:
    with pytest.raises(InputError, match="one recipe and seed, found another's"):
        write_shards(copy, stamp, replace(PLAN, **change))
    other = replace(PLAN, **change)
    write_shards(copy, stamp, other, part=(1, 6), overwrite=True)
    with pytest.raises(InputError, match="of one recipe and seed, found several"):
        Shards.open(copy)


def test_a_damaged_shard_is_named_and_skipped(copy: Path) -> None:
    path = copy / "shard-00002.h5"
    damage(path)
    shards = Shards.open(copy)
    assert list(shards.damaged()) == ["shard-00002.h5"]
    with pytest.warns(UserWarning, match=r"shard-00002\.h5: the shard is damaged .* skipped"):
        sample = shards[8]
    assert_equal(sample, stamp(12))
    assert_equal(shards[9], stamp(9))  # the other samples of the shard are whole
    with pytest.raises(DamagedShard, match=r"shard-00002\.h5"):
        Shards.open(copy, strict=True)[8]
    left = shards.without(shards.damaged())
    assert [s["halo"] for s in left] == [stamp(i)["halo"] for i in range(22) if not 8 <= i < 12]


def test_the_last_shard_is_followed_by_the_first(copy: Path) -> None:
    damage(copy / "shard-00005.h5")
    with pytest.warns(UserWarning, match="shard-00005"):
        assert_equal(Shards.open(copy)[20], stamp(0))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda data: data[:3000], "must be an HDF5 file"),
        (lambda data: b"", "must be an HDF5 file"),
        (lambda data: b"SIMPLE  =   T" + data[13:], "must be an HDF5 file"),
        (lambda data: data.replace(b"recipe", b"rezept"), "must say what it is"),
    ],
    ids=["cut", "empty", "other", "nameless"],
)
def test_a_file_that_is_no_shard_is_named_and_mended(copy: Path, spoil, reason: str) -> None:
    path = copy / "shard-00001.h5"
    before = sums(copy)
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.warns(UserWarning, match=rf"shard-00001\.h5: a shard {reason}"):
        shards = Shards.open(copy)
    assert len(shards) == 18
    assert_equal(shards[4], stamp(8))
    assert list(shards.damaged()) == ["shard-00001.h5"]
    with pytest.raises(DamagedShard, match=reason):
        Shards.open(copy, strict=True)
    assert write_shards(copy, stamp, PLAN) == [path]
    assert sums(copy) == before


def test_a_damaged_number_is_noticed_too(copy: Path) -> None:
    damage(copy / "shard-00000.h5", what="theta_E")
    with pytest.warns(UserWarning, match=r"shard-00000\.h5: the shard is damaged"):
        assert_equal(Shards.open(copy)[1], stamp(5))


@pytest.mark.parametrize("what", ["kappa", "theta_E", "used", "names"])
def test_a_changed_sample_is_made_again(copy: Path, what: str) -> None:
    import h5py

    path, before = copy / "shard-00003.h5", sums(copy)
    if what == "kappa":
        damage(path)
    elif what == "names":
        with h5py.File(path, "r+") as file:
            file.move("kappa", "kappb")
    else:  # through the library, so that all its own checksums hold
        with h5py.File(path, "r+") as file:
            file[what][0] = np.zeros_like(file[what][0])
            file[what][1] = np.ones_like(file[what][1])
    reason = Shards.open(copy).damaged()["shard-00003.h5"]
    assert what == "kappa" or "the digest must be" in reason
    assert write_shards(copy, stamp, PLAN) == [path]
    assert sums(copy) == before


def test_a_shard_that_is_gone_is_named(copy: Path) -> None:
    (copy / "shard-00004.h5").unlink()
    with pytest.warns(UserWarning, match=r"shard-00004\.h5: a shard of the index is missing"):
        assert len(Shards.open(copy)) == 18
    write_index(copy)
    assert len(Shards.open(copy, strict=True)) == 18


def test_all_damaged_is_an_error(tmp_path: Path) -> None:
    write_shards(tmp_path, stamp, replace(PLAN, count=4))
    damage(tmp_path / "shard-00000.h5")
    shards = Shards.open(tmp_path)
    with (
        pytest.warns(UserWarning, match="damaged"),
        pytest.raises(DamagedShard, match="no shard can be read"),
    ):
        shards[0]
    with pytest.raises(InputError, match="all shards are damaged"):
        shards.without(shards.damaged())


@pytest.mark.filterwarnings("ignore:This process.*fork:DeprecationWarning")
@pytest.mark.parametrize("context", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_many_processes_read_at_once(reference: Path, context: str) -> None:
    shards = Shards.open(reference)
    shards[0], shards[21]  # opened here before they are there
    loader = DataLoader(shards, batch_size=None, num_workers=2, multiprocessing_context=context)
    for i, sample in enumerate(loader):
        assert_equal({k: np.asarray(v) for k, v in sample.items()}, stamp(i))


def test_shards_are_light_to_send(reference: Path) -> None:
    shards = Shards.open(reference)
    shards[0]
    again = pickle.loads(pickle.dumps(shards))
    assert again == shards
    assert_equal(again[5], stamp(5))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda i: {"a": 1.0} if i else {"b": 1.0}, "samples must have the same names"),
        (lambda i: {"a": np.zeros(2, np.float32 if i else np.float64)}, "of one type"),
        (lambda i: {"a": object()}, "arrays of numbers of one type, or strings"),
        (lambda i: {"a": np.zeros((1,) * (1 + i))}, "as many dimensions"),
    ],
)
def test_samples_that_do_not_belong_together(make, match: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=match):
        write_shards(tmp_path, make, PLAN)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("part", [(0, 2), (3, 2)])
def test_a_part_must_be_one(part: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="i/n with i from 1 to n"):
        PLAN.headers(part)


def test_bad_folders_and_plans(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"must be a folder of shards \(shard-\*\.h5\), found none"
    ):
        Shards.open(tmp_path)
    with pytest.raises(InputError, match="per_shard: must be 1 or more, found 0"):
        replace(PLAN, per_shard=0)


def test_an_older_schema_is_refused(copy: Path) -> None:
    import h5py

    with h5py.File(copy / "shard-00000.h5", "r+") as file:
        file.attrs["schema"] = 0
    with pytest.raises(InputError, match="must have schema 1, found 0; write it again"):
        Shards.open(copy)


def test_without_h5py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(InputError, match=r"need h5py.*pip install '.\[data\]'"):
        write_shards(tmp_path / "new", stamp, PLAN)
    assert not (tmp_path / "new").exists()


SMALL = Samples(Population(shape=(24, 24)), seed=5)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Five training pairs in shards."""
    folder = tmp_path_factory.mktemp("pairs")
    write_shards(folder, SMALL, Plan(5, 2, SMALL.seed, SMALL.recipe()))
    return Shards.open(folder, strict=True)


def test_a_sample_is_a_function_of_its_number(pairs: Shards) -> None:
    for i in (4, 0):
        assert_equal(SMALL(i), pairs[i])
    assert not np.array_equal(SMALL(1)["image"], pairs[0]["image"])
    assert not np.array_equal(replace(SMALL, seed=6)(0)["image"], pairs[0]["image"])
    assert json.loads(json.dumps(SMALL.recipe())) == SMALL.recipe() == pairs.recipe


def test_a_sample_says_what_it_is(pairs: Shards) -> None:
    sample = pairs[2]
    assert sample["galaxy"] == "synthetic"
    assert sample["psf_name"] in ("gaussian", "moffat")
    assert 0.04 <= sample["pixel_scale"] <= 0.1
    assert np.exp(sample["macro"][0]) < 12  # pixels


def test_stored_pairs_come_once_a_round_in_an_order_of_the_seed(pairs: Shards) -> None:
    stored = StoredPairs(2, pairs, seed=1)
    seen = torch.cat([stored(i)["macro"][:, 0] for i in range(5)]).tolist()
    all_ = sorted(pairs.column("macro")[:, 0])
    assert sorted(seen[:5]) == all_ == sorted(seen[5:])
    again = torch.cat([StoredPairs(2, pairs, seed=2)(i)["macro"][:, 0] for i in range(5)])
    assert again.tolist() != seen


def test_stored_pairs_are_batches_of_pairs(pairs: Shards) -> None:
    from lensrim.datasets.shards.samples import _pairs

    expected = {name: value for i in [0] for name, value in _pairs(SMALL)(i).items()}
    batch = StoredPairs(3, pairs)(0)
    assert batch.keys() == expected.keys()
    assert not {*DESCRIPTION} & batch.keys()
    for name, value in batch.items():
        assert value.shape == (3, *expected[name].shape[1:]), name
        assert value.dtype == expected[name].dtype, name


def test_other_shards_are_no_training_pairs(reference: Path) -> None:
    with pytest.raises(InputError, match="must hold training pairs of format 4"):
        StoredPairs(2, Shards.open(reference))


def test_an_unknown_set_is_refused() -> None:
    with pytest.raises(InputError, match="set: must be train, validation or test, found 'rest'"):
        replace(SMALL, which="rest")
