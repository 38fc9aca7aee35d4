"""Arrival times: Fermat's principle, the isothermal sphere's closed form, and lenstronomy."""

import pytest
import torch
from astropy import constants, units
from astropy.cosmology import FlatLambdaCDM, Planck18
from torch import Tensor

from lensrim.errors import InputError
from lensrim.grid import PixelGrid
from lensrim.lensing.lens_equation import image_positions
from lensrim.lensing.mass import EPL, SIE, Shear, Sum
from lensrim.lensing.multi_plane import MultiPlane
from lensrim.lensing.time_delay import (
    arrival_time,
    fermat_potential,
    relative_delays,
    time_delay_distance,
)

GRID = PixelGrid((32, 32), 0.2)
BETA = tuple(torch.tensor([[v]], dtype=torch.float64) for v in (0.07, -0.04))


def test_the_gradient_of_the_surface_is_the_lens_equation():
    mass = Sum([EPL(1.2, 2.1, 0.1, 0.05), Shear(0.03, 0.02)])
    x, y = (c.requires_grad_() for c in PixelGrid((5, 6), 0.3).coordinates(dtype=torch.float64))
    phi = fermat_potential(mass, x, y, *BETA)
    gradient = torch.autograd.grad(phi.sum(), (x, y))
    ax, ay = mass.deflection(x, y)
    expected = torch.stack((x - ax - BETA[0], y - ay - BETA[1]))
    torch.testing.assert_close(torch.stack(gradient), expected)


def test_delay_of_an_isothermal_sphere_has_its_closed_form():
    # images at theta_E +- beta: c dt = 2 D theta_E beta, by the potential theta_E |theta|
    theta_E, beta = 1.3, 0.2
    x = torch.tensor([[theta_E + beta, beta - theta_E]], dtype=torch.float64)
    zero = torch.zeros(1, 1, dtype=torch.float64)
    distance = time_delay_distance(0.4, 1.7)
    t = arrival_time(SIE(theta_E, 0.0, 0.0), x, zero, zero + beta, zero, distance=distance)
    angle = (2 * theta_E * beta * units.arcsec**2).to_value(units.rad**2)
    expected = (angle * distance * units.Mpc / constants.c).to_value(units.day)
    assert float(t[0, 1] - t[0, 0]) == pytest.approx(expected, rel=1e-9)
    delays = relative_delays(t)
    assert delays.tolist()[0] == pytest.approx([0.0, expected])


def test_distance_is_that_of_the_cosmology():
    model = FlatLambdaCDM(H0=70, Om0=0.3)
    for given, used in (("Planck18", Planck18), (model, model)):
        near, far = (used.comoving_distance(z).value for z in (0.4, 1.7))
        expected = near * far / (far - near)
        assert time_delay_distance(0.4, 1.7, cosmology=given) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(InputError, match="0 < z_lens < z_source"):
        time_delay_distance(1.7, 0.4)


def test_images_arrive_as_minima_saddle_points_and_maxima():
    mass = Sum([SIE(1.2, 0.15, -0.1, 0.03, -0.05), Shear(0.05, 0.03)])
    beta = [torch.tensor([v], dtype=torch.float64) for v in (0.06, -0.03)]
    quad = image_positions(mass, *beta, GRID, by_arrival=True)
    assert quad.magnification.sign().tolist() == [[1, 1, -1, -1]]
    t = arrival_time(
        mass, quad.x[:, None], quad.y[:, None], beta[0], beta[1], distance=3000.0
    ).squeeze(1)
    assert bool((t.diff() > 0).all())


def test_missing_images_stay_missing():
    nan = float("nan")
    delays = relative_delays(torch.tensor([[3.0, 5.0, nan], [nan, 7.0, 6.0]]))
    expected = torch.tensor([[0.0, 2.0, nan], [nan, 1.0, 0.0]])
    torch.testing.assert_close(delays, expected, equal_nan=True)


