"""The pixelated source, read between its pixels."""

import pytest
import torch
from torch import Tensor

from lensrim.grid import PixelGrid
from lensrim.lensing.source import PixelatedSource

GRIDS = [PixelGrid((8, 8), 0.25), PixelGrid((7, 10), 0.1, (0.3, -0.2)), PixelGrid((1, 1), 1.0)]
EVERY = pytest.mark.parametrize("grid", GRIDS)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def rays(grid: PixelGrid, batch: int, h: int, w: int) -> Tensor:
    """Positions in and around a grid."""
    side = torch.tensor(grid.fov).double()[:, None, None]
    u = torch.rand(batch, 2, h, w, generator=torch.Generator().manual_seed(3)).double()
    return torch.tensor(grid.center).double()[:, None, None] + (u - 0.5) * 1.3 * side


@EVERY
def test_pixel_centres_return_the_pixels(grid: PixelGrid):
    source = random(2, 1, *grid.shape)
    beta = torch.stack(grid.coordinates(dtype=torch.float64))[None]
    torch.testing.assert_close(PixelatedSource(grid)(source, beta), source)


def test_it_is_linear_between_pixel_centres_and_falls_to_zero_around():
    grid = PixelGrid((1, 3), 1.0)
    source = torch.tensor([[[[1.0, 3.0, 2.0]]]])
    x = torch.tensor([-3.0, -2.0, -1.5, -0.5, 0.25, 1.0, 1.5, 1.75, 2.0, 5.0])
    beta = torch.stack((x, torch.zeros_like(x)))[None, :, None]
    expected = [0.0, 0.0, 0.5, 2.0, 2.75, 2.0, 1.0, 0.5, 0.0, 0.0]
    assert PixelatedSource(grid)(source, beta).flatten().tolist() == pytest.approx(expected)


@EVERY
def test_it_is_linear_and_the_adjoint_is_the_adjoint(grid: PixelGrid):
    operator, beta = PixelatedSource(grid), rays(grid, 2, 5, 7)
    a, b, v = (
        random(2, 1, *grid.shape),
        random(2, 1, *grid.shape, seed=1),
        random(2, 1, 5, 7, seed=2),
    )
    value = operator(a, beta)
    torch.testing.assert_close(operator(2 * a - b, beta), 2 * value - operator(b, beta))
    torch.testing.assert_close((value * v).sum(), (a * operator.adjoint(v, beta)).sum())


@EVERY
def test_samples_have_their_own_centre(grid: PixelGrid):
    operator, beta = PixelatedSource(grid), rays(grid, 2, 5, 7)
    center = torch.tensor([[0.1, -0.05], [-0.2, 0.15]]).double()
    source, v = random(2, 1, *grid.shape), random(2, 1, 5, 7, seed=2)
    moved = beta - center[:, :, None, None]
    value = operator(source, beta, center=center)
    torch.testing.assert_close(value, operator(source, moved))
    for i in range(2):
        one = operator(source[i : i + 1], beta[i : i + 1], center=center[i : i + 1])
        torch.testing.assert_close(one[0], value[i])
    back = operator.adjoint(v, beta, center=center)
    torch.testing.assert_close(back, operator.adjoint(v, moved))


def test_one_source_seen_along_many_rays():
    grid = GRIDS[1]
    operator, beta, source = PixelatedSource(grid), rays(grid, 3, 4, 4), random(1, 1, 7, 10)
    torch.testing.assert_close(
        operator(source, beta), operator(source.expand(3, -1, -1, -1), beta)
    )
    assert operator(random(3, 1, 7, 10), beta[:1]).shape == (3, 1, 4, 4)


# Forward-mode differentiation loads parts of torch that warn about themselves.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_derivatives_in_source_position_and_centre():
    grid = GRIDS[1]
    source, beta = random(2, 1, 7, 10).requires_grad_(), rays(grid, 2, 3, 4).requires_grad_()
    center = torch.tensor([[0.01, -0.02], [0.03, 0.0]]).double().requires_grad_()

    def f(source, beta, center):
        return PixelatedSource(grid)(source, beta, center=center)

    assert torch.autograd.gradcheck(f, (source, beta, center), check_forward_ad=True)


def test_it_works_under_vmap():
    grid = GRIDS[1]
    operator, source, beta = PixelatedSource(grid), random(3, 1, 7, 10), rays(grid, 3, 4, 5)
    many = torch.func.vmap(lambda s, b: operator(s[None], b[None])[0])(source, beta)
    torch.testing.assert_close(many, operator(source, beta))
