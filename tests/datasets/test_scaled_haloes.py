"""Haloes as lenses: their deflection on rings, the smooth model like it, and how they are put."""

import numpy as np
import pytest
import torch
from haloes import MACRO, power_law

from lensrim.datasets.haloes.macro_fits import FITTED, fit_macro
from lensrim.datasets.haloes.modelled import ModelHaloes
from lensrim.datasets.haloes.polar_maps import levels, nodes, polar_deflection
from lensrim.datasets.haloes.scaled import (
    HaloView,
    PlacedHalo,
    place_halo,
    polar_deflections,
    scaled_halo,
    scaled_kappa,
)
from lensrim.datasets.halos import Ellipsoid, Lens
from lensrim.errors import InputError
from lensrim.evaluation.deflection import average_convergence, deflection, pixel_coordinates
from lensrim.grid import PixelGrid
from lensrim.lensing.convergence import KappaToAlpha
from lensrim.lensing.einstein import effective_theta_E
from lensrim.lensing.mass import EPL, Sum, flux_average, pixel_average

GRID = PixelGrid((41, 36), 1.0)
LIKE = Lens(Ellipsoid(1.0, center_x=0.3, center_y=-0.4), gamma1=0.02, gamma2=-0.03)
PLACES = [(0.0, False), (0.7, False), (0.7, True), (-2.4, True)]


def cartesian(alpha: torch.Tensor) -> torch.Tensor:
    angle = nodes()[1]
    cos, sin = angle.cos(), angle.sin()
    return torch.stack([alpha[0] * cos - alpha[1] * sin, alpha[0] * sin + alpha[1] * cos])


def on_rings(mass: EPL) -> torch.Tensor:
    radius, angle = nodes()
    return torch.stack(
        mass.deflection(radius[:, None] * angle.cos(), radius[:, None] * angle.sin())
    )


@pytest.fixture(scope="module", params=[(2.0, 0.0), (2.2, 0.15)])
def from_pixels(request: pytest.FixtureRequest) -> tuple[EPL, torch.Tensor]:
    """A power law, and its deflection on the rings by way of pixels."""
    gamma, e1 = request.param
    mass = EPL(1.0, gamma, e1, -e1 / 2)
    return mass, polar_deflection([pixel_average(mass, grid) for grid in levels()])


def test_the_deflection_is_that_of_the_convergence(from_pixels) -> None:
    mass, alpha = from_pixels
    radius = nodes()[0]
    error = cartesian(alpha) - on_rings(mass)
    # what lies beyond the widest grid is a constant, a shear, and a little besides
    x, y = (radius[:, None] * c for c in (nodes()[1].cos(), nodes()[1].sin()))
    inner = (radius > 0.1) & (radius < 4)
    one, zero = torch.ones_like(x), torch.zeros_like(x)
    basis = torch.stack(
        [torch.stack(pair) for pair in ((one, zero), (zero, one), (x, -y), (y, x))]
    )
    known, target = basis[:, :, inner].flatten(1), error[:, inner].flatten()
    shares = torch.linalg.lstsq(known.T, target).solution
    left = (error - torch.tensordot(shares, basis, 1)).norm(dim=0)
    assert float(left[inner].max()) < 2.5e-3
    # within two of the finest pixels of the cusp nothing is promised
    assert float(left[(radius > 0.03) & (radius < 0.1)].max()) < 1.5e-2
    assert float(left[(radius > 0.1) & (radius < 12)].max()) < 3e-2


def test_the_smooth_model_of_a_power_law_is_itself(from_pixels) -> None:
    mass, alpha = from_pixels
    macro = fit_macro(alpha).macro
    found = (macro.theta_E, macro.gamma, macro.e1, macro.e2, macro.center_x, macro.center_y)
    wanted = (mass.theta_E, mass.gamma, mass.e1, mass.e2, 0.0, 0.0)
    assert found == pytest.approx(wanted, abs=3e-4)
    assert abs(macro.gamma1) < 3e-3 and abs(macro.gamma2) < 3e-3


