"""Links: bijections that torch differentiates, in any precision and out to their ends."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from lensrim.rim.links import (
    Bijection,
    Bounded,
    Exp,
    Identity,
    Link,
    Log10,
    PerChannel,
    Sigmoid,
    Sinh,
    Softplus,
)


def cube(x: Tensor) -> Tensor:
    """A function that torch cannot differentiate."""
    return torch.from_numpy(np.asarray(x.detach().numpy() ** 3 + x.detach().numpy()))


def root(v: Tensor) -> Tensor:
    """Its inverse, by Newton's method."""
    x = v.clone()
    for _ in range(60):
        x = x - (x**3 + x - v) / (3 * x**2 + 1)
    return x


def slope(x: Tensor) -> Tensor:
    return 3 * x**2 + 1


LINKS = {
    "Identity": (Identity(), lambda x: x),
    "Log10": (Log10(), lambda x: 10**x),
    "Exp": (Exp(), math.exp),
    "Softplus": (Softplus(), lambda x: math.log1p(math.exp(x))),
    "Sigmoid": (Sigmoid(), lambda x: 1 / (1 + math.exp(-x))),
    "Sinh": (Sinh(0.3), lambda x: 0.3 * math.sinh(x)),
    "Bounded": (Bounded(-2.0, 0.1), lambda x: -2 + 2.1 / (1 + math.exp(-x))),
    "Bijection": (Bijection(torch.expm1, torch.log1p), math.expm1),
    "given": (Bijection(cube, root, slope), lambda x: x**3 + x),
}
EVERY = pytest.mark.parametrize(("link", "formula"), LINKS.values(), ids=LINKS)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_link_is_its_formula_and_is_undone_by_its_inverse(link, formula, dtype: torch.dtype):
    assert isinstance(link, Link)
    x = torch.linspace(-4, 3, 50, dtype=dtype)
    value = link.physical(x)
    assert value.dtype == dtype
    assert (value.diff() > 0).all()
    expected = torch.tensor([formula(float(each)) for each in x], dtype=dtype)
    torch.testing.assert_close(value, expected)
    torch.testing.assert_close(link.free(value), x, rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(link.physical(link.free(value)), value)


@EVERY
def test_its_derivative_is_that_of_finite_differences(link, formula):
    x = torch.linspace(-2, 2, 20, dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(link.physical(x).sum(), x, create_graph=True)
    expected = [(formula(float(v) + 1e-6) - formula(float(v) - 1e-6)) / 2e-6 for v in x.detach()]
    torch.testing.assert_close(found, torch.tensor(expected).double(), rtol=1e-7, atol=1e-8)
    if found.requires_grad:  # that of the identity does not
        (second,) = torch.autograd.grad(found.sum(), x)
        with torch.no_grad():
            ups, downs = x + 1e-5, x - 1e-5
        slopes = [
            torch.autograd.grad(link.physical(at.requires_grad_()).sum(), at)[0]
            for at in (ups, downs)
        ]
        torch.testing.assert_close(second, (slopes[0] - slopes[1]) / 2e-5, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in LINKS if name != "given"])
def test_a_link_works_sample_by_sample(name: str):
    link, _ = LINKS[name]
    x = torch.linspace(-2, 2, 24, dtype=torch.float64).reshape(4, 2, 3)
    torch.testing.assert_close(torch.func.vmap(link.physical)(x), link.physical(x))


ENDS = {
    "Softplus": (Softplus(), -80.0, 1e4),
    "Sigmoid": (Sigmoid(), -80.0, 80.0),
    "Bounded": (Bounded(-1.0, 0.1), -80.0, 80.0),
    "Exp": (Exp(), -80.0, 80.0),
    "Sinh": (Sinh(), -80.0, 80.0),
}


@pytest.mark.parametrize(("link", "low", "high"), ENDS.values(), ids=ENDS)
def test_nothing_breaks_at_the_ends(link: Link, low: float, high: float):
    x = torch.tensor([low, low / 4, 0.0, high / 4, high], requires_grad=True)
    value = link.physical(x)
    (gradient,) = torch.autograd.grad(value.sum(), x, create_graph=True)
    assert value.isfinite().all() and gradient.isfinite().all() and (gradient >= 0).all()
    (second,) = torch.autograd.grad(gradient.sum(), x)
    assert second.isfinite().all()


def test_small_and_large_values_are_told_apart_near_the_ends():
    small = torch.tensor([1e-30, 1e-12, 1e-6])
    for link in (Softplus(), Sigmoid(), Bounded(0.0, 1.0), Exp()):
        torch.testing.assert_close(link.free(small), small.double().log().float())
        torch.testing.assert_close(link.physical(link.free(small)), small, rtol=1e-5, atol=0)
    large = torch.tensor([50.0, 1e6, 1e30])
    torch.testing.assert_close(Softplus().free(large), large)


def test_bounds_are_never_passed():
    x = torch.linspace(-200, 200, 1001)
    for low, high in [(-1.0, 0.1), (0.1, 0.7), (1e3, 1e3 + 1)]:
        value = Bounded(low, high).physical(x).double()
        assert value.min() >= np.float32(low) and value.max() <= np.float32(high)


def test_a_link_for_each_channel():
    link = PerChannel((Exp(), Identity(), Bounded(0.0, 2.0)))
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    value = link.physical(x)
    for i, each in enumerate(link.links):
        torch.testing.assert_close(value[:, i], each.physical(x[:, i]))
    torch.testing.assert_close(link.free(value), x, rtol=1e-4, atol=1e-5)
    vectors = link.physical(x[:, :, 0, 0])
    torch.testing.assert_close(vectors, value[:, :, 0, 0])


def test_a_given_derivative_takes_the_place_of_torchs():
    """Of a wrong one, too: it is believed."""
    link = Bijection(torch.exp, torch.log, lambda x: torch.full_like(x, 7.0))
    x = torch.zeros(3, requires_grad=True)
    assert torch.equal(link.physical(x), torch.ones(3))
    (gradient,) = torch.autograd.grad(link.physical(x).sum(), x)
    assert torch.equal(gradient, torch.full((3,), 7.0))
    mapped = torch.func.vmap(torch.func.grad(link.physical))(torch.zeros(4))
    assert torch.equal(mapped, torch.full((4,), 7.0))


@dataclass(frozen=True)
class Reversed:
    """A link of the user's own, and one that decreases."""

    def physical(self, x: Tensor) -> Tensor:
        return -x

    def free(self, value: Tensor) -> Tensor:
        return -value


def test_a_link_may_be_the_users_own():
    assert isinstance(Reversed(), Link)


@pytest.mark.parametrize(("low", "high"), [(1.0, 1.0), (2.0, 1.0), (0.0, math.inf), (math.nan, 1)])
def test_bounds_must_be_in_order(low: float, high: float):
    with pytest.raises(ValueError, match="low and high must be finite and low below high, got"):
        Bounded(low, high)


def test_a_scale_must_be_positive():
    with pytest.raises(ValueError, match="scale must be positive, got 0"):
        Sinh(0.0)
