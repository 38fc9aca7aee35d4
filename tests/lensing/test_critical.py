"""Critical curves and caustics against the closed forms of isothermal lenses."""

import numpy as np
import pytest
import torch
from numpy import ndarray

from lensrim.grid import PixelGrid
from lensrim.lensing.critical import critical_curves, jacobian_determinant, trace_to_source
from lensrim.lensing.mass import SIE, Mass, Shear, Sum

GRID = PixelGrid((97, 120), 0.05, (0.1, -0.2))
CENTER = {"center_x": 0.13, "center_y": -0.11}


def deflection(mass: Mass) -> tuple[ndarray, ndarray]:
    x, y = GRID.coordinates(dtype=torch.float64)
    alpha_x, alpha_y = mass.deflection(x, y)
    return alpha_x.numpy(), alpha_y.numpy()


def curves_of(mass: Mass) -> tuple[tuple[ndarray, ...], tuple[ndarray, ...]]:
    alpha = deflection(mass)
    critical = critical_curves(jacobian_determinant(*alpha, GRID), GRID)
    return critical, trace_to_source(critical, *alpha, GRID)


def test_isothermal_sphere_has_a_ring_and_a_point() -> None:
    (ring,), (point,) = curves_of(SIE(1.2, 0.0, 0.0, **CENTER))
    center = np.array(list(CENTER.values()))
    # linear interpolation between pixels is off by up to h^2 / (4 theta_E) = 5e-4 arcsec
    np.testing.assert_allclose(np.hypot(*(ring - center).T), 1.2, atol=1e-3)
    np.testing.assert_allclose(point, np.broadcast_to(center, point.shape), atol=1e-3)
    np.testing.assert_array_equal(ring[0], ring[-1])


def test_isothermal_ellipsoid_is_critical_where_its_convergence_is_one_half() -> None:
    mass = SIE(1.2, 0.2, -0.1, **CENTER)
    (curve,), _ = curves_of(mass)
    x, y = torch.from_numpy(curve)[None].unbind(-1)
    kappa = mass.convergence(x, y).numpy()
    np.testing.assert_allclose(kappa, 0.5, rtol=2e-3)


@pytest.mark.parametrize("q", [0.6, 0.8])
def test_cusps_of_the_astroid(q: float) -> None:
    e = (1 - q) / (1 + q)
    (_,), (caustic,) = curves_of(SIE(1.2, e, 0.0, **CENTER))
    x, y = (caustic - np.array(list(CENTER.values()))).T
    # Kormann et al. 1994: with f^2 = 1 - q^2 and s = theta_E sqrt(q) / f, the deflection along x
    # is s arctan(f / q), critical at theta_E / sqrt(q); along y s artanh(f), at theta_E sqrt(q)
    f = np.sqrt(1 - q**2)
    s = 1.2 * np.sqrt(q) / f
    cusp_x = 1.2 / np.sqrt(q) - s * np.arctan(f / q)
    cusp_y = 1.2 * np.sqrt(q) - s * np.arctanh(f)
    # a cusp is cut where the contour's nearest vertices lie
    assert x.max() == pytest.approx(abs(cusp_x), abs=3e-3)
    assert y.max() == pytest.approx(abs(cusp_y), abs=3e-3)


def test_determinant_is_that_of_a_constant_matrix() -> None:
    determinant = jacobian_determinant(*deflection(Shear(0.1, -0.05)), GRID)
    np.testing.assert_allclose(determinant, 1 - 0.1**2 - 0.05**2, rtol=1e-10)


def test_radial_curve_of_a_softened_lens_comes_after_the_tangential_one() -> None:
    x, y = (c.numpy() for c in GRID.coordinates(dtype=torch.float64))
    x, y = x - CENTER["center_x"], y - CENTER["center_y"]
    core, theta = 0.4, np.hypot(x, y)
    # alpha = b theta / (theta^2 + core^2)^(1/2): det A = 0 at two radii
    alpha = 1.5 * theta / np.hypot(theta, core)
    curves = critical_curves(
        jacobian_determinant(alpha * x / theta, alpha * y / theta, GRID), GRID
    )
    radii = [np.hypot(*(c - np.array(list(CENTER.values()))).T).mean() for c in curves]
    tangential = np.sqrt(1.5**2 - core**2)
    radial = np.sqrt((1.5 * core**2) ** (2 / 3) - core**2)
    assert radii == pytest.approx([tangential, radial], abs=2e-3)


def test_specks_and_unknown_pixels_are_left_out() -> None:
    determinant = np.ones(GRID.shape)
    determinant[20:22, 30:32] = -1.0
    determinant[60:90, 60:90] = np.nan
    assert critical_curves(determinant, GRID) == ()
    assert len(critical_curves(determinant, GRID, min_length=4)) == 1


def test_a_curve_that_leaves_the_map_stays_open() -> None:
    mass = Sum([SIE(1.2, 0.0, 0.0, 2.4, 0.0), Shear(0.05, 0.0)])
    curve = curves_of(mass)[0][0]
    assert np.hypot(*(curve[0] - curve[-1])) > 1.0


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"determinant must have the grid's shape \(97, 120\)"):
        critical_curves(np.ones((3, 3)), GRID)
    with pytest.raises(ValueError, match="alpha_y must have the grid's shape"):
        jacobian_determinant(np.ones(GRID.shape), np.ones((3, 3)), GRID)
    with pytest.raises(ValueError, match="at least 5 pixels"):
        jacobian_determinant(np.ones((4, 9)), np.ones((4, 9)), PixelGrid((4, 9), 0.1))
