"""Lenses drawn around an answer: they are near it, and pairs as the training has them."""

import pytest
import torch
from torch import Tensor

from lensrim.datasets.galaxies.generative import VAE, VAEConfig
from lensrim.datasets.pairs.pairs import Pairs
from lensrim.errors import InputError
from lensrim.inference.ewc import fisher
from lensrim.inference.learnt import prepare, start_state, with_start
from lensrim.inference.lens_config import LensConfig, build
from lensrim.inference.nearby import Neighbourhood, _along_radius, _points, light_frame
from lensrim.inference.objective import loss_of
from lensrim.inference.start import Start, start_of_pairs


def gen() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def untrained(power: float) -> VAE:
    """A generator whose latent numbers move all of the image."""
    torch.manual_seed(2)
    vae = VAE(VAEConfig(side=16, latent=3, widths=(4, 6), power=power))
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return vae.eval().requires_grad_(False)


NEAR = Neighbourhood(untrained(0.5), untrained(1.0))


@pytest.fixture(scope="module")
def batch() -> dict[str, Tensor]:
    return Pairs(1, shape=(32, 32), seed=4)(0)


@pytest.fixture(scope="module")
def start(batch: dict[str, Tensor]) -> Start:
    return start_of_pairs(batch, seed=0)


@pytest.fixture(scope="module")
def state(batch: dict[str, Tensor], start: Start) -> dict[str, Tensor]:
    """An answer: the start itself."""
    return start_state(prepare(batch, start))


def test_without_spread_the_samples_are_the_answer(start: Start, state: dict[str, Tensor]) -> None:
    still = Neighbourhood(NEAR.sources, NEAR.masses, source_spread=0.0, mass_spread=0.0)
    found = still.states(state, start, 2, gen())
    for name, value in state.items():
        expected = value.clamp(min=0) if name == "source" else value
        torch.testing.assert_close(found[name], expected.expand_as(found[name]), rtol=0, atol=1e-5)


def test_a_larger_spread_leads_further_away(start: Start, state: dict[str, Tensor]) -> None:
    far: dict[str, list[float]] = {"source": [], "log_kappa": []}
    for spread in (0.1, 0.5):
        near = Neighbourhood(NEAR.sources, NEAR.masses, source_spread=spread, mass_spread=spread)
        found = near.states(state, start, 8, gen())
        for name in far:
            off = found[name] - state[name].clamp(min=0 if name == "source" else None, max=9)
            far[name].append(float(off.square().mean().sqrt()))
    assert all(0 < a < 0.5 * b for a, b in far.values())


def test_pairs_are_those_of_the_training(
    batch: dict[str, Tensor], start: Start, state: dict[str, Tensor]
) -> None:
    drawn = list(NEAR.pairs(batch, start, state, 2))
    expected = with_start(batch, 0)
    for pair in drawn:
        assert {n: v.shape for n, v in pair.items()} == {n: v.shape for n, v in expected.items()}
        assert all(bool(v.isfinite().all()) for v in pair.values())
        # what is left of the image beside the truth is noise of the known size
        normal = ((pair["image"] - pair["clean"]) / pair["sigma"])[pair["mask"] > 0]
        assert float(normal.std()) == pytest.approx(1, abs=0.1)
    assert not torch.equal(drawn[0]["clean"], drawn[1]["clean"])
    again = next(NEAR.pairs(batch, start, state, 1))
    assert all(torch.equal(again[name], drawn[0][name]) for name in again)


def test_the_machine_is_known_to_depend_on_its_weights(
    batch: dict[str, Tensor], start: Start, state: dict[str, Tensor]
) -> None:
    torch.manual_seed(0)
    rim = build(LensConfig(steps=2, widths=(4,), lift=4, embedding=4))
    found = fisher(rim, NEAR.pairs(batch, start, state, 1), loss_of)
    assert set(found) == {name for name, _ in rim.named_parameters()}
    total = sum(float(f.sum()) for f in found.values())
    assert total > 0 and all(bool((f >= 0).all() and f.isfinite().all()) for f in found.values())


def test_the_frame_of_a_source_is_where_its_light_is() -> None:
    points = _points(64)
    center, radius = torch.tensor([0.2, -0.3]), 0.1
    r2 = (points - center).square().sum(-1)
    source = torch.exp(-r2 * torch.tensor(2.0).log() / radius**2)[None, None]
    found, half = light_frame(source)
    assert found.tolist() == pytest.approx(center.tolist(), abs=0.01)
    # the half-light radius, a tenth of the side
    assert half == pytest.approx(5 * radius, rel=0.1)


def test_beyond_the_edge_a_map_is_read_at_the_edge() -> None:
    half = torch.tensor([1.0, 1.0])
    maps = _points(64)[None, None, :, :, 0]  # x itself
    points = torch.tensor([[[0.3, 0.1], [3.0, 0.0], [-2.0, 1.0]]])
    values, beyond = _along_radius(maps, points, torch.zeros(2), half)
    edge = 1 - 1 / 64
    assert values.flatten().tolist() == pytest.approx([0.3, edge, -edge], abs=2e-3)
    assert beyond.flatten().tolist() == pytest.approx([1.0, 3 / edge, 2 / edge], rel=1e-5)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source_spread": -1.0}, "source_spread: must be 0 or more"),
        ({"reach": 1.0}, "reach: must be above 1 Einstein radius"),
    ],
)
def test_impossible_numbers_are_refused(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Neighbourhood(NEAR.sources, NEAR.masses, **values)