def test_the_fit_finds_all_eight_numbers_and_the_constant() -> None:
    radius, angle = nodes()
    alpha = torch.from_numpy(power_law().deflection)
    shifted = alpha + torch.stack([angle.cos(), -angle.sin()])[:, None] * 0.05
    found = fit_macro(shifted)
    assert found.constant == pytest.approx((0.05, 0.0), abs=1e-4)
    for name in ("theta_E", "gamma", "e1", "e2", "center_x", "center_y", "gamma1", "gamma2"):
        assert getattr(found.macro, name) == pytest.approx(getattr(MACRO, name), abs=1e-4), name
    assert found.rms < 1e-4
    # what is not fitted does not matter
    shifted[:, (radius < FITTED[0]) | (radius > FITTED[1])] = 9.0
    assert fit_macro(shifted) == found


def without_mean(alpha) -> np.ndarray:
    alpha = np.stack([np.asarray(component) for component in alpha])
    return alpha - np.median(alpha, (1, 2), keepdims=True)


@pytest.mark.parametrize(("angle", "flip"), PLACES)
def test_a_placed_halo_is_its_smooth_model_placed(angle: float, flip: bool) -> None:
    placed = place_halo(power_law(), theta_E=9.0, angle=angle, flip=flip, like=LIKE)
    lens = placed.lens
    assert lens.ellipsoid.theta_E == pytest.approx(9.0)
    center = (lens.ellipsoid.center_x, lens.ellipsoid.center_y)
    assert center == pytest.approx((0.3, -0.4))
    x, y = pixel_coordinates(GRID, 2)
    halo, smooth = (without_mean(deflection(each, x, y)) for each in (placed, lens))
    cusp = np.hypot(x - 0.3, y + 0.4) < 0.5
    assert np.abs(halo - smooth)[:, ~cusp].max() < 2e-3
    kappa, expected = (average_convergence(each, GRID) for each in (placed, lens))
    away = np.hypot(*pixel_coordinates(GRID)) > 2
    np.testing.assert_allclose(kappa[away], expected[away], rtol=5e-3)
    # within the innermost ring, about its pole and not the mass' centre, nothing is promised
    assert kappa.sum() == pytest.approx(expected.sum(), rel=1e-3)


