"""Laws of the analytic mass models, each over all of them."""

import math

import pytest
import torch
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.mass import EPL, SIE, Mass, Multipole, Shear, Sum, pixel_average
from lensrim.lensing.subhalos import Subhalos

MASSES: dict[str, Mass] = {
    "SIE": SIE(1.2, 0.15, -0.1, 0.03, -0.05),
    "SIE round": SIE(1.2, 0.0, 0.0),
    "EPL steep": EPL(1.1, 2.3, -0.2, 0.1, 0.02, 0.04),
    "EPL shallow": EPL(1.1, 1.7, 0.1, 0.2, -0.02, 0.04),
    "shear": Shear(0.05, -0.08),
    "multipole 3": Multipole(3, 0.02, -0.01, 0.01, 0.02),
    "multipole 4": Multipole(4, -0.03, 0.01),
    "subhalos": Subhalos(
        torch.tensor([0.1, 0.02]),
        torch.tensor([0.3, 0.1]),
        torch.tensor([0.05, -1.0]),
        torch.tensor([0.0, 0.4]),
    ),
    "sum": Sum([EPL(1.0, 2.1, 0.1, 0.1), Shear(0.03, 0.02), Multipole(4, 0.02, 0.01)]),
}
EVERY = pytest.mark.parametrize("mass", MASSES.values(), ids=MASSES.keys())
PROFILES = [
    lambda e1, e2, cx, cy: SIE(1.2, e1, e2, cx, cy),
    lambda e1, e2, cx, cy: EPL(1.2, 2.2, e1, e2, cx, cy),
]
BOTH_TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


