"""``lensrim dataset``: shards, a census and a contact sheet, in pieces or at once."""

import hashlib
import io
import json
import math
import os
import re
import signal
import sys
from concurrent.futures import Executor, Future
from contextlib import nullcontext, redirect_stderr
from pathlib import Path

import numpy as np
import pytest
import torch
from astropy.io import fits

from lensrim.cli import dataset as command
from lensrim.cli import main
from lensrim.cli.dataset import parse
from lensrim.datasets.shards.reading import DamagedShard, Shards
from lensrim.datasets.shards.writing import Plan, write_shards
from lensrim.inference.batches import stored_prior

FIVE = ("general", "--shape", "24", "24", "--count", "5", "--per-shard", "2", "--seed", "3")


def dataset(*words: str) -> int:
    return main(["dataset", *words])


def sums(folder: Path) -> dict[str, str]:
    """The digests of the files that must not depend on the way."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.fixture(scope="module")
def five(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of five lenses."""
    folder = tmp_path_factory.mktemp("five")
    assert dataset(*FIVE, "--output", str(folder), "--quiet") == 0
    return folder


def test_what_is_written(five: Path) -> None:
    names = {p.name for p in five.iterdir()}
    assert names == {
        "census.txt",
        "contact.png",
        "index.json",
        *(f"shard-0000{k}.h5" for k in range(3)),
    }
    shards = Shards.open(five, strict=True)
    assert len(shards) == 5
    assert shards[4]["image"].shape == (1, 24, 24)
    assert (five / "contact.png").read_bytes().startswith(b"\x89PNG")


def test_the_census_counts(five: Path) -> None:
    head, _, _, *rows, _, said = (five / "census.txt").read_text().splitlines()
    assert head.startswith("5 samples in 3 shards, ")
    assert said == "theta_E is that of the smooth model, on its intermediate axis."
    table = {row[:18].strip(): [float(n) for n in row[18:].split()] for row in rows}
    shards = Shards.open(five)
    theta_E = np.exp(shards.column("macro")[:, 0]) * shards.column("pixel_scale")
    marks = [theta_E.min(), np.median(theta_E), theta_E.max()]
    assert table["theta_E [arcsec]"][::2] == pytest.approx(marks, rel=5e-3)
    snr = shards.column("snr")
    assert table["peak S/N"][::2] == pytest.approx(
        [snr.min(), np.median(snr), snr.max()], rel=5e-3
    )
    assert all(row == sorted(row) for row in table.values())


def test_pieces_give_the_same_as_all_at_once(five: Path, tmp_path: Path, capsys) -> None:
    for part in ("2/2", "1/2"):
        assert dataset(*FIVE, "--output", str(tmp_path), "--shard", part) == 0
    assert sums(tmp_path) == sums(five)
    assert "2 shards made, 0 were there" in capsys.readouterr().out


@pytest.mark.slow
def test_processes_give_the_same(five: Path, tmp_path: Path) -> None:
    assert dataset(*FIVE, "--output", str(tmp_path), "--workers", "2") == 0
    assert sums(tmp_path) == sums(five)


def test_it_goes_on_and_mends(five: Path, tmp_path: Path, capsys) -> None:
    for path in five.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "shard-00000.h5").write_bytes(b"not a shard")
    (tmp_path / "shard-00002.h5").unlink()
    assert dataset(*FIVE, "--output", str(tmp_path)) == 0
    assert "2 shards made, 1 were there" in capsys.readouterr().out
    assert sums(tmp_path) == sums(five)
    assert dataset(*FIVE[:-1], "4", "--output", str(tmp_path)) == 2
    assert "a folder holds shards of one recipe and seed" in capsys.readouterr().err
    assert dataset(*FIVE[:-1], "4", "--output", str(tmp_path), "--overwrite", "--quiet") == 0
    assert sums(tmp_path)["shard-00000.h5"] != sums(five)["shard-00000.h5"]


def test_a_part_without_shards_writes_nothing(tmp_path: Path, capsys) -> None:
    assert dataset(*FIVE, "--output", str(tmp_path), "--shard", "5/16") == 0
    assert "no shards for this part, of 3 in all" in capsys.readouterr().out
    assert {p.name for p in tmp_path.iterdir()} <= {"index.json"}


def test_parts_replace_another_data_set_one_by_one(five: Path, tmp_path: Path) -> None:
    assert dataset(*FIVE[:-1], "4", "--output", str(tmp_path), "--quiet") == 0
    for part, there in (("1/3", 1), ("2/3", 2), ("3/3", 3)):
        words = ("--output", str(tmp_path), "--shard", part, "--overwrite", "--quiet")
        assert dataset(*FIVE, *words) == 0
        assert f"in {there} shards" in (tmp_path / "census.txt").read_text()
        listed = json.loads((tmp_path / "index.json").read_text())["shards"]
        assert len(listed) == there
    assert sums(tmp_path) == sums(five)


