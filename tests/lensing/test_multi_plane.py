"""Rays through several planes: limits with closed forms, and two independent codes."""

import math

import pytest
import torch
from astropy.cosmology import FlatLambdaCDM
from torch import Tensor

from lensrim.errors import InputError
from lensrim.grid import PixelGrid
from lensrim.lensing.cosmology import distance
from lensrim.lensing.jacobian import jacobian, magnification, rotation
from lensrim.lensing.lens_equation import image_positions
from lensrim.lensing.light import Gaussian
from lensrim.lensing.mass import EPL, SIE, Mass, Shear, Sum
from lensrim.lensing.multi_plane import MultiPlane, Plane
from lensrim.lensing.simulator import Simulator
from lensrim.lensing.time_delay import arrival_time, time_delay_distance

COSMOLOGY = FlatLambdaCDM(H0=70, Om0=0.3)
GRID = PixelGrid((9, 12), 0.31, (0.1, 0.2))
LENS = EPL(1.1, 2.1, 0.15, -0.1, 0.03, -0.05)
NEAR, FAR = SIE(0.3, 0.1, 0.0, 0.9, 0.4), SIE(0.2, -0.1, 0.1, -0.5, -0.7)
THREE = MultiPlane([(0.3, NEAR), Plane(0.5, LENS), (0.9, FAR)], 2.0, COSMOLOGY)


def coordinates(dtype=torch.float64) -> tuple[Tensor, Tensor]:
    return GRID.coordinates(dtype=dtype)


def stacked(mass, x: Tensor, y: Tensor) -> Tensor:
    return torch.stack(mass.deflection(x, y))


@pytest.mark.parametrize("z", [0.2, 0.8])
def test_planes_at_one_redshift_are_one_plane(z: float):
    x, y = coordinates()
    masses: list[Mass] = [LENS, NEAR, Shear(0.03, -0.02)]
    many = MultiPlane([(z, m) for m in masses], 1.5)
    torch.testing.assert_close(stacked(many, x, y), stacked(Sum(masses), x, y))
    assert many.redshifts == (z,)
    turn = rotation(many, x, y)
    torch.testing.assert_close(turn, torch.zeros_like(turn), rtol=0, atol=1e-9)


def test_planes_that_come_together_converge_to_one():
    x, y = coordinates()
    one = stacked(Sum([NEAR, LENS]), x, y)
    errors = []
    for gap in (1e-2, 1e-3, 1e-4):
        two = MultiPlane([(0.5, NEAR), (0.5 + gap, LENS)], 2.0)
        errors.append(float((stacked(two, x, y) - one).abs().max()))
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.2)
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.2)


def test_a_plane_next_to_the_observer_or_the_source_moves_what_is_behind_or_nothing():
    x, y = coordinates()
    # next to the source: the ray has passed the lens, and its effect is added as it is
    last = MultiPlane([(0.5, LENS), (2.0 - 1e-7, Shear(0.05, 0.02))], 2.0)
    bx, by = (c - a for c, a in zip((x, y), LENS.deflection(x, y), strict=True))
    alpha = stacked(LENS, x, y) + stacked(Shear(0.05, 0.02), bx, by)
    torch.testing.assert_close(stacked(last, x, y), alpha, rtol=1e-5, atol=1e-5)
    # next to the observer: all that is behind is seen through it
    first = MultiPlane([(1e-7, Shear(0.05, 0.02)), (0.5, LENS)], 2.0)
    sx, sy = (c - a for c, a in zip((x, y), Shear(0.05, 0.02).deflection(x, y), strict=True))
    alpha = stacked(Shear(0.05, 0.02), x, y) + stacked(LENS, sx, sy)
    torch.testing.assert_close(stacked(first, x, y), alpha, rtol=1e-5, atol=1e-5)


def test_two_shears_make_a_rotation():
    # A = 1 - G1 - G2 + B G2 G1: the product of two shears is not symmetric
    x, y = coordinates()
    two = MultiPlane([(0.4, Shear(0.1, 0.0)), (0.9, Shear(0.0, 0.08))], 2.0, COSMOLOGY)
    d12, d1s, d2, ds = (
        distance(COSMOLOGY, *pair) for pair in [(0.4, 0.9), (0.4, 2.0), (0.0, 0.9), (0.0, 2.0)]
    )
    b = d12 * ds / (d2 * d1s)
    assert two.factors[1] == pytest.approx((b,))
    expected = torch.full_like(x, -b * 0.1 * 0.08)
    torch.testing.assert_close(rotation(two, x, y), expected)


