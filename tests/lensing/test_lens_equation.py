"""Images of point sources: laws of their number, closed forms, and lenstronomy's solver."""

import math
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from lensrim.errors import InputError
from lensrim.grid import PixelGrid
from lensrim.lensing import cells
from lensrim.lensing.caustics import trace_caustics
from lensrim.lensing.jacobian import Deflector
from lensrim.lensing.lens_equation import Images, image_positions
from lensrim.lensing.mass import EPL, SIE, Shear, Sum
from lensrim.lensing.multi_plane import MultiPlane
from lensrim.lensing.subhalos import Subhalos

GRID = PixelGrid((30, 33), 0.2, (0.05, -0.05))


@dataclass(frozen=True)
class Cored:
    """An elliptical potential with a core, b (s² + (1 - e) x² + (1 + e) y²)^(1/2)."""

    b: float
    core: float
    e: float

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        x_, y_ = (1 - self.e) * x, (1 + self.e) * y
        r = (self.core**2 + x_ * x + y_ * y).sqrt()
        return self.b * x_ / r, self.b * y_ / r


@dataclass(frozen=True)
class Point:
    """A point mass."""

    theta_E: float

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r2 = x**2 + y**2 + 1e-16
        return self.theta_E**2 * x / r2, self.theta_E**2 * y / r2


class Unsoftened:
    """An isothermal sphere that is not a number at its centre."""

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r = (x**2 + y**2).sqrt()
        return x / r, y / r


@dataclass(frozen=True)
class Both:
    """The sum of two deflections, neither of which needs a potential."""

    a: Deflector
    b: Deflector

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        (ax, ay), (bx, by) = self.a.deflection(x, y), self.b.deflection(x, y)
        return ax + bx, ay + by


SMOOTH: dict[str, Deflector] = {
    "SIE and shear": Sum([SIE(1.2, 0.15, -0.1, 0.03, -0.05), Shear(0.05, 0.03)]),
    "shallow EPL": Sum([EPL(1.1, 1.8, -0.2, 0.1), Shear(-0.02, 0.04)]),
    "steep EPL": EPL(1.1, 2.2, 0.1, 0.2, 0.1, 0.02),
    "cored": Both(Cored(1.3, 0.2, 0.15), Shear(0.03, -0.02)),
    "two lenses": Sum([SIE(0.9, 0.1, 0.0, 0.8, 0.1), SIE(0.5, -0.1, 0.1, -0.7, -0.2)]),
    "subhalos": Sum(
        [
            SIE(1.2, 0.15, -0.1),
            Subhalos(
                torch.tensor([0.05, 0.01]),
                torch.tensor([0.3, 0.2]),
                torch.tensor([1.1, -0.9]),
                torch.tensor([0.3, 0.7]),
            ),
        ]
    ),
    "two planes": MultiPlane(
        [(0.3, SIE(1.0, 0.1, 0.05)), (0.6, SIE(0.3, 0.0, -0.1, 0.4, 0.2))], 1.5
    ),
}
EVERY = pytest.mark.parametrize("mass", SMOOTH.values(), ids=SMOOTH.keys())


