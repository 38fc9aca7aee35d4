"""The likelihood and its score."""

import math

import pytest
import torch
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.likelihood import Setting, log_likelihood, score, simulate
from lensrim.lensing.mass import SIE, pixel_average
from lensrim.lensing.psf import gaussian_psf
from lensrim.lensing.simulator import Simulator

SHAPE = (19, 16)


@pytest.fixture(scope="module")
def sim() -> Simulator:
    grid, source_grid = PixelGrid(SHAPE, 0.2), PixelGrid((9, 10), 0.15)
    return Simulator(grid, source_grid, gaussian_psf(0.5, 0.2, 7), dtype=torch.float64)


def truth(batch: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    kappa = pixel_average(SIE(1.0, 0.1, 0.05, 0.03), PixelGrid(SHAPE, 0.2))
    return {
        "source": torch.rand(batch, 1, 9, 10, generator=generator, dtype=torch.float64),
        "log_kappa": kappa.log10().expand(batch, 1, *SHAPE).clone(),
        "shear": 0.05 * torch.randn(batch, 2, generator=generator, dtype=torch.float64),
    }


def observation(sim: Simulator, state: dict[str, Tensor], seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    model = simulate(sim, state)
    sigma, mask = torch.rand(2, *model.shape, generator=generator, dtype=torch.float64)
    sigma, mask = 0.05 + 0.1 * sigma, mask > 0.2
    noise = torch.randn(model.shape, generator=generator, dtype=torch.float64)
    return model + sigma * noise, sigma, mask


def guess(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        "source": 0.8 * state["source"] + 0.1,
        "log_kappa": state["log_kappa"] + 0.02,
        "shear": state["shear"] - 0.01,
    }


def log_p(sim: Simulator, state, image, sigma, mask) -> Tensor:
    return log_likelihood(simulate(sim, state), image, sigma, mask)


@pytest.mark.parametrize("variables", ["log_kappa", "kappa", "centre"])
def test_the_score_is_the_gradient(sim: Simulator, variables: str):
    state = guess(truth())
    image, sigma, mask = observation(sim, truth())
    if variables == "kappa":
        state["kappa"] = 10 ** state.pop("log_kappa")
    if variables == "centre":
        state["source_center"] = torch.tensor([[0.05, -0.02], [0.0, 0.03]]).double()
    gradient, _ = score(sim, image, sigma, mask)(state)
    assert {k: v.shape for k, v in gradient.items()} == {k: v.shape for k, v in state.items()}
    # Small, for the model has kinks where a ray crosses from one source pixel to the next.
    step = 1e-7
    for name, value in state.items():
        direction = torch.randn(value.shape, generator=torch.Generator().manual_seed(4)).double()
        up, down = (
            log_p(sim, {**state, name: value + s * direction}, image, sigma, mask)
            for s in (step, -step)
        )
        expected = (up - down) / (2 * step)
        torch.testing.assert_close(
            (gradient[name] * direction).flatten(1).sum(1), expected, rtol=3e-4, atol=1e-2
        )


def test_the_maps_on_the_way(sim: Simulator):
    state = guess(truth())
    image, sigma, mask = observation(sim, truth())
    _, aux = score(sim, image, sigma, mask)(state)
    torch.testing.assert_close(aux["model"], simulate(sim, state))
    expected = torch.where(mask, (image - aux["model"]) / sigma, 0.0)
    torch.testing.assert_close(aux["residual"], expected)
    torch.testing.assert_close(aux["log_prob"], log_p(sim, state, image, sigma, mask))
    assert not any(x.requires_grad for x in aux.values())


def test_the_mean_score_is_zero_at_the_truth(sim: Simulator):
    n, state = 200, truth(1)
    many = {name: value.expand(n, *value.shape[1:]) for name, value in state.items()}
    image, sigma, mask = observation(sim, many)
    sigma, mask = sigma[:1], mask[:1]
    generator = torch.Generator().manual_seed(7)
    noise = torch.randn(image.shape, generator=generator, dtype=torch.float64)
    image = simulate(sim, many) + sigma * noise
    gradient, aux = score(sim, image, sigma, mask)(many)
    for value in gradient.values():
        spread = value.std(0)
        seen = spread > 1e-9
        pull = (value.mean(0) / spread * math.sqrt(n))[seen]
        assert float(pull.square().mean()) == pytest.approx(1.0, abs=0.75)
        assert float(pull.abs().max()) < 5
    chi2 = aux["residual"].square().flatten(1).sum(1)
    pixels = float(mask.sum())
    assert float(chi2.mean()) == pytest.approx(pixels, abs=4 * math.sqrt(2 * pixels / n))


def test_samples_do_not_know_each_other(sim: Simulator):
    state = guess(truth())
    image, sigma, mask = observation(sim, truth())
    gradient, _ = score(sim, image, sigma, mask)(state)
    for i in range(2):
        j = slice(i, i + 1)
        one, _ = score(sim, image[j], sigma[j], mask[j])({k: v[j] for k, v in state.items()})
        for name in state:
            torch.testing.assert_close(one[name][0], gradient[name][i])


def test_ignored_pixels_have_no_weight(sim: Simulator):
    state = guess(truth())
    image, sigma, mask = observation(sim, truth())
    spoilt = torch.where(mask, image, torch.nan)
    a, _ = score(sim, image, sigma, mask)(state)
    b, _ = score(sim, spoilt, torch.where(mask, sigma, 0.0), mask)(state)
    for name in state:
        torch.testing.assert_close(a[name], b[name])


def test_the_score_works_and_is_constant_where_no_gradient_is_recorded(sim: Simulator):
    state = guess(truth())
    image, sigma, mask = observation(sim, truth())
    state["source"].requires_grad_()
    with torch.no_grad():
        gradient, _ = score(sim, image, sigma, mask)(state)
    again, _ = score(sim, image, sigma, mask)(state)
    for name in state:
        torch.testing.assert_close(gradient[name], again[name])
        assert not again[name].requires_grad
    assert state["source"].grad is None


def test_the_score_can_be_differentiated(sim: Simulator):
    state = guess(truth(1))
    image, sigma, mask = observation(sim, truth(1))
    state["source"].requires_grad_()
    fn = score(sim, image, sigma, mask, create_graph=True)
    gradient, _ = fn(state)
    v = torch.randn(state["source"].shape, generator=torch.Generator().manual_seed(3)).double()
    (curvature,) = torch.autograd.grad((gradient["source"] * v).sum(), state["source"])
    # The model is linear in the source, so a difference of scores is exact.
    other, _ = fn({**state, "source": state["source"] + v})
    torch.testing.assert_close(curvature, other["source"] - gradient["source"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kappa": 1.0}, "either kappa or log_kappa"),
        ({"log_kappa": None}, "either kappa or log_kappa"),
        ({"source": None}, "needs source"),
        ({"gamma": 1.0}, r"got \['gamma'\]"),
    ],
)
def test_a_wrong_state_is_refused(sim: Simulator, change, message: str):
    state = {k: v for k, v in {**truth(), **change}.items() if v is not None}
    with pytest.raises(ValueError, match=message):
        simulate(sim, state)


def arc_weights(batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    weights = torch.rand(batch, 1, *SHAPE, generator=generator, dtype=torch.float64)
    return weights / weights.sum((1, 2, 3), keepdim=True)


def test_a_constant_deflection_does_not_matter_where_the_source_follows_the_arcs(sim: Simulator):
    state, arc = truth(), arc_weights()
    constant = torch.tensor([0.3, -0.2]).double()[None, :, None, None].expand(2, 2, *SHAPE)
    still = simulate(sim, state, Setting(arc=arc))
    moved = simulate(sim, state, Setting(arc=arc, beyond=constant))
    torch.testing.assert_close(moved, still)
    unfollowed = simulate(sim, state, Setting(beyond=constant))
    assert float((unfollowed - simulate(sim, state)).abs().max()) > 0.01


def test_mass_beyond_the_map_may_be_a_shear(sim: Simulator):
    state = truth()
    x, y = PixelGrid(SHAPE, 0.2).coordinates(dtype=torch.float64)
    g1, g2 = (g[:, None, None] for g in state["shear"].unbind(-1))
    field = torch.stack([g1 * x + g2 * y, g2 * x - g1 * y], 1)
    unsheared = {**state, "shear": torch.zeros_like(state["shear"])}
    torch.testing.assert_close(
        simulate(sim, unsheared, Setting(beyond=field)), simulate(sim, state)
    )


def test_the_scale_is_that_of_a_larger_source_grid(sim: Simulator):
    state, scale = truth(), torch.tensor([1.0, 1.7]).double()
    state["source_center"] = torch.tensor([[0.05, -0.02], [0.1, 0.03]]).double()
    scaled = simulate(sim, state, Setting(scale=scale))
    for i, factor in enumerate(scale):
        grid = PixelGrid((9, 10), 0.15 * float(factor))
        psf = gaussian_psf(0.5, 0.2, 7)
        larger = Simulator(PixelGrid(SHAPE, 0.2), grid, psf, dtype=torch.float64)
        one = simulate(larger, {k: v[i : i + 1] for k, v in state.items()})
        torch.testing.assert_close(scaled[i : i + 1], one)


def test_the_pull_of_all_pixels_is_that_of_the_source_centre(sim: Simulator):
    state = guess(truth())
    state["source_center"] = torch.zeros(2, 2).double()
    image, sigma, mask = observation(sim, truth())
    gradient, aux = score(sim, image, sigma, mask)(state)
    # to move all rays is to move the source the other way
    torch.testing.assert_close(aux["pull"].sum((-2, -1)), -gradient["source_center"])


def test_the_information_is_the_sum_of_inverse_variances(sim: Simulator):
    state = guess(truth())
    image, sigma, mask = observation(sim, truth())
    _, aux = score(sim, image, sigma, mask)(state)
    assert aux["information"].shape == state["source"].shape
    # A source of ones is seen at 1 where rays land inside: its image without PSF is the share.
    seen = Simulator(sim.image_grid, sim.source_grid, dtype=torch.float64)
    ones = torch.ones_like(state["source"])
    share = simulate(seen, {**state, "source": ones})
    expected = (share * torch.where(mask, sigma**-2, 0.0)).sum((1, 2, 3))
    torch.testing.assert_close(aux["information"].sum((1, 2, 3)), expected)


def test_a_score_to_differentiate_is_not_compiled(monkeypatch: pytest.MonkeyPatch):
    grid = PixelGrid((5, 4), 0.3)
    image = torch.ones(1, 1, *grid.shape)
    score_fn = score(Simulator(grid, grid), image, image, create_graph=True)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with pytest.raises(ValueError, match=r"create_graph.* cannot be compiled"):
        score_fn({"source": image, "kappa": image})
