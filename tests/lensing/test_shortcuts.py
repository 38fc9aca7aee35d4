"""Laws of the shortcuts: those of the plain functions, and when they are taken."""

from collections.abc import Callable
from types import FunctionType

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

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


def joined(function: Callable, *given: Tensor) -> Tensor:
    """The outputs, in one tensor."""
    value = function(*given)
    return value if isinstance(value, Tensor) else torch.stack(value)


@EVERY
@pytest.mark.parametrize("shape", [(5, 6), (2, 3, 4)])
def test_it_is_the_plain_function(shortcut: type[Shortcut], numbers, shape):
    given = inputs(numbers, shape)
    quick, plain = (joined(f, *given) for f in (shortcut.of, shortcut.plain))
    torch.testing.assert_close(quick, plain, rtol=1e-12, atol=1e-13)
    with torch.no_grad():
        torch.testing.assert_close(joined(shortcut.of, *given), plain, rtol=1e-12, atol=1e-13)
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
    value = joined(shortcut.of, *given)
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
        torch.autograd.grad(joined(f, *given).sum(), given[chosen], create_graph=again)[0].detach()
        for f, again in ((shortcut.plain, False), (shortcut.of, False), (shortcut.of, True))
    ]
    torch.testing.assert_close(slopes[1:], 2 * slopes[:1], rtol=1e-10, atol=1e-12)


def test_an_input_made_of_another_counts_each_way_once():
    x, y, parameters = inputs(LENS)
    moved = x + parameters[3]  # with the centre: nothing is changed by it
    (slope,) = torch.autograd.grad(
        joined(IsothermalDeflection.of, moved, y, parameters).sum(), parameters, create_graph=True
    )
    assert abs(slope[3].item()) < 1e-10
    first = torch.autograd.grad(slope.sum(), parameters)
    again = joined(IsothermalDeflection.plain, x + parameters[3], y, parameters).sum()
    (plain,) = torch.autograd.grad(again, parameters, create_graph=True)
    torch.testing.assert_close(first, torch.autograd.grad(plain.sum(), parameters))


KINDS = pytest.mark.parametrize(("kind", "method", "numbers", "shortcut"), [
    (SIE, "deflection", LENS, IsothermalDeflection),
    (Sersic, "surface_brightness", GALAXY, SersicBrightness),
])  # fmt: skip


@KINDS
def test_single_numbers_take_it_and_all_else_does_not(
    monkeypatch: pytest.MonkeyPatch, kind, method: str, numbers, shortcut: type[Shortcut]
):
    taken: list[int] = []
    values: Callable = shortcut.values
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
    with torch.autocast("cpu"):
        torch.testing.assert_close(value(x, *numbers), right)
    traced = make_fx(lambda *p: value(x, *p))(*[torch.tensor(n).double() for n in numbers])
    torch.testing.assert_close(traced(*[b[0] for b in batch]), right)
    assert taken == [1]


@KINDS
def test_a_batch_of_one_takes_it(monkeypatch: pytest.MonkeyPatch, kind, method, numbers, shortcut):
    x, y, _ = (t.detach() for t in inputs(numbers, (3, 4)))
    one = [torch.tensor([n], dtype=torch.float64) for n in numbers]

    def values(x: Tensor, y: Tensor) -> Tensor:
        # Of some parameters there may be one for all.
        objects = kind(*one), kind(*numbers[:2], *one[2:])
        return torch.stack([joined(getattr(o, method), x, y) for o in objects])

    def all_shapes() -> list[Tensor]:
        return [values(x, y), values(x[None], y[None]), values(x[None, None], y[None, None])]

    with monkeypatch.context() as closed:
        module = "lensrim.lensing." + ("mass.power_law" if kind is SIE else "light.sersic")
        closed.setattr(module + ".shortcut_is_open", lambda x, y: False)
        plain = all_shapes()
    taken: list[int] = []
    quick: Callable = shortcut.values
    monkeypatch.setattr(
        shortcut, "values", staticmethod(lambda *given: taken.append(1) or quick(*given))
    )
    torch.testing.assert_close(all_shapes(), plain)
    assert len(taken) == 6


@pytest.mark.filterwarnings("ignore:.*torch.cpu.amp.autocast:FutureWarning")
@EVERY
def test_it_works_where_torch_saves_and_runs_it_again(shortcut: type[Shortcut], numbers):
    given = inputs(numbers)
    direct = torch.autograd.grad(joined(shortcut.of, *given).square().sum(), given)
    again = checkpoint(lambda *g: joined(shortcut.of, *g), *given, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(again.square().sum(), given), direct)


