"""Laws of the shortcuts: those of the plain functions, and when they are taken."""

from collections.abc import Callable
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.autograd.graph import save_on_cpu
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from lensrim.lensing import mass
from lensrim.lensing.by_hand import shortcut_is_open
from lensrim.lensing.lensed import Lensed
from lensrim.lensing.light import Sersic
from lensrim.lensing.light.brightness import SersicBrightness
from lensrim.lensing.mass import SIE, SIS, Shear
from lensrim.lensing.mass.isothermal import IsothermalDeflection
from lensrim.lensing.mass.linear import ShearDeflection
from lensrim.lensing.mass.sums import stacked_deflection
from lensrim.lensing.shortcut import Rules, Shortcut, _Sum

LENS = (1.2, 0.1, -0.25, 0.02, -0.03)
SHEAR = (0.05, -0.08, 0.4, 0.1)
GALAXY = (2.0, 0.6, 1.7, -0.2, 0.15, 0.05, 0.08)
DISK = (-0.5, 0.3, 4.0, 0.0, 0.0, 0.0, 0.1)


class Function:
    """A sum of functions of positions and all their parameters in one tensor, both ways."""

    def __init__(self, *kinds: type[Shortcut]) -> None:
        self.kinds = kinds

    def members(self, parameters: Tensor):
        each, start = parameters.unbind(), 0
        for kind in self.kinds:
            count = COUNTS[kind]
            yield kind, each[start : start + count]
            start += count

    def of(self, x: Tensor, y: Tensor, parameters: Tensor) -> Tensor:
        rules = Rules.of(list(self.members(parameters)), x.dtype)
        assert rules is not None
        if not torch.is_grad_enabled():
            return rules.values(x, y)[0]
        return _Sum.apply(x, y, rules, *rules.parameters)

    def plain(self, x: Tensor, y: Tensor, parameters: Tensor) -> Tensor:
        parts = [kind.plain(x, y, *given) for kind, given in self.members(parameters)]
        return sum(parts[1:], parts[0])


COUNTS: dict[type[Shortcut], int] = {
    IsothermalDeflection: 5,
    ShearDeflection: 4,
    SersicBrightness: 7,
}
SHORTCUTS: list[tuple[Function, tuple[float, ...]]] = [
    (Function(IsothermalDeflection), LENS),
    (Function(IsothermalDeflection), (0.8, -0.4, 0.0, 0.0, 0.0)),
    (Function(IsothermalDeflection), (0.8, 0.0, 0.02, 0.3, 0.0)),
    (Function(ShearDeflection), SHEAR),
    (Function(ShearDeflection, IsothermalDeflection, IsothermalDeflection),
     (*SHEAR, *LENS, 0.8, 0.0, 0.02, 0.3, 0.0)),
    (Function(IsothermalDeflection, ShearDeflection), (*LENS, *SHEAR)),
    (Function(SersicBrightness), GALAXY),
    (Function(SersicBrightness, SersicBrightness), (*DISK, *GALAXY)),
]  # fmt: skip
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
def test_it_is_the_plain_function(shortcut: Function, numbers, shape):
    given = inputs(numbers, shape)
    quick, plain = (joined(f, *given) for f in (shortcut.of, shortcut.plain))
    torch.testing.assert_close(quick, plain, rtol=1e-12, atol=1e-13)
    with torch.no_grad():
        torch.testing.assert_close(joined(shortcut.of, *given), plain, rtol=1e-12, atol=1e-13)
    weight = torch.linspace(-1, 1, plain.numel(), dtype=torch.float64).view_as(plain)
    slopes = [torch.autograd.grad(value, given, weight) for value in (quick, plain)]
    torch.testing.assert_close(*slopes, rtol=1e-10, atol=1e-12)


@EVERY
def test_derivatives_of_both_orders(shortcut: Function, numbers):
    assert torch.autograd.gradcheck(shortcut.of, inputs(numbers, (1, 3)))
    assert torch.autograd.gradgradcheck(shortcut.of, inputs(numbers, (1, 3)))


@EVERY
def test_many_gradients_at_once(shortcut: Function, numbers):
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
def test_what_is_not_asked_for_is_not_needed(shortcut: Function, numbers, chosen: int):
    given = [t.detach() for t in inputs(numbers)]
    given[chosen].requires_grad_()
    slopes = [
        torch.autograd.grad(joined(f, *given).sum(), given[chosen], create_graph=again)[0].detach()
        for f, again in ((shortcut.plain, False), (shortcut.of, False), (shortcut.of, True))
    ]
    torch.testing.assert_close(slopes[1:], 2 * slopes[:1], rtol=1e-10, atol=1e-12)


def test_an_input_made_of_another_counts_each_way_once():
    lens = Function(IsothermalDeflection)
    x, y, parameters = inputs(LENS)
    moved = x + parameters[3]  # with the centre: nothing is changed by it
    (slope,) = torch.autograd.grad(
        lens.of(moved, y, parameters).sum(), parameters, create_graph=True
    )
    assert abs(slope[3].item()) < 1e-10
    first = torch.autograd.grad(slope.sum(), parameters)
    again = lens.plain(x + parameters[3], y, parameters).sum()
    (plain,) = torch.autograd.grad(again, parameters, create_graph=True)
    torch.testing.assert_close(first, torch.autograd.grad(plain.sum(), parameters))