def test_the_pairs_code_and_the_mocks_code_agree() -> None:
    batch = [
        place_halo(power_law(), theta_E=7.0 + k, angle=angle, flip=flip, like=LIKE)
        for k, (angle, flip) in enumerate(PLACES)
    ]
    mass = polar_deflections(batch)
    found = torch.stack(mass.deflection(*GRID.coordinates(3)), 1)
    kappa = flux_average(mass, GRID, 4, torch.float32)
    x, y = pixel_coordinates(GRID, 3)
    for one, average, placed in zip(found.numpy(), kappa.numpy(), batch, strict=True):
        away = np.hypot(x - placed.center_x, y - placed.center_y) > 0.05 * placed.scale
        expected = np.stack(deflection(placed, x, y))
        assert np.abs(one - expected)[:, away].max() < 2e-3
        expected = average_convergence(placed, GRID)
        away = np.hypot(*pixel_coordinates(GRID)) > 2
        np.testing.assert_allclose(average[away], expected[away], rtol=0.01)
    # one by one, in the pieces of a long list of positions, and at places of their own
    for k, placed in enumerate(batch):
        alone = polar_deflections([placed])
        rays = GRID.coordinates(15)
        whole = torch.stack(alone.deflection(*rays), 1)[..., 7::15, 7::15]
        single = torch.stack(alone.deflection(*GRID.coordinates()), 1)
        torch.testing.assert_close(whole, single, atol=1e-5, rtol=0)
        torch.testing.assert_close(single[0], found[k, :, 1::3, 1::3], atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def modelled():
    """A halo of the model, its projection, and that in units of its Einstein radius."""
    haloes = ModelHaloes(seed=3)
    (view,) = haloes.views("model-3-00000")
    assert isinstance(view, HaloView)
    return view, haloes.load("model-3-00000")


def test_a_halo_is_its_projection_at_another_scale(modelled) -> None:
    view, halo = modelled
    theta_E = 10.0  # pixels
    placed = PlacedHalo(halo, theta_E, 0.0, False, 0.0, 0.0)
    grid = PixelGrid((48, 48), 1.0)
    mass = polar_deflections([placed])
    kappa = flux_average(mass, grid, 4, torch.float64)
    # the unit of the rings is known to a few per cent, and measured here
    frame = PixelGrid((96, 96), 0.05)
    unit = halo.theta_E / effective_theta_E(scaled_kappa(halo, frame), frame)
    assert 0.9 < unit / view.theta_E < 1.1
    direct = view.kappa(PixelGrid(grid.shape, unit / theta_E))
    ratio = kappa[0].numpy() / direct
    assert np.quantile(np.abs(ratio - 1), 0.95) < 0.02
    assert kappa.sum() == pytest.approx(direct.sum(), rel=3e-3)


def test_the_deflection_has_no_curl_and_the_divergence_of_the_mass(modelled) -> None:
    _, halo = modelled
    placed = PlacedHalo(halo, 10.0, 0.4, True, 0.2, -0.1)
    grid = PixelGrid((48, 48), 1.0)
    mass = polar_deflections([placed])
    kappa = flux_average(mass, grid, 4, torch.float64)[:, None]
    fine = PixelGrid((144, 144), 1 / 3)
    x, y = fine.coordinates(dtype=torch.float64)
    along_y, along_x = torch.gradient(
        torch.stack(mass.deflection(x, y), 1), spacing=1 / 3, dim=(-2, -1)
    )
    away = torch.hypot(x, y) > 3
    curl = (along_x[0, 1] - along_y[0, 0])[away]
    divergence = (along_x[0, 0] + along_y[0, 1])[away]
    mean = flux_average(mass, fine, 4, torch.float64)[0][away]
    # the differences of a grid err where there are subhaloes
    assert float(curl.abs().max()) < 0.03 and float(curl.pow(2).mean().sqrt()) < 2e-3
    assert float((divergence - 2 * mean).pow(2).mean().sqrt()) < 3e-3
    alpha = torch.stack(mass.deflection(*grid.coordinates(dtype=torch.float64)), 1)
    # what the frame's own mass does not do is done by what is outside: no mass, and no curl
    operator = KappaToAlpha(grid, subsample=1, dtype=torch.float64)
    outside = alpha - operator.maps(kappa)
    along_y, along_x = torch.gradient(outside, dim=(-2, -1))
    inner = (..., slice(6, -6), slice(6, -6))
    away = torch.hypot(*grid.coordinates(dtype=torch.float64))[inner] > 3
    curl = (along_x[:, 1] - along_y[:, 0])[inner][:, away]
    divergence = (along_x[:, 0] + along_y[:, 1])[inner][:, away]
    assert float(curl.abs().max()) < 0.03 and float(curl.pow(2).mean().sqrt()) < 2e-3
    assert float(divergence.abs().max()) < 0.03 and float(divergence.pow(2).mean().sqrt()) < 2e-3


def test_the_einstein_radius_is_where_the_mean_is_one(modelled) -> None:
    view, halo = modelled
    grid = PixelGrid((200, 200), 4 * view.theta_E / 200)
    assert halo.theta_E == pytest.approx(effective_theta_E(view.kappa(grid), grid), rel=5e-3)
    assert halo.rms < 0.05 and 0.9 < halo.macro.theta_E < 1.1


def test_a_projection_that_is_no_lens_is_refused() -> None:
    thin = HaloView("h#0", "h", 1.0, lambda grid: np.full(grid.shape, 0.3), 0.2, 0.6)
    with pytest.raises(InputError, match=r"h#0: the mean convergence .* found none where it does"):
        scaled_halo(thin)


def test_a_wrong_guess_of_the_unit_is_mended() -> None:
    mass = Sum([EPL(1.5, 2.0, 0.1, 0.0)])

    def kappa(grid: PixelGrid) -> np.ndarray:
        return flux_average(mass, grid, 4).numpy()

    found = scaled_halo(HaloView("h#0", "h", 0.7, kappa, 0.2, 0.6))
    assert found.theta_E == pytest.approx(1.5, rel=0.01)
    assert found.macro.theta_E == pytest.approx(1.0, abs=0.06)


def test_names_that_the_model_does_not_have() -> None:
    for name in ("model-0-00300", "model-1-00000", "x"):
        with pytest.raises(InputError, match=r"no halo .* among 300 of the model"):
            ModelHaloes().load(name)
    with pytest.raises(InputError, match="count: must be 1 or more, found 0"):
        ModelHaloes(count=0)
