"""The benchmark: who is timed, how, and what is written of it. No time itself is asserted."""

import csv
import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from lensrim.cli import bench as command
from lensrim.errors import InputError
from lensrim.evaluation.bench import nufft, ours, suite
from lensrim.evaluation.bench.memory import peak_memory, peak_of
from lensrim.evaluation.bench.report import draw_growth, format_growth, format_row, write_csv
from lensrim.evaluation.bench.scenes import PixelScene, SubhaloScene
from lensrim.evaluation.bench.suite import BenchOptions
from lensrim.evaluation.bench.timing import Contender, Timing, difference, race, time_in_turns
from lensrim.evaluation.bench.works import (
    COMPILED,
    KERNELS,
    OURS,
    PLAIN_KERNELS,
    Work,
    parametric_works,
    pixel_work,
    subhalo_work,
)

CPU = torch.device("cpu")
SMALL = PixelScene(n=48)


def counting(calls: list[str], name: str, value: float = 1.0) -> Contender:
    return Contender(lambda: calls.append(name), lambda: [np.array([value, 2.0])])


def test_each_repetition_runs_every_contender_in_an_order_of_its_own():
    calls: list[str] = []
    names = ["a", "b", "c"]
    timings = time_in_turns(
        {n: counting(calls, n) for n in names}, device=CPU, repetitions=12, shortest=0.0
    )
    rounds = [tuple(calls[i : i + 3]) for i in range(len(calls) - 36, len(calls), 3)]
    assert all(sorted(r) == names for r in rounds)
    assert len(set(rounds)) > 1
    assert {len(t.seconds) for t in timings.values()} == {12}


def test_time_that_is_up_leaves_three_repetitions():
    timings = time_in_turns(
        {"a": counting([], "a")}, device=CPU, repetitions=9, seconds=0.0, shortest=0.0
    )
    assert len(timings["a"].seconds) == 3


def test_ratios_are_taken_within_repetitions():
    slow, quick = Timing((2.0, 20.0, 200.0)), Timing((1.0, 10.0, 100.0))
    assert slow.over(quick) == (2.0, 2.0, 2.0)
    assert quick.quartiles == (5.5, 10.0, 55.0)


def test_who_computes_something_else_is_not_timed():
    def fails() -> Contender:
        raise RuntimeError("no such\nmodel")

    raced = race(
        {
            OURS: lambda: counting([], OURS),
            "same": lambda: counting([], "same", 1.0005),
            "other": lambda: counting([], "other", 1.5),
            "broken": fails,
        },
        device=CPU,
        reference=OURS,
        tolerance=1e-3,
        repetitions=3,
    )
    assert set(raced.timings) == {OURS, "same"}
    assert raced.refused["other"].startswith("refused: another result, by 2.2e-01")
    assert raced.refused["broken"] == "failed: no such model"


@pytest.mark.parametrize(
    "found", [[np.ones(3)], [np.ones(2), np.ones(2)], [np.array([1.0, np.nan])]]
)
def test_results_that_cannot_be_compared_are_infinitely_different(found):
    assert difference(found, [np.ones(2)]) == float("inf")


def test_the_gradients_that_are_timed_are_those_of_differences():
    contender = ours.parametric_gradient(SMALL, torch.float64)
    (found,) = contender.result()
    image = ours._image(ours.simulator(SMALL, torch.float64))
    p = ours.parameters(torch.float64, CPU)
    weight = ours.weight_inside(SMALL.n, torch.float64, CPU)

    def value(name: str, step: float) -> float:
        moved = {**p, name: p[name] + step}
        return float(ours.energy(image(moved), SMALL.data().double(), weight))

    names = list(p)[: ours.SHARED]
    expected = [(value(n, 1e-6) - value(n, -1e-6)) / 2e-6 for n in names]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_bytes_of_the_kernels_are_those_of_their_arrays():
    _, moved = ours.necessary_kernels(PixelScene(n=128, batch=2))
    pixel_map, spectrum, psf = 128 * 128 * 4, 256 * 129 * 8, 144 * 73 * 8
    # kappa to both deflections; rays, source and image; blur
    forward = 3 * (pixel_map + spectrum) + 4 * pixel_map + 2 * (pixel_map + psf)
    # the slopes of rays and source, besides
    reverse = forward + 3 * pixel_map
    assert moved == 2 * (forward + reverse)


def test_memory_is_that_of_the_run_alone():
    found = peak_memory(partial(ours.subhalos, SubhaloScene(count=40)), CPU)
    if found is None:
        pytest.skip("the system keeps no account of memory")
    assert 1e6 < found < 1e8


def test_a_peak_that_is_over_does_not_count():
    def hold(megabytes: int) -> Contender:
        return Contender(lambda: torch.ones(megabytes, 1 << 18).sum().item())

    hold(200).run()
    found = peak_of(hold(50).run)
    if found is None:
        pytest.skip("the system keeps no account of memory")
    assert 40e6 < found < 80e6


