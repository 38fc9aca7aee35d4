"""Gaussian noise: what is drawn is what is assumed, and ignored pixels are never read."""

import math

import pytest
import torch

from lensrim.lensing.noise import GaussianNoise

SHAPE = (4, 1, 21, 30)


def parts():
    generator = torch.Generator().manual_seed(0)
    model, sigma, mask = torch.rand(3, *SHAPE, generator=generator, dtype=torch.float64)
    return model, 0.1 + sigma, mask > 0.3, generator


def test_mean_chi2_is_the_number_of_pixels():
    model, sigma, mask, generator = parts()
    noise = GaussianNoise(sigma, mask)
    model, pixels = model.expand(SHAPE), noise.pixels(SHAPE)
    draws = torch.stack(
        [noise.chi2(model, noise.sample(model, generator=generator)) for _ in range(100)]
    )
    # The mean of n values of chi2 over N pixels scatters by sqrt(2 N / n).
    pull = (draws.mean(0) - pixels) / (2 * pixels / 100).sqrt()
    assert float(pull.abs().max()) < 4


def test_log_prob_is_that_of_independent_normals():
    model, sigma, mask, generator = parts()
    noise = GaussianNoise(sigma, mask)
    image = noise.sample(model, generator=generator)
    each = torch.distributions.Normal(model, sigma).log_prob(image)
    expected = torch.where(mask, each, 0.0).flatten(1).sum(1)
    torch.testing.assert_close(noise.log_prob(model, image), expected)


def test_one_map_serves_a_batch():
    model, sigma, mask, _ = parts()
    one = GaussianNoise(sigma[0, 0], mask[0, 0])
    many = GaussianNoise(sigma[:1].expand(SHAPE), mask[:1].expand(SHAPE))
    torch.testing.assert_close(one.log_prob(model, 0 * model), many.log_prob(model, 0 * model))
    assert one.pixels(SHAPE).tolist() == many.pixels(SHAPE).tolist()


def test_ignored_pixels_are_never_read():
    model, sigma, mask, _ = parts()
    image = torch.where(mask, 0.3, torch.nan)
    noise = GaussianNoise(torch.where(mask, sigma, torch.nan), mask.to(torch.uint8))
    model.requires_grad_()
    value = noise.log_prob(model, image)
    (gradient,) = torch.autograd.grad(value.sum(), model)
    clean = GaussianNoise(sigma, mask).log_prob(model, image.nan_to_num(7.0))
    torch.testing.assert_close(value, clean)
    assert bool((gradient[~mask] == 0).all())
    assert bool(torch.isfinite(gradient).all())


def test_draws_repeat_with_the_seed():
    model, sigma, mask, _ = parts()
    noise = GaussianNoise(sigma, mask)
    a, b = (noise.sample(model, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_a_used_pixel_without_noise_is_refused(value: float):
    sigma = torch.ones(3, 3)
    sigma[1, 1] = value
    with pytest.raises(ValueError, match=r"finite and positive on used pixels .* found 1"):
        GaussianNoise(sigma)
    mask = torch.ones(3, 3)
    mask[1, 1] = 0
    assert bool(torch.isfinite(GaussianNoise(sigma, mask).sigma).all())


def test_variance_and_weight_are_sigma():
    model, sigma, mask, _ = parts()
    image = model + 0.1
    plain = GaussianNoise(sigma, mask).log_prob(model, image)
    variance = GaussianNoise.from_variance(torch.where(mask, sigma**2, -1.0), mask)
    torch.testing.assert_close(variance.log_prob(model, image), plain)
    weight = torch.where(mask, sigma**-2, 0.0)
    for noise in (GaussianNoise.from_weight(weight), GaussianNoise.from_weight(weight, mask)):
        torch.testing.assert_close(noise.log_prob(model, image), plain)


def test_a_wrong_variance_or_weight_is_refused():
    with pytest.raises(ValueError, match=r"variance must be finite and positive .* found 9"):
        GaussianNoise.from_variance(torch.zeros(3, 3))
    for value in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"weight must be finite and positive .* found 9"):
            GaussianNoise.from_weight(torch.full((3, 3), value))
