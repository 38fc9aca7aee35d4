"""Many components at once: the same as their sum, and memory that does not grow with them."""

import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.jacobian import jacobian
from lensrim.lensing.mass import DPIE, TNFW, Many, Shear, Sum
from lensrim.lensing.subhalos import Subhalos

METHODS = ("potential", "deflection", "convergence", "shear")


def population(*shape: int, dtype=torch.float64) -> list[Tensor]:
    """Draws kappa_s, r_s, r_t and centres."""
    generator = torch.Generator().manual_seed(0)
    u = torch.rand(5, *shape, generator=generator, dtype=dtype)
    return [0.01 + 0.1 * u[0], 0.05 + 0.2 * u[1], 0.1 + u[2], 4 * u[3] - 2, 4 * u[4] - 2]


def stacked(mass, name: str, x: Tensor, y: Tensor) -> Tensor:
    value = getattr(mass, name)(x, y)
    return torch.stack(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("per", [1, 3, 100])
def test_many_are_the_sum_of_each(name: str, per: int):
    x, y = PixelGrid((5, 6), 0.5).coordinates(dtype=torch.float64)
    p = population(7)
    each = Sum([TNFW(*(v[i] for v in p)) for i in range(7)])
    many = Many(TNFW(*p), chunk=30 * per)
    torch.testing.assert_close(stacked(many, name, x, y), stacked(each, name, x, y))


def test_gradients_are_those_of_the_sum():
    x, y = (c.requires_grad_() for c in PixelGrid((5, 6), 0.5).coordinates(dtype=torch.float64))
    p = [v.requires_grad_() for v in population(7)]
    each = Sum([TNFW(*(v[i] for v in p)) for i in range(7)])
    totals = [stacked(m, "deflection", x, y).sin().sum() for m in (Many(TNFW(*p), chunk=60), each)]
    ours, theirs = (torch.autograd.grad(t, (x, y, *p)) for t in totals)
    torch.testing.assert_close(ours, theirs)


def test_second_derivatives_are_right():
    x, y = PixelGrid((2, 3), 0.5, (0.1, 0.2)).coordinates(dtype=torch.float64)
    p = tuple(v.requires_grad_() for v in population(3))

    def deflection(*p: Tensor) -> Tensor:
        return torch.stack(Many(TNFW(*p), chunk=12).deflection(x, y))

    assert torch.autograd.gradcheck(deflection, p)
    assert torch.autograd.gradgradcheck(deflection, p, atol=1e-4, rtol=1e-3)


def test_batches_and_shared_parameters():
    x, y = PixelGrid((4, 5), 0.5).coordinates(dtype=torch.float64)
    p = population(2, 6)
    shared = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    many = Many(TNFW(p[0], shared, 0.8, p[3], p[4]), chunk=40)
    total = torch.stack(many.deflection(x, y))
    assert total.shape == (2, 2, 4, 5)
    for i in range(2):
        one = Many(TNFW(p[0][i], shared, 0.8, p[3][i], p[4][i]))
        torch.testing.assert_close(total[:, i], torch.stack(one.deflection(x, y)))
    (gradient,) = torch.autograd.grad(total.sum(), shared)
    assert gradient.shape == ()


def test_vmap_and_its_gradients():
    x, y = PixelGrid((4, 5), 0.5).coordinates(dtype=torch.float64)
    p = population(2, 6)

    def total(*p: Tensor) -> Tensor:
        return torch.stack(Many(TNFW(*p), chunk=40).deflection(x, y)).sin().sum()

    torch.testing.assert_close(
        torch.func.vmap(total)(*p), torch.stack([total(*(v[i] for v in p)) for i in range(2)])
    )
    mapped = torch.func.vmap(torch.func.grad(total))(*p)
    for i in range(2):
        torch.testing.assert_close(mapped[i], torch.func.grad(total)(*(v[i] for v in p[:5])))


def test_forward_mode_and_what_is_made_of_it():
    """Critical curves, positions of images and lens planes take the Jacobian in forward mode."""
    x, y = PixelGrid((4, 5), 0.5).coordinates(dtype=torch.float64)
    p = population(6)

    def value(many: bool, scale: Tensor) -> Tensor:
        kinds = [TNFW(p[0][i] * scale, *(v[i] for v in p[1:5])) for i in range(6)]
        mass = Many(TNFW(p[0] * scale, *p[1:5]), chunk=40) if many else Sum(kinds)
        return torch.stack(jacobian(mass, x, y)).sin().sum()

    one = torch.tensor(1.0, dtype=torch.float64)
    for derivative in (torch.func.grad, torch.func.jacfwd, torch.func.hessian):
        found, expected = (derivative(partial(value, m))(one) for m in (True, False))
        torch.testing.assert_close(found, expected)
    torch.testing.assert_close(value(True, one), value(False, one))


def test_no_components_are_no_mass():
    x, y = PixelGrid((4, 5), 0.5).coordinates()
    kappa = Many(TNFW(*population(0, dtype=torch.float32))).convergence(x, y)
    torch.testing.assert_close(kappa, torch.zeros(4, 5))
    none = Subhalos(*torch.zeros(4, 3, 0))
    for name in METHODS:
        values = stacked(none, name, x, y)
        torch.testing.assert_close(values, torch.zeros(*values.shape[:-3], 3, 4, 5))


def test_isothermal_subhalos_are_dual_pseudo_isothermal():
    x, y = PixelGrid((6, 5), 0.5, (0.01, 0.02)).coordinates(dtype=torch.float64)
    b, _, t, cx, cy = population(4)
    subhalos, many = Subhalos(b, t, cx, cy), Many(DPIE(b, 0.0, t, 0.0, 0.0, cx, cy))
    for name in ("deflection", "convergence", "shear"):
        torch.testing.assert_close(stacked(subhalos, name, x, y), stacked(many, name, x, y))


def test_a_model_without_components_is_refused():
    with pytest.raises(
        ValueError, match=r"must be a tensor with shape .* sum single models by Sum"
    ):
        Many(TNFW(0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match=r"got Sum without any"):
        Many(Sum([Shear(torch.zeros(3), torch.zeros(3))]))


def test_nothing_but_the_inputs_is_kept_for_the_backward_pass():
    x, y = PixelGrid((16, 16), 0.5).coordinates()
    p = [v.requires_grad_() for v in population(50, dtype=torch.float32)]
    kept: list[int] = []

    def pack(t: Tensor) -> Tensor:
        kept.append(t.numel())
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        Many(TNFW(*p), chunk=256).deflection(x, y)
    assert sum(kept) == 2 * 256 + 5 * 50


PEAK = """
import resource, torch
from lensrim.grid import PixelGrid
from lensrim.lensing.mass import Many, TNFW
u = torch.rand(5, 10000, requires_grad=True)
x, y = PixelGrid((128, 128), 0.05).coordinates()
mass = Many(TNFW(u[0] / 10, 0.05 + u[1], 0.1 + u[2], 6 * u[3] - 3, 6 * u[4] - 3))
torch.stack(mass.deflection(x, y)).square().sum().backward()
assert bool(torch.isfinite(u.grad).all())
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


@pytest.mark.slow
def test_ten_thousand_haloes_take_less_than_a_gigabyte(root):
    run = subprocess.run(
        [sys.executable, "-c", PEAK], cwd=root, capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 1e9
