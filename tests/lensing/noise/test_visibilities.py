"""Noise of visibilities: its likelihood, the score through a simulator, and a machine's step."""

import math
import subprocess
import sys

import pytest
import torch
from pretend import pretended_device
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.likelihood import Setting, log_likelihood, score, simulate
from lensrim.lensing.mass import SIE, pixel_average
from lensrim.lensing.noise import GaussianNoise, VisibilityNoise
from lensrim.lensing.nufft import Direct, Nufft, Transform
from lensrim.lensing.simulator import Simulator
from lensrim.lensing.visibilities import ARCSEC, Interferometer, gaussian_beam
from lensrim.rim.core import RIM, sizes
from lensrim.rim.fields import Field, Log10
from lensrim.rim.networks import UNet
from lensrim.rim.preconditioning import Normalized

GRID = PixelGrid((16, 19), 0.2)
SIM = Simulator(GRID, PixelGrid((9, 10), 0.15), dtype=torch.float64)
BEAM = gaussian_beam(GRID, 4.0)
N = 60


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


UV = (uniform(2, N, 2, seed=1) - 0.5) / (GRID.spacing * ARCSEC)
SIGMA, MASK = 0.3 + uniform(2, N, seed=2), uniform(2, N, seed=3) > 0.2
SHARED = Interferometer(GRID, UV[0], beam=BEAM, transform=Direct(), dtype=torch.float64)
OWN = Interferometer(GRID, UV, beam=BEAM, transform=Direct(), dtype=torch.float64)
CASES = {
    "shared": VisibilityNoise(SHARED, SIGMA[0]),
    "shared, masked": VisibilityNoise(SHARED, SIGMA, MASK),
    "own, masked": VisibilityNoise(OWN, SIGMA, MASK),
    "own, one sigma": VisibilityNoise(OWN, SIGMA[0], MASK[1]),
}
EVERY = pytest.mark.parametrize("noise", CASES.values(), ids=CASES.keys())


def truth(batch: int = 2) -> dict[str, Tensor]:
    kappa = pixel_average(SIE(1.0, 0.1, 0.05, 0.03), GRID)
    return {
        "source": uniform(1, 1, 9, 10).expand(batch, 1, 9, 10).clone(),
        "log_kappa": kappa.log10().expand(batch, 1, *GRID.shape).clone(),
        "shear": 0.05 * uniform(batch, 2, seed=4),
    }


def guess() -> dict[str, Tensor]:
    x = truth()
    return {
        "source": 0.8 * x["source"] + 0.1,
        "log_kappa": x["log_kappa"] + 0.02,
        "shear": x["shear"] - 0.01,
    }


def draw(noise: VisibilityNoise, model: Tensor, seed: int = 0) -> Tensor:
    return noise.sample(model, generator=torch.Generator().manual_seed(seed))


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


@EVERY
def test_the_score_is_the_gradient_of_the_likelihood(noise: VisibilityNoise):
    x, y = guess(), draw(noise, simulate(SIM, truth()))
    gradient, aux = score(SIM, y, noise)(x)
    leaves = {name: value.clone().requires_grad_() for name, value in x.items()}
    value = log_likelihood(simulate(SIM, leaves), y, noise)
    expected = torch.autograd.grad(value.sum(), list(leaves.values()))
    for name, slope in zip(leaves, expected, strict=True):
        torch.testing.assert_close(gradient[name], slope)
    step = 1e-7  # small, for the model has kinks between the source's pixels
    for name in x:
        direction = uniform(*x[name].shape, seed=6) - 0.5
        up, down = (
            log_likelihood(simulate(SIM, {**x, name: x[name] + s * direction}), y, noise)
            for s in (step, -step)
        )
        along = (gradient[name] * direction).flatten(1).sum(1)
        torch.testing.assert_close(along, (up - down) / (2 * step), rtol=3e-4, atol=1e-2)
    torch.testing.assert_close(aux["model"], simulate(SIM, x))
    assert aux["information"].shape == x["source"].shape
    assert not any(value.requires_grad for value in aux.values())


@EVERY
def test_the_map_of_the_residual_is_its_dirty_image(noise: VisibilityNoise):
    x, y = guess(), draw(noise, simulate(SIM, truth()))
    _, aux = score(SIM, y, noise)(x)
    left = y - noise.interferometer(simulate(SIM, x))
    torch.testing.assert_close(aux["residual"], noise.dirty_image(left))


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


@pytest.mark.parametrize("kind", ["sigma", "weight"])
def test_ignored_visibilities_are_never_read(kind: str):
    y = draw(CASES["own, masked"], simulate(SIM, truth()))
    spoilt = torch.where(MASK, y, complex("nan"))
    if kind == "sigma":
        other = VisibilityNoise(OWN, torch.where(MASK, SIGMA, torch.nan), MASK)
    else:
        other = VisibilityNoise.from_weight(OWN, torch.where(MASK, SIGMA**-2, 0.0))
    (a, seen_a), (b, seen_b) = (
        score(SIM, data, noise)(guess())
        for data, noise in ((y, CASES["own, masked"]), (spoilt, other))
    )
    for one, two in ((a, b), (seen_a, seen_b)):
        for name in one:
            torch.testing.assert_close(one[name], two[name])
    torch.testing.assert_close(other.dirty_image(spoilt), CASES["own, masked"].dirty_image(y))


def test_a_noise_that_is_none_is_refused():
    with pytest.raises(ValueError, match=r"sigma must be finite and positive.*found 1"):
        VisibilityNoise(SHARED, torch.where(torch.arange(N) == 3, 0.0, SIGMA[0]))
    for wrong in (SIGMA[0, :1], torch.tensor(0.3), SIGMA[None]):
        with pytest.raises(ValueError, match=r"each of the 60 visibilities.*expand it"):
            VisibilityNoise(SHARED, wrong)
    with pytest.raises(ValueError, match="its own mask"):
        score(SIM, UV[..., 0] + 0j, CASES["shared"], MASK)


