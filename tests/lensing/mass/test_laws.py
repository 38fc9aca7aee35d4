"""Laws of the mass models, each over all of them."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from masses import CASES, METHODS, Case, derivatives, points, values
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing import mass as models
from lensrim.lensing.mass import EPL, TNFW, Many, Mass, Multipole, Shear, Sum
from lensrim.lensing.subhalos import Subhalos

MASSES: dict[str, Mass] = {
    **{name: case.make() for name, case in CASES.items()},
    "round SIE": models.SIE(1.2, 0.0, 0.0),
    "round DPIE": models.DPIE(1.2, 0.0, 0.5),
    "NIE without core": models.NIE(1.2, 0.0, 0.1, 0.3),
    "subhalos": Subhalos(
        torch.tensor([0.1, 0.02]),
        torch.tensor([0.3, 0.1]),
        torch.tensor([0.05, -1.0]),
        torch.tensor([0.0, 0.4]),
    ),
    "many": Many(TNFW(torch.tensor([0.3, 0.1, 0.2]).double(), 0.3, 0.5), chunk=80),
    "sum": Sum([EPL(1.0, 2.1, 0.1, 0.1), Shear(0.03, 0.02), Multipole(4, 0.02, 0.01)]),
}
EVERY = pytest.mark.parametrize("mass", MASSES.values(), ids=MASSES.keys())
EVERY_CASE = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
BOTH_TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
SPECIAL = {"r_s": 1.0, "core": 0.0, "e1": 0.0, "e2": 0.0, "center_x": 0.0, "center_y": 0.0}


def check_derivatives(mass: Mass, x: Tensor, y: Tensor) -> None:
    """Compares the maps with derivatives of the potential and the deflection."""
    x, y = x.clone().requires_grad_(), y.clone().requires_grad_()
    ax, ay = mass.deflection(x, y)
    gradient = torch.stack(derivatives(mass.potential(x, y), x, y))
    (xx, xy), (yx, yy) = derivatives(ax, x, y), derivatives(ay, x, y)
    for name, mine, theirs in [
        ("deflection", torch.stack((ax, ay)), gradient),
        ("curl", xy, yx),
        ("convergence", mass.convergence(x, y), (xx + yy) / 2),
        ("shear", torch.stack(mass.shear(x, y)), torch.stack(((xx - yy) / 2, xy))),
    ]:
        # The softening leaves 1e-6 squared of the largest term, not of its sum.
        terms = (ax, ay) if name == "deflection" else (xx, xy, yy)
        atol = 1e-8 * float(torch.stack(terms).detach().abs().max()) + 1e-12
        torch.testing.assert_close(
            mine, theirs, rtol=1e-7, atol=atol, msg=lambda m, n=name: f"{n}: {m}"
        )


@EVERY
def test_maps_are_derivatives_of_one_potential(mass: Mass):
    check_derivatives(mass, *points())


NUMBERS = {
    "theta_E": (0.3, 2.0),
    "gamma": (1.3, 2.7),
    "core": (0.0, 0.5),
    "truncation": (0.6, 3.0),
    "kappa_s": (0.01, 1.0),
    "sigma_0": (0.01, 1.0),
    "kappa_e": (0.01, 1.0),
    "kappa": (-0.3, 0.3),
    "r_s": (0.05, 20.0),
    "r_t": (0.02, 50.0),
    "R_sersic": (0.2, 3.0),
    "n_sersic": (0.5, 8.0),
    "r_E": (0.3, 3.0),
    "e1": (-0.3, 0.3),
    "e2": (-0.3, 0.3),
}


@EVERY_CASE
@settings(max_examples=15)
@given(data=st.data())
def test_maps_are_derivatives_for_any_parameters(case: Case, data):
    numbers = {
        name: data.draw(st.floats(*NUMBERS.get(name, (-0.1, 0.1))), label=name)
        for name in case.numbers
    }
    check_derivatives(case.make(**numbers), *points(8, seed=1))


@BOTH_TYPES
@EVERY_CASE
def test_values_and_gradients_are_finite_at_removable_singularities(case: Case, dtype):
    # The centre of the grid is that of the lens; other points are at r = r_s; q = 1.
    x, y = (c.requires_grad_() for c in PixelGrid((5, 5), 0.5).coordinates(dtype=dtype))
    p = case.tensors(dtype)
    p.update({k: torch.tensor(v, dtype=dtype) for k, v in SPECIAL.items() if k in p})
    p = {k: v.requires_grad_() for k, v in p.items()}
    for name, value in values(case.make(**p), x, y).items():
        assert value.dtype == dtype
        assert bool(torch.isfinite(value).all()), name
        if not value.requires_grad:
            continue  # zero everywhere
        gradients = torch.autograd.grad(
            value.sum(), (x, y, *p.values()), materialize_grads=True, retain_graph=True
        )
        for g, of in zip(gradients, ("x", "y", *p), strict=True):
            assert bool(torch.isfinite(g).all()), (name, of)


@EVERY_CASE
@pytest.mark.parametrize("special", [False, True], ids=["generic", "at q = 1 and r = r_s"])
def test_gradients_are_those_of_finite_differences(case: Case, special: bool):
    numbers = dict(case.numbers)
    if special:
        numbers.update({k: v for k, v in SPECIAL.items() if k in numbers and k != "core"})
    p = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in numbers.values()]
    turn = torch.tensor([0.3, 2.0], dtype=torch.float64)
    x, y = turn.cos()[None], turn.sin()[None]
    x, y = torch.cat((x, 0.3 * x), -1), torch.cat((y, 0.3 * y), -1)

    def maps(x: Tensor, y: Tensor, *p: Tensor) -> tuple[Tensor, ...]:
        return tuple(values(case.make(**dict(zip(numbers, p, strict=True))), x, y).values())

    inputs = (x.requires_grad_(), y.requires_grad_(), *p)
    assert torch.autograd.gradcheck(maps, inputs, atol=1e-6, rtol=1e-4)


def _batch(case: Case, dtype) -> dict[str, Tensor]:
    """Three sets of parameters that differ by up to a tenth."""
    factor = 1 + 0.1 * torch.rand(3, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return {k: v * factor for k, v in case.tensors(dtype).items()}


@BOTH_TYPES
@EVERY_CASE
def test_a_batch_of_parameters_is_a_batch_of_lenses(case: Case, dtype):
    x, y = PixelGrid((7, 6), 0.3).coordinates(dtype=dtype)
    p = _batch(case, dtype)
    many = values(case.make(**p), x, y)
    for i in range(3):
        for name, single in values(case.make(**{k: v[i] for k, v in p.items()}), x, y).items():
            pick = many[name][..., i, :, :]
            torch.testing.assert_close(pick, single)
            assert single.dtype == dtype
            assert pick.shape[-2:] == (7, 6)


@EVERY_CASE
def test_vmap_is_a_batch(case: Case):
    x, y = PixelGrid((4, 5), 0.3).coordinates(dtype=torch.float64)
    p = _batch(case, torch.float64)
    mapped = torch.func.vmap(lambda p: values(case.make(**p), x, y))(p)
    batch = values(case.make(**p), x, y)
    for name in METHODS:
        ours = batch[name] if name in ("potential", "convergence") else batch[name].movedim(0, 1)
        torch.testing.assert_close(mapped[name], ours)


@EVERY_CASE
def test_vmap_of_gradients_is_the_gradient_of_a_batch(case: Case):
    x, y = PixelGrid((4, 5), 0.3, (0.01, 0.02)).coordinates(dtype=torch.float64)
    p = _batch(case, torch.float64)

    def total(p: dict[str, Tensor]) -> Tensor:
        return sum((v.sin().sum() for v in values(case.make(**p), x, y).values()), torch.zeros(()))

    mapped = torch.func.vmap(torch.func.grad(total))(p)
    together = torch.func.grad(total)(p)
    for name in p:
        torch.testing.assert_close(mapped[name], together[name])


@EVERY_CASE
def test_float32_is_float64_to_its_precision(case: Case):
    x, y = points()
    exact = values(case.make(), x, y)
    for name, value in values(case.make(), x.float(), y.float()).items():
        scale = float(exact[name].abs().mean())
        torch.testing.assert_close(value.double(), exact[name], rtol=1e-4, atol=1e-5 * scale)


def test_gradients_reach_every_parameter_of_a_sum():
    x, y = points(6)
    p = tuple(
        torch.tensor(v, dtype=torch.float64, requires_grad=True)
        for v in (1.1, 2.1, 0.1, -0.2, 0.03, 0.02, 0.04, -0.05)
    )

    def deflection(*p: Tensor) -> Tensor:
        return torch.stack(Sum([EPL(*p[:6]), Shear(*p[6:])]).deflection(x, y))

    assert torch.autograd.gradcheck(deflection, p)


@pytest.mark.parametrize("name", [n for n, c in CASES.items() if "e1" in c.numbers])
def test_ellipsoids_turn_with_their_position_angle_and_move_with_their_centre(name: str):
    x, y = points()
    turn, e, phi = 0.7, 0.25, 0.4
    c, s = math.cos(turn), math.sin(turn)

    def lens(phi: float, cx: float, cy: float) -> Mass:
        shape = {"e1": e * math.cos(2 * phi), "e2": e * math.sin(2 * phi)}
        return CASES[name].make(**shape, center_x=cx, center_y=cy)

    ax, ay = lens(phi, 0.0, 0.0).deflection(x, y)
    after = lens(phi + turn, 0.3, -0.4)
    turned = torch.stack(after.deflection(c * x - s * y + 0.3, s * x + c * y - 0.4))
    torch.testing.assert_close(turned, torch.stack((c * ax - s * ay, s * ax + c * ay)))
