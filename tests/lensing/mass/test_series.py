"""Power series against their sums, and their derivatives of every order and mode."""

import pytest
import torch
from torch import Tensor

from lensrim.lensing.mass.series import power_series

X, Y = (torch.tensor([[0.3, -0.2, 0.0]], dtype=torch.float64) * s for s in (1.0, -0.7))


@pytest.mark.parametrize("terms", [1, 2, 3, 8])
def test_it_is_the_sum(terms: int):
    c = 1 / (1 + torch.arange(terms, dtype=torch.float64))
    found = torch.complex(*power_series((X, Y), c[:, None, None]))
    z = torch.complex(X, Y)
    expected = torch.stack([c[n] * z**n for n in range(terms)]).sum(0)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("terms", [1, 2, 5])
def test_derivatives_of_both_orders_and_modes(terms: int):
    c = torch.rand(terms, 2, 1, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    inputs = [v.clone().requires_grad_() for v in (X, Y, c)]

    def f(x: Tensor, y: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return power_series((x, y), c)

    assert torch.autograd.gradcheck(f, inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(f, inputs)


def test_forward_mode_within_forward_mode():
    c, one = torch.ones(4, 1, 1, dtype=torch.float64), torch.ones_like(X)

    def slope(x: Tensor) -> Tensor:
        return torch.func.jvp(lambda x: power_series((x, Y), c)[0], (x,), (one,))[1]

    # of 1 + z + z^2 + z^3
    expected = 2 + 6 * X
    torch.testing.assert_close(torch.func.jvp(slope, (X,), (one,))[1], expected)
