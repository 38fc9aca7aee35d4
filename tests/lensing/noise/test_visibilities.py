"""Noise of visibilities: what is drawn, its likelihood, and the dirty image."""

import math
import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from interferometers import (
    BEAM,
    CASES,
    EVERY,
    GRID,
    MASK,
    OWN,
    SHARED,
    SIGMA,
    SIM,
    UV,
    N,
    draw,
    guess,
    truth,
    uniform,
)

from lensrim.grid import PixelGrid
from lensrim.lensing.cosmology import ARCSEC
from lensrim.lensing.likelihood import log_likelihood, score, simulate
from lensrim.lensing.noise import GaussianNoise, VisibilityNoise
from lensrim.lensing.nufft import Direct, Nufft, Transform
from lensrim.lensing.visibilities import Interferometer


@EVERY
def test_what_is_drawn_is_what_is_assumed(noise: VisibilityNoise):
    model, n = simulate(SIM, truth()), 100
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([noise.sample(model, generator=generator) for _ in range(n)])
    assert drawn.shape == (n, 2, N)
    chi2 = torch.func.vmap(noise.chi2, (None, 0))(model, drawn)
    numbers = noise.pixels((2, 2, N))
    # Real and imaginary parts count.
    used = noise.mask.squeeze(-2).expand(2, N)
    assert torch.equal(numbers, 2 * used.sum(1))
    assert float(((chi2.mean(0) - numbers) / (2 * numbers / n).sqrt()).abs().max()) < 4
    assert float((chi2.var(0) / (2 * numbers) - 1).abs().max()) < 5 * math.sqrt(2 / n)
    error = (drawn - noise.interferometer(model))[:, used]
    sigma = noise.parts.sigma.squeeze(-2).expand(2, N)[used]
    for part in (error.real, error.imag):
        scatter = part.square().mean(0) / sigma**2
        assert float((scatter - 1).abs().max()) < 5 * math.sqrt(2 / n)
    correlation = (error.real * error.imag).mean(0) / sigma**2
    assert float(correlation.abs().max()) < 5 / math.sqrt(n)


@EVERY
def test_the_likelihood_is_that_of_independent_gaussians(noise: VisibilityNoise):
    model = simulate(SIM, guess())
    y = draw(noise, simulate(SIM, truth()))
    found = log_likelihood(model, y, noise)
    expected = noise.interferometer(model)
    for i in range(2):
        used = noise.mask.squeeze(-2).expand(2, N)[i]
        sigma = noise.parts.sigma.squeeze(-2).expand(2, N)[i][used]
        total = sum(
            torch.distributions.Normal(f(expected[i][used]), sigma).log_prob(f(y[i][used])).sum()
            for f in (torch.real, torch.imag)
        )
        torch.testing.assert_close(found[i], total)


def test_the_dirty_image_is_in_units_of_its_noise():
    noise, n = CASES["shared"], 600
    empty = torch.zeros(n, 1, *GRID.shape, dtype=torch.float64)
    images = noise.dirty_image(draw(noise, empty))
    assert images.shape == empty.shape
    assert float((images.var(0) - 1).abs().max()) < 5 * math.sqrt(2 / n)
    assert float(images.mean(0).abs().max()) < 5 / math.sqrt(n)


def test_a_point_source_is_brightest_where_it_is_with_its_signal_over_noise():
    noise = VisibilityNoise(SHARED, SIGMA[0])
    image = torch.zeros(1, 1, *GRID.shape, dtype=torch.float64)
    image[..., 5, 12] = 3.0
    dirty = noise.dirty_image(noise.interferometer(image))
    assert int(dirty.argmax()) == 5 * GRID.shape[1] + 12
    # The error of its flux, all else known, is one over the root of the information.
    expected = 3.0 * noise.precision(image)[0, 0, 5, 12].sqrt()
    torch.testing.assert_close(dirty.max(), expected)


def test_where_the_primary_beam_is_zero_the_map_is_zero():
    beam = BEAM.clone()
    beam[:4] = 0.0
    seen = Interferometer(GRID, UV[0], beam=beam, transform=Direct(), dtype=torch.float64)
    noise = VisibilityNoise(seen, SIGMA[0])
    dirty = noise.dirty_image(draw(noise, simulate(SIM, truth())))
    assert bool((dirty[:, :, :4] == 0).all())
    assert bool((dirty[:, :, 4:] != 0).all())


