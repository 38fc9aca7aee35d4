"""Fields, their links, and scores that are made of other things."""

import math

import pytest
import torch
from torch import Tensor

from lensrim.rim.fields import (
    Aux,
    Field,
    Identity,
    Link,
    Log10,
    State,
    check_state,
    linked,
    score_of,
    to_free,
    to_physical,
)

LINKS = [Identity(), Log10()]
EVERY_LINK = pytest.mark.parametrize("link", LINKS, ids=repr)
FIELDS = {
    "source": Field(2, 1),
    "log_kappa": Field(1, 3, link=Log10()),
    "shear": Field(2, 0),
    "theta_E": Field(1, 0, link=Log10()),
}


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def state() -> dict[str, Tensor]:
    """A state of all kinds of fields, three samples."""
    shapes = {"source": (2, 5), "log_kappa": (1, 2, 3, 4), "shear": (2,), "theta_E": (1,)}
    return {
        name: 0.3 * random(3, *shape, seed=i) for i, (name, shape) in enumerate(shapes.items())
    }


def log_prob(values: State) -> Tensor:
    """A log-probability that couples all fields of a sample."""
    each = [v.flatten(1) for v in values.values()]
    return -sum((v**2).sum(1) for v in each) - each[0].sum(1) * each[1].sum(1) * each[3].sum(1)


def gradient(values: State) -> tuple[State, Aux]:
    """The gradient of :func:`log_prob`, by hand, and a map."""
    a, b, _, d = (values[name] for name in FIELDS)
    total = {name: v.flatten(1).sum(1) for name, v in values.items()}
    p, q, r = (total[name] for name in ("source", "log_kappa", "theta_E"))
    score = {
        "source": -2 * a - (q * r)[:, None, None],
        "log_kappa": -2 * b - (p * r)[:, None, None, None, None],
        "shear": -2 * values["shear"],
        "theta_E": -2 * d - (p * q)[:, None],
    }
    return score, {"seen": a}


@EVERY_LINK
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_link_is_undone_by_its_inverse_and_increases(link: Link, dtype: torch.dtype):
    x = torch.linspace(-4, 3, 50, dtype=dtype)
    value = link.physical(x)
    assert value.dtype == dtype
    assert (value.diff() > 0).all()
    torch.testing.assert_close(link.free(value), x)
    torch.testing.assert_close(link.physical(link.free(value)), value)


def test_the_decadic_link_is_a_power_of_ten():
    x = torch.tensor([-2.0, 0.0, 1.0, 0.5], dtype=torch.float64)
    expected = torch.tensor([0.01, 1.0, 10.0, math.sqrt(10)], dtype=torch.float64)
    torch.testing.assert_close(Log10().physical(x), expected)


def test_each_field_goes_through_its_own_link():
    free = state()
    values = to_physical(free, FIELDS)
    assert list(values) == list(FIELDS)
    for name, field in FIELDS.items():
        expected = 10 ** free[name] if field.link == Log10() else free[name]
        torch.testing.assert_close(values[name], expected)
    for name, x in to_free(values, FIELDS).items():
        torch.testing.assert_close(x, free[name])


@pytest.mark.parametrize("grad", [True, False])
def test_the_score_of_a_log_probability_is_its_gradient(grad: bool):
    x = state()
    expected, _ = gradient(x)
    with torch.set_grad_enabled(grad):
        score, aux = score_of(log_prob)(x)
    assert aux == {}
    assert list(score) == list(x)
    for name in x:
        torch.testing.assert_close(score[name], expected[name])
        assert not x[name].requires_grad and not score[name].requires_grad


@pytest.mark.parametrize("grad", [True, False])
def test_a_linked_score_is_that_of_the_free_variables(grad: bool):
    x = state()
    expected, _ = score_of(lambda free: log_prob(to_physical(free, FIELDS)))(x)
    with torch.set_grad_enabled(grad):
        score, aux = linked(gradient, FIELDS)(x)
    torch.testing.assert_close(aux["seen"], x["source"])  # its link is the identity
    assert list(score) == list(x)
    for name in x:
        torch.testing.assert_close(score[name], expected[name])
        assert not x[name].requires_grad and not score[name].requires_grad


def test_a_linked_score_without_links_is_the_score_itself():
    fields = {name: Field(field.channels, field.dims) for name, field in FIELDS.items()}
    score, _ = linked(gradient, fields)(state())
    expected, _ = gradient(state())
    for name in FIELDS:
        assert torch.equal(score[name], expected[name])


def test_a_state_must_have_its_fields_in_their_shapes():
    check_state(state(), FIELDS)
    less = {name: x for name, x in state().items() if name != "shear"}
    for wrong in (less, state() | {"light": random(3, 1)}):
        with pytest.raises(ValueError, match="the state must have the fields"):
            check_state(wrong, FIELDS)
    for name, shape, expected in [
        ("source", (3, 1, 5), r"source must have shape \(batch, 2, n1\), got \(3, 1, 5\)"),
        ("source", (3, 2), r"source must have shape \(batch, 2, n1\), got \(3, 2\)"),
        ("log_kappa", (3, 1, 4, 5), r"shape \(batch, 1, n1, n2, n3\), got \(3, 1, 4, 5\)"),
        ("shear", (3, 2, 1), r"shear must have shape \(batch, 2\), got \(3, 2, 1\)"),
    ]:
        with pytest.raises(ValueError, match=expected):
            check_state(state() | {name: random(*shape)}, FIELDS)
    with pytest.raises(ValueError, match=r"one batch size, got \[2, 3\]"):
        check_state(state() | {"shear": random(2, 2)}, FIELDS)
    two = {"a": Field(), "b": Field()}
    with pytest.raises(ValueError, match=r"all maps must have one size, got \[\(4, 5\), \(4, 6"):
        check_state({"a": random(1, 1, 4, 5), "b": random(1, 1, 4, 6)}, two)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"channels": 0}, "1 channel or more and 0 to 3 dimensions, got 0 and 2"),
        ({"dims": 4}, "1 channel or more and 0 to 3 dimensions, got 1 and 4"),
        ({"dims": -1}, "1 channel or more and 0 to 3 dimensions, got 1 and -1"),
        ({"spread": 0.0}, "spread and step must be positive, got 0.0 and 1.0"),
        ({"step": -1.0}, "spread and step must be positive, got 1.0 and -1.0"),
        ({"step": math.nan}, "spread and step must be positive, got 1.0 and nan"),
    ],
)
def test_a_field_refuses_what_cannot_be_meant(wrong: dict[str, float], message: str):
    with pytest.raises(ValueError, match=message):
        Field(**wrong)
