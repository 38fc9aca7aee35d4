"""Elastic weight consolidation, on models whose Fisher matrix is known."""

import pytest
import torch
from torch import Tensor, nn

from lensrim.errors import InputError
from lensrim.inference.ewc import ElasticPenalty, fisher


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 1).double()


def samples(model: nn.Linear, n: int, sigma: float) -> list[tuple[Tensor, Tensor]]:
    """Data that the model itself would give, with normal noise."""
    g = torch.Generator().manual_seed(1)
    scale = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    x = scale * torch.randn(n, 3, generator=g, dtype=torch.float64)
    with torch.no_grad():
        y = model(x) + sigma * torch.randn(n, 1, generator=g, dtype=torch.float64)
    return list(zip(x.split(1), y.split(1), strict=True))


def minus_log_likelihood(sigma: float):
    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, dict[str, float]]:
        x, y = batch
        return ((y - model(x)) / sigma).square().sum() / 2, {}

    return loss


LOSS = minus_log_likelihood(1.0)


def test_the_fisher_matrix_of_a_linear_model() -> None:
    r"""For y ~ N(w x + b, sigma^2): the mean of x_i^2 over sigma^2, and of 1 over sigma^2."""
    model, sigma = linear(), 0.5
    found = fisher(model, samples(model, 1500, sigma), minus_log_likelihood(sigma))
    expected = torch.tensor([[1.0, 4.0, 9.0]], dtype=torch.float64) / sigma**2
    torch.testing.assert_close(found["weight"], expected, rtol=0.15, atol=0)
    torch.testing.assert_close(found["bias"], torch.full((1,), 4.0).double(), rtol=0.15, atol=0)


def test_it_is_the_mean_of_squares_and_leaves_the_model() -> None:
    model = linear()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    some = samples(model, 2, 1.0)
    found = fisher(model, some, minus_log_likelihood(1.0))
    off = [float((y - model(x)).detach()) for x, y in some]
    expected = sum((o * x).square() for o, (x, _) in zip(off, some, strict=True)) / 2
    torch.testing.assert_close(found["weight"], expected)
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_the_penalty_is_the_weighted_square() -> None:
    model = linear()
    penalty = ElasticPenalty.of(
        model, samples(model, 5, 1.0), minus_log_likelihood(1.0), strength=3.0
    )
    assert float(penalty(model).detach()) == 0
    with torch.no_grad():
        model.weight[0, 1] += 0.2
        model.bias.add_(0.1)
    expected = 3 * (0.04 * penalty.fisher["weight"][0, 1] + 0.01 * penalty.fisher["bias"][0])
    assert float(penalty(model).detach()) == pytest.approx(float(expected))
    penalty(model).backward()
    assert model.weight.grad is not None
    slope = 2 * 3 * 0.2 * penalty.fisher["weight"][0, 1]
    assert float(model.weight.grad[0, 1]) == pytest.approx(float(slope))


@pytest.mark.parametrize("own", [nn.Module.state_dict, lambda m: dict(m.named_parameters())])
def test_the_weights_of_the_penalty_do_not_move_with_the_model(own) -> None:
    model = linear()
    penalty = ElasticPenalty(fisher(model, samples(model, 5, 1.0), LOSS), own(model))
    with torch.no_grad():
        model.bias.add_(0.1)
    expected = 0.01 * penalty.fisher["bias"][0]
    assert float(penalty(model).detach()) == pytest.approx(float(expected))


def test_it_holds_what_matters_and_lets_go_what_does_not() -> None:
    """One data point far away is fitted by the weight that the samples hardly know."""
    model = linear()
    x = torch.tensor([[0.0, 0.0, 0.0]], dtype=torch.float64)
    some = [(x + torch.tensor([1.0, 0, 0]), y) for _, y in samples(model, 20, 1.0)]
    penalty = ElasticPenalty.of(model, some, minus_log_likelihood(1.0), strength=1.0)
    first = model.weight.detach().clone()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.02)
    for _ in range(150):
        optimiser.zero_grad()
        loss = (model(torch.tensor([[1.0, 1.0, 0.0]]).double()) - 5).square().sum()
        (loss + penalty(model)).backward()
        optimiser.step()
    moved = (model.weight.detach() - first).abs()[0]
    assert float(moved[1]) > 3 * float(moved[0]) and float(moved[2]) == 0


def test_what_cannot_be_is_refused() -> None:
    model, loss = linear(), minus_log_likelihood(1.0)
    with pytest.raises(InputError, match="samples: must be one or more"):
        fisher(model, [], loss)
    x, y = torch.zeros(3, 3).double(), torch.zeros(3, 1).double()
    for several in ((x, y), {"x": x, "y": y}):
        with pytest.raises(InputError, match="samples: must be batches of one, found one of 3"):
            fisher(model, [several], loss)
    with pytest.raises(InputError, match="must have weights that require a gradient"):
        fisher(linear().requires_grad_(False), samples(model, 1, 1.0), loss)
    known = {"a": torch.ones(1)}
    with pytest.raises(InputError, match="weights: must hold all of the fisher's"):
        ElasticPenalty(known, {})
    with pytest.raises(InputError, match="strength: must be 0 or more"):
        ElasticPenalty(known, known, -1.0)