def test_no_source_may_have_an_image():
    assert relative_delays(torch.empty(2, 0)).shape == (2, 0)


def test_images_that_are_missing_leave_gradients_as_they_are():
    """Of four images of one source and two of another, with shared parameters."""
    beta = torch.tensor([[0.05, 0.8], [0.02, 0.1]], dtype=torch.float64)

    def gradients(bx: Tensor, by: Tensor, plane: bool) -> Tensor:
        theta, distance = (
            torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (1.0, 2000.0)
        )
        mass = SIE(theta, 0.1, 0.05)
        found = image_positions(mass, bx, by, GRID, by_arrival=True)
        if plane:
            times = MultiPlane([(0.5, mass)], 2.0).arrival_time(found.x, found.y)
        else:
            times = arrival_time(
                mass, found.x, found.y, bx[:, None], by[:, None], distance=distance
            )
        delays = relative_delays(times)
        assert int(delays.isnan().sum()) == (2 if len(bx) == 2 else 0)
        delays[~delays.isnan()].sum().backward()
        return torch.stack([p.grad for p in (theta, distance) if p.grad is not None])

    for plane in (False, True):
        together = gradients(*beta, plane)
        alone = sum(gradients(*beta[:, i : i + 1], plane) for i in range(2))
        torch.testing.assert_close(together, alone)


def test_gradients_reach_mass_source_and_distance():
    x, y = PixelGrid((2, 3), 0.7, (0.1, 0.2)).coordinates(dtype=torch.float64)
    p = tuple(
        torch.tensor(v, dtype=torch.float64, requires_grad=True)
        for v in (1.1, 2.1, 0.1, -0.2, 0.3, 0.1, 3.0)
    )

    def times(*p: Tensor) -> Tensor:
        return arrival_time(EPL(*p[:4]), x, y, p[4], p[5], distance=p[6])

    assert torch.autograd.gradcheck(times, p)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_batch_of_lenses_is_a_loop(dtype):
    x, y = PixelGrid((4, 3), 0.5).coordinates(dtype=dtype)
    theta_E = torch.tensor([1.0, 1.3], dtype=dtype)
    beta = [b.to(dtype) for b in BETA]
    batch = arrival_time(SIE(theta_E, 0.1, 0.0), x, y, *beta, distance=3000.0)
    assert batch.dtype == dtype
    for one, t in zip(theta_E, batch, strict=True):
        single = arrival_time(SIE(one, 0.1, 0.0), x, y, *beta, distance=3000.0)
        torch.testing.assert_close(t, single)


@pytest.mark.oracle
@pytest.mark.parametrize("gamma", [1.8, 2.0, 2.2])
def test_delays_are_those_of_lenstronomy(gamma: float):
    models = pytest.importorskip("lenstronomy.LensModel.lens_model")
    cosmology = FlatLambdaCDM(H0=70, Om0=0.3)
    model = models.LensModel(["EPL", "SHEAR"], z_lens=0.4, z_source=1.7, cosmo=cosmology)
    kwargs = [
        {"theta_E": 1.2, "gamma": gamma, "e1": 0.1, "e2": 0.05, "center_x": 0.0, "center_y": 0.0},
        {"gamma1": 0.03, "gamma2": -0.02},
    ]
    mass = Sum([EPL(1.2, gamma, 0.1, 0.05), Shear(0.03, -0.02)])
    beta = [b[0] for b in BETA]
    images = image_positions(mass, *beta, GRID, by_arrival=True)
    distance = time_delay_distance(0.4, 1.7, cosmology=cosmology)
    ours = arrival_time(mass, images.x, images.y, *beta, distance=distance)
    theirs = model.arrival_time(images.x[0].numpy(), images.y[0].numpy(), kwargs)
    expected = torch.from_numpy(theirs)[None]
    torch.testing.assert_close(
        relative_delays(ours), relative_delays(expected), rtol=1e-6, atol=1e-6
    )
