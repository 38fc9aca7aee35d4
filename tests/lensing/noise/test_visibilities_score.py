"""The score of visibilities through a simulator, and the step of a machine that is shown it."""

import math

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
    draw,
    energy,
    guess,
    truth,
    uniform,
)
from pretend import pretended_device
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.likelihood import Setting, log_likelihood, score, simulate
from lensrim.lensing.mass import SIE, pixel_average
from lensrim.lensing.noise import VisibilityNoise
from lensrim.lensing.nufft import Direct, Nufft, Transform
from lensrim.lensing.simulator import Simulator
from lensrim.lensing.visibilities import Interferometer
from lensrim.rim.core import RIM, sizes
from lensrim.rim.fields import Field
from lensrim.rim.links import Log10
from lensrim.rim.networks import UNet
from lensrim.rim.preconditioning import Arcsinh


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
    torch.testing.assert_close(aux["log_prob"], value.detach())
    torch.testing.assert_close(aux["model"], simulate(SIM, x))
    assert aux["information"].shape == x["source"].shape
    assert not any(value.requires_grad for value in aux.values())


@EVERY
def test_the_map_of_the_residual_is_its_dirty_image(noise: VisibilityNoise):
    x, y = guess(), draw(noise, simulate(SIM, truth()))
    _, aux = score(SIM, y, noise)(x)
    left = y - noise.interferometer(simulate(SIM, x))
    torch.testing.assert_close(aux["residual"], noise.dirty_image(left))


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"psf": torch.ones(3, 3)}, "no PSF, got .* and a PSF"),
        ({"image_grid": PixelGrid(GRID.shape, 1.0)}, "spacing=1.0.*times the size of a pixel"),
        ({"image_grid": PixelGrid(GRID.shape, GRID.spacing, (0.1, 0.0))}, r"center=\(0.1, 0.0\)"),
        ({"subsample": 3}, "subsample, .* and 2, .*, 3 and no PSF"),
    ],
    ids=["psf", "spacing", "center", "subsample"],
)
def test_a_simulator_of_something_else_is_refused(options: dict, message: str):
    options = {"image_grid": GRID, "source_grid": SIM.source_grid, **options}
    y = draw(CASES["shared"], simulate(SIM, truth()))
    with pytest.raises(ValueError, match=message):
        score(Simulator(**options), y, CASES["shared"])


def test_a_machine_is_shown_the_score_of_visibilities_at_each_step():
    grid = PixelGrid((16, 16), 0.2)
    sim = Simulator(grid, PixelGrid((16, 16), 0.1))
    noise = VisibilityNoise(Interferometer(grid, UV[0], transform=Direct()), SIGMA[0].float())
    kappa = pixel_average(SIE(1.0, 0.1, 0.05, 0.03), grid).float().expand(2, 1, 16, 16)
    y = draw(noise, sim(uniform(2, 1, 16, 16).float(), kappa))
    fields = {"source": Field(), "log_kappa": Field(link=Log10()), "shear": Field(2, 0)}
    aux, encoding = {"residual": 1, "model": 1, "pull": 2, "information": 1}, Arcsinh(0.01)
    network = UNet(2, **sizes(fields, encodings=1, aux=aux), widths=(8,), lift=4, embedding=8)
    rim = RIM(network, fields, steps=2, precondition=(encoding,), aux=aux)
    with torch.no_grad():
        rim.network.last.weight.normal_(std=0.01, generator=torch.Generator().manual_seed(0))
    start = {
        "source": torch.full((2, 1, 16, 16), 0.1),
        "log_kappa": kappa.log10(),
        "shear": torch.zeros(2, 2),
    }
    shown: list[tuple[Tensor, Tensor]] = []
    network.register_forward_pre_hook(lambda _, given: shown.append(given[:2]))
    steps = rim(noise.dirty_image(y), score(sim, y, noise), start)
    assert len(shown) == 2
    for (maps, vectors), state in zip(shown, steps.states, strict=False):
        x = {name: value.detach().requires_grad_() for name, value in state.items()}
        up = -energy(simulate(sim, x), y, UV[0], SIGMA[0], grid=grid)
        # Each field shows itself, its change, and its score; before are observation or clock.
        found = (maps[:, 3:4], maps[:, 6:7], vectors[:, 6:8])
        slopes = torch.autograd.grad(up, list(x.values()))
        for seen, slope in zip(found, slopes, strict=True):
            torch.testing.assert_close(seen, torch.asinh(0.01 * slope), rtol=1e-3, atol=1e-4)
    steps.last["source"].square().sum().backward()
    weight = rim.network.last.weight.grad
    assert weight is not None and float(weight.abs().max()) > 0