def test_the_order_of_the_planes_does_not_matter():
    x, y = coordinates()
    turned = MultiPlane(THREE.planes[::-1], 2.0, COSMOLOGY)
    torch.testing.assert_close(stacked(turned, x, y), stacked(THREE, x, y))
    assert turned.redshifts == (0.3, 0.5, 0.9)


def test_rays_start_as_seen_and_end_at_the_source():
    x, y = coordinates()
    rays = THREE.rays(x, y)
    assert len(rays) == 4
    torch.testing.assert_close(torch.stack(rays[0]), torch.stack((x, y)))
    torch.testing.assert_close(torch.stack((x, y)) - torch.stack(rays[-1]), stacked(THREE, x, y))


@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_both_types(dtype, atol: float):
    single = stacked(THREE, *coordinates(dtype))
    assert single.dtype == dtype
    torch.testing.assert_close(single.double(), stacked(THREE, *coordinates()), rtol=0, atol=atol)


def test_jacobian_is_that_of_finite_differences_and_convergence_half_its_trace():
    x, y = coordinates()
    h, d = 1e-5, jacobian(THREE, x, y)
    along_x = (stacked(THREE, x + h, y) - stacked(THREE, x - h, y)) / (2 * h)
    along_y = (stacked(THREE, x, y + h) - stacked(THREE, x, y - h)) / (2 * h)
    ours, expected = torch.stack((d.xx, d.yx, d.xy, d.yy)), torch.cat((along_x, along_y))
    torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(THREE.convergence(x, y), (d.xx + d.yy) / 2)
    assert float(rotation(THREE, x, y).abs().max()) > 1e-3


def test_gradients_reach_every_plane_and_vmap_is_a_loop():
    x, y = PixelGrid((2, 3), 0.7, (0.1, 0.2)).coordinates(dtype=torch.float64)

    def two(theta_E: Tensor, e1: Tensor) -> MultiPlane:
        return MultiPlane([(0.3, SIE(theta_E, 0.1, 0.0)), (0.8, EPL(0.5, 2.1, e1, 0.1))], 2.0)

    def outputs(theta_E: Tensor, e1: Tensor) -> Tensor:
        planes = two(theta_E, e1)
        return torch.stack((*planes.deflection(x, y), magnification(planes, x, y)))

    p = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.1, 0.2)]
    assert torch.autograd.gradcheck(outputs, p)
    batch = [torch.tensor(v, dtype=torch.float64) for v in ([1.0, 1.2], [0.1, -0.2])]
    loop = torch.stack([outputs(a, b) for a, b in zip(*batch, strict=True)])
    torch.testing.assert_close(torch.func.vmap(outputs)(*batch), loop)
    # parameters of shape (B) are a batch, too
    torch.testing.assert_close(torch.stack(two(*batch).deflection(x, y), 1), loop[:, :2])


def test_the_simulator_takes_it_as_a_mass():
    sim = Simulator(PixelGrid((20, 24), 0.15), PixelGrid((8, 8), 0.2), dtype=torch.float64)
    light = Gaussian(1.0, 0.2)
    one = sim.render(light, sim.rays(Sum([LENS, NEAR])))
    same = sim.render(light, sim.rays(MultiPlane([(0.5, LENS), (0.5, NEAR)], 2.0)))
    torch.testing.assert_close(same, one)
    other = sim.render(light, sim.rays(THREE))
    assert other.shape == (1, 1, 20, 24)
    assert float((other - one).abs().max()) > 1e-2


