"""Critical curves and caustics of mass models against closed forms."""

import math

import pytest
import torch

from lensrim.errors import InputError
from lensrim.grid import PixelGrid
from lensrim.lensing.caustics import cut, trace_caustics
from lensrim.lensing.jacobian import inverse_magnification
from lensrim.lensing.mass import EPL, SIE, Shear, Sum

GRID = PixelGrid((64, 80), 0.07, (0.1, -0.05))


def test_every_point_is_critical_and_its_image_is_on_the_caustic():
    mass = Sum([EPL(1.2, 2.1, 0.2, -0.1, 0.05, 0.02), Shear(0.05, -0.03)])
    (curve,) = trace_caustics(mass, GRID)
    x, y = curve.critical.T[:, None]
    assert float(inverse_magnification(mass, x, y).abs().max()) < 1e-13
    ax, ay = mass.deflection(x, y)
    torch.testing.assert_close(curve.caustic, torch.stack((x - ax, y - ay), -1)[0])
    torch.testing.assert_close(curve.critical[0], curve.critical[-1], rtol=0, atol=1e-12)


def test_round_lens_has_a_ring_and_a_point():
    (curve,) = trace_caustics(SIE(1.2, 0.0, 0.0, 0.13, -0.11), GRID)
    center = torch.tensor([0.13, -0.11], dtype=torch.float64)
    radius = (curve.critical - center).norm(dim=-1)
    # the softening of 1e-6 arcsec takes 4e-13 from the radius
    torch.testing.assert_close(radius, torch.full_like(radius, 1.2), rtol=0, atol=1e-11)
    torch.testing.assert_close(curve.caustic, center.expand_as(curve.caustic), rtol=0, atol=1e-11)


@pytest.mark.parametrize("q", [0.6, 0.8])
def test_ellipsoid_is_critical_where_its_convergence_is_one_half(q: float):
    e = (1 - q) / (1 + q)
    mass = SIE(1.2, e, 0.0)
    (curve,) = trace_caustics(mass, GRID)
    x, y = curve.critical.T[:, None]
    kappa = mass.convergence(x, y)
    torch.testing.assert_close(kappa, torch.full_like(kappa, 0.5), rtol=1e-10, atol=0)
    # Kormann et al. 1994: no source is farther out than the cusps on the axes
    f = math.sqrt(1 - q**2)
    s = 1.2 * math.sqrt(q) / f
    cusp_x = abs(1.2 / math.sqrt(q) - s * math.atan(f / q))
    cusp_y = abs(1.2 * math.sqrt(q) - s * math.atanh(f))
    extreme = curve.caustic.abs().amax(0).tolist()
    # the points next to a cusp miss it by the second power of their distance
    assert extreme == pytest.approx([cusp_x, cusp_y], abs=2e-3)
    assert extreme[0] < cusp_x + 1e-9 and extreme[1] < cusp_y + 1e-9


def test_cut_of_an_isothermal_sphere_is_a_circle_and_of_an_ellipsoid_has_its_corners():
    round_cut = cut(SIE(1.2, 0.0, 0.0, 0.1, 0.2), 0.1, 0.2)
    radius = (round_cut - torch.tensor([0.1, 0.2])).norm(dim=-1)
    torch.testing.assert_close(radius, torch.full_like(radius, 1.2), rtol=1e-6, atol=0)
    # Kormann et al. 1994: along the axes the deflection is s arctan(f / q) and s artanh(f)
    q = 0.6
    f = math.sqrt(1 - q**2)
    s = 1.2 * math.sqrt(q) / f
    oval = cut(SIE(1.2, (1 - q) / (1 + q), 0.0), 0.0, 0.0, points=257)
    extreme = oval.abs().amax(0).tolist()
    assert extreme == pytest.approx([s * math.atan(f / q), s * math.atanh(f)], rel=1e-5)


def test_batched_parameters_are_refused():
    with pytest.raises(InputError, match=r"unbatched parameters, found .* shape \(2,\)"):
        trace_caustics(SIE(torch.tensor([1.0, 1.2]), 0.0, 0.0), GRID)