def points(n: int = 40, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positions between 0.2 and 3 arcsec of the origin, as maps of one row."""
    generator = torch.Generator().manual_seed(seed)
    r, phi = torch.rand(2, 1, n, generator=generator, dtype=torch.float64)
    r, phi = 0.2 + 2.8 * r, 2 * math.pi * phi
    return r * phi.cos(), r * phi.sin()


@EVERY
def test_deflection_is_the_gradient_of_the_potential(mass: Mass):
    x, y = (c.requires_grad_() for c in points())
    gradient = torch.autograd.grad(mass.potential(x, y).sum(), (x, y))
    torch.testing.assert_close(torch.stack(mass.deflection(x, y)), torch.stack(gradient))


@EVERY
def test_convergence_is_half_the_divergence_of_the_deflection(mass: Mass):
    x, y = (c.requires_grad_() for c in points())
    ax, ay = mass.deflection(x, y)
    xx, xy = torch.autograd.grad(ax.sum(), (x, y), retain_graph=True)
    yx, yy = torch.autograd.grad(ay.sum(), (x, y))
    torch.testing.assert_close((xx + yy) / 2, mass.convergence(x, y), rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(xy, yx, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_turn_with_their_position_angle(profile):
    x, y = points()
    turn = 0.7
    c, s = math.cos(turn), math.sin(turn)
    e, phi = 0.25, 0.4
    before = profile(e * math.cos(2 * phi), e * math.sin(2 * phi), 0.0, 0.0)
    phi += turn
    after = profile(e * math.cos(2 * phi), e * math.sin(2 * phi), 0.0, 0.0)
    ax, ay = before.deflection(x, y)
    turned = torch.stack(after.deflection(c * x - s * y, s * x + c * y))
    torch.testing.assert_close(turned, torch.stack((c * ax - s * ay, s * ax + c * ay)))


@pytest.mark.parametrize("profile", PROFILES)
def test_profiles_move_with_their_centre(profile):
    x, y = points()
    still, moved = profile(0.1, -0.2, 0.0, 0.0), profile(0.1, -0.2, 0.3, -0.4)
    a, b = still.deflection(x, y), moved.deflection(x + 0.3, y - 0.4)
    torch.testing.assert_close(torch.stack(a), torch.stack(b))


def test_major_axis_is_counter_clockwise_from_x():
    phi, e = 0.5, 0.3
    mass = SIE(1.0, e * math.cos(2 * phi), e * math.sin(2 * phi))
    along, across = (
        float(mass.convergence(*(torch.tensor([[f(a)]]) for f in (math.cos, math.sin))))
        for a in (phi, phi + math.pi / 2)
    )
    q = (1 - e) / (1 + e)
    # On the axes R is q or 1 / q times the distance, per intermediate axis.
    assert along / across == pytest.approx(1 / q, rel=1e-5)
    assert along == pytest.approx(0.5 / math.sqrt(q), rel=1e-5)


@pytest.mark.parametrize("q", [1.0, 0.7, 0.5])
@pytest.mark.parametrize("gamma", [1.8, 2.0, 2.2])
def test_theta_E_is_on_the_intermediate_axis(q: float, gamma: float):
    # Mean convergence 1 inside the ellipse of semi-axes theta_E / sqrt(q) and theta_E sqrt(q).
    theta_E = 1.3
    mass = EPL(theta_E, gamma, (1 - q) / (1 + q), 0.0)
    phi = (torch.arange(2000, dtype=torch.float64) + 0.5) * (2 * math.pi / 2000)
    x, y = theta_E * phi.cos() / math.sqrt(q), theta_E * phi.sin() * math.sqrt(q)
    ax, ay = mass.deflection(x[None], y[None])
    # The flux of alpha through the ellipse is twice the mass inside.
    normal = torch.stack((theta_E * math.sqrt(q) * phi.cos(), theta_E / math.sqrt(q) * phi.sin()))
    flux = ((ax[0] * normal[0] + ay[0] * normal[1]).mean() * 2 * math.pi).item()
    assert flux / 2 == pytest.approx(math.pi * theta_E**2, rel=1e-6)


@pytest.mark.parametrize("q", [0.999999, 1.0])
def test_the_round_limit_is_exact(q: float):
    e = (1 - q) / (1 + q)
    x, y = points()
    a = torch.stack(SIE(1.2, e, e).deflection(x, y))
    r = (x**2 + y**2).sqrt()
    torch.testing.assert_close(a, torch.stack((1.2 * x / r, 1.2 * y / r)), rtol=1e-5, atol=1e-5)


@BOTH_TYPES
@pytest.mark.parametrize("kind", ["SIE", "EPL"])
def test_values_and_gradients_are_finite_at_the_centre_of_a_round_lens(dtype, kind: str):
    x, y = (c.requires_grad_() for c in PixelGrid((5, 5), 0.1).coordinates(dtype=dtype))
    numbers = {"SIE": [1.0, 0.0, 0.0, 0.0, 0.0], "EPL": [1.0, 2.1, 0.0, 0.0, 0.0, 0.0]}[kind]
    p = [torch.tensor(v, dtype=dtype, requires_grad=True) for v in numbers]
    mass = SIE(*p) if kind == "SIE" else EPL(*p)
    values = (*mass.deflection(x, y), mass.convergence(x, y), mass.potential(x, y))
    for value in values:
        assert value.dtype == dtype
        assert bool(torch.isfinite(value).all())
        for g in torch.autograd.grad(
            value.sum(), (x, y, *p), retain_graph=True, allow_unused=True
        ):
            assert g is None or bool(torch.isfinite(g).all())


@BOTH_TYPES
def test_a_batch_of_parameters_is_a_batch_of_lenses(dtype):
    x, y = PixelGrid((7, 6), 0.3).coordinates(dtype=dtype)
    p = torch.rand(6, 3, generator=torch.Generator().manual_seed(0), dtype=dtype) * 0.2
    p[0] += 1
    p[1] += 2
    batch = Sum([EPL(*p), Shear(p[2], p[3]), Multipole(4, p[4], p[5])])
    for i in range(3):
        one = Sum([EPL(*p[:, i]), Shear(*p[2:4, i]), Multipole(4, *p[4:, i])])
        for name in ("deflection", "convergence", "potential"):
            many, single = (getattr(m, name)(x, y) for m in (batch, one))
            if name == "deflection":
                many, single = torch.stack(many, 1), torch.stack(single)
            torch.testing.assert_close(many[i], single)


def test_gradients_reach_every_parameter():
    x, y = points(6)
    p = tuple(
        torch.tensor(v, dtype=torch.float64, requires_grad=True)
        for v in (1.1, 2.1, 0.1, -0.2, 0.03, 0.02, 0.04, -0.05)
    )

    def deflection(*p: Tensor) -> Tensor:
        return torch.stack(Sum([EPL(*p[:6]), Shear(*p[6:])]).deflection(x, y))

    assert torch.autograd.gradcheck(deflection, p)


def test_the_pixel_of_the_singular_centre_holds_its_average():
    # A round isothermal lens has kappa = theta_E / 2r, and 1/r has a closed integral over a
    # rectangle with one corner at the centre: u asinh(v/u) + v asinh(u/v).
    h, theta_E, cx, cy = 0.1, 0.8, 0.021, -0.033
    kappa = pixel_average(SIE(theta_E, 0.0, 0.0, cx, cy), PixelGrid((9, 9), h))
    sides = [(h / 2 + sx * cx, h / 2 + sy * cy) for sx in (1, -1) for sy in (1, -1)]
    mass = sum(u * math.asinh(v / u) + v * math.asinh(u / v) for u, v in sides)
    assert float(kappa[4, 4]) == pytest.approx(theta_E / 2 * mass / h**2, rel=1e-3)


@pytest.mark.parametrize("mass", [m for m in MASSES.values() if isinstance(m, EPL)])
def test_shear_is_the_traceless_derivative_of_the_deflection(mass: EPL):
    x, y = (c.requires_grad_() for c in points())
    ax, ay = mass.deflection(x, y)
    xx, xy = torch.autograd.grad(ax.sum(), (x, y), retain_graph=True)
    (yy,) = torch.autograd.grad(ay.sum(), y)
    expected = torch.stack(((xx - yy) / 2, xy))
    torch.testing.assert_close(torch.stack(mass.shear(x, y)), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("center", [(0.0, 0.0), (0.021, -0.013)])
@pytest.mark.parametrize("shape", [(21, 21), (20, 17)])
def test_pixel_averages_add_up_to_the_mass(center, shape):
    grid = PixelGrid(shape, 0.1)
    mass = SIE(0.8, 0.2, 0.1, *center)
    kappa = pixel_average(mass, grid)
    # Gauss: the flux of alpha through the outer edges is twice the mass inside.
    left, right, bottom, top = grid.extent
    n = 4000
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    x, y = left + (right - left) * u, bottom + (top - bottom) * u
    sides = []
    for edge in (left, right):
        sides.append(mass.deflection(torch.full((1, n), edge).double(), y[None])[0].mean())
    for edge in (bottom, top):
        sides.append(mass.deflection(x[None], torch.full((1, n), edge).double())[1].mean())
    flux = (sides[1] - sides[0]) * (top - bottom) + (sides[3] - sides[2]) * (right - left)
    assert float(kappa.sum()) * grid.spacing**2 == pytest.approx(float(flux) / 2, rel=1e-4)


@pytest.mark.oracle
@pytest.mark.parametrize("gamma", [1.7, 2.0, 2.3])
@pytest.mark.parametrize(("e1", "e2"), [(0.0, 0.0), (0.2, -0.15), (-1 / 3, 0.0)])
def test_power_law_is_that_of_lenstronomy(gamma: float, e1: float, e2: float):
    profiles = pytest.importorskip("lenstronomy.LensModel.lens_model")
    x, y = points()
    model = profiles.LensModel(["EPL", "SHEAR"])
    kwargs = [
        {"theta_E": 1.2, "gamma": gamma, "e1": e1, "e2": e2, "center_x": 0.05, "center_y": -0.03},
        {"gamma1": 0.04, "gamma2": -0.06},
    ]
    ours = Sum([EPL(1.2, gamma, e1, e2, 0.05, -0.03), Shear(0.04, -0.06)])
    _same_as_oracle(ours, model, kwargs, x, y)


@pytest.mark.oracle
@pytest.mark.parametrize("m", [3, 4])
def test_multipole_is_that_of_lenstronomy(m: int):
    profiles = pytest.importorskip("lenstronomy.LensModel.lens_model")
    x, y = points()
    a, phi = 0.03, 0.4
    model = profiles.LensModel(["MULTIPOLE"])
    kwargs = [{"m": m, "a_m": a, "phi_m": phi, "center_x": 0.0, "center_y": 0.0, "r_E": 1.0}]
    ours = Multipole(m, a * math.cos(m * phi), a * math.sin(m * phi))
    _same_as_oracle(ours, model, kwargs, x, y)


def _same_as_oracle(ours: Mass, model, kwargs: list[dict], x: Tensor, y: Tensor) -> None:
    args = (x[0].numpy(), y[0].numpy(), kwargs)
    for mine, theirs in zip(ours.deflection(x, y), model.alpha(*args), strict=True):
        torch.testing.assert_close(mine[0], torch.from_numpy(theirs), rtol=1e-5, atol=1e-6)
    kappa = torch.from_numpy(model.kappa(*args))
    torch.testing.assert_close(ours.convergence(x, y)[0], kappa, rtol=1e-5, atol=1e-6)
