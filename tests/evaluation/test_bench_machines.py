"""The benchmarks of machines: their problem, who is trained, and what is told of it."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from lensrim.evaluation.bench import cells, training
from lensrim.evaluation.bench.deconvolution import Deconvolution, along_axes
from lensrim.evaluation.bench.machines import best_error, errors, ours, train
from lensrim.evaluation.bench.timing import Timing
from lensrim.evaluation.bench.training import Load, format_measured, loads
from lensrim.rim.networks import Hourglass, UNet

CPU = torch.device("cpu")
TINY = partial(UNet, widths=(6,), lift=4, embedding=4)
PROBLEMS = [Deconvolution(1, 9), Deconvolution(2, 5), Deconvolution(3, 3, sigma=0.3)]
EVERY = pytest.mark.parametrize("problem", PROBLEMS, ids=str)


@EVERY
def test_the_score_is_the_slope_of_the_likelihood(problem: Deconvolution):
    x, y = problem.draw(3, torch.Generator().manual_seed(0))
    moved = (x + 1).requires_grad_()
    misfit = (y - along_axes(problem.operator, moved)) / problem.sigma
    (expected,) = torch.autograd.grad(-misfit.square().sum() / 2, moved)
    score, _ = problem.score_fn(y)({"x": moved.detach()})
    torch.testing.assert_close(score["x"], expected)


@EVERY
def test_the_posterior_mean_is_where_the_slope_of_the_posterior_is_none(problem: Deconvolution):
    _, y = problem.draw(3, torch.Generator().manual_seed(0))
    x, blur = problem.posterior_mean(y), problem.blur
    likelihood = along_axes(blur.T, y.double() - along_axes(blur, x)) / problem.sigma**2
    prior = along_axes(torch.linalg.inv(problem.prior), x)
    torch.testing.assert_close(likelihood, prior, rtol=1e-5, atol=1e-5)


@EVERY
def test_draws_have_the_covariance_of_the_prior(problem: Deconvolution):
    x, y = problem.draw(20_000, torch.Generator().manual_seed(0))
    along = x.movedim(-1, 1).reshape(len(x), problem.n, -1)
    covariance = torch.einsum("bik,bjk->ij", along, along) / len(x) / along.shape[2]
    torch.testing.assert_close(covariance.double(), problem.prior, rtol=0, atol=0.05)
    noise = y - along_axes(problem.operator, x)
    assert noise.std().item() == pytest.approx(problem.sigma, rel=0.02)


def test_training_brings_a_machine_nearer_to_the_posterior_mean():
    problem = Deconvolution(1, 16)
    torch.manual_seed(0)
    machine = ours(problem, TINY, steps=3)
    assert machine.size == sum(p.numel() for p in machine.module.parameters()) > 0
    (start, *_), best = errors(machine, problem), best_error(problem)
    train(machine, problem, steps=30, batch=16, rate=2e-2, seed=0)
    assert len(errors(machine, problem)) == 3
    assert best < errors(machine, problem)[-1] < 0.6 * start


def test_cells_are_compared_at_equal_steps_and_in_equal_time(monkeypatch: pytest.MonkeyPatch):
    slow, quick = Timing((2.0, 2.0)), Timing((1.0, 1.0))
    timings = {"ConvGRU": slow, "MinimalGRU": quick, "GatedResidual": slow}
    monkeypatch.setattr(cells, "times", lambda problem, batch: timings)
    monkeypatch.setattr(cells, "SMALL", TINY)
    trial = cells.Trial(Deconvolution(1, 8), training=2, batch=2)
    found = {f.cell: f for f in cells.compare(trial, seeds=(0, 1))}
    assert {cell: f.training for cell, f in found.items()} == {
        "ConvGRU": 2,
        "MinimalGRU": 4,
        "GatedResidual": 2,
    }
    assert found["ConvGRU"].equal_time == found["ConvGRU"].equal_steps
    assert found["MinimalGRU"].equal_time != found["MinimalGRU"].equal_steps
    assert len(set(found["ConvGRU"].equal_steps)) == 2
    line = cells.format_found(found["MinimalGRU"])
    assert line.startswith("  MinimalGRU") and line.endswith("after 4 steps")
    assert f"{found['MinimalGRU'].size}  1000.0 ms [1000.0, 1000.0]" in line


def test_each_cell_is_timed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cells, "SMALL", TINY)
    timings = cells.times(Deconvolution(1, 8), 2)
    assert list(timings) == ["ConvGRU", "MinimalGRU", "GatedResidual"]
    assert all(min(t.seconds) > 0 for t in timings.values())


def test_each_size_is_varied_alone():
    middle = Load(8, 4, 32)
    found = list(loads(middle, steps=(4, 8), batch=(4, 16), side=(64,)))
    assert found == [
        middle,
        replace(middle, steps=4),
        replace(middle, batch=16),
        replace(middle, side=64),
    ]


def test_a_step_of_the_training_is_timed_and_told(monkeypatch: pytest.MonkeyPatch):
    tiny = partial(Hourglass, widths=(6,), lift=4, embedding=4)
    monkeypatch.setattr(training, "OURS", {"UNet": TINY, "Hourglass": tiny})
    monkeypatch.setattr(training, "has_torch_rim", lambda: False)
    monkeypatch.setattr(training, "peak_memory", lambda make, device: 3_000_000)
    load = Load(2, 1, 6)
    found = training.measure(load, CPU, seconds=0.0)
    assert list(found) == ["UNet", "Hourglass"]
    line = format_measured(load, found)
    assert line.startswith("   2    1    6²") and line.count("3 MB") == 2


def test_the_step_that_is_timed_reaches_every_parameter():
    torch.manual_seed(0)
    machine = training.machine_of("Hourglass", Load(2, 1, 8), CPU)
    x, y = Deconvolution(2, 8).draw(1, torch.Generator().manual_seed(0))
    machine.loss(x, y).backward()
    assert all(p.grad is not None for p in machine.module.parameters())
