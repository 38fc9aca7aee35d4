"""Laws of the interpolations, on which sources and pixelated lights rest."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import CubicHermiteSpline
from torch import Tensor
from torch.torch_version import TorchVersion

from lensrim.grid import PixelGrid
from lensrim.lensing.interpolation import Bicubic, Bilinear, Interpolation
from lensrim.lensing.source import PixelatedSource

# Torch's own reading of maps has no derivative of its derivatives in 2.4.
TWICE = TorchVersion(torch.__version__) >= "2.13"
INTERPOLATIONS = [Bilinear(), Bicubic()]
EVERY = pytest.mark.parametrize("interpolation", INTERPOLATIONS, ids=lambda i: type(i).__name__)
SHAPES = pytest.mark.parametrize("shape", [(8, 8), (7, 10), (1, 1), (2, 3)])


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def positions(batch: int, h: int, w: int, reach: float = 1.6) -> Tensor:
    u = torch.rand(batch, h, w, 2, generator=torch.Generator().manual_seed(3)).double()
    return (2 * u - 1) * reach


@EVERY
def test_each_is_an_interpolation(interpolation):
    assert isinstance(interpolation, Interpolation)


@EVERY
def test_channels_are_read_alike(interpolation):
    p, s, v = positions(2, 5, 7), random(2, 3, 8, 6), random(2, 3, 5, 7, seed=1)
    for done in (
        lambda c: interpolation.sample(s[:, c], p),
        lambda c: interpolation.spread(v[:, c], p, (8, 6)),
    ):
        each = torch.cat([done(slice(i, i + 1)) for i in range(3)], 1)
        torch.testing.assert_close(done(slice(None)), each)
    for change in (
        lambda q, c: interpolation.sample(s[:, c], q),
        lambda q, c: interpolation.spread(v[:, c], q, (8, 6)),
    ):
        whole, *each = (
            torch.func.jvp(partial(change, c=c), (p,), (random(*p.shape),))[1]
            for c in (slice(None), *(slice(i, i + 1) for i in range(3)))
        )
        torch.testing.assert_close(whole, torch.cat(each, 1))


@EVERY
@SHAPES
def test_the_transpose_is_the_transpose(interpolation, shape):
    p, s, v = positions(2, 5, 7), random(2, 1, *shape), random(2, 1, 5, 7, seed=1)
    left = (interpolation.sample(s, p) * v).sum()
    torch.testing.assert_close(left, (s * interpolation.spread(v, p, shape)).sum())


@EVERY
@SHAPES
def test_pixel_centres_return_the_pixels(interpolation, shape):
    grid, source = PixelGrid(shape, 0.3, (0.1, -0.2)), random(2, 1, *shape)
    beta = torch.stack(grid.coordinates(dtype=torch.float64))[None]
    torch.testing.assert_close(PixelatedSource(grid, interpolation)(source, beta), source)


@settings(deadline=None)
@given(x=st.floats(-3.4, 3.4), y=st.floats(-2.4, 2.4))
@pytest.mark.parametrize(("interpolation", "order"), [(Bilinear(), 1), (Bicubic(), 2)])
def test_polynomials_are_exact_away_from_the_edges(interpolation, order: int, x, y):
    grid = PixelGrid((9, 11), 1.0)
    at = torch.tensor([x, y], dtype=torch.float64)[None, :, None, None]

    def polynomial(u: Tensor, v: Tensor) -> Tensor:
        return (1 - 0.4 * u) ** order * (0.5 + 0.3 * v) ** order

    source = polynomial(*grid.coordinates(dtype=torch.float64))[None, None]
    value = PixelatedSource(grid, interpolation)(source, at)
    torch.testing.assert_close(value.squeeze(), polynomial(*at.squeeze()), rtol=0, atol=1e-10)


@EVERY
def test_what_is_outside_is_zero(interpolation):
    beyond = {Bilinear: 1.0, Bicubic: 2.0}[type(interpolation)]
    grid = PixelGrid((6, 8), 1.0)
    x = torch.tensor([3.5 + beyond, 3.5 + beyond + 0.3, 1e3, 1e30, -4.5 - beyond])
    beta = torch.stack((x, torch.zeros_like(x)))[None, :, None]
    for flipped in (beta, beta.flip(1)):
        value = PixelatedSource(grid, interpolation)(torch.ones(1, 1, 6, 8), flipped)
        assert bool((value == 0).all())


@EVERY
@pytest.mark.parametrize("axis", [0, 1])
def test_a_position_that_is_no_number_reads_none_and_the_others_do_not_notice(interpolation, axis):
    p = positions(1, 3, 4, 0.8)
    expected = interpolation.sample(random(1, 1, 6, 8), p)
    p[0, 1, 2, axis] = torch.nan
    p.requires_grad_()
    value = interpolation.sample(random(1, 1, 6, 8), p)
    assert value[0, 0, 1, 2].isnan()
    expected[0, 0, 1, 2] = torch.nan
    torch.testing.assert_close(value, expected, equal_nan=True)
    (slope,) = torch.autograd.grad(value.sum(), p)
    broken = torch.zeros(1, 3, 4, dtype=torch.bool)
    broken[0, 1, 2] = True
    assert torch.equal(slope.isnan().any(-1), broken)


def test_along_an_axis_bicubic_is_the_hermite_spline_with_central_differences():
    s = random(9)
    padded = torch.cat([torch.zeros(3), s, torch.zeros(3)]).double()
    slopes = torch.zeros_like(padded)
    slopes[1:-1] = (padded[2:] - padded[:-2]) / 2
    spline = CubicHermiteSpline(range(-3, 12), padded.numpy(), slopes.numpy())
    index = torch.linspace(-2.4, 10.4, 201, dtype=torch.float64)
    at = torch.stack(((2 * index + 1) / 9 - 1, torch.zeros_like(index)), -1)[None, None]
    value = Bicubic().sample(s[None, None, None], at).flatten()
    torch.testing.assert_close(value, torch.from_numpy(spline(index.numpy())))


@pytest.mark.parametrize("axis", [0, 1])
def test_the_gradient_of_bicubic_is_continuous(axis: int):
    s = random(1, 1, 7, 7)
    # Across pixel centre lines, the edges, and the ends of the reach.
    index = torch.full((7, 2), 2.3, dtype=torch.float64)
    index[:, axis] = torch.tensor([-2.0, -1.0, 0.0, 3.0, 6.0, 7.0, 8.0])
    slopes = []
    for step in (-1e-9, 1e-9):
        at = ((2 * (index + step) + 1) / 7 - 1)[None, None].requires_grad_()
        slopes.append(torch.autograd.grad(Bicubic().sample(s, at).sum(), at)[0])
    torch.testing.assert_close(*slopes, rtol=0, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@EVERY
def test_derivatives(interpolation):
    s, p = random(2, 1, 5, 6).requires_grad_(), positions(2, 3, 4, 1.4).requires_grad_()
    assert torch.autograd.gradcheck(interpolation.sample, (s, p), check_forward_ad=True)
    values = random(2, 1, 3, 4, seed=2).requires_grad_()

    def spread(v: Tensor, p: Tensor) -> Tensor:
        return interpolation.spread(v, p, (5, 6))

    # Of the sums at a position torch's tool has no derivative in forward mode.
    forward = isinstance(interpolation, Bilinear) and TWICE
    assert torch.autograd.gradcheck(spread, (values, p), check_forward_ad=forward)


@EVERY
def test_second_derivatives(interpolation, request: pytest.FixtureRequest):
    if isinstance(interpolation, Bilinear):
        request.getfixturevalue("second_derivatives")
    s, p = random(1, 1, 5, 6).requires_grad_(), positions(1, 2, 3, 1.2).requires_grad_()
    v = random(1, 1, 2, 3, seed=2).requires_grad_()
    assert torch.autograd.gradgradcheck(interpolation.sample, (s, p))
    assert torch.autograd.gradgradcheck(lambda v, p: interpolation.spread(v, p, (5, 6)), (v, p))


@EVERY
def test_second_derivatives_by_what_is_read(interpolation, monkeypatch: pytest.MonkeyPatch):
    s, p = random(1, 1, 5, 6).requires_grad_(), positions(1, 2, 3, 1.2).requires_grad_()
    at = p.detach()

    def total(s: Tensor) -> Tensor:
        return interpolation.sample(s, at).sin().sum()

    # Both with what torch has of its own and without it.
    for once in (True, False) if TWICE else (True,):
        monkeypatch.setattr("lensrim.lensing.interpolation._ONCE", once)
        assert torch.autograd.gradgradcheck(lambda s: interpolation.sample(s, at), s)
        (slope,) = torch.autograd.grad(
            interpolation.sample(s, p).square().sum(), s, create_graph=True
        )
        (mixed,) = torch.autograd.grad(slope.square().sum(), p)
        assert bool((mixed != 0).any())
    matrix = torch.func.hessian(total)(s.detach())
    torch.testing.assert_close(matrix, torch.func.jacrev(torch.func.jacrev(total))(s.detach()))
    v = random(1, 1, 2, 3)
    direct = interpolation.spread(v, at, (5, 6))
    moved = torch.func.jvp(lambda v: interpolation.spread(v, at, (5, 6)), (v,), (v,))[1]
    torch.testing.assert_close(moved, direct)


@pytest.mark.filterwarnings("ignore:There is a performance drop:UserWarning")
@pytest.mark.usefixtures("second_derivatives")
@pytest.mark.parametrize("method", ["sample", "spread"])
def test_forward_over_reverse_is_reverse_over_reverse(method: str):
    p = positions(1, 2, 3, 1.2)
    maps = {"sample": random(1, 1, 5, 6), "spread": random(1, 1, 2, 3)}[method]
    shape = [(5, 6)] if method == "spread" else []

    def total(m: Tensor, p: Tensor) -> Tensor:
        return getattr(Bilinear(), method)(m, p, *shape).sin().sum()

    both = torch.func.jacrev(torch.func.jacrev(total, argnums=(0, 1)), argnums=(0, 1))
    found = torch.func.hessian(total, argnums=(0, 1))(maps, p)
    torch.testing.assert_close(found, both(maps, p))


@EVERY
def test_it_works_under_vmap(interpolation):
    s, p, v = random(3, 1, 5, 6), positions(3, 3, 4), random(3, 1, 3, 4, seed=1)
    many = torch.func.vmap(lambda s, p: interpolation.sample(s[None], p[None])[0])(s, p)
    torch.testing.assert_close(many, interpolation.sample(s, p))
    back = torch.func.vmap(lambda v, p: interpolation.spread(v[None], p[None], (5, 6))[0])(v, p)
    torch.testing.assert_close(back, interpolation.spread(v, p, (5, 6)))

    def total(s: Tensor, p: Tensor) -> Tensor:
        return interpolation.sample(s, p).square().sum()

    slopes = torch.func.grad(total, argnums=(0, 1))
    each = torch.func.vmap(slopes)(s[:, None], p[:, None])
    together = [t[:, None] for t in slopes(s, p)]
    torch.testing.assert_close(list(each), together)


@EVERY
def test_types_follow_the_inputs(interpolation):
    s, p = random(1, 1, 5, 6), positions(1, 3, 4)
    single, double = interpolation.sample(s.float(), p.float()), interpolation.sample(s, p)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)
