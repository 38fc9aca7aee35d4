"""Convolution by FFT against the sum that it stands for."""

import pytest
import torch

from lensrim.lensing import fourier
from lensrim.lensing.fourier import convolve, correlate, fast_length, transfer_function

GENERATOR = torch.Generator().manual_seed(0)
SIZE = (8, 9)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=GENERATOR, dtype=torch.float64)


@pytest.mark.parametrize("size", [(8, 9), (9, 8), (10, 10)])
def test_it_is_the_sum(size):
    image, kernel = random(4, 5), random(*size)
    result = convolve(image, transfer_function(kernel), size, (6, 7))
    for row, column in ((0, 0), (3, 6), (5, 2)):
        expected = sum(
            kernel[(row - i) % size[0], (column - j) % size[1]] * image[i, j]
            for i in range(4)
            for j in range(5)
        )
        torch.testing.assert_close(result[row, column], expected)


@pytest.mark.parametrize(
    "lead", [((), (2, 1)), ((3, 1), (2,)), ((3, 2), (1, 1)), ((1, 1), (3, 2))]
)
def test_the_adjoint_is_the_adjoint(lead):
    image, transfer = random(*lead[0], 4, 5), transfer_function(random(*lead[1], *SIZE))
    result = convolve(image, transfer, SIZE, (6, 7))
    v = random(*result.shape)
    back = correlate(v, transfer, SIZE, image.shape)
    assert back.shape == image.shape
    torch.testing.assert_close((result * v).sum(), (image * back).sum())


@pytest.mark.parametrize("kernels", [(), (2,), (1, 2), (5, 1), (5, 2)])
def test_a_batch_in_parts_is_the_batch(monkeypatch: pytest.MonkeyPatch, kernels):
    image, transfer = random(5, 1, 4, 5), transfer_function(random(*kernels, *SIZE))

    def both() -> list[torch.Tensor]:
        result = convolve(image, transfer, SIZE, (6, 7))
        return [result, correlate(result, transfer, SIZE, image.shape)]

    whole = both()
    monkeypatch.setattr(fourier, "AT_ONCE", 2 * SIZE[0] * (SIZE[1] // 2 + 1))
    assert fourier._samples_at_once(image, torch.view_as_complex(transfer)) in (1, 2)
    torch.testing.assert_close(both(), whole)


def test_a_sum_over_kernels_is_not_parted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fourier, "AT_ONCE", 1)
    image, transfer = random(3, 4, 5), transfer_function(random(3, 3, *SIZE))
    result = convolve(image, transfer, SIZE, (6, 7))
    v = random(*result.shape)
    back = correlate(v, transfer, SIZE, image.shape)
    torch.testing.assert_close((result * v).sum(), (image * back).sum())


# Forward-mode differentiation loads parts of torch that warn about themselves.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("adjoint", [False, True])
@pytest.mark.parametrize("size", [(8, 9), (9, 8)])
def test_derivatives_of_both_orders_and_modes(adjoint: bool, size):
    image = random(2, 1, 4, 5).requires_grad_()
    transfer = transfer_function(random(2, *size)).requires_grad_()

    def f(image, transfer):
        if adjoint:
            return correlate(image, transfer, size, (2, 1, 5, 6))
        return convolve(image, transfer, size, (5, 6))

    if adjoint:
        image = random(2, 2, 4, 5).requires_grad_()
    assert torch.autograd.gradcheck(f, (image, transfer), check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, (image, transfer))


@pytest.mark.parametrize(
    ("lead", "kernels", "components"),
    [((2, 1), (), None), ((2, 1), (2,), None), ((1, 3), (2, 3), 1), ((2, 3), (3,), 1)],
)
def test_what_is_done_in_place_is_done_to_nothing_given(lead, kernels, components):
    image, transfer = random(*lead, 4, 5), transfer_function(random(*kernels, *SIZE))
    before = image.clone(), transfer.clone()
    found = convolve(image, transfer, SIZE, (6, 7), components=components)
    factor = torch.view_as_complex(transfer).mT
    expected = torch.fft.irfft2(torch.fft.rfft2(image, s=SIZE) * factor, s=SIZE)[..., :6, :7]
    expected = expected.sum(-3, keepdim=True) if components else expected
    torch.testing.assert_close(found, expected)
    correlate(found, transfer, SIZE, (*found.shape[:-3], *lead[-1:], 4, 5))
    torch.testing.assert_close((image, transfer), before, rtol=0, atol=0)


def test_it_works_under_vmap():
    images, transfer = random(3, 4, 5), transfer_function(random(*SIZE))
    many = torch.func.vmap(lambda x: convolve(x, transfer, SIZE, (6, 7)))(images)
    torch.testing.assert_close(many, convolve(images, transfer, SIZE, (6, 7)))


def test_fast_lengths_are_long_enough_and_even():
    assert [fast_length(n) for n in (1, 7, 74, 131, 259)] == [2, 8, 80, 144, 270]


@pytest.mark.parametrize("adjoint", [False, True])
def test_forward_mode_within_forward_mode(adjoint: bool):
    image, transfer = random(4, 5), transfer_function(random(*SIZE))
    one = torch.ones((), dtype=torch.float64)

    def f(t: torch.Tensor) -> torch.Tensor:
        if adjoint:
            return correlate(image * t**2, transfer, SIZE, (3, 4)).sum()
        return convolve(image * t**2, transfer, SIZE, (3, 4)).sum()

    def slope(t: torch.Tensor) -> torch.Tensor:
        return torch.func.jvp(f, (t,), (one,))[1]

    torch.testing.assert_close(torch.func.jvp(slope, (one,), (one,))[1], 2 * f(one))


@pytest.mark.parametrize("batch", [(), (1,), (2, 1)])
def test_the_result_holds_its_own_memory_with_a_graph_or_without(batch: tuple[int, ...]):
    image = torch.rand(*batch, 5, 4)
    transfer = transfer_function(torch.rand(9, 10))
    for graph in (True, False):
        with torch.set_grad_enabled(graph):
            result = convolve(image, transfer, (9, 10), (6, 5))
        assert result.is_contiguous()
        assert result.untyped_storage().nbytes() == 4 * result.numel()
