"""The machine for lenses: what it is shown, what it is asked for, and that it can learn."""

import pytest
import torch
from interferometers import energy

from lensrim.datasets.pairs.pairs import PairPrior, Pairs
from lensrim.datasets.priors import SystemPrior
from lensrim.grid import PixelGrid
from lensrim.inference.learnt import (
    prepare,
    score_of,
    setting_of,
    simulator_of,
    start_state,
    turned,
    with_aux,
    with_start,
)
from lensrim.inference.lens_config import AUX, ENCODINGS, FIELDS, LensConfig, build
from lensrim.inference.objective import loss_of
from lensrim.inference.start import start_of_pairs
from lensrim.lensing.cosmology import ARCSEC
from lensrim.lensing.likelihood import log_likelihood, score, simulate
from lensrim.lensing.noise import VisibilityNoise
from lensrim.lensing.nufft import Direct
from lensrim.lensing.simulator import Simulator
from lensrim.lensing.visibilities import Interferometer

SYSTEMS = SystemPrior(
    pixel_scale=(1.0, 1.0), light_offset=0.3, psf_fwhm=(1.5, 4.0), theta_E=(12.0, 22.0)
)
PAIRS = Pairs(3, shape=(32, 32), prior=PairPrior(system=SYSTEMS), psf_side=15)
SMALL = LensConfig(steps=2, widths=(8, 12), lift=6, embedding=16)


@pytest.fixture(scope="module")
def batch():
    return with_start(PAIRS(0), 0)


def test_an_untrained_machine_returns_its_start(batch):
    rim, start = build(SMALL), start_state(batch)
    score_fn = score_of(batch, simulator_of(batch))
    last = rim.predict(batch["observation"], score_fn, start, batch["conditioning"])
    for name in FIELDS:
        assert torch.equal(last[name], start[name])


def test_its_trajectory_tells_log_probabilities(batch):
    rim, simulator = build(SMALL), simulator_of(batch)
    with torch.no_grad():
        path = rim(
            batch["observation"],
            score_of(batch, simulator),
            start_state(batch),
            batch["conditioning"],
            judged=True,
        )
    seen = simulate(simulator, path.last, setting_of(batch))
    expected = log_likelihood(seen, batch["image"], batch["sigma"], batch["mask"])
    assert path.log_probs is not None
    torch.testing.assert_close(path.log_probs, expected.expand(SMALL.steps + 1, 3))


def test_the_unit_of_brightness_does_not_matter():
    raw = PAIRS(1)
    bright = {k: v * (50 if k in ("image", "sigma", "amplitude") else 1) for k, v in raw.items()}
    one, other = (prepare(b, start_of_pairs(b, seed=0)) for b in (raw, bright))
    for name in ("observation", "conditioning", "source", "log_kappa", "shear"):
        torch.testing.assert_close(other[name], one[name], rtol=2e-3, atol=2e-3)


def test_the_maps_that_are_shown_have_their_channels_and_an_order_of_one(batch):
    gradient, aux = score_of(batch, simulator_of(batch))(start_state(batch))
    assert list(aux) == [*AUX, "log_prob"]
    assert aux.pop("log_prob").shape == (3,)
    for name, value in aux.items():
        assert value.shape == (3, AUX[name], 32, 32)
        assert float(value.abs().max()) < 30, name
    for name in FIELDS:
        assert gradient[name].shape == batch[name].shape


def test_it_is_shown_the_score_of_visibilities_at_each_step(batch):
    simulator = Simulator(PixelGrid((32, 32), 1.0), simulator_of(batch).source_grid)
    generator = torch.Generator().manual_seed(0)
    uv = 0.5 * (torch.rand(200, 2, generator=generator) - 0.5) / ARCSEC
    seen = Interferometer(simulator.image_grid, uv, transform=Direct())
    sigma = 1.0 + 2 * torch.rand(200, generator=generator)
    noise = VisibilityNoise(seen, sigma)
    start, setting = start_state(batch), setting_of(batch)
    truth = {name: batch[f"true_{name}"] for name in FIELDS}
    data = noise.sample(simulate(simulator, truth, setting), generator=generator)
    plain, met = score(simulator, data, noise, setting=setting), []

    def score_fn(state):
        met.append(state)
        return with_aux(plain)(state)

    aux = with_aux(plain)(start)[1]
    for name, value in ((name, aux[name]) for name in AUX):
        assert value.shape == (3, AUX[name], 32, 32)
        assert float(value.abs().max()) < 30, name
    rim, shown = build(SMALL), []
    rim.network.register_forward_pre_hook(lambda _, given: shown.append(given[:2]))
    with torch.no_grad():
        rim.network.last.weight.normal_(std=0.01, generator=generator)
    observation = torch.cat([noise.dirty_image(data), batch["observation"][:, 1:]], 1)
    rim.predict(observation, score_fn, start, batch["conditioning"])
    assert len(shown) == len(met) == SMALL.steps
    assert not torch.equal(met[0]["source"], met[1]["source"])
    for (maps, vectors), state in zip(shown, met, strict=True):
        x = {name: value.clone().requires_grad_() for name, value in state.items()}
        model = simulate(simulator, x, setting)
        up = -energy(model, data, uv, sigma, grid=simulator.image_grid)
        # Each field shows itself, its change, and its score; before are observation or clock.
        found = (maps[:, 6:8], maps[:, 10:12], vectors[:, 6:10])
        slopes = torch.autograd.grad(up, list(x.values()))
        for pair, slope in zip(found, slopes, strict=True):
            names = SMALL.encodings
            expected = [ENCODINGS[name].update((), slope)[1] for name in names]
            torch.testing.assert_close(pair, torch.cat(expected, 1), rtol=2e-3, atol=2e-3)


def test_the_loss_of_the_start_is_that_of_its_errors(batch):
    loss, metrics = loss_of(build(SMALL), batch)
    assert bool(loss.isfinite())
    for name in ("misfit", "source", "kappa"):
        assert metrics[name] == pytest.approx(metrics[f"{name}_start"], rel=1e-5)


def test_it_can_learn_a_batch(batch):
    torch.manual_seed(0)
    rim = build(SMALL)
    optimiser = torch.optim.Adam(rim.parameters(), lr=3e-3)
    first = float(loss_of(rim, batch)[0].detach())
    for _ in range(25):
        loss, metrics = loss_of(rim, batch)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rim.parameters(), 1.0)
        optimiser.step()
    assert float(loss.detach()) < first - 0.03
    assert metrics["misfit"] < metrics["misfit_start"]


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_turned_batch_is_the_same_physics(batch, turns: int, flip: bool):
    turn = turned(batch, turns, flip)
    assert turn.keys() == batch.keys()
    for prefix in ("", "true_"):
        seen = [
            simulate(simulator_of(b), {name: b[prefix + name] for name in FIELDS}, setting_of(b))
            for b in (batch, turn)
        ]
        expected = torch.rot90(seen[0].flip(-1) if flip else seen[0], turns, (-2, -1))
        torch.testing.assert_close(seen[1], expected, rtol=1e-3, atol=2e-4)
    before, after = (score_of(b, simulator_of(b))(start_state(b))[0] for b in (batch, turn))
    torch.testing.assert_close(
        after["log_kappa"].norm(), before["log_kappa"].norm(), rtol=1e-2, atol=0.1
    )
