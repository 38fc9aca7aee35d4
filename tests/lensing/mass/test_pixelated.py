"""The potential on pixels: against the models it samples, and against another spline."""

import numpy as np
import pytest
import torch
from masses import points, values
from scipy.interpolate import RectBivariateSpline
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.mass import DPIE, NIE, Mass, PixelatedPotential, Shear, Sum
from lensrim.lensing.simulator import Simulator

LENS = Sum([NIE(1.1, 0.4, 0.2, -0.1, 0.05, -0.1), Shear(0.03, -0.05)])
GRID = PixelGrid((9, 12), 0.3, (0.2, -0.1))


def sampled(mass: Mass, grid: PixelGrid) -> PixelatedPotential:
    return PixelatedPotential(mass.potential(*grid.coordinates(dtype=torch.float64)), grid)


def inside(grid: PixelGrid, n: int = 300) -> tuple[Tensor, Tensor]:
    """Positions anywhere in the field of view, to its edges."""
    u, v = torch.rand(2, 1, n, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    left, right, bottom, top = grid.extent
    return left + (right - left) * u, bottom + (top - bottom) * v


@pytest.mark.parametrize("mass", [LENS, DPIE(1.2, 0.4, 1.5, 0.1, 0.2)], ids=["NIE", "DPIE"])
def test_errors_fall_with_the_order_of_the_spline(mass: Mass):
    errors = []
    for spacing in (0.1, 0.05):
        grid = PixelGrid((round(3 / spacing), round(4 / spacing)), spacing)
        ours, truth = values(sampled(mass, grid), *inside(grid)), values(mass, *inside(grid))
        errors.append({name: float((ours[name] - truth[name]).std()) for name in truth})
    orders = {"potential": 4, "deflection": 3, "convergence": 2, "shear": 2}
    for name, order in orders.items():
        assert errors[0][name] / errors[1][name] > 0.8 * 2**order, name
    assert errors[1]["deflection"] < 2e-5
    assert errors[1]["convergence"] < 2e-3


def test_cubic_polynomials_are_exact_up_to_the_edge():
    grid = PixelGrid((4, 7), 0.5, (0.3, 0.1))

    def psi(x: Tensor, y: Tensor) -> Tensor:
        return (1 + 0.4 * x - 0.3 * x**3) * (0.5 - 0.2 * y**2 + 0.1 * y**3)

    x, y = (c.requires_grad_() for c in inside(grid))
    mass = PixelatedPotential(psi(*grid.coordinates(dtype=torch.float64)), grid)
    torch.testing.assert_close(mass.potential(x, y), psi(x, y))
    slopes = torch.autograd.grad(psi(x, y).sum(), (x, y))
    torch.testing.assert_close(mass.deflection(x, y), slopes)


@pytest.mark.parametrize("shape", [(9, 12), (4, 5), (31, 37)])
def test_it_is_the_spline_of_scipy(shape: tuple[int, int]):
    grid = PixelGrid(shape, 0.3, (0.2, -0.1))
    pixels = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    gx, gy = (c.numpy() for c in grid.coordinates(dtype=torch.float64))
    theirs = RectBivariateSpline(gy[:, 0], gx[0], pixels.numpy())
    # scipy clamps positions to the outermost samples
    x, y = inside(PixelGrid((shape[0] - 1, shape[1] - 1), 0.3, (0.2, -0.1)))

    def derivative(i: int, j: int) -> Tensor:
        return torch.from_numpy(theirs(y.numpy(), x.numpy(), dx=j, dy=i, grid=False))

    mass = PixelatedPotential(pixels, grid)
    xx, yy = derivative(2, 0), derivative(0, 2)
    torch.testing.assert_close(mass.potential(x, y), derivative(0, 0))
    torch.testing.assert_close(mass.deflection(x, y), (derivative(1, 0), derivative(0, 1)))
    torch.testing.assert_close(mass.convergence(x, y), (xx + yy) / 2)
    torch.testing.assert_close(mass.shear(x, y), ((xx - yy) / 2, derivative(1, 1)))


def test_the_deflection_is_the_slope_of_the_potential_by_finite_differences():
    mass, (x, y), h = sampled(LENS, GRID), points(), 1e-5
    across = (mass.potential(x + h, y) - mass.potential(x - h, y)) / (2 * h)
    upward = (mass.potential(x, y + h) - mass.potential(x, y - h)) / (2 * h)
    torch.testing.assert_close(mass.deflection(x, y), (across, upward), rtol=1e-8, atol=1e-8)


def test_pixel_centres_return_the_pixels():
    pixels = torch.randn(3, *GRID.shape, generator=torch.Generator().manual_seed(0)).double()
    mass = PixelatedPotential(pixels, GRID)
    torch.testing.assert_close(mass.potential(*GRID.coordinates(dtype=torch.float64)), pixels)


def test_the_convergence_is_continuous_between_pixels_and_the_deflection_at_the_edge():
    pixels = torch.randn(GRID.shape, generator=torch.Generator().manual_seed(0)).double()
    mass, step = PixelatedPotential(pixels, GRID), 1e-9
    for column in range(GRID.shape[1]):
        x, y = GRID.from_index(torch.tensor([[float(column)]]).double(), torch.tensor([[2.3]]))
        left, right = (mass.convergence(x + s, y) for s in (-step, step))
        torch.testing.assert_close(left, right, rtol=0, atol=1e-5)
    edges = GRID.extent
    for x, y in ((edges[0], 0.1), (edges[1], 0.1), (0.1, edges[2]), (0.1, edges[3])):
        at = torch.tensor([[x]]).double(), torch.tensor([[y]]).double()
        before, after = (torch.stack(mass.deflection(at[0] + s, at[1] + s)) for s in (-step, step))
        torch.testing.assert_close(before, after, rtol=0, atol=1e-5)


def test_beyond_the_field_of_view_it_is_linear_along_each_axis():
    mass, (_, right, _, _) = sampled(LENS, GRID), GRID.extent
    x = right + torch.tensor([[0.5, 1.0, 1.5, 40.0]]).double()
    psi = mass.potential(x, torch.full_like(x, 0.3))
    torch.testing.assert_close(psi[0, 1] - psi[0, 0], psi[0, 2] - psi[0, 1])
    ax = mass.deflection(x, torch.full_like(x, 0.3))[0]
    torch.testing.assert_close(ax, ax[:, :1].expand_as(ax))


def test_a_batch_of_maps_is_a_batch_of_lenses():
    x, y = GRID.coordinates(dtype=torch.float64)
    pixels = torch.stack([LENS.potential(x, y), (x**2 + y**2) / 4, x * y])
    center = torch.tensor([0.1, 0.0, -0.2]).double()
    many = PixelatedPotential(pixels, GRID, center)
    at = points()
    for i in range(3):
        single = values(PixelatedPotential(pixels[i], GRID, float(center[i])), *at)
        together = values(many, *at)
        for name, value in single.items():
            torch.testing.assert_close(together[name][..., i, :, :], value)
    apart = points(6, seed=2)[0].expand(3, -1, -1), points(6, seed=3)[0].expand(3, -1, -1)
    assert many.potential(*apart).shape == (3, 1, 6)
    grouped = PixelatedPotential(pixels.expand(2, 3, *GRID.shape), GRID)
    torch.testing.assert_close(
        grouped.convergence(*at)[1], PixelatedPotential(pixels, GRID).convergence(*at)
    )


def test_gradients_in_the_map():
    grid = PixelGrid((5, 4), 0.6)
    pixels = torch.randn(2, 5, 4, generator=torch.Generator().manual_seed(0)).double()
    x, y = inside(grid, 6)

    def maps(pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(values(PixelatedPotential(pixels, grid), x, y).values())

    assert torch.autograd.gradcheck(maps, (pixels.requires_grad_(),))


def test_a_simulator_traces_rays_through_it():
    image = PixelGrid((40, 44), 0.05)
    sim = Simulator(image, GRID, subsample=2, dtype=torch.float64)
    fine = PixelGrid((60, 64), 0.05)
    torch.testing.assert_close(sim.rays(sampled(LENS, fine)), sim.rays(LENS), rtol=0, atol=2e-4)


def test_single_precision_loses_no_more_than_the_map_does():
    grid = PixelGrid((60, 60), 0.05)
    mass, at = sampled(LENS, grid), inside(grid)
    exact = mass.deflection(*at)
    single = mass.deflection(*(c.float() for c in at))
    for a, b in zip(single, exact, strict=True):
        assert a.dtype == torch.float32
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=0, atol=3e-5)


def test_a_constant_costs_no_digits_in_single_precision():
    grid = PixelGrid((128, 128), 0.05)
    mass, at = sampled(LENS, grid), inside(grid)
    raised = PixelatedPotential(mass.pixels + 100, grid)
    single = [c.float() for c in at]
    error = raised.convergence(*single) - mass.convergence(*at)
    assert float(error.abs().max()) < 3e-4
    psi = raised.potential(*single)
    assert psi.dtype == torch.float32
    np.testing.assert_allclose(psi, mass.potential(*at) + 100, rtol=1e-6)


@pytest.mark.parametrize(
    ("pixels", "grid", "message"),
    [
        ((7, 9), PixelGrid((9, 7), 0.2), r"grid's shape \(9, 7\) .* got \(7, 9\)"),
        ((3, 9), PixelGrid((3, 9), 0.2), r"at least 4 pixels .* got the shape \(3, 9\)"),
    ],
)
def test_what_is_no_map_of_a_potential_is_refused(pixels, grid, message: str):
    with pytest.raises(ValueError, match=message):
        PixelatedPotential(torch.zeros(pixels), grid)
