"""The loss of autoencoders against closed forms, and what is learnt with it."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

from lensrim.datasets.galaxies.generative import VAE, VAEConfig, load_vae
from lensrim.errors import InputError
from lensrim.generation.elbo import ELBO, divergence
from lensrim.generation.mixture import fit_mixture
from lensrim.generation.quality import decoded_by, decoded_by_components, errors_of
from lensrim.training.config import TrainConfig
from lensrim.training.loop import fit
from lensrim.training.names import BEST


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Fixed(nn.Module):
    """Says what it was told to say, whatever the images."""

    def __init__(self, *said: Tensor):
        super().__init__()
        self.said = said

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.said


SEEN, DECODED = random(5, 1, 4, 4), random(5, 1, 4, 4, seed=1)
MEAN, LOG_VARIANCE = random(5, 3, seed=2), random(5, 3, seed=3)
BATCH = {"image": SEEN, "step": torch.tensor(10)}
MODEL = Fixed(SEEN, DECODED, MEAN, LOG_VARIANCE)


def test_the_divergence_is_that_of_normal_distributions() -> None:
    posterior = Normal(MEAN, (LOG_VARIANCE / 2).exp())
    expected = kl_divergence(posterior, Normal(torch.zeros(5, 3), torch.ones(5, 3)))
    torch.testing.assert_close(divergence(MEAN, LOG_VARIANCE), expected)


def test_the_loss_is_minus_the_bound_but_for_a_constant() -> None:
    sigma = 0.3
    loss, numbers = ELBO(sigma=sigma, warmup=0)(MODEL, BATCH)
    likelihood = Normal(DECODED, sigma).log_prob(SEEN).flatten(1).sum(1).mean()
    constant = 16 * math.log(sigma * math.sqrt(2 * math.pi))
    bound = likelihood - divergence(MEAN, LOG_VARIANCE).sum(1).mean()
    assert float(loss) == pytest.approx(-float(bound + constant) / 16, rel=1e-5)
    assert numbers["rms"] == pytest.approx(float((SEEN - DECODED).square().mean().sqrt()))


def test_the_price_of_information_rises() -> None:
    elbo = ELBO(beta=2.0, warmup=4)
    assert [elbo.beta_at(step) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_free_bits_cost_nothing() -> None:
    model = Fixed(SEEN, DECODED, 0.1 * MEAN, 0.1 * LOG_VARIANCE)
    free, paid = (ELBO(warmup=0, free_bits=f)(model, BATCH)[0] for f in (50.0, 0.0))
    kl = divergence(0.1 * MEAN, 0.1 * LOG_VARIANCE).sum(1).mean()
    assert float(free - paid) == pytest.approx(float(3 * 50.0 - kl) / 16, rel=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [({"sigma": 0.0}, "sigma: must be positive"), ({"beta": -1.0}, "beta: must be 0 or more")],
)
def test_impossible_numbers_are_refused(values: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        ELBO(**values)


def arcs(n: int, seed: int) -> Tensor:
    """A family of one parameter: a blob somewhere on a circle."""
    angle = 2 * math.pi * torch.rand(n, 1, 1, generator=torch.Generator().manual_seed(seed))
    axis = torch.arange(16) - 7.5
    r2 = (axis[None, :] - 4.5 * angle.cos()) ** 2 + (axis[:, None] - 4.5 * angle.sin()) ** 2
    return torch.exp(-r2 / 4.5)[:, None]


def test_a_small_one_learns_what_components_cannot(tmp_path: Path) -> None:
    torch.manual_seed(0)
    vae = VAE(VAEConfig(side=16, latent=2, widths=(8, 16)))
    training, held = arcs(256, 10_000), arcs(128, 10_001)
    vae.standardise(training)
    config = TrainConfig(
        steps=100, batch_size=16, learning_rate=6e-3, warmup=10, ema=0.95, validate_every=100
    )
    fit(
        vae,
        lambda i: {"image": arcs(16, i), "step": torch.tensor(i)},
        ELBO(sigma=0.2, warmup=30),
        config,
        folder=tmp_path,
        validation=[{"image": held, "step": torch.tensor(100)}],
        header={"vae": {"side": 16, "latent": 2, "widths": [8, 16], "power": 1.0}},
    )
    learnt = load_vae(tmp_path / BEST)
    own = errors_of(learnt, held, decoded_by(learnt, held))
    linear = errors_of(learnt, held, decoded_by_components(learnt, training, held, 2))
    assert own.relative < 0.25 < 0.6 < linear.relative


class TestMixture:
    def test_one_component_is_mean_and_covariance(self) -> None:
        z = random(500, 3) @ random(3, 3, seed=1) + random(3, seed=2)
        found = fit_mixture(z, 1, torch.Generator().manual_seed(0))
        torch.testing.assert_close(found.centers[0], z.mean(0), rtol=1e-4, atol=1e-5)
        covariance = found.factors[0] @ found.factors[0].T
        torch.testing.assert_close(covariance, torch.cov(z.T), rtol=0.01, atol=1e-3)

    def test_two_clusters_are_found(self) -> None:
        z = torch.cat([0.2 * random(300, 2) - 4, 0.2 * random(100, 2, seed=1) + 4])
        found = fit_mixture(z, 2, torch.Generator().manual_seed(1))
        order = found.centers[:, 0].argsort()
        torch.testing.assert_close(
            found.shares[order], torch.tensor([0.75, 0.25]), atol=1e-3, rtol=0
        )
        assert found.centers[order][:, 0].tolist() == pytest.approx([-4, 4], abs=0.1)

    def test_densities_integrate_to_one(self) -> None:
        found = fit_mixture(random(200, 2), 3, torch.Generator().manual_seed(0))
        axis = torch.linspace(-8, 8, 161)
        z = torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
        assert float(found.log_densities(z).exp().sum() * 0.1**2) == pytest.approx(1, abs=1e-3)