@EVERY
def test_gradients_under_a_cast_and_of_a_dual_number(shortcut: type[Shortcut], numbers):
    given = [t.detach().float().requires_grad_() for t in inputs(numbers)]
    value = joined(shortcut.of, *given)
    direct = torch.autograd.grad(value.sum(), given, retain_graph=True)
    with torch.autocast("cpu"):
        cast = torch.autograd.grad(value.sum(), given, retain_graph=True)
    torch.testing.assert_close(cast, direct, rtol=1e-4, atol=1e-4)
    with forward_ad.dual_level():
        twice = forward_ad.make_dual(torch.ones_like(value), torch.full_like(value, 2.0))
        tangents = [
            forward_ad.unpack_dual(slope).tangent
            for slope in torch.autograd.grad(value, given, twice)
        ]
    torch.testing.assert_close(tangents, [2 * slope for slope in direct], rtol=1e-4, atol=1e-4)


@KINDS
def test_coordinates_and_values_may_be_changed_afterwards(kind, method, numbers, shortcut):
    _, _, parameters = inputs(numbers)
    with torch.inference_mode():
        unknown = [t.clone() for t in inputs(numbers)[:2]]
    x, y = (t.clone() for t in unknown)
    slopes = []
    for at in ((x, y), tuple(unknown)):
        outcome = getattr(kind(*parameters), method)(*at)
        values = [outcome] if isinstance(outcome, Tensor) else list(outcome)
        total = torch.stack([v.sum() for v in values]).sum()
        for v in values:
            v += 1
        if at[0] is x:
            x.add_(1)
        (first,) = torch.autograd.grad(total, parameters, create_graph=True)
        slopes.append([first, *torch.autograd.grad(first.sum(), parameters)])
    torch.testing.assert_close(*slopes)


@EVERY
def test_in_single_precision_it_is_as_exact_as_the_plain_function(shortcut, numbers):
    x, y, parameters = (t.detach().float() for t in inputs(numbers, (100, 100)))
    weight = torch.randn(2, 100, 100, generator=torch.Generator().manual_seed(1))

    def slope(function: Callable, dtype: torch.dtype) -> Tensor:
        p = parameters.to(dtype).requires_grad_()
        value = joined(function, x.to(dtype), y.to(dtype), p)
        return torch.autograd.grad((value * weight.to(dtype)).sum(), p)[0].double()

    exact = slope(shortcut.plain, torch.float64)
    quick, plain = (slope(f, torch.float32) - exact for f in (shortcut.of, shortcut.plain))
    assert quick.norm() < plain.norm() + 1e-6 * exact.norm()


NUMBERS = [(1e-170, 1.0), (1e200, 1.0), (0.5, 1e-90), (0.5, 1e80), (float("inf"), 1.0)]


@pytest.mark.parametrize(("radius", "n"), NUMBERS)
def test_numbers_out_of_range_go_the_plain_way(radius: float, n: float):
    x, y, _ = (t.detach() for t in inputs(GALAXY, (3, 4)))
    two = torch.tensor([radius, radius], dtype=torch.float64)
    alone = Sersic(2.0, radius, n).surface_brightness(x, y)
    assert torch.equal(alone, Sersic(2.0, two, n).surface_brightness(x, y)[0])


def test_nothing_is_traced_but_the_plain_way():
    x, y, parameters = inputs(LENS)
    with FakeTensorMode(allow_non_fake_inputs=True):
        ax, _ = SIE(*parameters.detach().unbind()).deflection(x.detach(), y.detach())
    assert ax.shape == x.shape
    value = joined(IsothermalDeflection.of, x, y, parameters)
    # Compiled autograd takes functions alone.
    for each in (IsothermalDeflection.forward, IsothermalDeflection.backward):
        assert isinstance(each, FunctionType)
    traced = make_fx(lambda g: torch.autograd.grad(value, parameters, g, retain_graph=True)[0])
    grad = torch.ones_like(value)
    torch.testing.assert_close(traced(grad)(2 * grad), 2 * traced(grad)(grad))


def test_it_is_closed_to_positions_without_maps():
    x = torch.ones(3)
    assert not shortcut_is_open(x, x)
    assert shortcut_is_open(x[None], x[None])
    assert not shortcut_is_open(x[None], x[None].mT)
    assert not shortcut_is_open(x[None], x[None].double())


@pytest.mark.parametrize("e1", [0.0, 1.0, 1.3, float("nan")])
def test_what_is_no_ellipse_goes_the_plain_way(e1: float):
    x, y, _ = (t.detach() for t in inputs(LENS, (3, 4)))
    # A batch takes it in any case.
    values = [
        (*SIE(one, e1, 0.0).deflection(x, y), Sersic(one, 0.3, 1.0, e1).surface_brightness(x, y))
        for one in (torch.ones((), dtype=x.dtype), torch.ones(2, dtype=x.dtype))
    ]
    for alone, batch in zip(*values, strict=True):
        torch.testing.assert_close(alone, batch[0], equal_nan=True)
