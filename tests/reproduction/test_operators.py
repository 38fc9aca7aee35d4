"""What is seen of images: operators, their transposes and bounds."""

import pytest
import torch

from lensrim.evaluation.problems.problem import UNSEEN, generator
from lensrim.reproduction.putzky2017.operators import (
    Coarse,
    Operator,
    binary,
    fourier,
    gaussian,
    hartley,
    holes,
)

SIZE = 12
RNG = generator(0, UNSEEN)
OPERATORS = {
    "Gaussian": gaussian(0.4, SIZE, RNG),
    "binary": binary(0.4, SIZE, RNG),
    "Fourier": fourier(0.4, SIZE, RNG),
    "holes": holes(0.5, SIZE, RNG),
    "whole": Coarse(1),
    "coarse": Coarse(2),
}
every_operator = pytest.mark.parametrize("operator", OPERATORS.values(), ids=OPERATORS)


def images(batch: int) -> torch.Tensor:
    return torch.randn(batch, 1, SIZE, SIZE, generator=generator(1, UNSEEN))


@every_operator
def test_the_adjoint_is_the_transpose(operator: Operator):
    x, other = images(6).chunk(2)
    y = operator(other)
    torch.testing.assert_close((operator(x) * y).sum(), (x * operator.adjoint(y)).sum())


@every_operator
def test_no_eigenvalue_exceeds_the_bound(operator: Operator):
    unit = torch.eye(SIZE**2).reshape(-1, 1, SIZE, SIZE)
    normal = operator.adjoint(operator(unit)).reshape(SIZE**2, SIZE**2)
    largest = float(torch.linalg.eigvalsh(normal)[-1])
    assert operator.bound == pytest.approx(largest, rel=1e-3)  # and is no larger than need be


@every_operator
def test_the_share_is_what_is_seen(operator: Operator):
    unit = torch.eye(SIZE**2).reshape(-1, 1, SIZE, SIZE)
    seen = operator(unit).flatten(1)
    numbers = int((seen.abs().sum(0) > 0).sum())
    assert operator.share == pytest.approx(numbers / SIZE**2, abs=1e-6)


@pytest.mark.parametrize("name", ["Gaussian", "binary", "Fourier"])
def test_projections_are_scaled_to_keep_the_size_of_images(name: str):
    x = images(200)
    ratio = OPERATORS[name](x).square().sum() / x.square().sum()
    assert float(ratio) == pytest.approx(1, abs=0.1)


def test_the_hartley_transform_is_its_own_inverse_and_orthonormal():
    x = images(3)
    torch.testing.assert_close(hartley(hartley(x)), x)
    torch.testing.assert_close(hartley(x).square().sum(), x.square().sum())


def test_the_mean_of_an_image_is_always_seen():
    for seed in range(5):
        assert float(fourier(0.05, SIZE, generator(seed, UNSEEN)).chosen[0, 0]) == 1


@every_operator
def test_an_operator_moves_to_a_device(operator: Operator):
    moved = operator.to(torch.device("cpu"))
    torch.testing.assert_close(moved(images(2)), operator(images(2)), rtol=0, atol=0)
