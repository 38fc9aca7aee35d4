"""Laws of the image of a lensed light: that of the plain way, whichever way it takes."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from lensrim.grid import PixelGrid
from lensrim.lensing import light, mass
from lensrim.lensing.lensed import Lensed
from lensrim.lensing.light import Sersic
from lensrim.lensing.mass import SIE, SIS, Shear
from lensrim.lensing.psf import PSF
from lensrim.lensing.simulator import Simulator

LENS = (1.2, 0.1, -0.25, 0.02, -0.03)
SHEAR = (0.05, -0.08, 0.4, 0.1)
GALAXY = (2.0, 0.6, 1.7, -0.2, 0.15, 0.05, 0.08)


def stamps(*shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return 0.1 + torch.rand(shape, generator=generator, dtype=torch.float64)


def scene(dtype: torch.dtype = torch.float64, **options) -> tuple[Simulator, list[Tensor]]:
    grid = PixelGrid((5, 4), 0.4)
    # Unlike a round one, it is told from its mirror image, which the adjoint takes.
    simulator = Simulator(grid, grid, options.pop("psf", stamps(3, 3)), dtype=dtype, **options)
    numbers = [*LENS, *SHEAR, *GALAXY]
    return simulator, [torch.tensor(n, dtype=dtype, requires_grad=True) for n in numbers]


def models(p) -> tuple[light.Sum, mass.Sum]:
    return light.Sum([Sersic(*p[9:16])]), mass.Sum([SIE(*p[:5]), Shear(*p[5:9])])


def count_images(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for every image of which the brightness is one function."""
    taken: list[int] = []
    apply: Callable = Lensed.apply
    monkeypatch.setattr(Lensed, "apply", lambda *given: taken.append(1) or apply(*given))
    return taken


OPTIONS = [
    {},
    {"subsample": 1},
    {"subsample": 1, "psf": None},
    {"psf_on_rays": True},
    {"psf_kind": "optical"},
    {"psf": stamps(2, 3, 3)},
    {"psf": stamps(2, 3, 3), "psf_on_rays": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_an_image_has_a_shortcut_all_the_way(monkeypatch: pytest.MonkeyPatch, options):
    simulator, parameters = scene(**options)
    taken = count_images(monkeypatch)

    def image(*p: Tensor) -> Tensor:
        return simulator.lensed(*models(p))

    found = image(*parameters)
    assert taken == [1]
    galaxy, lens = models(parameters)
    right = simulator.render(galaxy, simulator.rays(lens))
    torch.testing.assert_close(found, right)
    weight = torch.linspace(-1, 1, right.numel(), dtype=right.dtype).view_as(right)
    slopes = [torch.autograd.grad(value, parameters, weight) for value in (found, right)]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradcheck(image, parameters)
    assert torch.autograd.gradgradcheck(image, parameters, fast_mode=True)


@pytest.mark.parametrize("change", ["batch", "no gradient", "other mass", "round", "rays"])
def test_an_image_without_it_is_the_same(monkeypatch: pytest.MonkeyPatch, change: str):
    simulator, parameters = scene()
    taken = count_images(monkeypatch)
    galaxy, lens = models(parameters)
    if change == "batch":
        galaxy, lens = models([torch.stack((p, p)) for p in parameters])
    if change == "other mass":
        lens = mass.Sum([lens, SIS(0.1)])
    if change == "round":
        lens = SIE(1.0, 0.0, 0.0)
    given = list(parameters)
    if change == "rays":
        given.append(torch.tensor(0.01, dtype=torch.float64, requires_grad=True))
        simulator.theta = simulator.theta + given[-1]
    with torch.set_grad_enabled(change != "no gradient"):
        found = simulator.lensed(galaxy, lens)
        right = simulator.render(galaxy, simulator.rays(lens))
    assert not taken
    torch.testing.assert_close(found, right)
    if change != "no gradient":
        slopes = [
            torch.autograd.grad(value.square().sum(), given, allow_unused=True)
            for value in (found, right)
        ]
        torch.testing.assert_close(*slopes)
        assert slopes[0][-1] is not None


@pytest.mark.parametrize("shape", [(3, 3), (2, 3, 3)])
def test_an_image_has_a_gradient_in_the_psf(shape):
    simulator, parameters = scene(psf=stamps(*shape))
    assert simulator.psf is not None
    transfer = simulator.psf.transfer.clone().requires_grad_()
    simulator.psf.transfer = transfer
    galaxy, lens = models(parameters)
    slopes = [
        torch.autograd.grad(value.square().sum(), [transfer, *parameters])
        for value in (
            simulator.lensed(galaxy, lens),
            simulator.render(galaxy, simulator.rays(lens)),
        )
    ]
    torch.testing.assert_close(*slopes)


def test_the_gradient_of_an_image_is_that_of_the_psf_it_was_made_with():
    simulator, parameters = scene()
    assert simulator.psf is not None
    right = torch.autograd.grad(simulator.lensed(*models(parameters)).sum(), parameters)
    found = simulator.lensed(*models(parameters)).sum()
    simulator.psf = PSF(stamps(5, 5), (5, 4), dtype=torch.float64)
    simulator.theta.add_(1.0)
    torch.testing.assert_close(torch.autograd.grad(found, parameters), right)
    found = simulator.lensed(*models(parameters)).sum()
    simulator.psf.transfer.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        torch.autograd.grad(found, parameters)


def test_second_derivatives_of_an_image_do_not_look_at_rays_that_have_moved():
    simulator, parameters = scene()

    def second(shift: float) -> tuple[Tensor, ...]:
        found = simulator.lensed(*models(parameters)).square().sum()
        simulator.theta.add_(shift)
        slopes = torch.autograd.grad(found, parameters, create_graph=True)
        return torch.autograd.grad(sum(slopes, torch.zeros(())), parameters)

    torch.testing.assert_close(second(0.0), second(1.0))


def test_an_image_of_a_batch_of_one_and_of_numbers():
    simulator, parameters = scene()
    some = [p[None] if i % 2 else p.item() for i, p in enumerate(parameters)]
    found = simulator.lensed(*models(some))
    torch.testing.assert_close(found, simulator.lensed(*models(parameters)))
    leaves = [p for i, p in enumerate(parameters) if i % 2]
    slopes = torch.autograd.grad(found.sum(), leaves)
    other = simulator.lensed(*models(parameters)).sum()
    torch.testing.assert_close(slopes, torch.autograd.grad(other, leaves))


def test_an_image_under_the_transforms_of_functions():
    simulator, parameters = scene()
    numbers = [p.detach() for p in parameters]

    def value(*p: Tensor) -> Tensor:
        return simulator.lensed(*models(p)).square().sum()

    right = torch.autograd.grad(value(*parameters), parameters)
    every = tuple(range(len(numbers)))
    torch.testing.assert_close(torch.func.grad(value, every)(*numbers), right)
    many = torch.func.vmap(torch.func.grad(value, every))(*[n[None] for n in numbers])
    torch.testing.assert_close(tuple(m[0] for m in many), right)
    tangent = torch.func.jvp(value, tuple(numbers), tuple(numbers))[1]
    expected = sum((n * r).sum() for n, r in zip(numbers, right, strict=True))
    torch.testing.assert_close(tangent, expected)
    again = checkpoint(value, *parameters, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(again, parameters), right)
