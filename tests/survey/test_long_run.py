"""The whole chain on lens after lens: it must not hold more and more."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import long_run
import pytest
from surveys import assert_same

from lensrim.cli import main

COUNT = int(os.environ.get("LENSRIM_LENSES", "100"))
"""Lenses: three seconds of a core each. Of the thousand of a survey: LENSRIM_LENSES=1000."""


def test_growth_is_seen() -> None:
    flat = [(500_000 + k % 7, 15) for k in range(100)]
    assert long_run.growth(flat) == (pytest.approx(0, abs=1e-4), 0)
    leaking = [(500_000 + 500 * k, 15 + k) for k in range(100)]
    assert long_run.growth(leaking) == (pytest.approx(60 * 500 / 514_750), 60)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc")
def test_the_whole_chain_leaves_memory_and_files_as_they_are(tmp_path: Path) -> None:
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, long_run.__file__, str(tmp_path), str(COUNT)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    lines, stages = long_run.read(tmp_path)
    assert len(lines) == COUNT
    # the machine answers, but where the fit of it is worse; a lens may have no arcs
    assert {*stages} <= {"rim", "macro", "failed"}
    assert stages.count("rim") > COUNT / 3 and stages.count("failed") < COUNT / 5
    memory, files = long_run.growth(lines)
    print(f"{COUNT} lenses: memory {memory:+.2%}, {files:+d} open files")
    assert memory < 0.05, f"memory grew by {100 * memory:.1f} %"
    assert files == 0


LENSES, KILLS = 4, 20


QUICK = ("--search", "quick", "--stage", "rim", "--batch", "1")
"""One at a time: quick answers depend a little on who shares their batch."""


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--workers", "2"), QUICK])
def test_the_whole_chain_killed_at_any_moment_goes_on(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    """Kills ``lensrim catalogue`` at random moments, from its start to the writing of a row."""
    table = long_run.write_lenses(tmp_path / "obs", LENSES)
    path = os.pathsep.join(filter(None, sys.path))
    if options == QUICK:  # a machine that takes frames as small as these
        options += ("--model", str(long_run.unlimited(tmp_path / "unlimited.safetensors")))

    def begun(name: str) -> subprocess.Popen:
        words = ("catalogue", str(table), *options, "--output", str(tmp_path / name), "--quiet")
        return subprocess.Popen(
            [sys.executable, "-m", "lensrim.cli", *words],
            env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )

    clock = time.monotonic()
    assert begun("at once").wait() == 0
    seconds = (time.monotonic() - clock) / LENSES
    rng, kept, between = random.Random(2), set(), 0
    for _ in range(KILLS):
        process = begun("killed")
        try:
            assert process.wait(rng.uniform(0, 2.5 * seconds)) == 0
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            between += len(kept) < LENSES
        rows = set((tmp_path / "killed").glob("products/*/row.json"))
        assert kept <= rows  # nothing is lost
        kept = rows
    print(f"{between} of {KILLS} kills while there was work left")
    assert between > 2
    assert begun("killed").wait() == 0
    assert_same(tmp_path / "at once", tmp_path / "killed")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("options", [(), ("--search", "quick", "--stage", "rim")])
def test_a_dask_cluster_makes_the_catalogue_of_one_machine(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    distributed = pytest.importorskip("distributed")
    words = ("catalogue", str(long_run.write_lenses(tmp_path / "obs", 3)), *options, "--quiet")
    if options:  # a machine that takes frames as small as these: else there are no quick answers
        words += ("--model", str(long_run.unlimited(tmp_path / "unlimited.safetensors")))
    assert main([*words, "--output", str(tmp_path / "here")]) == 0
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None
    ) as cluster:
        address = ("--dask", cluster.scheduler_address)
        assert main([*words, "--output", str(tmp_path / "there"), *address]) == 0
    assert_same(tmp_path / "here", tmp_path / "there")
