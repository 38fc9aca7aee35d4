"""The benchmark of training pairs: every stage is timed, and a device has no loop over samples."""

from dataclasses import replace

import pytest
import torch
from pretend import pretended_device

from lensrim.datasets.pairs.drawn import Stream
from lensrim.datasets.pairs.pairs import PairPrior, Pairs
from lensrim.datasets.priors import SystemPrior
from lensrim.evaluation.bench import pairs as bench
from lensrim.evaluation.bench.timing import Timing


def test_every_stage_is_timed():
    options = bench.Options("cpu", (2,), 32, seconds=0.0, pairs_only=True)
    found = bench.measure(2, options)
    assert tuple(found.timings) == bench.PAIRS
    assert found.waits is None and found.operations > 100
    lines = found.lines()
    assert [line.split()[1] for line in lines[:3]] == [*bench.PAIRS]
    assert f"{found.operations} operations" in lines[-1]


def test_the_share_is_that_of_a_whole_step():
    seconds = {"draw": 0.5, "upload": 0.5, "render": 2.0, "start": 4.0, "train": 5.0}
    found = bench.Measured(10, {n: Timing((s, s, s)) for n, s in seconds.items()}, 7, 0)
    assert found.share == pytest.approx(0.25)
    lines = found.lines()
    assert "render   200.000" in lines[2] and "5 pairs/s" in lines[2]
    assert "7 operations, of which 0 wait for the GPU" in lines[-2]
    assert lines[-1].endswith("share of a training step 25 %")


class HostStream(Stream):
    """Random numbers of the host, sent to a device that has none of its own."""

    def __init__(self, device: torch.device, seed: int):
        self.device, self.generator = device, torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator).to(self.device)


def test_a_device_does_as_much_at_once_for_many_samples(monkeypatch: pytest.MonkeyPatch):
    system = SystemPrior(pixel_scale=(1.0, 1.0), light_share=1.0, theta_E=(12.0, 20.0))
    prior = PairPrior(system, rough=1.0, mixed=1.0)
    # Contaminants are drawn in kinds, of which more are in a larger batch.
    pairs = Pairs(2, shape=(32, 32), prior=prior, psf_side=15, contaminants=())
    monkeypatch.setattr("lensrim.datasets.pairs.pairs.Stream", HostStream)
    counts = []
    with pretended_device() as device:
        for size in (2, 2, 7):  # the first fills what is kept for a device
            drawn = replace(pairs, batch_size=size).draw(0)
            there = drawn.to(device)
            counts.append(bench.dispatched(lambda: pairs.render(there, device)))  # noqa: B023
    assert counts[1] == counts[2]
    assert counts[1].total() < 1000


WAITING = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::_unique2")


def test_no_value_of_a_batch_is_looked_at(monkeypatch: pytest.MonkeyPatch):
    system = SystemPrior(pixel_scale=(1.0, 1.0), theta_E=(12.0, 20.0))
    pairs = Pairs(12, shape=(32, 32), prior=PairPrior(system, rough=1.0), psf_side=15)
    monkeypatch.setattr("lensrim.datasets.pairs.pairs.Stream", HostStream)
    with pretended_device() as device:
        there = pairs.draw(0).to(device)
        pairs.render(there, device)
        found = bench.dispatched(lambda: pairs.render(there, device))
        looked = bench.dispatched(lambda: float(there.macro[0, 0]))
    assert {*WAITING} & {*looked}
    assert not {*WAITING} & {*found}
