"""Noise that follows the model image."""

import pytest
import torch

from lensrim.lensing.noise import GaussianNoise, PoissonNoise

SHAPE = (2, 1, 6, 5)


def uniform(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_an_infinite_exposure_leaves_the_background():
    model, image = uniform(*SHAPE), uniform(*SHAPE, seed=1)
    background = 0.1 + uniform(6, 5, seed=2)
    noise = PoissonNoise(background, torch.full((6, 5), torch.inf).double())
    torch.testing.assert_close(
        noise.log_prob(model, image), GaussianNoise(background).log_prob(model, image)
    )


def test_counts_have_the_mean_and_the_variance():
    # Real counts over a background of counts: what the model of the noise stands for.
    exposure, sky, model = 40.0, 5.0, 3.0 * uniform(6, 5)
    generator = torch.Generator().manual_seed(0)
    rate = (exposure * (model + sky)).expand(4000, 1, 6, 5)
    image = torch.poisson(rate, generator=generator) / exposure - sky
    background = torch.tensor((sky / exposure) ** 0.5).double()
    noise = PoissonNoise(background, torch.tensor(exposure).double())
    variance = noise.variance(model)
    torch.testing.assert_close(image.var(0)[0], variance, rtol=0.12, atol=0)
    assert float(noise.chi2(model.expand_as(image), image).mean()) == pytest.approx(30, rel=0.02)


def test_a_wrong_background_or_exposure_is_refused():
    one = torch.ones(3, 3)
    with pytest.raises(ValueError, match="background must be finite and positive"):
        PoissonNoise(0 * one, one)
    for bad in (0 * one, -one, one * torch.nan):
        with pytest.raises(ValueError, match="exposure must be finite and positive"):
            PoissonNoise(one, bad)
    mask = torch.eye(3)
    broken = torch.where(mask.bool(), one, torch.nan)
    assert bool(torch.isfinite(PoissonNoise(broken, broken, mask).variance(one)).all())


@pytest.mark.oracle
def test_the_variance_is_that_of_lenstronomy():
    util = pytest.importorskip("lenstronomy.Data.image_noise")
    data = 2 * uniform(6, 5) - 0.5
    theirs = util.covariance_matrix(data.numpy(), 0.2, 30.0)
    ours = PoissonNoise(torch.tensor(0.2).double(), torch.tensor(30.0).double()).variance(data)
    torch.testing.assert_close(ours, torch.from_numpy(theirs), rtol=1e-6, atol=0)