def test_arrival_times_are_stationary_at_images_and_those_of_one_plane_where_there_is_one():
    beta = [torch.tensor([v], dtype=torch.float64) for v in (0.06, -0.04)]
    field = PixelGrid((20, 20), 0.25)
    one = MultiPlane([(0.5, LENS)], 2.0, COSMOLOGY)
    images = image_positions(LENS, *beta, field, by_arrival=True)
    scale = time_delay_distance(0.5, 2.0, cosmology=COSMOLOGY)
    expected = arrival_time(LENS, images.x, images.y, *beta, distance=scale)
    torch.testing.assert_close(one.arrival_time(images.x, images.y), expected)
    # Fermat: at an image the time along a ray that ends at beta is the least, most or saddle;
    # so two images that merge arrive together, and minima come before saddle points
    images = image_positions(THREE, *beta, field)
    times = THREE.arrival_time(images.x, images.y)[0]
    minima = times[images.magnification[0] > 0]
    saddles = times[images.magnification[0] < 0]
    assert float(times.argmin()) in (images.magnification[0] > 0).nonzero()
    assert len(minima) >= 1 and len(saddles) >= 1 and bool(minima.min() < saddles.min())


def test_impossible_planes():
    with pytest.raises(InputError, match="planes must hold at least one"):
        MultiPlane([], 1.0)
    with pytest.raises(InputError, match=r"planes\[1\] must have .* found redshift = 1.2 and"):
        MultiPlane([(0.3, LENS), (1.2, NEAR)], 1.0)
    with pytest.raises(InputError, match=r"0 < redshift < z_source, found redshift = nan"):
        MultiPlane([(float("nan"), LENS)], 1.0)
    with pytest.raises(InputError, match="found 'Planck2018'"):
        MultiPlane([(0.3, LENS)], 1.0, "Planck2018")


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:Cosmology is provided:UserWarning")
def test_rays_jacobian_and_times_are_those_of_lenstronomy():
    models = pytest.importorskip("lenstronomy.LensModel.lens_model")
    model = models.LensModel(
        ["EPL", "EPL", "EPL"],
        lens_redshift_list=[0.3, 0.5, 0.9],
        z_source=2.0,
        multi_plane=True,
        cosmo=COSMOLOGY,
    )
    kwargs = [
        {
            "theta_E": m.theta_E,
            "gamma": getattr(m, "gamma", 2.0),
            "e1": m.e1,
            "e2": m.e2,
            "center_x": m.center_x,
            "center_y": m.center_y,
        }
        for m in (NEAR, LENS, FAR)
    ]
    x, y = coordinates()
    at = (x.numpy().ravel(), y.numpy().ravel(), kwargs)
    beta = torch.stack([torch.from_numpy(b).reshape(x.shape) for b in model.ray_shooting(*at)])
    torch.testing.assert_close(torch.stack(THREE.rays(x, y)[-1]), beta, rtol=0, atol=1e-8)
    d = jacobian(THREE, x, y)
    theirs = [torch.from_numpy(f).reshape(x.shape) for f in model.hessian(*at, diff=1e-6)]
    torch.testing.assert_close(
        torch.stack((d.xx, d.xy, d.yx, d.yy)), torch.stack(theirs), rtol=0, atol=1e-6
    )
    times = torch.from_numpy(model.arrival_time(*at)).reshape(x.shape)
    ours = THREE.arrival_time(x, y)
    difference = (ours - ours[0, 0]) - (times - times[0, 0])
    assert float(difference.abs().max()) < 1e-6  # days, of 200


@pytest.mark.oracle
@pytest.mark.filterwarnings("ignore:__array_wrap__:DeprecationWarning")
def test_deflection_is_that_of_caustics():
    caustics = pytest.importorskip("caustics")
    cosmology = caustics.FlatLambdaCDM(name="cosmology", h0=0.7, Om0=0.3)
    planes = [(0.3, NEAR), (0.9, FAR)]
    x, y = coordinates()
    theirs = caustics.Multiplane(
        cosmology,
        [_of_caustics(caustics, cosmology, i, z, m) for i, (z, m) in enumerate(planes)],
        z_s=2.0,
    ).to(dtype=torch.float64)
    beta = torch.stack(theirs.raytrace(x, y))
    ours = torch.stack(MultiPlane(planes, 2.0, COSMOLOGY).rays(x, y)[-1])
    torch.testing.assert_close(ours, beta, rtol=0, atol=1e-6)


def _of_caustics(caustics, cosmology, i: int, z: float, mass: SIE):
    e, phi = math.hypot(mass.e1, mass.e2), math.atan2(mass.e2, mass.e1) / 2
    return caustics.SIE(
        cosmology,
        z_l=z,
        x0=mass.center_x,
        y0=mass.center_y,
        q=(1 - e) / (1 + e),
        phi=phi,
        Rein=mass.theta_E,
        name=f"sie{i}",
    )