def test_samples_do_not_know_each_other():
    noise, x = CASES["own, masked"], guess()
    y = draw(noise, simulate(SIM, truth()))
    gradient, aux = score(SIM, y, noise)(x)
    for i in range(2):
        seen = Interferometer(GRID, UV[i], beam=BEAM, transform=Direct(), dtype=torch.float64)
        j = slice(i, i + 1)
        alone = VisibilityNoise(seen, SIGMA[j], MASK[j])
        one, one_aux = score(SIM, y[j], alone)({name: value[j] for name, value in x.items()})
        for many, single in ((gradient, one), (aux, one_aux)):
            for name in many:
                torch.testing.assert_close(single[name][0], many[name][i])


def test_the_mean_score_is_zero_at_the_truth():
    n, x = 200, truth(1)
    many = {name: value.expand(n, *value.shape[1:]) for name, value in x.items()}
    noise = VisibilityNoise(SHARED, SIGMA[:1], MASK[:1])
    gradient, _ = score(SIM, draw(noise, simulate(SIM, many)), noise)(many)
    for value in gradient.values():
        spread = value.std(0)
        pull = (value.mean(0) / spread * math.sqrt(n))[spread > 1e-9]
        assert float(pull.abs().max()) < 5


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


def test_a_nufft_serves_as_well():
    pytest.importorskip("finufft")
    seen = Interferometer(GRID, UV, beam=BEAM, dtype=torch.float64, transform=Nufft(1e-9))
    fast, y = (
        VisibilityNoise(seen, SIGMA, MASK),
        draw(CASES["own, masked"], simulate(SIM, truth())),
    )
    setting = Setting(scale=torch.tensor([1.0, 1.2]).double())
    (a, seen_a), (b, seen_b) = (
        score(SIM, y, noise, setting=setting)(guess()) for noise in (CASES["own, masked"], fast)
    )
    for one, two in ((a, b), (seen_a, seen_b)):
        for name in one:
            torch.testing.assert_close(one[name], two[name], rtol=1e-6, atol=1e-5)


def score_on(device: torch.device | str, transform: Transform) -> dict[str, Tensor]:
    """The score of visibilities with everything on a device, and the maps beside it."""
    sim = Simulator(GRID, PixelGrid((9, 10), 0.15), dtype=torch.float64, device=device)
    seen = Interferometer(
        GRID, UV, beam=BEAM, transform=transform, dtype=torch.float64, device=device
    )
    noise = VisibilityNoise(seen, SIGMA.to(device), MASK.to(device))
    y = draw(CASES["own, masked"], simulate(SIM, truth())).to(device)
    gradient, aux = score(sim, y, noise)({k: v.to(device) for k, v in guess().items()})
    found = {**gradient, **aux, "dirty": noise.dirty_image(y)}
    assert all(value.device.type == torch.device(device).type for value in found.values())
    return {name: value.cpu() for name, value in found.items()}


def test_visibilities_live_on_one_device():
    here = score_on("cpu", Direct())
    with pretended_device() as device:
        there = score_on(device, Direct())
    for name in here:
        torch.testing.assert_close(there[name], here[name])


@pytest.mark.gpu
@pytest.mark.parametrize("transform", [Direct(), Nufft(1e-9)], ids=["direct", "nufft"])
def test_a_gpu_gives_the_same_score(transform: Transform):
    if isinstance(transform, Nufft):
        pytest.importorskip("cufinufft")
    here, there = score_on("cpu", Direct()), score_on("cuda", transform)
    for name in here:
        torch.testing.assert_close(there[name], here[name], rtol=1e-6, atol=1e-5)


def test_a_machine_steps_on_the_score_of_visibilities():
    grid = PixelGrid((16, 16), 0.2)
    sim = Simulator(grid, PixelGrid((16, 16), 0.1))
    seen = Interferometer(grid, UV[0], transform=Direct())
    noise = VisibilityNoise(seen, torch.full((N,), 0.3))
    kappa = pixel_average(SIE(1.0, 0.1, 0.05, 0.03), grid).float().expand(2, 1, 16, 16)
    y = draw(noise, sim(uniform(2, 1, 16, 16).float(), kappa))
    fields = {"source": Field(), "log_kappa": Field(link=Log10()), "shear": Field(2, 0)}
    aux = {"residual": 1, "model": 1, "pull": 2, "information": 1}
    shape = sizes(fields, encodings=1, aux=aux)
    torch.manual_seed(0)
    rim = RIM(
        UNet(2, **shape, widths=(8,), lift=4, embedding=8),
        fields,
        steps=2,
        precondition=(Normalized(),),
        aux=aux,
    )
    with torch.no_grad():
        rim.network.last.weight.normal_(std=0.01)
    start = {
        "source": torch.full((2, 1, 16, 16), 0.1),
        "log_kappa": kappa.log10(),
        "shear": torch.zeros(2, 2),
    }
    last, other = (
        rim(noise.dirty_image(data), score(sim, data, noise), start).last for data in (y, 2 * y)
    )
    assert all(bool(value.isfinite().all()) for value in last.values())
    # The machine hears what visibilities say: others move it elsewhere.
    source = last["source"].detach()
    assert not torch.equal(source, start["source"])
    assert not torch.equal(source, other["source"].detach())
    last["source"].square().sum().backward()
    weight = rim.network.last.weight.grad
    assert weight is not None and float(weight.abs().max()) > 0


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
