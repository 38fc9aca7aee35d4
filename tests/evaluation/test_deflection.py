"""The closed forms of the mocks: laws, limits, and two other codes."""

import ast
from pathlib import Path

import numpy as np
import pytest
import torch

from lensrim import evaluation
from lensrim.datasets.halos import Ellipsoid, Lens, Multipole, Subhalo, draw_lens
from lensrim.errors import InputError
from lensrim.evaluation.deflection import (
    average_convergence,
    convergence,
    deflection,
    pixel_coordinates,
)
from lensrim.grid import PixelGrid
from lensrim.lensing.mass import EPL

ROUND = Ellipsoid(theta_E=1.0)
NOTHING = Ellipsoid(theta_E=1e-12)

LENSES = {
    "isothermal": Lens(Ellipsoid(theta_E=1.1, q=0.6, phi=0.7, center_x=0.05)),
    "shallow": Lens(Ellipsoid(theta_E=1.1, gamma=1.7, q=0.5, phi=-0.3)),
    "steep": Lens(Ellipsoid(theta_E=1.1, gamma=2.4, q=0.8, phi=2.0)),
    "round": Lens(ROUND),
    "shear": Lens(ROUND, gamma1=0.06, gamma2=-0.08),
    "multipoles": Lens(ROUND, multipoles=(Multipole(3, 0.02, 0.3), Multipole(4, -0.03, 1.0))),
    "subhalo": Lens(ROUND, subhalos=(Subhalo(0.1, 0.3, 0.8, -0.4),)),
    "all": draw_lens(np.random.default_rng(3), theta_E=1.2, pixel_scale=0.1),
}


Points = tuple[np.ndarray, np.ndarray]


@pytest.fixture
def points() -> tuple[np.ndarray, np.ndarray]:
    x, y = np.random.default_rng(0).uniform(-2.5, 2.5, (2, 300))
    return x, y


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_deflection_is_a_gradient_and_its_divergence_the_convergence(
    lens: Lens, points: Points
) -> None:
    (x, y), h = points, 1e-5
    right, left = deflection(lens, x + h, y), deflection(lens, x - h, y)
    above, below = deflection(lens, x, y + h), deflection(lens, x, y - h)
    curl = (right[1] - left[1] - above[0] + below[0]) / (2 * h)
    kappa = (right[0] - left[0] + above[1] - below[1]) / (4 * h)
    assert np.abs(curl).max() < 1e-5
    np.testing.assert_allclose(kappa, convergence(lens, x, y), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_average_convergence_is_that_of_many_points(lens: Lens) -> None:
    grid, k = PixelGrid((30, 27), 0.1, (0.02, -0.03)), 25
    x, y = pixel_coordinates(grid, k)
    mean = convergence(lens, x, y).reshape(30, k, 27, k).mean((1, 3))
    error = np.abs(average_convergence(lens, grid) / mean - 1)
    assert np.median(error) < 1e-4
    # The points themselves are poor in the few pixels that hold a singular centre.
    assert np.quantile(error, 0.97) < 5e-3


def test_round_isothermal_lens_deflects_by_its_einstein_radius(points: Points) -> None:
    np.testing.assert_allclose(np.hypot(*deflection(Lens(ROUND), *points)), 1.0, rtol=1e-12)


def test_centres_are_finite() -> None:
    zero = np.zeros((1, 1))
    lens = Lens(ROUND, subhalos=(Subhalo(0.1, 0.3, 0.0, 0.0),))
    assert np.isfinite(deflection(lens, zero, zero)).all()


def test_subhalo_has_a_finite_mass() -> None:
    lens = Lens(NOTHING, subhalos=(Subhalo(0.1, 0.3, 0.0, 0.0),))
    r, zero = np.array([1e4]), np.zeros(1)
    # Mass inside r is pi r alpha(r), in units of the critical density; in total pi b t.
    assert r * deflection(lens, r, zero)[0] == pytest.approx(0.03, rel=1e-4)


def test_pixel_coordinates_are_those_of_the_grid() -> None:
    grid = PixelGrid((5, 8), 0.3, (0.1, -0.2))
    for k in (1, 3):
        np.testing.assert_allclose(
            np.stack(pixel_coordinates(grid, k)),
            torch.stack(grid.coordinates(k, dtype=torch.float64)).numpy(),
            atol=1e-14,
        )


@pytest.mark.parametrize("name", ["isothermal", "shallow", "steep", "round"])
def test_agrees_with_the_simulator(name: str, points: Points) -> None:
    lens, (x, y) = LENSES[name], points
    host = lens.ellipsoid
    e = (1 - host.q) / (1 + host.q)
    epl = EPL(
        theta_E=host.theta_E,
        gamma=host.gamma,
        e1=e * np.cos(2 * host.phi),
        e2=e * np.sin(2 * host.phi),
        center_x=host.center_x,
        center_y=host.center_y,
    )
    ax, ay = epl.deflection(torch.as_tensor(x)[None], torch.as_tensor(y)[None])
    np.testing.assert_allclose(deflection(lens, x, y), (ax.numpy()[0], ay.numpy()[0]), atol=2e-6)


def test_the_renderer_knows_nothing_of_the_simulator() -> None:
    folder = Path(evaluation.__file__).parent
    for name in ("deflection", "rendering", "mocks"):
        tree = ast.parse((folder / f"{name}.py").read_text())
        modules = [n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
        modules += [a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names]
        assert not [m for m in modules if "lensing" in m or "torch" in m]


@pytest.mark.oracle
@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
def test_agrees_with_lenstronomy(lens: Lens, points: Points) -> None:
    lens_model = pytest.importorskip("lenstronomy.LensModel.lens_model")
    host, core = lens.ellipsoid, 1e-5
    e = (1 - host.q) / (1 + host.q)
    center = {"center_x": host.center_x, "center_y": host.center_y}
    parts = [
        (
            "EPL",
            {
                "theta_E": host.theta_E,
                "gamma": host.gamma,
                "e1": e * np.cos(2 * host.phi),
                "e2": e * np.sin(2 * host.phi),
            }
            | center,
        ),
        ("SHEAR", {"gamma1": lens.gamma1, "gamma2": lens.gamma2}),
    ]
    for part in lens.multipoles:
        a_m = part.amplitude * host.theta_E
        parts.append(("MULTIPOLE", {"m": part.m, "a_m": a_m, "phi_m": part.phi} | center))
    for halo in lens.subhalos:
        sigma0 = halo.theta_E / 2 * (halo.truncation - core) / (core * halo.truncation)
        shape = {"sigma0": sigma0, "Ra": core, "Rs": halo.truncation}
        parts.append(("PJAFFE", shape | {"center_x": halo.center_x, "center_y": halo.center_y}))
    names, values = [p[0] for p in parts], [p[1] for p in parts]
    model, (x, y) = lens_model.LensModel(names), points
    np.testing.assert_allclose(deflection(lens, x, y), model.alpha(x, y, values), atol=2e-5)
    np.testing.assert_allclose(convergence(lens, x, y), model.kappa(x, y, values), rtol=1e-5)


@pytest.mark.parametrize("m", [0, 1, 2, 5])
def test_a_multipole_that_training_pairs_have_no_place_for_is_refused(m: int) -> None:
    with pytest.raises(InputError, match=rf"a multipole must be of order 3 or 4, found {m}"):
        Multipole(m, 0.01, 0.3)
