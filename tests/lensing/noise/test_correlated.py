"""Correlated noise: its spectrum, its covariance, and what a mask makes of it."""

import pytest
import torch
from torch import Tensor

from lensrim.lensing.noise import CorrelatedNoise, GaussianNoise, power_spectrum

SHAPE = (11, 12)


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def drizzled() -> Tensor:
    """Covariance of white noise through a kernel of 3 x 3, as resampling makes it."""
    k = torch.tensor([0.25, 1.0, 0.25]).double()
    line = torch.nn.functional.conv1d(k[None, None], k[None, None], padding=2)[0, 0]
    return 0.01 * line[:, None] * line


@pytest.mark.parametrize("mask", [None, uniform(*SHAPE) > 0.4])
def test_white_noise_is_independent_noise(mask):
    model, image = uniform(2, 1, *SHAPE, seed=1), uniform(2, 1, *SHAPE, seed=2)
    white = CorrelatedNoise(torch.full(SHAPE, 0.04).double(), mask)
    plain = GaussianNoise(torch.full(SHAPE, 0.2).double(), mask)
    torch.testing.assert_close(white.residual(model, image), plain.residual(model, image))
    torch.testing.assert_close(white.log_prob(model, image), plain.log_prob(model, image))
    torch.testing.assert_close(white.precision(model), plain.precision(model))


def test_draws_have_the_covariance():
    stamp = drizzled()
    noise = CorrelatedNoise(power_spectrum(stamp, SHAPE))
    zero = torch.zeros(4000, 1, *SHAPE, dtype=torch.float64)
    eta = noise.sample(zero, generator=torch.Generator().manual_seed(0))
    for dy in range(3):
        for dx in range(3):
            measured = float((eta * eta.roll((dy, dx), (-2, -1))).mean())
            assert measured == pytest.approx(float(stamp[2 + dy, 2 + dx]), abs=4e-4)


def test_a_masked_strip_undoes_the_periodicity():
    # Correlations reach 2 pixels: without 2 rows and columns no pixel has neighbours across edges.
    mask = torch.ones(SHAPE, dtype=torch.bool)
    mask[:2], mask[:, :2] = False, False
    stamp = drizzled()
    noise = CorrelatedNoise(power_spectrum(stamp, SHAPE), mask, iterations=300)
    d = uniform(1, 1, *SHAPE, seed=1)
    rows, columns = (t[mask] for t in torch.meshgrid(*map(torch.arange, SHAPE), indexing="ij"))
    dy, dx = (t[:, None] - t for t in (rows, columns))
    near = (dy.abs() <= 2) & (dx.abs() <= 2)
    c = torch.where(near, stamp[(dy + 2).clamp(0, 4), (dx + 2).clamp(0, 4)], 0.0)
    inner = d[0, 0][mask]
    expected = inner @ torch.linalg.solve(c, inner)
    torch.testing.assert_close(noise.chi2(0 * d, d)[0], expected, rtol=1e-6, atol=0)


def test_each_sample_has_its_own_spectrum_and_mask():
    power = torch.stack([power_spectrum(drizzled(), SHAPE), torch.full(SHAPE, 0.04).double()])
    mask = uniform(2, 1, *SHAPE) > 0.3
    model, image = uniform(2, 1, *SHAPE, seed=1), uniform(2, 1, *SHAPE, seed=2)
    many = CorrelatedNoise(power[:, None], mask)
    for i in range(2):
        one = CorrelatedNoise(power[i], mask[i])
        j = slice(i, i + 1)
        torch.testing.assert_close(
            many.log_prob(model, image)[j], one.log_prob(model[j], image[j])
        )


def test_the_error_falls_with_the_iterations():
    mask = uniform(*SHAPE) > 0.5
    power = power_spectrum(drizzled(), SHAPE)
    d = uniform(1, 1, *SHAPE, seed=1)
    values = [
        float(CorrelatedNoise(power, mask, iterations=n).chi2(0 * d, d)) for n in (5, 15, 40, 400)
    ]
    errors = [abs(v / values[-1] - 1) for v in values[:-1]]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-6


def test_no_noise_has_such_a_spectrum():
    good = power_spectrum(drizzled(), SHAPE)
    for bad in (0 * good, -good, torch.full_like(good, torch.nan)):
        with pytest.raises(ValueError, match="power must be finite and positive"):
            CorrelatedNoise(bad)
    with pytest.raises(ValueError, match="the same at k and -k"):
        CorrelatedNoise(torch.fft.fftshift(good))
    with pytest.raises(ValueError, match="odd sides and fit"):
        power_spectrum(torch.ones(4, 3), SHAPE)
    with pytest.raises(ValueError, match="odd sides and fit"):
        power_spectrum(torch.ones(3, 13), SHAPE)
    with pytest.raises(ValueError, match="positive power at all frequencies"):
        power_spectrum(torch.ones(3, 3), SHAPE)


@pytest.mark.parametrize("white", [1e-3, 1e-5, 1e-6])
def test_spectra_of_high_contrast_are_the_same_in_single_precision(white: float):
    y, x = torch.meshgrid(*[torch.arange(-9.0, 10)] * 2, indexing="ij")
    covariance = torch.exp(-(x**2 + y**2) / 4) + white * ((x == 0) & (y == 0))
    single, double = (power_spectrum(c, (128, 128)) for c in (covariance, covariance.double()))
    CorrelatedNoise(single)  # is the same at k and -k
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, double.float(), rtol=1e-5, atol=0)


def test_images_of_another_shape_are_refused():
    noise = CorrelatedNoise(torch.ones(SHAPE))
    with pytest.raises(ValueError, match=r"shape \(11, 12\) of the power spectrum"):
        noise.residual(torch.zeros(1, 1, 12, 12), torch.zeros(1, 1, 12, 12))
