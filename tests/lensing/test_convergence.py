"""Deflection and its derivatives by a pixelated convergence."""

import math

import pytest
import torch
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.convergence import KappaToAlpha, deflection_kernel, direct_deflection
from lensrim.lensing.mass import SIE, pixel_average

H = 0.05
SHAPES = [(32, 32), (37, 31), (16, 41)]


def gaussian(grid: PixelGrid, width: float, center=(0.0, 0.0)) -> Tensor:
    """Averages over pixels of exp(-r^2 / 2 width^2), in closed form."""
    x, y = grid.coordinates(dtype=torch.float64)
    half, scale = grid.spacing / 2, width * math.sqrt(2)
    factors = [
        (torch.erf((c + half - c0) / scale) - torch.erf((c - half - c0) / scale))
        * (width * math.sqrt(math.pi / 2) / grid.spacing)
        for c, c0 in zip((x, y), center, strict=True)
    ]
    return (factors[0] * factors[1])[None, None]


def gaussian_alpha(x: Tensor, y: Tensor, width: float) -> Tensor:
    """Deflection of the Gaussian, in closed form."""
    r2 = x**2 + y**2
    mean = torch.where(r2 > 1e-14, -2 * width**2 * torch.expm1(-r2 / 2 / width**2) / r2, 1.0)
    return torch.stack((x * mean, y * mean))


def operator(grid: PixelGrid, **options) -> KappaToAlpha:
    return KappaToAlpha(grid, dtype=torch.float64, **options)


def random_kappa(shape, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, 1, *shape, generator=generator, dtype=torch.float64)


def stacked(pair: tuple[Tensor, Tensor]) -> Tensor:
    return torch.stack(pair)[:, 0, 0]


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_the_direct_sum(shape):
    grid = PixelGrid(shape, H)
    kappa = random_kappa(shape, 1)
    alpha = stacked(operator(grid)(kappa))
    row, column = torch.meshgrid(*(torch.arange(n).double() for n in shape), indexing="ij")
    for i, j in ((0, 0), (7, 11), (shape[0] - 1, shape[1] - 1)):
        kernel = deflection_kernel(j - column, i - row)
        expected = (kernel * kappa[0, 0]).sum((-2, -1)) * H / math.pi
        torch.testing.assert_close(alpha[:, i, j], expected)


@pytest.mark.parametrize(
    ("samples", "entry"), [("averages", (1 + math.pi / 6) / 4), ("points", 0.25)]
)
def test_the_axial_neighbours_are_corrected(samples, entry: float):
    one, zero = torch.tensor(1.0).double(), torch.tensor(0.0).double()
    kernel = deflection_kernel(one, zero, samples=samples)
    assert kernel.tolist() == pytest.approx([1 + entry, 0.0])
    assert deflection_kernel(zero, zero, samples=samples).tolist() == [0.0, 0.0]
    assert deflection_kernel(one, one, samples=samples).tolist() == pytest.approx([0.5, 0.5])


@pytest.mark.parametrize("samples", ["averages", "points"])
@pytest.mark.parametrize(("width", "limit"), [(10, 2e-5), (2.4, 5e-3)])
def test_both_kinds_of_samples_are_accurate(samples, width: float, limit: float):
    grid = PixelGrid((121, 120), H)
    x, y = grid.coordinates(dtype=torch.float64)
    kappa = gaussian(grid, width * H)
    if samples == "points":
        kappa = torch.exp(-(x**2 + y**2) / 2 / (width * H) ** 2)[None, None]
    truth = gaussian_alpha(x, y, width * H)
    error = (stacked(operator(grid, samples=samples)(kappa)) - truth).norm(dim=0)
    assert float(error.max() / truth.norm(dim=0).max()) < limit


@pytest.mark.parametrize("k", [1, 2, 3])
def test_rays_between_the_pixel_centres(k: int):
    grid = PixelGrid((128, 127), H)
    kappa = gaussian(grid, 10 * H)
    x, y = grid.coordinates(k, dtype=torch.float64)
    truth = gaussian_alpha(x, y, 10 * H)
    limit = 1e-4 * truth.norm(dim=0).max()
    op = operator(grid, subsample=k)
    assert float((stacked(op.at_subrays(kappa)) - truth).norm(dim=0).max()) < limit
    assert float((stacked(op.at(kappa, x, y)) - truth).norm(dim=0).max()) < limit