def test_damage_in_another_part_is_named_and_skipped(five: Path, tmp_path: Path) -> None:
    import h5py

    for path in five.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / "shard-00001.h5"
    with h5py.File(path) as file:
        place = file["snr"].id.get_chunk_info(0).byte_offset + 3
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=r"shard-00001\.h5: the shard is damaged .* skipped"):
        assert dataset(*FIVE, "--output", str(tmp_path), "--shard", "1/2", "--quiet") == 0
    assert (tmp_path / "census.txt").read_text().startswith("3 samples in ")
    with pytest.raises(DamagedShard, match=r"shard-00001\.h5: the shard is damaged"):
        Shards.open(tmp_path, strict=True).column("snr")


def test_a_word_for_galaxies_is_no_folder(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--count", "1", "--galaxies", "learnt", "--output", "new", "--quiet")
    assert dataset("general", "--shape", "24", "24", *words) == 0
    assert Shards.open(tmp_path / "new").recipe["population"]["galaxies"].startswith("learnt ")


def test_an_instrument_without_sky_is_written_down(tmp_path: Path) -> None:
    (tmp_path / "dark.toml").write_text('preset = "euclid"\n[instrument]\nsky = inf\n')
    words = (str(tmp_path / "dark.toml"), "--count", "1", "--quiet")
    assert dataset(*words, "--output", str(tmp_path / "new")) == 0
    assert (
        Shards.open(tmp_path / "new").recipe["population"]["system"]["instrument"]["sky"] == "inf"
    )
    instrument = stored_prior(str(tmp_path / "new")).system.instrument  # as a training reads it
    assert instrument is not None and instrument.sky == math.inf


def test_a_sample_is_made_on_one_thread(tmp_path: Path) -> None:
    """As in the processes of a pool, so that files are the same."""
    seen = []

    def make(index: int) -> dict[str, np.ndarray]:
        seen.append(torch.get_num_threads())
        return {"index": np.int64(index)}

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        write_shards(tmp_path, make, Plan(2, 1, 0, {}))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [1, 1]


def test_workers_elsewhere_are_told_where_all_is(tmp_path: Path, monkeypatch) -> None:
    """A worker of a cluster has a working folder of its own."""
    (tmp_path / "sky").mkdir()
    field = np.random.default_rng(0).standard_normal((30, 30)).astype(np.float32)
    fits.PrimaryHDU(field).writeto(tmp_path / "sky" / "a.fits")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    class Elsewhere(Executor):
        def submit(self, fn, /, *args, **kwargs):
            done = Future()
            monkeypatch.chdir(tmp_path / "elsewhere")
            done.set_result(fn(*args, **kwargs))
            monkeypatch.chdir(tmp_path)
            return done

    monkeypatch.setattr(command, "executor_of", lambda options: nullcontext(Elsewhere()))
    assert dataset(*FIVE, "--noise", "sky", "--output", "new", "--quiet") == 0
    assert len(Shards.open(tmp_path / "new")) == 5
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", "0"], "--count: must be 1 or more, found 0"),
        (["--per-shard", "0"], "--per-shard: must be 1 or more, found 0"),
        (["--workers", "0"], "--workers: must be 1 or more, found 0"),
        (["--seed", "-2"], "--seed: must be 0 or more, found -2"),
        (["--shard", "3/2"], "--shard: must be i/n with i from 1 to n, such as 2/4, found '3/2'"),
        (["--shard", "0/2"], "--shard: must be i/n"),
        (["--shard", "²/3"], "--shard: must be i/n"),
        (["nothing.toml"], "nothing.toml: a recipe must be a TOML file"),
        (["--psfs", "nowhere"], "psfs: must be a folder of FITS files"),
    ],
)
def test_errors_are_one_line(
    words: list[str], message: str, tmp_path, monkeypatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert dataset(*words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"lensrim: error: {message}")
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_missing_extras_are_named(tmp_path: Path, monkeypatch, capsys) -> None:
    words = ("--output", str(tmp_path / "new"))
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert dataset(*words, "--dask", "tcp://nowhere:1") == 2
    assert "pip install '.[dask]' in the checkout" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert dataset(*words) == 2
    assert "pip install '.[data]' in the checkout" in capsys.readouterr().err


def test_the_help_shows_examples_that_parse(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        dataset("--help")
    shown = capsys.readouterr().out
    examples = re.findall(r"\$ lensrim dataset (.*)", shown)
    assert len(examples) == 3
    for words in examples:
        assert parse(words.split())


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize(
    ("words", "file"),
    [
        (("dataset", *FIVE), "shard-00000.h5"),
        (("simulate", "--shape", "40", "40"), "mock.fits"),
    ],
)
def test_a_full_disk_is_named_with_what_to_do(words, file: str, tmp_path: Path, monkeypatch):
    import resource

    monkeypatch.chdir(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    errors = io.StringIO()
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
        with redirect_stderr(errors):
            assert main([*words, "--quiet"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert file in errors.getvalue()
    assert "make room" in errors.getvalue()
