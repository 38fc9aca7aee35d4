"""Laws of every noise model: what is drawn is what is assumed, and the score has no bias."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.likelihood import log_likelihood, score, simulate
from lensrim.lensing.mass import SIE, pixel_average
from lensrim.lensing.noise import (
    CorrelatedNoise,
    GaussianNoise,
    Noise,
    PoissonNoise,
    power_spectrum,
)
from lensrim.lensing.psf import gaussian_psf
from lensrim.lensing.simulator import Simulator

SHAPE = (2, 1, 9, 8)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SIGMA, MODEL = 0.1 + uniform(*SHAPE), 2 * uniform(*SHAPE, seed=1) - 0.3
"""A part of the model image is negative, as that of a source without a link may be."""
MASK = uniform(*SHAPE, seed=2) > 0.3
EXPOSURE = 0.5 + 5 * uniform(*SHAPE, seed=4)
COVARIANCE = torch.tensor([[0.02, 0.1, 0.05], [0.15, 1.0, 0.15], [0.05, 0.1, 0.02]]).double()
POWER = 0.09 * power_spectrum(COVARIANCE, SHAPE[-2:])


@dataclass
class Case:
    """A noise model, made in any precision, and the covariance of all pixels of a sample."""

    make: Callable[[torch.dtype], Noise]
    covariance: Callable[[int], Tensor]
    normalized: bool = True


def diagonal(variance: Tensor) -> Callable[[int], Tensor]:
    return lambda i: torch.diag(variance.expand(SHAPE)[i].flatten())


def circulant(_: int) -> Tensor:
    h, w = SHAPE[-2:]
    kernel = torch.zeros(h, w, dtype=torch.float64)
    kernel[:3, :3] = 0.09 * COVARIANCE
    kernel = kernel.roll((-1, -1), (0, 1))
    columns = [kernel.roll((i, j), (0, 1)).flatten() for i in range(h) for j in range(w)]
    return torch.stack(columns, 1)


FOLLOWS = 0.04 + MODEL.clamp(min=0) / EXPOSURE
CASES = {
    "sigma": Case(lambda t: GaussianNoise(SIGMA.to(t)), diagonal(SIGMA**2)),
    "sigma, masked": Case(lambda t: GaussianNoise(SIGMA.to(t), MASK), diagonal(SIGMA**2)),
    "variance": Case(lambda t: GaussianNoise.from_variance(SIGMA.to(t), MASK), diagonal(SIGMA)),
    "weight": Case(
        lambda t: GaussianNoise.from_weight(torch.where(MASK, 1 / SIGMA, 0.0).to(t)),
        diagonal(SIGMA),
    ),
    "Poisson": Case(
        lambda t: PoissonNoise(torch.tensor(0.2).to(t), EXPOSURE.to(t)), diagonal(FOLLOWS)
    ),
    "Poisson, masked": Case(
        lambda t: PoissonNoise(torch.tensor(0.2).to(t), EXPOSURE.to(t), MASK), diagonal(FOLLOWS)
    ),
    "correlated": Case(lambda t: CorrelatedNoise(POWER.to(t)), circulant),
    "correlated, masked": Case(
        lambda t: CorrelatedNoise(POWER.to(t), MASK), circulant, normalized=False
    ),
}
EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())


def made(case: Case, dtype: torch.dtype = torch.float64) -> Noise:
    return case.make(dtype)


def draw(noise: Noise, n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Model and images, with shape (n, B, 1, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.stack([noise.sample(MODEL, generator=generator) for _ in range(n)])
    return MODEL.expand_as(images), images


@EVERY
def test_mean_chi2_is_the_number_of_pixels(case: Case):
    noise = made(case)
    n, pixels = 400, noise.pixels(SHAPE)
    chi2 = torch.func.vmap(noise.chi2)(*draw(noise, n))
    # The mean of n values of chi2 over N pixels scatters by sqrt(2 N / n).
    pull = (chi2.mean(0) - pixels) / (2 * pixels / n).sqrt()
    assert float(pull.abs().max()) < 4
    spread = chi2.var(0) / (2 * pixels)
    assert float((spread - 1).abs().max()) < 5 * math.sqrt(2 / n)


@EVERY
def test_the_mean_score_is_zero_at_the_truth(case: Case):
    noise, n = made(case), 400
    model, images = draw(noise, n)
    model = model.clone().requires_grad_()
    total = torch.func.vmap(noise.log_prob)(model, images).sum()
    (gradient,) = torch.autograd.grad(total, model)
    used = noise.mask.expand(SHAPE)
    pull = (gradient.mean(0) / gradient.std(0) * math.sqrt(n))[used]
    assert float(pull.abs().max()) < 4.5
    assert float(pull.square().mean()) == pytest.approx(1.0, abs=0.45)
    assert bool((gradient[:, ~used] == 0).all())


@EVERY
def test_the_likelihood_is_that_of_the_covariance_matrix(case: Case):
    noise = made(case)
    image = noise.sample(MODEL, generator=torch.Generator().manual_seed(3))
    chi2, log_p = noise.chi2(MODEL, image), noise.log_prob(MODEL, image)
    for i in range(SHAPE[0]):
        used = noise.mask.expand(SHAPE)[i].flatten()
        c = case.covariance(i)[used][:, used]
        dense = torch.distributions.MultivariateNormal(MODEL[i].flatten()[used], c)
        d = (image - MODEL)[i].flatten()[used]
        torch.testing.assert_close(chi2[i], d @ torch.linalg.solve(c, d), rtol=1e-6, atol=1e-8)
        if case.normalized:
            torch.testing.assert_close(log_p[i], dense.log_prob(image[i].flatten()[used]))
        elif i == 0:
            error = log_p[i] - dense.log_prob(image[i].flatten()[used])
            other = noise.log_prob(0 * MODEL, image)[i] - torch.distributions.MultivariateNormal(
                0 * dense.mean, c
            ).log_prob(image[i].flatten()[used])
            # Wrong by a constant, here by a tenth for each pixel.
            torch.testing.assert_close(error, other)
            assert abs(float(error)) < 0.1 * int(used.sum())


@EVERY
def test_precision_is_the_diagonal_of_the_inverse(case: Case):
    precision = made(case).precision(MODEL)
    assert precision.shape == SHAPE
    for i in range(SHAPE[0]):
        expected = torch.linalg.inv(case.covariance(i)).diagonal().reshape(SHAPE[1:])
        used = made(case).mask.expand(SHAPE)[i]
        torch.testing.assert_close(precision[i], torch.where(used, expected, 0.0))


@EVERY
def test_ignored_pixels_are_never_read(case: Case):
    noise, model = made(case), MODEL.clone().requires_grad_()
    used = noise.mask.expand(SHAPE)
    image = noise.sample(MODEL, generator=torch.Generator().manual_seed(3))
    clean, spoilt = (
        noise.log_prob(model, torch.where(used, image, other)) for other in (7.0, torch.nan)
    )
    torch.testing.assert_close(clean, spoilt)
    (gradient,) = torch.autograd.grad(spoilt.sum(), model)
    assert bool(torch.isfinite(gradient).all())
    assert bool((gradient[~used] == 0).all())


@EVERY
def test_gradients_are_those_of_finite_differences(case: Case):
    noise = made(case)
    image = noise.sample(MODEL, generator=torch.Generator().manual_seed(3))
    model = MODEL.clone().requires_grad_()
    for f in (noise.log_prob, noise.residual):
        assert torch.autograd.gradcheck(lambda m, f=f: f(m, image), (model,), fast_mode=True)


def test_the_residual_of_correlated_noise_has_second_derivatives():
    noise, image = CorrelatedNoise(POWER, MASK), MODEL + 0.3
    model = MODEL.clone().requires_grad_()
    assert torch.autograd.gradgradcheck(lambda m: noise.chi2(m, image), (model,), fast_mode=True)


@EVERY
def test_it_works_under_vmap(case: Case):
    noise = made(case)
    models, images = draw(noise, 3)
    mapped = torch.func.vmap(noise.log_prob)(models, images)
    alone = torch.stack([noise.log_prob(m, y) for m, y in zip(models, images, strict=True)])
    torch.testing.assert_close(mapped, alone)
    slopes = torch.func.vmap(torch.func.grad(lambda m, y: noise.log_prob(m, y).sum()))
    m = models.clone().requires_grad_()
    total = sum(noise.log_prob(a, b).sum() for a, b in zip(m, images, strict=True))
    torch.testing.assert_close(slopes(models, images), torch.autograd.grad(total, m)[0])


@EVERY
def test_types_follow_the_noise(case: Case):
    image = MODEL + 0.2
    single = made(case, torch.float32).log_prob(MODEL.float(), image.float())
    assert single.dtype == torch.float32
    double = made(case).log_prob(MODEL, image)
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-3)


# A lens of its own, whose score goes through the simulator.
SIM = Simulator(
    PixelGrid(SHAPE[-2:], 0.3),
    PixelGrid((4, 5), 0.3),
    gaussian_psf(0.5, 0.3, 3),
    dtype=MODEL.dtype,
)


def state(n: int = 2) -> dict[str, Tensor]:
    kappa = pixel_average(SIE(0.7, 0.1, 0.05, 0.03), SIM.image_grid)
    return {
        "source": uniform(1, 1, 4, 5).expand(n, 1, 4, 5).clone(),
        "log_kappa": kappa.log10().expand(n, 1, *SHAPE[-2:]).clone(),
    }


@EVERY
def test_the_score_of_a_simulator_takes_any_noise(case: Case):
    noise, x = made(case), state()
    image = noise.sample(simulate(SIM, x), generator=torch.Generator().manual_seed(1)) + 0.1
    gradient, aux = score(SIM, image, noise)(x)
    leaves = {k: v.requires_grad_() for k, v in state().items()}
    value = log_likelihood(simulate(SIM, leaves), image, noise)
    expected = torch.autograd.grad(value.sum(), list(leaves.values()))
    for name, slope in zip(leaves, expected, strict=True):
        torch.testing.assert_close(gradient[name], slope)
    torch.testing.assert_close(aux["residual"], noise.residual(aux["model"], image))
    torch.testing.assert_close(aux["log_prob"], value.detach())
    assert aux["information"].shape == x["source"].shape


def test_a_mask_beside_a_noise_model_is_refused():
    with pytest.raises(ValueError, match="its own mask, got another beside a GaussianNoise"):
        score(SIM, MODEL, GaussianNoise(SIGMA), MASK)


SQUARE = (3, 1, 8, 8)
FLAT = 0.5 + uniform(3, 8, 8)
"""Of three samples, but without their channel: it would broadcast to all pairs of them."""


@pytest.mark.parametrize(
    "noise",
    [
        GaussianNoise(FLAT),
        GaussianNoise(torch.ones(SQUARE), FLAT > 0.6),
        PoissonNoise(FLAT, torch.tensor(2.0)),
        PoissonNoise(torch.ones(SQUARE), torch.tensor(2.0), FLAT > 0.6),
        CorrelatedNoise(power_spectrum(COVARIANCE.expand(3, 3, 3), (8, 8))),
        CorrelatedNoise(torch.ones(8, 8), FLAT > 0.6),
    ],
)
def test_maps_without_a_channel_are_refused(noise: Noise):
    model = uniform(*SQUARE, seed=1)
    calls: list[Callable[[], Tensor]] = [
        lambda: noise.residual(model, model),
        lambda: noise.log_prob(model, model),
        lambda: noise.normalization(model),
        lambda: noise.precision(model),
        lambda: noise.sample(model),
    ]
    for call in calls:
        with pytest.raises(
            ValueError, match=r"noise and mask must have the shape .* \(3, 1, 8, 8\)"
        ):
            call()


def test_one_model_of_many_noises_is_refused():
    noise, model = PoissonNoise(torch.ones(SQUARE), torch.tensor(2.0)), torch.ones(1, 1, 8, 8)
    with pytest.raises(ValueError, match="repeat the model"):
        noise.log_prob(model, model)