def test_a_row_of_small_works_is_told_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    def works(options: BenchOptions, device: torch.device, present: set[str]):
        yield pixel_work(2, device, set(), n=24)
        yield Work("none but a fault", 1, {OURS: lambda: counting([], OURS), "x": lambda: 1 / 0})

    monkeypatch.setattr(suite, "_works", works)
    monkeypatch.setattr(suite, "SIDES", (16, 24, 32))
    monkeypatch.setattr(suite, "BATCHES", (1, 2, 3))
    options = BenchOptions(
        device="cpu", threads=3, quick=True, repetitions=3, output=str(tmp_path / "out")
    )
    before, during = torch.get_num_threads(), set()
    monkeypatch.setattr(suite, "installed", lambda: during.add(torch.get_num_threads()) or {})
    found = suite.run(options)
    printed = capsys.readouterr().out
    assert "24² maps, gradient, B = 2" in printed
    assert "failed: division by zero" in printed
    assert during == {3}
    assert torch.get_num_threads() == before
    with (tmp_path / "out" / "bench.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert [line["contender"] for line in lines] == [OURS, KERNELS, PLAIN_KERNELS, OURS, "x"]
    assert json.loads((tmp_path / "out" / "bench.json").read_text()) == found
    assert (tmp_path / "out" / "growth.png").stat().st_size > 1000


def test_what_is_told_of_a_row_and_of_growth(tmp_path: Path):
    times = {"ms": 2.0, "ms_low": 1.5, "ms_high": 3.0, "repetitions": 5}
    row = {
        "work": "a work",
        "contenders": [
            {"contender": OURS, **times},
            {
                "contender": "caustics",
                **times,
                **{"ratio": 3.0, "ratio_low": 2.9, "ratio_high": 3.1, "bar": 4.0, "met": False},
            },
            {"contender": "lenstronomy", "note": "refused"},
        ],
        "roofline_fraction": 0.25,
        "lenses_per_second": 1e5,
        "bytes_per_lens": 3e6,
        "bandwidth_GBps": 2000.0,
    }
    told = format_row(row)
    assert "2.000 ms [1.500, 3.000]" in told
    assert "x 3.00 [2.90, 3.10]   at least 4.00: MISSED" in told
    assert "-    refused" in told
    assert "100000 lenses per second, 25.0% of the roofline" in told
    write_csv([row], tmp_path / "a.csv")
    assert "a work,caustics,2.0,1.5,3.0,5,3.0" in (tmp_path / "a.csv").read_text()
    growth = {
        "N": [{"N": 32, "ms": 1.0, "ms_low": 0.9, "ms_high": 1.2}] * 2,
        "B": [{"B": b, "ms": float(b), "ms_low": 0.9 * b, "ms_high": 1.2 * b} for b in (1, 4, 16)],
    }
    assert [line[-8:] for line in format_growth(growth).splitlines()].count("    1.00") == 5
    assert len(draw_growth(growth).axes) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threads": 0}, "^--threads: must be at least 1, found 0$"),
        ({"repetitions": -1}, "^--repetitions: must be at least 1, found -1$"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, int], message: str):
    with pytest.raises(InputError, match=message):
        suite.run(BenchOptions(**options))


def test_the_command_takes_the_options():
    parsed = command.parse(["--quick", "--threads", "2", "--no-compiled", "--output", "out"])
    assert parsed == BenchOptions(quick=True, threads=2, compiled=False, output="out")


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "work",
    [
        pixel_work(1, CPU, {"caustics"}),
        pixel_work(2, CPU, {"caustics"}),
        *parametric_works(torch.float32, CPU, {"caustics"}, compiled=False),
        *parametric_works(torch.float64, CPU, {"caustics", "lenstronomy"}, compiled=False),
        subhalo_work(20, CPU, {"caustics"}, compiled=False, seconds=1.0),
    ],
    ids=lambda work: work.name,
)
def test_the_peers_compute_the_same(work: Work):
    pytest.importorskip("caustics")
    pytest.importorskip("lenstronomy")
    right = work.makers[OURS]().result()
    for name in set(work.makers) - {OURS, KERNELS, PLAIN_KERNELS, COMPILED}:
        assert difference(work.makers[name]().result(), right) < work.tolerance


def test_the_transforms_of_visibilities_agree_where_they_are_timed(monkeypatch):
    monkeypatch.setattr(nufft, "LARGEST_SUM", 300)
    found = nufft.rows(16, 300, seconds=0.0)
    assert {"Nufft", "Direct", "finufft"} <= found.keys()
    # The worst of those known, torchkbnufft, has 2e-3.
    assert all(milliseconds > 0 and error < 5e-3 for milliseconds, error in found.values())
    assert found["Direct"][1] < 1e-5
    assert "Direct" not in nufft.rows(16, 301, seconds=0.0)
