"""Encodings of the score, against closed forms and the optimisers of torch."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lensrim.rim.preconditioning import (
    Adam,
    Arcsinh,
    Normalized,
    Preconditioner,
    Raw,
    RMSProp,
)

EVERY = pytest.mark.parametrize(
    "encoding",
    [Raw(0.3), Arcsinh(0.3), Normalized(), RMSProp(), Adam(), Adam(0.5, 0.7, 0.1)],
    ids=repr,
)
STEPS = 7


def scores(*shape: int, seed: int = 0) -> list[Tensor]:
    """Scores over six powers of ten, some of them zero."""
    generator = torch.Generator().manual_seed(seed)
    many = []
    for _ in range(STEPS):
        g = torch.randn(shape, generator=generator, dtype=torch.float64)
        g = g * 10 ** (6 * torch.rand(shape, generator=generator, dtype=torch.float64) - 3)
        g[..., -1] = 0.0
        many.append(g)
    return many


def directions(encoding: Preconditioner, many: list[Tensor]) -> list[Tensor]:
    memory, out = encoding.init(many[0]), []
    for g in many:
        memory, direction = encoding.update(memory, g)
        out.append(direction)
    return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("encoding", "optimiser"),
    [
        (Adam(), lambda x: torch.optim.Adam(x, lr=1.0)),
        (Adam(0.5, 0.7, 0.1), lambda x: torch.optim.Adam(x, lr=1.0, betas=(0.5, 0.7), eps=0.1)),
        (RMSProp(), lambda x: torch.optim.RMSprop(x, lr=1.0)),
        (RMSProp(0.5, 0.1), lambda x: torch.optim.RMSprop(x, lr=1.0, alpha=0.5, eps=0.1)),
    ],
    ids=["Adam", "Adam-other", "RMSProp", "RMSProp-other"],
)
def test_directions_are_the_ascending_updates_of_torch(
    encoding: Preconditioner, optimiser: Callable, dtype: torch.dtype
):
    many = [g.to(dtype) for g in scores(2, 3, 4)]
    x = torch.zeros(2, 3, 4, dtype=dtype, requires_grad=True)
    steps = optimiser([x])
    # A few units in the last place.
    tolerance = 20 * torch.finfo(dtype).eps
    for g, direction in zip(many, directions(encoding, many), strict=True):
        torch.nn.init.zeros_(x)
        x.grad = -g  # an optimiser descends
        steps.step()
        torch.testing.assert_close(direction, x.detach(), rtol=tolerance, atol=tolerance / 10)


def test_encodings_without_memory_are_their_formulas():
    for g in scores(3, 2, 5):
        _, raw = Raw(0.3).update((), g)
        torch.testing.assert_close(raw, 0.3 * g)
        _, arcsinh = Arcsinh(0.3).update((), g)
        torch.testing.assert_close(arcsinh.sinh(), 0.3 * g)
        _, normalized = Normalized(eps=0.5).update((), g)
        for i in range(3):
            rms = (g[i] ** 2).mean() ** 0.5
            torch.testing.assert_close(normalized[i], g[i] / (rms + 0.5))


@EVERY
def test_a_direction_has_the_shape_and_the_sense_of_the_first_score(encoding: Preconditioner):
    for shape in [(4, 2), (4, 1, 9), (4, 2, 3, 5), (4, 1, 2, 3, 5)]:
        for dtype in (torch.float32, torch.float64):
            g = scores(*shape)[0].to(dtype)
            first = directions(encoding, [g])[0]
            assert first.shape == g.shape and first.dtype == dtype
            assert torch.equal(first.sign(), g.sign())


@EVERY
def test_no_sample_sees_another(encoding: Preconditioner):
    many = scores(3, 2, 5)
    other = [g.clone() for g in many]
    for g in other:
        g[1] *= -1e3
    pairs = zip(directions(encoding, many), directions(encoding, other), strict=True)
    for one, two in pairs:
        assert torch.equal(one[[0, 2]], two[[0, 2]])
        assert not torch.equal(one[1], two[1])


@EVERY
def test_an_update_changes_nothing_but_what_it_returns(encoding: Preconditioner):
    first, second = scores(3, 2, 5)[:2]
    memory, _ = encoding.update(encoding.init(first), first)
    before = [kept.clone() for kept in (*memory, second)]
    once, direction = encoding.update(memory, second)
    again, same = encoding.update(memory, second)
    assert torch.equal(direction, same)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))
    assert all(torch.equal(a, b) for a, b in zip((*memory, second), before, strict=True))


@EVERY
def test_a_score_of_zero_is_no_direction(encoding: Preconditioner):
    for direction in directions(encoding, [torch.zeros(2, 1, 4)] * 3):
        assert torch.equal(direction, torch.zeros(2, 1, 4))


@pytest.mark.parametrize("encoding", [Normalized(), RMSProp(), Adam()], ids=repr)
def test_the_scale_of_the_scores_does_not_matter(encoding: Preconditioner):
    many = scores(2, 3, 4)
    large = [1e6 * g for g in many]
    pairs = zip(directions(encoding, many), directions(encoding, large), strict=True)
    for one, two in pairs:
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-6)
