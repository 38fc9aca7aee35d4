"""Laws of the shortcuts: those of the plain functions, and when they are taken."""

import pytest
import torch
from torch import Tensor

from lensrim.lensing.light import Sersic
from lensrim.lensing.light.brightness import SersicBrightness
from lensrim.lensing.mass import SIE
from lensrim.lensing.mass.isothermal import IsothermalDeflection
from lensrim.lensing.operation import Shortcut, shortcut_is_open

LENS = (1.2, 0.1, -0.25, 0.02, -0.03)
GALAXY = (2.0, 0.6, 1.7, -0.2, 0.15, 0.05, 0.08)
SHORTCUTS: list[tuple[type[Shortcut], tuple[float, ...]]] = [
    (IsothermalDeflection, LENS),
    (IsothermalDeflection, (0.8, -0.4, 0.0, 0.0, 0.0)),
    (IsothermalDeflection, (0.8, 0.0, 0.02, 0.3, 0.0)),
    (SersicBrightness, GALAXY),
    (SersicBrightness, (-0.5, 0.3, 4.0, 0.0, 0.0, 0.0, 0.1)),
]
EVERY = pytest.mark.parametrize(("shortcut", "numbers"), SHORTCUTS)


def inputs(numbers: tuple[float, ...], shape: tuple[int, ...] = (2, 3, 4)) -> list[Tensor]:
    """Positions around the centre, and the parameters, as leaves in double precision."""
    generator = torch.Generator().manual_seed(0)
    x, y = 2 * torch.rand(2, *shape, generator=generator, dtype=torch.float64) - 1
    parameters = torch.tensor(numbers, dtype=torch.float64)
    return [t.requires_grad_() for t in (x, y, parameters)]


@EVERY
@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 4)])
def test_it_is_the_plain_function(shortcut: type[Shortcut], numbers, shape):
    given = inputs(numbers, shape)
    quick, plain = shortcut.of(*given), shortcut.plain(*given)
    torch.testing.assert_close(quick, plain, rtol=1e-12, atol=1e-13)
    with torch.no_grad():
        torch.testing.assert_close(shortcut.of(*given), plain, rtol=1e-12, atol=1e-13)
    weight = torch.linspace(-1, 1, plain.numel(), dtype=torch.float64).view_as(plain)
    slopes = [torch.autograd.grad(value, given, weight) for value in (quick, plain)]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-12)


@EVERY
def test_derivatives_of_both_orders(shortcut: type[Shortcut], numbers):
    assert torch.autograd.gradcheck(shortcut.of, inputs(numbers, (1, 3)))
    assert torch.autograd.gradgradcheck(shortcut.of, inputs(numbers, (1, 3)))


@EVERY
def test_many_gradients_at_once(shortcut: type[Shortcut], numbers):
    given = inputs(numbers, (1, 3))
    value = shortcut.of(*given)
    each = torch.eye(value.numel(), dtype=torch.float64).view(-1, *value.shape)
    together = torch.autograd.grad(value, given, each, is_grads_batched=True, retain_graph=True)
    for found, *alone in zip(
        together,
        *(torch.autograd.grad(value, given, e, retain_graph=True) for e in each),
        strict=True,
    ):
        torch.testing.assert_close(found, torch.stack(alone))


@EVERY
@pytest.mark.parametrize("chosen", [0, 1, 2])
def test_what_is_not_asked_for_is_not_needed(shortcut: type[Shortcut], numbers, chosen: int):
    given = [t.detach() for t in inputs(numbers)]
    given[chosen].requires_grad_()
    slopes = [
        torch.autograd.grad(f(*given).sum(), given[chosen], create_graph=again)[0].detach()
        for f, again in ((shortcut.plain, False), (shortcut.of, False), (shortcut.of, True))
    ]
    torch.testing.assert_close(slopes[1:], 2 * slopes[:1], rtol=1e-10, atol=1e-12)


def test_an_input_made_of_another_counts_each_way_once():
    x, y, parameters = inputs(LENS)
    moved = x + parameters[3]  # with the centre: nothing is changed by it
    (slope,) = torch.autograd.grad(
        IsothermalDeflection.of(moved, y, parameters).sum(), parameters, create_graph=True
    )
    assert abs(slope[3].item()) < 1e-10
    first = torch.autograd.grad(slope.sum(), parameters)
    again = IsothermalDeflection.plain(x + parameters[3], y, parameters).sum()
    (plain,) = torch.autograd.grad(again, parameters, create_graph=True)
    torch.testing.assert_close(first, torch.autograd.grad(plain.sum(), parameters))


@pytest.mark.parametrize(("kind", "method", "numbers", "shortcut"), [
    (SIE, "deflection", LENS, IsothermalDeflection),
    (Sersic, "surface_brightness", GALAXY, SersicBrightness),
])  # fmt: skip
def test_single_numbers_take_it_and_all_else_does_not(
    monkeypatch: pytest.MonkeyPatch, kind, method: str, numbers, shortcut: type[Shortcut]
):
    taken: list[int] = []
    values = shortcut.values
    monkeypatch.setattr(
        shortcut, "values", staticmethod(lambda *given: taken.append(1) or values(*given))
    )
    x, y, _ = (t.detach() for t in inputs(numbers, (3, 4)))

    def value(x: Tensor, *parameters) -> Tensor:
        outcome = getattr(kind(*parameters), method)(x, y)
        return outcome if isinstance(outcome, Tensor) else torch.stack(outcome, -3)

    right = value(x, *numbers)
    assert taken == [1]
    batch = [torch.tensor([n, n], dtype=torch.float64) for n in numbers]
    both = torch.stack((right, right))
    torch.testing.assert_close(value(x, *batch), both)
    torch.testing.assert_close(torch.func.vmap(lambda *p: value(x, *p))(*batch), both)
    torch.testing.assert_close(torch.func.jvp(lambda x: value(x, *numbers), (x,), (x,))[0], right)
    assert taken == [1]


def test_it_is_closed_to_positions_without_maps():
    x = torch.ones(3)
    assert not shortcut_is_open(x, x)
    assert shortcut_is_open(x[None], x[None])
    assert not shortcut_is_open(x[None], x[None].mT)


@pytest.mark.parametrize("e1", [0.0, 1.0, 1.3, float("nan")])
def test_what_is_no_ellipse_goes_the_plain_way(e1: float):
    x, y, _ = (t.detach() for t in inputs(LENS, (3, 4)))
    # A batch of one takes it in any case.
    values = [
        (*SIE(one, e1, 0.0).deflection(x, y), Sersic(one, 0.3, 1.0, e1).surface_brightness(x, y))
        for one in (torch.ones((), dtype=x.dtype), torch.ones(1, dtype=x.dtype))
    ]
    for alone, batch in zip(*values, strict=True):
        torch.testing.assert_close(alone, batch[0], equal_nan=True)
