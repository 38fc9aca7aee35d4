"""Fourier transforms to scattered frequencies against the sum that they stand for."""

import subprocess
import sys

import pytest
import torch
from torch import Tensor

from lensrim.lensing.nufft import Direct, Nufft, Transform

ACCURACY = {Direct(chunk=7): 1e-13, Nufft(1e-7): 3e-7, Nufft(1e-12): 1e-11}
EVERY = pytest.mark.parametrize("transform", ACCURACY, ids=["direct", "nufft", "fine nufft"])
BOTH = pytest.mark.parametrize(
    "transform", [Direct(chunk=7), Nufft(1e-7)], ids=["direct", "nufft"]
)
SHAPES = [(8, 8), (7, 10), (10, 7), (5, 9)]


def random(*shape: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def frequencies(batch: int, n: int = 20) -> Tensor:
    generator = torch.Generator().manual_seed(batch)
    points = torch.rand(batch, n, 2, generator=generator, dtype=torch.float64)
    points = 2 * torch.pi * (points - 0.5)
    # The ends of the range, and its middle.
    points[:, :3] = torch.tensor([[torch.pi, -torch.pi], [0.0, 0.0], [-torch.pi, 0.0]])
    return points


def matrix(points: Tensor, shape: tuple[int, int]) -> Tensor:
    """The transform written out, with shape (b, N, H, W)."""
    i, j = torch.meshgrid(*(torch.arange(n) - n // 2 for n in shape), indexing="ij")
    phase = points[..., 0, None, None] * j + points[..., 1, None, None] * i
    return torch.exp(-1j * phase)


@EVERY
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
def test_it_is_the_sum(transform: Transform, shape: tuple[int, int], batch: int):
    image, points = random(3, *shape), frequencies(batch)
    values = transform.forward(image, points)
    expected = torch.einsum(
        "bnij,bij->bn", matrix(points, shape).expand(3, -1, -1, -1), image + 0j
    )
    error = (values - expected).norm() / expected.norm()
    assert float(error) < ACCURACY[transform]


@EVERY
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_adjoint_is_that_of_the_sum(transform: Transform, shape: tuple[int, int], batch: int):
    values, points = random(3, 20, dtype=torch.complex128), frequencies(batch)
    image = transform.adjoint(values, points, shape)
    waves = matrix(points, shape).expand(3, -1, -1, -1)
    expected = torch.einsum("bnij,bn->bij", waves.conj(), values).real
    assert image.dtype == torch.float64
    error = (image - expected).norm() / expected.norm()
    assert float(error) < ACCURACY[transform]


@EVERY
def test_single_precision_is_double_rounded(transform: Transform):
    image, points = random(2, 7, 10), frequencies(1)
    single = transform.forward(image.float(), points.float())
    assert single.dtype == torch.complex64
    double = transform.forward(image, points)
    assert float((single - double).norm() / double.norm()) < 5e-5
    back = transform.adjoint(single, points.float(), (7, 10))
    assert back.dtype == torch.float32
    expected = transform.adjoint(double, points, (7, 10))
    assert float((back - expected).norm() / expected.norm()) < 1e-4


@BOTH
@pytest.mark.parametrize("batch", [1, 2])
def test_derivatives_of_both_orders(transform: Transform, batch: int):
    points = frequencies(batch, 6)
    image = random(2, 4, 5).requires_grad_()
    values = random(2, 6, dtype=torch.complex128).requires_grad_()
    for f, x in (
        (lambda x: transform.forward(x, points), image),
        (lambda x: transform.adjoint(x, points, (4, 5)), values),
    ):
        assert torch.autograd.gradcheck(f, (x,), fast_mode=True)
        assert torch.autograd.gradgradcheck(f, (x,), fast_mode=True)


@BOTH
@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("mapped", [(0, None), (0, 0), (None, 0)], ids=str)
def test_it_works_under_vmap(transform: Transform, batch: int, mapped: tuple):
    images = random(3, 2, 4, 5) if mapped[0] == 0 else random(2, 4, 5)
    values = random(3, 2, 6, dtype=torch.complex128)
    values = values if mapped[0] == 0 else values[0]
    points = torch.stack([frequencies(batch, 6) * f for f in (1.0, 0.5, 0.3)])
    points = points if mapped[1] == 0 else points[0]
    for f, x in (
        (transform.forward, images),
        (lambda v, p: transform.adjoint(v, p, (4, 5)), values),
    ):
        many = torch.func.vmap(f, mapped)(x, points)
        for i in range(3):
            one = f(x[i] if mapped[0] == 0 else x, points[i] if mapped[1] == 0 else points)
            torch.testing.assert_close(many[i], one)


@BOTH
def test_gradients_of_a_sum_are_mapped(transform: Transform):
    points, images = frequencies(1, 6), random(3, 2, 4, 5)

    def power(x: Tensor) -> Tensor:
        return transform.forward(x, points).abs().square().sum()

    many = torch.func.vmap(torch.func.grad(power))(images)
    for one, image in zip(many, images, strict=True):
        torch.testing.assert_close(one, torch.func.grad(power)(image))


@pytest.mark.parametrize("transform", [Nufft()])
def test_the_library_that_lacks_is_named(transform: Nufft, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "finufft", None)
    with pytest.raises(ModuleNotFoundError, match=r"finufft.*pip install '.\[vis\]'.*Direct"):
        transform.forward(random(1, 4, 4), frequencies(1))


@pytest.mark.parametrize("eps", [2.0, 0.0, -1e-5, 1e-16, float("nan")])
def test_an_accuracy_out_of_reach_is_refused(eps: float):
    with pytest.raises(ValueError, match=r"eps must be .* between 1e-14 and 0\.1, got"):
        Nufft(eps)


def test_a_chunk_of_nothing_is_refused():
    with pytest.raises(ValueError, match=r"chunk must be 1 or more frequencies, got 0"):
        Direct(0)


@pytest.mark.slow
@BOTH
def test_it_compiles_as_one_graph(transform: Transform):
    # The compiler cannot see through the types' checks, so it runs in a program of its own.
    code = f"""
import torch
from lensrim.lensing.nufft import Direct, Nufft
transform = {transform!r}
points = torch.linspace(-3, 3, 12, dtype=torch.float64).view(1, 6, 2)
def power(x):
    values = transform.forward(x, points)
    return (transform.adjoint(values, points, (4, 5)) * x).sum()
compiled = torch.compile(power, fullgraph=True, backend="aot_eager")
a, b = (torch.linspace(0, 1, 40).double().view(2, 4, 5).requires_grad_() for _ in range(2))
torch.testing.assert_close(
    torch.autograd.grad(compiled(a), a), torch.autograd.grad(power(b), b)
)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