KINDS = pytest.mark.parametrize(("kind", "method", "numbers"), [
    (SIE, "deflection", LENS),
    (Shear, "deflection", SHEAR),
    (Sersic, "surface_brightness", GALAXY),
])  # fmt: skip


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One for every time that a shortcut is taken."""
    taken: list[int] = []
    values: Callable = Rules.values
    monkeypatch.setattr(
        Rules, "values", lambda self, *given: taken.append(1) or values(self, *given)
    )
    return taken


@KINDS
def test_single_numbers_take_it_and_all_else_does_not(
    monkeypatch: pytest.MonkeyPatch, kind, method: str, numbers
):
    taken = count_calls(monkeypatch)
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
    tangent = torch.func.jvp(lambda x: value(x, *numbers), (x,), (x,))[0]
    torch.testing.assert_close(tangent, right)
    with torch.autocast("cpu"):
        torch.testing.assert_close(value(x, *numbers), right)
    traced = make_fx(lambda *p: value(x, *p))(*[torch.tensor(n).double() for n in numbers])
    torch.testing.assert_close(traced(*[b[0] for b in batch]), right)
    assert taken == [1]


@KINDS
def test_a_batch_of_one_takes_it(monkeypatch: pytest.MonkeyPatch, kind, method, numbers):
    x, y, _ = (t.detach() for t in inputs(numbers, (3, 4)))
    one = [torch.tensor([n], dtype=torch.float64) for n in numbers]

    def values(x: Tensor, y: Tensor) -> Tensor:
        # Of some parameters there may be one for all.
        objects = kind(*one), kind(*numbers[:2], *one[2:])
        return torch.stack([joined(getattr(o, method), x, y) for o in objects])

    def all_shapes() -> list[Tensor]:
        return [values(x, y), values(x[None], y[None]), values(x[None, None], y[None, None])]

    with monkeypatch.context() as closed:
        closed.setattr("lensrim.lensing.shortcut.shortcut_is_open", lambda x, y: False)
        plain = all_shapes()
    taken = count_calls(monkeypatch)
    torch.testing.assert_close(all_shapes(), plain)
    assert len(taken) == 6


def test_a_sum_takes_it_where_all_of_it_does(monkeypatch: pytest.MonkeyPatch):
    x, y, _ = (t.detach() for t in inputs(LENS, (3, 4)))
    taken = count_calls(monkeypatch)
    lens, shear = SIE(*LENS), Shear(*SHEAR)
    found = torch.stack(mass.Sum([mass.Sum([lens]), shear]).deflection(x, y))
    assert taken == [1]
    alone = torch.stack([torch.stack(m.deflection(x, y)) for m in (lens, shear)]).sum(0)
    torch.testing.assert_close(found, alone)
    taken.clear()
    with_sis = torch.stack(mass.Sum([lens, SIS(1.0)]).deflection(x, y))
    assert taken == [1]  # the ellipsoid's alone
    torch.testing.assert_close(
        with_sis, torch.stack(lens.deflection(x, y)) + torch.stack(SIS(1.0).deflection(x, y))
    )


def in_a_checkpoint(function: Callable, *given: Tensor) -> Tensor:
    return checkpoint(function, *given, use_reentrant=False)


def saved_elsewhere(function: Callable, *given: Tensor) -> Tensor:
    with save_on_cpu():
        return function(*given)


@pytest.mark.filterwarnings("ignore:.*torch.cpu.amp.autocast:FutureWarning")
@pytest.mark.parametrize("saving", [in_a_checkpoint, saved_elsewhere])
@EVERY
def test_it_works_where_torch_saves_and_runs_it_again(shortcut: Function, numbers, saving):
    given = inputs(numbers)
    direct = torch.autograd.grad(joined(shortcut.of, *given).square().sum(), given)
    again = saving(lambda *g: joined(shortcut.of, *g), *given)
    torch.testing.assert_close(torch.autograd.grad(again.square().sum(), given), direct)

    def slopes(*g: Tensor) -> Tensor:
        found = torch.autograd.grad(joined(shortcut.of, *g).square().sum(), g, create_graph=True)
        return torch.stack([f.square().sum() for f in found]).sum()

    twice = torch.autograd.grad(slopes(*given), given)
    torch.testing.assert_close(torch.autograd.grad(saving(slopes, *given), given), twice)


@EVERY
def test_gradients_under_a_cast_and_of_a_dual_number(shortcut: Function, numbers):
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
def test_coordinates_and_values_may_be_changed_afterwards(kind, method, numbers):
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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("radius", "n"), [*NUMBERS, (1e-25, 1.0), (0.5, 1e-10)])
def test_numbers_out_of_range_go_the_plain_way(radius: float, n: float, dtype: torch.dtype):
    x, y, _ = (t.detach().to(dtype) for t in inputs(GALAXY, (3, 4)))
    two = torch.tensor([radius, radius], dtype=dtype)
    alone = Sersic(2.0, radius, n).surface_brightness(x, y)
    batch = Sersic(2.0, two, n).surface_brightness(x, y)[0]
    torch.testing.assert_close(alone, batch, rtol=0, atol=0, equal_nan=True)


def test_nothing_is_traced_but_the_plain_way():
    x, y, parameters = inputs(LENS)
    with FakeTensorMode(allow_non_fake_inputs=True):
        ax, _ = SIE(*parameters.detach().unbind()).deflection(x.detach(), y.detach())
    assert ax.shape == x.shape
    value = Function(IsothermalDeflection).of(x, y, parameters)
    # Compiled autograd takes functions alone.
    for each in (_Sum.forward, _Sum.backward, Lensed.forward, Lensed.backward):
        assert isinstance(each, FunctionType)
    traced = make_fx(lambda g: torch.autograd.grad(value, parameters, g, retain_graph=True)[0])
    grad = torch.ones_like(value)
    torch.testing.assert_close(traced(grad)(2 * grad), 2 * traced(grad)(grad))


class Doubled(Shear):
    """A shear of twice the deflection."""

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        ax, ay = super().deflection(x, y)
        return 2 * ax, 2 * ay


class Fewer(mass.Sum):
    """A sum without what comes first."""

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return mass.Sum(self.components[1:]).deflection(x, y)


def test_a_subclass_computes_what_it_says():
    x, y, _ = (t.detach() for t in inputs(LENS, (3, 4)))
    lens, shear = SIE(*LENS), Shear(*SHEAR)
    with_double = torch.stack(mass.Sum([lens, Doubled(*SHEAR)]).deflection(x, y))
    right = torch.stack(mass.Sum([lens, shear, shear]).deflection(x, y))
    torch.testing.assert_close(with_double, right)
    torch.testing.assert_close(
        stacked_deflection(Doubled(*SHEAR), x, y), right - torch.stack(lens.deflection(x, y))
    )
    fewer = stacked_deflection(Fewer([lens, shear]), x, y)
    torch.testing.assert_close(fewer, torch.stack(shear.deflection(x, y)))


@EVERY
def test_each_gradient_may_be_changed_without_the_others(shortcut: Function, numbers):
    x, y, parameters = inputs(numbers)
    each = [p.detach().requires_grad_() for p in parameters]
    rules = Rules.of(list(shortcut.members(parameters.detach())), x.dtype)
    assert rules is not None
    value = _Sum.apply(x, y, rules, *each)
    slopes = torch.autograd.grad(value.sum(), [x, y, *each])
    weight = torch.tensor(3.0, dtype=x.dtype, requires_grad=True)
    kept = [s.clone() for s in slopes[::2]]
    products = [weight * s for s in slopes[::2]]  # torch keeps them for the gradient
    for slope in slopes[1::2]:
        slope.mul_(2)
    torch.testing.assert_close(list(slopes[::2]), kept)
    found = torch.autograd.grad(sum((p.sum() for p in products), weight), weight)[0]
    torch.testing.assert_close(found, 1 + sum((k.sum() for k in kept), torch.zeros_like(weight)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@KINDS
def test_a_traced_function_takes_other_numbers(kind, method, numbers):
    x, y, parameters = (t.detach() for t in inputs(numbers, (3, 4)))

    def value(p: Tensor) -> Tensor:
        return joined(getattr(kind(*p.unbind()), method), x, y)

    traced: Any = torch.jit.trace(value, (parameters,), check_trace=False)
    torch.testing.assert_close(traced(1.1 * parameters), value(1.1 * parameters))


def test_parameters_elsewhere_go_the_plain_way():
    elsewhere = torch.ones((), device="meta")
    assert Rules.of([(ShearDeflection, (0.1, 0.1, elsewhere, 0.0))], torch.float64) is None


def test_whole_numbers_are_parameters_without_a_gradient():
    x, y, parameters = inputs(LENS, (3, 4))
    x, y, one = x.detach(), y.detach(), torch.tensor(1)

    def second(theta_E: Tensor) -> tuple[Tensor, ...]:
        total = torch.stack(SIE(theta_E, *parameters[1:]).deflection(x, y)).square().sum()
        (slope,) = torch.autograd.grad(total, parameters, create_graph=True)
        return slope, *torch.autograd.grad(slope.sum(), parameters)

    torch.testing.assert_close(second(one), second(one.double()))


def test_it_is_closed_to_positions_without_maps():
    x = torch.ones(3)
    assert not shortcut_is_open(x, x)
    assert shortcut_is_open(x[None], x[None])
    assert not shortcut_is_open(x[None], x[None].mT)
    assert not shortcut_is_open(x[None], x[None].double())
    assert not shortcut_is_open(x[None].int(), x[None].int())


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