def test_interpolation_is_exact_for_what_is_linear():
    grid = PixelGrid((9, 8), 0.2, (0.3, -0.1))
    for k in (1, 2, 3, 4):
        maps = torch.stack(grid.coordinates(dtype=torch.float64))[None]
        rays = torch.stack(grid.coordinates(k, dtype=torch.float64))[None]
        torch.testing.assert_close(operator(grid, subsample=k).interpolate(maps), rays)


def test_far_outside_the_map_acts_as_a_point():
    grid = PixelGrid((21, 20), H, (0.4, -0.2))
    kappa = gaussian(grid, 2 * H, grid.center)
    mass = float(kappa.sum()) * H**2
    x, y = torch.tensor([5.0, -3.0]).double(), torch.tensor([1.0, -7.0]).double()
    dx, dy = x - grid.center[0], y - grid.center[1]
    expected = torch.stack((dx, dy)) * mass / math.pi / (dx**2 + dy**2)
    torch.testing.assert_close(
        stacked(operator(grid).at(kappa, x, y)), expected, rtol=1e-4, atol=0
    )
    direct = torch.stack(direct_deflection(kappa, grid, x, y))[:, 0]
    torch.testing.assert_close(direct, expected, rtol=1e-4, atol=0)


def test_where_there_is_no_image_there_is_no_deflection():
    """Images of a source are padded with NaN."""
    grid = PixelGrid((21, 20), H)
    kappa = gaussian(grid, 2 * H).requires_grad_()
    for far in (0.1, 9.0):  # inside, and outside, where pixels are summed
        x = torch.tensor([0.1, math.nan, far]).double().requires_grad_()
        y = torch.tensor([-0.2, math.nan, 0.3]).double()
        alpha = stacked(operator(grid).at(kappa, x, y))
        assert alpha.isnan().all(0).tolist() == [False, True, False]
        gradients = torch.autograd.grad(alpha[:, [0, 2]].sum(), (x, kappa))
        assert all(gradient.isfinite().all() for gradient in gradients)
    only = stacked(operator(grid).at(kappa, x[:2], y[:2], outside=False))
    torch.testing.assert_close(only[:, 0], alpha[:, 0])


def test_pixels_are_summed_a_part_of_the_positions_at_a_time(monkeypatch: pytest.MonkeyPatch):
    grid = PixelGrid((21, 20), H, (0.4, -0.2))
    kappa = torch.cat([gaussian(grid, 2 * H), gaussian(grid, 3 * H, (0.1, 0.1))])
    x, y = torch.linspace(-4, 4, 19).double(), torch.linspace(3, -2, 19).double()
    whole, added = direct_deflection(kappa, grid, x, y), []
    joined = torch.cat
    monkeypatch.setattr(torch, "cat", lambda p, d: added.append(len(p)) or joined(p, d))
    monkeypatch.setattr("lensrim.lensing.convergence.CHUNK", 4 * kappa.numel())
    for x_, y_ in ((x, y), (x.expand(2, -1), y.expand(2, -1))):
        torch.testing.assert_close(direct_deflection(kappa, grid, x_, y_), whole)
    assert added == [5, 5, 5, 5]  # 19 positions, 4 at a time; both components, twice


def test_potential_is_the_integral_and_alpha_its_gradient():
    from scipy.special import exp1

    grid, width = PixelGrid((80, 81), H), 5 * H
    x, y = grid.coordinates(dtype=torch.float64)
    kappa = gaussian(grid, width)
    psi = operator(grid).potential(kappa)[0, 0]
    r2 = (x**2 + y**2).clamp(min=1e-12)
    truth = width**2 * (torch.from_numpy(exp1((r2 / 2 / width**2).numpy())) + r2.log())
    torch.testing.assert_close(psi, truth, rtol=0, atol=1e-5)
    ax, ay = stacked(operator(grid)(kappa))
    dx = (psi[:, 2:] - psi[:, :-2]) / (2 * H)
    dy = (psi[2:] - psi[:-2]) / (2 * H)
    torch.testing.assert_close(dx, ax[:, 1:-1], rtol=0, atol=4e-3)
    torch.testing.assert_close(dy, ay[1:-1], rtol=0, atol=4e-3)


