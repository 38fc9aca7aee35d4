"""Starts of batches: as a fit of each image alone, and consistent with their own truth."""

from dataclasses import replace

import pytest
import torch
from pretend import pretended_device

from lensrim.datasets.contaminants import RESIDUES
from lensrim.datasets.halos import LensPrior
from lensrim.datasets.pairs.pairs import PairPrior, Pairs
from lensrim.datasets.priors import SystemPrior
from lensrim.grid import PixelGrid
from lensrim.inference import scatter
from lensrim.inference.learnt import setting_of, simulator_of, start_state, with_start
from lensrim.inference.lens_config import FIELDS, LensConfig, build
from lensrim.inference.objective import loss_of, misfit
from lensrim.inference.scatter import Draws, slope_error
from lensrim.inference.start import extent, shear_of_map, start_of_pairs
from lensrim.lensing.convergence import KappaToAlpha
from lensrim.lensing.likelihood import simulate
from lensrim.lensing.mass import SIE, Sum, flux_average

SYSTEMS = SystemPrior(
    pixel_scale=(1.0, 1.0), light_offset=0.3, psf_fwhm=(1.5, 4.0), theta_E=(12.0, 22.0)
)
PLAIN = replace(SYSTEMS, lens=LensPrior(multipole_std=0.0, subhalos_max=0), light_share=0.0)
SMOOTH = PairPrior(system=PLAIN, rough=0.0, mixed=0.0, contaminants=RESIDUES)


@pytest.fixture(scope="module")
def batch():
    return Pairs(3, shape=(48, 48), prior=SMOOTH, psf_side=15)(1)


def test_samples_do_not_know_each_other(batch, monkeypatch):
    monkeypatch.setattr(scatter, "PUSHED", 0.0)
    monkeypatch.setattr(scatter, "SLOPES", ((-0.5, 0.0), (0.0, 0.0)))  # a draw has a place
    together = start_of_pairs(batch, seed=0)
    for i in range(3):
        alone = start_of_pairs({k: v[i : i + 1] for k, v in batch.items()}, seed=0)
        # but for the length of the steps in which the source prior is tuned, which they share
        torch.testing.assert_close(alone.p[0], together.p[i], rtol=2e-3, atol=1e-2)
        torch.testing.assert_close(alone.kappa[0], together.kappa[i], rtol=2e-2, atol=1e-3)


def test_a_start_is_off_by_the_noise_alone_where_the_model_is_true(batch, monkeypatch):
    monkeypatch.setattr(scatter, "PUSHED", 0.0)
    error = start_of_pairs(batch, seed=0).p - batch["macro"]
    assert float(error[:, 0].abs().max()) < 0.02  # Einstein radius
    assert float(error.abs().max()) > 1e-5


def test_slopes_are_off_as_fits_were_measured_to_be(batch):
    size = 4000
    slope = 2.08 + 0.16 * torch.randn(
        size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    p = torch.zeros(size, 8, dtype=torch.float64)
    p[:, 7] = slope
    snr = 10**scatter.SLOPE_SNR
    many = {"amplitude": torch.full((size,), snr), "sigma": torch.ones(size, 1, 4, 4)}
    error = slope_error(p, many, Draws(p, 0))
    share = float((error * (slope - 2.08)).sum() / (slope - 2.08).square().sum())
    assert share == pytest.approx(-0.52, abs=0.04)
    assert float((error - share * (slope - 2.08)).std()) == pytest.approx(0.11, abs=0.01)
    found = start_of_pairs(batch, seed=0).p[:, 7]
    assert float((found - batch["macro"][:, 7]).abs().max()) > 0.01


def test_pushed_starts_are_farther_off(batch, monkeypatch):
    def distance(share: float) -> float:
        monkeypatch.setattr(scatter, "PUSHED", share)
        return float((start_of_pairs(batch, seed=0).p - batch["macro"])[:, 0].abs().mean())

    assert distance(1.0) > 2 * distance(0.0)


def test_the_truth_explains_the_image_far_better_than_the_start():
    prior = PairPrior(system=SYSTEMS, rough=0.5)
    prepared = with_start(Pairs(6, shape=(48, 48), prior=prior, psf_side=15)(0), 0)
    simulator, setting = simulator_of(prepared), setting_of(prepared)
    truth = {name: prepared[f"true_{name}"] for name in FIELDS}
    true = misfit(simulate(simulator, truth, setting), prepared)
    start = misfit(simulate(simulator, start_state(prepared), setting), prepared)
    assert float(true.median()) < 0.3 * float(start.median())
    assert float(start.median()) < 3


def test_shear_and_the_rest_make_up_for_the_mass_beyond_the_map():
    grid = PixelGrid((32, 32), 1.0)
    lens = Sum([SIE(torch.tensor([8.0, 10.0]), 0.0, 0.0)])
    kappa = flux_average(lens, grid, 8, torch.float32)[:, None]
    x, y = grid.coordinates()
    field = 0.03 * x - 0.02 * y, -0.02 * x - 0.03 * y
    alpha = torch.stack(lens.deflection(x, y), 1) + torch.stack(field)
    arc = ((x**2 + y**2).sqrt() < 12).float().expand(2, 1, -1, -1) / 400
    shear, beyond = shear_of_map(alpha, kappa, arc)
    made = KappaToAlpha(grid).maps(kappa)
    g1, g2 = (g[:, None, None] for g in shear.unbind(1))
    tide = torch.stack([g1 * x + g2 * y, g2 * x - g1 * y], 1)
    torch.testing.assert_close(made + tide + beyond, alpha, rtol=1e-5, atol=1e-4)
    # of a round lens in a square frame nothing that is missing is a shear
    assert float((shear - torch.tensor([0.03, -0.02])).abs().max()) < 1e-3


def test_the_extent_holds_the_source():
    x, y = PixelGrid((64, 64), 1 / 64).coordinates()
    source = torch.exp(-(x**2 + y**2) / (2 * 0.05**2))[None, None]
    side = float(extent(source))
    # 98 % of the flux above a fiftieth of the peak lies within 2.6 standard deviations
    assert side == pytest.approx(2 * 1.3 * 0.12, rel=0.15)


def test_starts_and_loss_are_made_on_the_device_of_a_batch(batch):
    few = {name: value[:2] for name, value in batch.items()}
    here = with_start(few, 3)
    machine = build(LensConfig(steps=2, widths=(8, 12), lift=6, embedding=16))
    loss, _ = loss_of(machine, here)
    with pretended_device() as device:
        there = with_start({name: value.to(device) for name, value in few.items()}, 3)
        assert {value.device for value in there.values()} == {device}
        there_loss, _ = loss_of(machine.to(device), there)
        found = {name: value.cpu() for name, value in there.items()}, float(there_loss.detach())
    for name, value in here.items():
        torch.testing.assert_close(found[0][name], value)
    assert found[1] == pytest.approx(float(loss.detach()), rel=1e-4)