def test_a_noise_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"sigma must be finite and positive.*found 1"):
        VisibilityNoise(SHARED, torch.where(torch.arange(N) == 3, 0.0, SIGMA[0]))
    for wrong in (SIGMA[0, :1], torch.tensor(0.3), SIGMA[None]):
        with pytest.raises(ValueError, match=r"each of the 60 visibilities.*expand it"):
            VisibilityNoise(SHARED, wrong)
    with pytest.raises(ValueError, match=r"weight must have a value.*got \(\)"):
        VisibilityNoise.from_weight(SHARED, torch.tensor(1.0))
    for wrong in (MASK[0, 1:], MASK[..., None]):
        for make in (VisibilityNoise, VisibilityNoise.from_weight):
            with pytest.raises(ValueError, match="mask must have a value for each of the 60"):
                make(SHARED, SIGMA[0], wrong)
    for seen, sigma, mask in (
        (SHARED, SIGMA, MASK[[0, 1, 1]]),
        (OWN, SIGMA[[0, 1, 1]], None),
        (OWN, SIGMA[0], MASK[[0, 1, 1]]),
    ):
        with pytest.raises(ValueError, match=r"same number of samples.*'uv': "):
            VisibilityNoise(seen, sigma, mask)
    with pytest.raises(ValueError, match="its own mask"):
        score(SIM, UV[..., 0] + 0j, CASES["shared"], MASK)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda y: y[:, :1], r"complex, with shape \(B, 60\), got .*\(2, 1\)"),
        (lambda y: y[:, 1:], r"got .*\(2, 59\)"),
        (lambda y: y[0], r"got .*\(60,\)"),
        (lambda y: y.real, "complex, .* got torch.float64"),
    ],
    ids=["broadcast", "short", "no batch", "real"],
)
def test_visibilities_of_another_shape_are_refused(wrong: Callable, message: str):
    model = simulate(SIM, truth())
    for noise in (CASES["shared"], CASES["own, masked"]):
        y = wrong(draw(noise, model))
        with pytest.raises(ValueError, match=message):
            noise.log_prob(model, y)
        with pytest.raises(ValueError, match=message):
            score(SIM, y, noise)(guess())
        with pytest.raises(ValueError, match=message):
            noise.dirty_image(y)


def test_more_data_than_models_are_refused():
    model = simulate(SIM, truth())
    y = draw(CASES["shared"], model)[[0, 1, 1]]
    with pytest.raises(ValueError, match=r"models must be .* the 3 samples .*got 2"):
        CASES["shared"].log_prob(model, y)
    with pytest.raises(ValueError, match=r"visibilities must be .* the 2 samples .*got 3"):
        CASES["own, masked"].dirty_image(y)


@pytest.mark.parametrize("name", ["shared, masked", "own, masked", "own, one sigma"])
def test_models_are_as_many_as_what_has_its_own_samples(name: str):
    noise, model = CASES[name], simulate(SIM, truth())
    for wrong in (model[:1], model[[0, 1, 1]]):
        y = draw(CASES["shared"], wrong)
        for use in (noise.normalization, noise.precision, noise.sample):
            with pytest.raises(ValueError, match=f"the 2 samples .*got {len(wrong)}; expand"):
                use(wrong)
        with pytest.raises(ValueError, match=f"the 2 samples .*got {len(wrong)}; expand"):
            noise.log_prob(wrong, y)


def test_one_set_of_data_serves_many_models():
    models = torch.cat([simulate(SIM, guess())[:1], simulate(SIM, truth())[:1]])
    noise = CASES["shared"]
    y = draw(noise, models[1:])
    found = noise.log_prob(models, y)
    for i in range(2):
        torch.testing.assert_close(found[i : i + 1], noise.log_prob(models[i : i + 1], y))


def test_it_works_under_vmap():
    noise = CASES["own, masked"]
    models = torch.stack([simulate(SIM, guess()), simulate(SIM, truth())])
    images = torch.stack([draw(noise, models[1], seed) for seed in (0, 1)])
    mapped = torch.func.vmap(noise.log_prob)(models, images)
    alone = torch.stack([noise.log_prob(m, y) for m, y in zip(models, images, strict=True)])
    torch.testing.assert_close(mapped, alone)


def test_complete_visibilities_say_what_the_image_says():
    # All frequencies of a periodic image, each with the same error, are a rotation of its pixels,
    # so the likelihood is that of an image with the same noise in each.
    grid, sigma = PixelGrid((5, 7), 0.2), 0.3
    cycles = torch.stack(
        torch.meshgrid(torch.fft.fftfreq(7), torch.fft.fftfreq(5), indexing="xy"), -1
    ).double()
    uv = cycles.reshape(-1, 2) / (grid.spacing * ARCSEC)
    seen = Interferometer(grid, uv, subsample=1, transform=Direct(), dtype=torch.float64)
    noise = VisibilityNoise(seen, torch.full((35,), sigma * math.sqrt(35)).double())
    image = GaussianNoise(torch.tensor(sigma).double())
    model, data = uniform(1, 1, 5, 7), uniform(1, 1, 5, 7, seed=1)
    torch.testing.assert_close(
        noise.chi2(model, seen(data)), image.chi2(model, data), rtol=1e-5, atol=0.0
    )
    torch.testing.assert_close(noise.dirty_image(seen(data)), data / sigma, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("transform", [Direct(), Nufft()], ids=["direct", "nufft"])
def test_it_compiles_as_one_graph(transform: Transform):
    # The compiler cannot see through the types' checks, so it runs in a program of its own.
    code = f"""
import torch
from lensrim.grid import PixelGrid
from lensrim.lensing.noise import VisibilityNoise
from lensrim.lensing.nufft import Direct, Nufft
from lensrim.lensing.visibilities import Interferometer
uv = torch.linspace(-1e5, 1e5, 12).view(6, 2)
seen = Interferometer(PixelGrid((4, 5), 0.1), uv, transform={transform!r}, dtype=torch.float64)
noise = VisibilityNoise(seen, torch.ones(6).double())
y = torch.ones(2, 6, dtype=torch.complex128)
compiled = torch.compile(noise.log_prob, fullgraph=True, backend="aot_eager")
a, b = (torch.linspace(0, 1, 40).double().view(2, 1, 4, 5).requires_grad_() for _ in range(2))
slope = torch.autograd.grad(compiled(a, y).sum(), a)
torch.testing.assert_close(slope, torch.autograd.grad(noise.log_prob(b, y).sum(), b))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