def test_shear_and_convergence_of_a_gaussian():
    grid, width = PixelGrid((128, 127), H), 10 * H
    x, y = grid.coordinates(dtype=torch.float64)
    kappa = gaussian(grid, width)
    op = operator(grid)
    r2 = x**2 + y**2
    point = torch.exp(-r2 / 2 / width**2)
    ax, ay = gaussian_alpha(x, y, width)
    tangential = torch.where(r2 > 0, (x * ax + y * ay) / r2.clamp(min=1e-14) - point, 0.0)
    r2 = r2.clamp(min=1e-14)
    g1, g2 = -tangential * (x**2 - y**2) / r2, -tangential * 2 * x * y / r2
    torch.testing.assert_close(stacked(op.shear(kappa)), torch.stack((g1, g2)), rtol=0, atol=5e-5)
    xx, yx, xy, yy = op.jacobian(kappa)
    torch.testing.assert_close((xx + yy)[0, 0] / 2, point, rtol=0, atol=5e-5)
    torch.testing.assert_close(xy, yx, rtol=0, atol=1e-5)
    det = (1 - point) ** 2 - (g1 + 0.05) ** 2 - (g2 - 0.02) ** 2
    shear = torch.tensor([[0.05, -0.02]]).double()
    torch.testing.assert_close(
        op.inverse_magnification(kappa, shear)[0, 0], det, rtol=0, atol=2e-4
    )
    torch.testing.assert_close(
        op.magnification(kappa, shear) * op.inverse_magnification(kappa, shear),
        torch.ones_like(kappa),
    )


def test_an_isothermal_map_deflects_as_the_lens_does():
    grid, lens = PixelGrid((96, 96), H), SIE(1.0, 0.0, 0.0, 0.012, -0.007)
    x, y = grid.coordinates(dtype=torch.float64)
    r = ((x - 0.012) ** 2 + (y + 0.007) ** 2).sqrt()
    # A round lens cut at a radius deflects as a whole one does inside of it.
    kappa = pixel_average(lens, grid) * (r < 2.3)
    alpha = stacked(operator(grid)(kappa[None, None]))
    error = (alpha - torch.stack(lens.deflection(x, y))).norm(dim=0)
    assert float(error[(r < 1.5) & (r > 6 * H)].max()) < 5e-3


@pytest.mark.parametrize("shape", SHAPES)
def test_turning_the_map_turns_the_deflection(shape):
    kappa = random_kappa(shape)
    ax, ay = operator(PixelGrid(shape, H))(kappa)
    bx, by = operator(PixelGrid(shape[::-1], H))(kappa.rot90(1, (-2, -1)))
    # Rows grow upward in y, so this turns by -90 degrees: (x, y) -> (y, -x).
    torch.testing.assert_close(bx, ay.rot90(1, (-2, -1)))
    torch.testing.assert_close(by, -ax.rot90(1, (-2, -1)))


def test_moving_the_map_moves_the_deflection():
    grid = PixelGrid((40, 41), H)
    kappa = torch.zeros(1, 1, 40, 41, dtype=torch.float64)
    kappa[..., 12:20, 10:18] = random_kappa((8, 8), 1)
    op = operator(grid)
    a = stacked(op(kappa))
    b = stacked(op(kappa.roll((5, 7), (-2, -1))))
    torch.testing.assert_close(b[:, 5:, 7:], a[:, :-5, :-7])


@pytest.mark.parametrize("shape", SHAPES)
def test_the_adjoint_is_the_adjoint_and_batches_are_independent(shape):
    kappa, op = random_kappa(shape).requires_grad_(), operator(PixelGrid(shape, H))
    alpha = torch.cat(op.at_subrays(kappa), 1)
    v = torch.randn(alpha.shape, generator=torch.Generator().manual_seed(0)).double()
    (back,) = torch.autograd.grad((alpha * v).sum(), kappa)
    torch.testing.assert_close((alpha * v).sum(), (kappa * back).sum())
    one = torch.cat(op.at_subrays(kappa[1:]), 1)
    torch.testing.assert_close(one[0], alpha[1])


def test_types_follow_the_operator():
    grid = PixelGrid((64, 64), H)
    kappa = gaussian(grid, 5 * H)
    single = KappaToAlpha(grid)(kappa.float())[0]
    double = operator(grid)(kappa)[0]
    assert single.dtype == torch.float32
    torch.testing.assert_close(single, double.float(), rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("types_unchecked")
def test_unknown_samples_are_refused():
    with pytest.raises(ValueError, match="samples must be one of"):
        KappaToAlpha(PixelGrid((4, 4), H), samples="means")