def sources(n: int, size: float = 1.0, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Positions within a square around the origin."""
    generator = torch.Generator().manual_seed(seed)
    x, y = (torch.rand(2, n, generator=generator, dtype=torch.float64) - 0.5) * size
    return x, y


def vector(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def miss(mass: Deflector, images: Images, bx: Tensor, by: Tensor) -> float:
    """Largest distance between a source and where its images map to [arcsec]."""
    ax, ay = mass.deflection(images.x, images.y)
    distance = torch.hypot(images.x - ax - bx[:, None], images.y - ay - by[:, None])
    return float(distance[images.x.isfinite()].max())


@EVERY
def test_every_image_maps_back_to_its_source(mass: Deflector):
    beta = sources(20, 1.6)
    images = image_positions(mass, *beta, GRID)
    assert miss(mass, images, *beta) < 1e-9
    assert bool((images.count >= 1).all())
    assert not bool(images.ring.any())
    torch.testing.assert_close(images.x.isfinite().sum(1), images.count)
    size = images.magnification.abs().nan_to_num(0.0)
    assert bool((size.diff(dim=1) <= 0).all())


@pytest.mark.parametrize(
    "name", ["SIE and shear", "cored", pytest.param("two lenses", marks=pytest.mark.slow)]
)
def test_parities_add_up_to_one(name: str):
    # The degree of a map that is one-to-one far from a lens without singularities (Burke 1981);
    # with the softened centres counted, too.
    beta = sources(40, 1.6, seed=1)
    images = image_positions(SMOOTH[name], *beta, GRID, min_magnification=0.0)
    parity = images.magnification.sign().nan_to_num(0.0).sum(1)
    assert parity.tolist() == [1.0] * 40
    assert bool((images.count % 2 == 1).all())
    assert len(images.count.unique()) > 1


@pytest.mark.slow
@EVERY
def test_the_grid_of_the_search_does_not_matter(mass: Deflector):
    beta = sources(15, 1.2, seed=2)
    coarse = image_positions(mass, *beta, PixelGrid((17, 20), 0.35))
    fine = image_positions(mass, *beta, PixelGrid((60, 61), 0.1, (0.013, 0.021)))
    assert coarse.count.tolist() == fine.count.tolist()
    for a, b in zip(coarse[:2], fine[:2], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9, equal_nan=True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIE and shear", "shallow EPL", "steep EPL", "cored"])
@pytest.mark.parametrize("distance", [1e-3, 1e-7, 1e-12])
def test_two_images_more_on_one_side_of_every_fold(name: str, distance: float):
    mass = SMOOTH[name]
    for curve in trace_caustics(mass, PixelGrid((80, 80), 0.08)):
        caustic = curve.caustic[:-1]
        along = caustic.roll(-1, 0) - caustic.roll(1, 0)
        # where the points crowd there is a cusp, where they do not the chord is the tangent
        folds = along.norm(dim=1).argsort(descending=True)[:24:4]
        normal = torch.stack((-along[:, 1], along[:, 0]), 1) / along.norm(dim=1, keepdim=True)
        counts, splits = [], []
        for sign in (-1, 1):
            b = caustic[folds] + sign * distance * normal[folds]
            images = image_positions(mass, b[:, 0], b[:, 1], GRID, min_magnification=0.0)
            assert miss(mass, images, b[:, 0], b[:, 1]) < 1e-9
            counts.append(images.count)
            splits.append(images.magnification[:, 0].abs())
        assert (counts[0] - counts[1]).abs().tolist() == [2] * len(folds)
        # the merging pair is magnified by about distance^(-1/2)
        assert bool((torch.maximum(*splits) > 0.04 * distance**-0.5).all())


def test_a_merging_pair_has_opposite_magnifications_that_grow_as_the_root():
    mass = SMOOTH["SIE and shear"]
    (curve,) = trace_caustics(mass, PixelGrid((40, 40), 0.1))
    caustic = curve.caustic[:-1]
    along = caustic.roll(-1, 0) - caustic.roll(1, 0)
    i = int(along.norm(dim=1).argmax())
    inward = torch.stack((-along[i, 1], along[i, 0])) / along[i].norm()
    inward = -inward * (inward @ (caustic[i] - caustic.mean(0))).sign()
    brightest = []
    for distance in (1e-4, 1e-6):
        b = caustic[i] + distance * inward
        mu = image_positions(mass, b[:1], b[1:], GRID).magnification[0]
        assert float(mu[0] + mu[1]) == pytest.approx(0.0, abs=0.05 * float(mu[0].abs()))
        brightest.append(float(mu[0].abs()))
    assert brightest[1] / brightest[0] == pytest.approx(10.0, rel=0.05)
    on_it = image_positions(mass, caustic[i, :1], caustic[i, 1:], GRID)
    assert on_it.count.tolist() == [3]


@pytest.mark.parametrize("distance", [1e-3, 1e-5])
def test_three_images_meet_at_a_cusp(distance: float):
    # Kormann et al. 1994: the cusp of an ellipsoid on its major axis
    q, theta_E = 0.7, 1.2
    f = math.sqrt(1 - q**2)
    s = theta_E * math.sqrt(q) / f
    cusp = theta_E / math.sqrt(q) - s * math.atan(f / q)
    mass = SIE(theta_E, (1 - q) / (1 + q), 0.0)
    along_x = vector(cusp - distance, cusp + distance)
    images = image_positions(mass, along_x, vector(0.0, 0.0), GRID)
    assert images.count.tolist() == [4, 2]
    mu = images.magnification[0, :3]
    assert float(mu.sum().abs()) < 0.05 * float(mu.abs().sum())
    assert mu.sign().sum().abs().item() == 1
    assert miss(mass, images, along_x, vector(0.0, 0.0)) < 1e-9


@pytest.mark.parametrize("distance", [1e-2, 1e-3])
def test_an_ellipsoid_has_four_two_and_one_images(distance: float):
    # the astroid's cusp lies within the cut: 4, 2 and 1 images from the inside out
    q, theta_E = 0.8, 1.1
    f = math.sqrt(1 - q**2)
    s = theta_E * math.sqrt(q) / f
    cusp, edge = theta_E / math.sqrt(q) - s * math.atan(f / q), s * math.atan(f / q)
    mass = SIE(theta_E, (1 - q) / (1 + q), 0.0)
    x = vector(0.0, cusp - distance, cusp + distance, edge - distance, edge + distance)
    images = image_positions(mass, x, torch.zeros(5).double(), GRID)
    assert images.count.tolist() == [4, 4, 2, 2, 1]


def test_a_core_adds_a_faint_image_and_an_odd_number():
    mass = SMOOTH["cored"]
    x = vector(0.0, 0.4, 3.0)
    images = image_positions(mass, x, vector(0.01, 0.1, 0.2), PixelGrid((60, 60), 0.2))
    assert images.count.tolist() == [5, 3, 1]


def test_isothermal_sphere_has_its_closed_form():
    theta_E, center = 1.2, (0.1, -0.2)
    beta = vector(0.05, 0.3, 1.19, 1.21)
    angle = vector(0.3, 2.0, -1.0, 4.0)
    bx, by = center[0] + beta * angle.cos(), center[1] + beta * angle.sin()
    images = image_positions(SIE(theta_E, 0.0, 0.0, *center), bx, by, GRID)
    assert images.count.tolist() == [2, 2, 2, 1]
    for column, sign in ((0, 1), (1, -1)):
        some = slice(0, 4 if sign > 0 else 3)
        r = (beta + sign * theta_E)[some]
        x, y = center[0] + r * angle.cos()[some], center[1] + r * angle.sin()[some]
        # the softening moves an image at the radius r by 6e-13 / r^2
        torch.testing.assert_close(images.x[some, column], x, rtol=0, atol=1e-8)
        torch.testing.assert_close(images.y[some, column], y, rtol=0, atol=1e-8)
        mu = (1 + sign * theta_E / beta)[some]
        torch.testing.assert_close(images.magnification[some, column], mu, rtol=1e-6, atol=0)


def test_a_centre_that_is_not_a_number_does_no_harm():
    # the corner of four cells, and the middle of one
    for field in (PixelGrid((16, 16), 0.25), PixelGrid((17, 17), 0.25)):
        images = image_positions(Unsoftened(), vector(0.2, 0.999), vector(0.0, 0.0), field)
        expected = torch.tensor([[1.2, -0.8], [1.999, -0.001]], dtype=torch.float64)
        torch.testing.assert_close(images.x, expected, rtol=0, atol=1e-9)


def test_point_mass_has_its_closed_form():
    u = vector(0.05, 0.5, 1.3)
    images = image_positions(Point(1.1), 1.1 * u, 0 * u, GRID)
    root = (u**2 + 4).sqrt()
    expected = 1.1 * torch.stack(((u + root) / 2, (u - root) / 2), 1)
    torch.testing.assert_close(images.x, expected, rtol=0, atol=1e-9)
    total = images.magnification.abs().sum(1)
    torch.testing.assert_close(total, (u**2 + 2) / (u * root), rtol=1e-9, atol=0)


@pytest.mark.parametrize(("lens", "invariant"), [(SIE(1.2, 0.0, 0.0), 2.0), (Point(1.2), 1.0)])
def test_magnifications_of_a_quad_add_up(lens: Deflector, invariant: float):
    # Dalal 1998; Witt & Mao 2000: 2 / (1 - g^2) for a sphere, 1 / (1 - g^2) for a point mass
    shear = Shear(0.12, -0.09)
    bx, by = vector(0.0, 0.03, -0.02), vector(0.01, -0.02, 0.05)
    images = image_positions(Both(lens, shear), bx, by, GRID)
    assert images.count.tolist() == [4, 4, 4]
    expected = torch.full((3,), invariant / (1 - 0.12**2 - 0.09**2), dtype=torch.float64)
    torch.testing.assert_close(images.magnification.sum(1), expected, rtol=1e-8, atol=0)


def test_a_source_behind_a_round_lens_has_a_ring():
    bx, by = vector(0.1, 0.1001, 0.4), vector(-0.2, -0.2, 0.0)
    images = image_positions(SIE(1.2, 0.0, 0.0, 0.1, -0.2), bx, by, GRID)
    assert images.ring.tolist() == [True, False, False]
    assert images.count.tolist() == [0, 2, 2]
    assert bool(images.x[0].isnan().all())
    expected = vector(1 + 1.2e4, 1 - 1.2e4)
    torch.testing.assert_close(images.magnification[1], expected, rtol=1e-6, atol=0)


def test_only_the_field_is_searched_and_no_image_is_no_error():
    mass = SIE(1.0, 0.0, 0.0)
    half = PixelGrid((30, 15), 0.2, (1.5, 0.0))
    assert image_positions(mass, vector(0.2), vector(0.0), half).count.tolist() == [1]
    away = image_positions(mass, vector(0.2), vector(0.0), PixelGrid((5, 5), 0.1, (5.0, 5.0)))
    assert away.x.shape == (1, 0) and away.count.tolist() == [0]
    none = image_positions(mass, vector(), vector(), GRID)
    assert none.x.shape == (0, 0)


def test_many_sources_are_compared_with_cells_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch):
    mass, (bx, by) = SMOOTH["SIE and shear"], sources(23, 0.5)
    whole, asked, judge = image_positions(mass, bx, by, GRID), [], cells._may_hold

    def counted(*given: Any) -> Tensor:
        asked.append(given[2].shape)
        return judge(*given)

    monkeypatch.setattr(cells, "PAIRS", 4 * math.prod(GRID.shape))
    monkeypatch.setattr(cells, "_may_hold", counted)
    parts = image_positions(mass, bx, by, GRID)
    # 23 sources, 4 at a time; then each of what is left of the cells has its own
    assert [tuple(shape) for shape in asked[:6]] == [(4, 1)] * 5 + [(3, 1)]
    torch.testing.assert_close(parts, whole, equal_nan=True)


def test_images_take_the_type_of_the_sources():
    mass = SMOOTH["SIE and shear"]
    beta = [b.float() for b in sources(5, 0.5)]
    single, double = (
        image_positions(mass, b, c, GRID) for b, c in (beta, [v.double() for v in beta])
    )
    assert single.x.dtype == single.magnification.dtype == torch.float32
    assert single.count.tolist() == double.count.tolist()
    torch.testing.assert_close(single.x, double.x.float(), equal_nan=True)


def test_gradients_of_the_isothermal_sphere_have_their_closed_form():
    # images at beta +- theta_E with magnifications 1 +- theta_E / beta
    theta_E = torch.tensor(1.2, dtype=torch.float64, requires_grad=True)
    beta = vector(0.3).requires_grad_()
    images = image_positions(SIE(theta_E, 0.0, 0.0), beta, vector(0.0), GRID)
    for column, sign in ((0, 1.0), (1, -1.0)):
        moved = torch.autograd.grad(images.x[0, column], (theta_E, beta), retain_graph=True)
        assert [float(g) for g in moved] == pytest.approx([sign, 1.0], rel=1e-9)
        mu = torch.autograd.grad(
            images.magnification[0, column], (theta_E, beta), retain_graph=True
        )
        expected = [sign / 0.3, -sign * 1.2 / 0.3**2]
        assert [float(g) for g in mu] == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_gradients_are_those_of_the_implicit_function():
    p = tuple(
        torch.tensor(v, dtype=torch.float64, requires_grad=True)
        for v in (1.1, 1.9, 0.15, 0.02, 0.04)
    )
    beta = tuple(b.requires_grad_() for b in (vector(0.05, 0.4), vector(0.02, 0.3)))

    def images(*p: Tensor) -> tuple[Tensor, ...]:
        mass = Sum([EPL(p[0], p[1], p[2], 0.05, p[3], terms=8), Shear(p[4], -0.03)])
        found = image_positions(mass, p[5], p[6], PixelGrid((8, 8), 0.5))
        there = found.x.isfinite()
        return found.x[there], found.y[there], found.magnification[there]

    assert len(images(*p, *beta)[0]) == 6
    assert torch.autograd.gradcheck(images, (*p, *beta))


def test_what_cannot_be_solved_is_refused():
    mass, one = SIE(1.0, 0.1, 0.0), vector(0.1)
    with pytest.raises(InputError, match=r"vectors of the same length, found shapes \(1,\) and"):
        image_positions(mass, one, vector(0.1, 0.2), GRID)
    with pytest.raises(InputError, match="must be finite, found NaN"):
        image_positions(mass, one, vector(math.nan), GRID)
    with pytest.raises(InputError, match=r"min_magnification must not be negative, found -1"):
        image_positions(mass, one, one, GRID, min_magnification=-1.0)
    with pytest.raises(
        InputError, match=r"unbatched parameters, found parameters of shape \(2,\)"
    ):
        image_positions(SIE(vector(1.0, 1.1), 0.1, 0.0), one, one, GRID)
    with pytest.raises(InputError, match="by_arrival needs a mass with a potential, found Point"):
        image_positions(Point(1.0), one, one, GRID, by_arrival=True)


@pytest.mark.oracle
@pytest.mark.parametrize("gamma", [1.8, 2.0, 2.2])
def test_images_are_those_of_lenstronomy(gamma: float):
    models = pytest.importorskip("lenstronomy.LensModel.lens_model")
    solvers = pytest.importorskip("lenstronomy.LensModel.Solver.lens_equation_solver")
    kwargs = [
        {"theta_E": 1.2, "gamma": gamma, "e1": 0.1, "e2": 0.05, "center_x": 0.02, "center_y": 0.0},
        {"gamma1": 0.03, "gamma2": -0.02},
    ]
    model = models.LensModel(["EPL", "SHEAR"])
    solver = solvers.LensEquationSolver(model)
    mass = Sum([EPL(1.2, gamma, 0.1, 0.05, 0.02, 0.0), Shear(0.03, -0.02)])
    bx, by = sources(8, 0.8, seed=3)
    ours = image_positions(mass, bx, by, GRID, min_magnification=1e-2, by_arrival=True)
    for s in range(len(bx)):
        x, y = solver.image_position_from_source(
            float(bx[s]),
            float(by[s]),
            kwargs,
            solver="lenstronomy",
            search_window=6,
            min_distance=0.02,
            precision_limit=1e-12,
            num_iter_max=200,
            magnification_limit=1e-2,
            arrival_time_sort=True,
        )
        n = int(ours.count[s])
        assert len(x) == n
        torch.testing.assert_close(ours.x[s, :n], torch.from_numpy(x), rtol=0, atol=1e-10)
        torch.testing.assert_close(ours.y[s, :n], torch.from_numpy(y), rtol=0, atol=1e-10)
        mu = torch.from_numpy(model.magnification(x, y, kwargs))
        torch.testing.assert_close(ours.magnification[s, :n], mu, rtol=1e-9, atol=0)
