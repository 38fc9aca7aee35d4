"""Fields, and states of them."""

import math

import pytest
import torch
from torch import Tensor

from lensrim.rim.fields import Field, check_state, to_free, to_physical
from lensrim.rim.links import Exp, Log10, PerChannel

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


def test_each_field_goes_through_its_own_link():
    free = state()
    values = to_physical(free, FIELDS)
    assert list(values) == list(FIELDS)
    for name, field in FIELDS.items():
        expected = 10 ** free[name] if field.link == Log10() else free[name]
        torch.testing.assert_close(values[name], expected)
    for name, x in to_free(values, FIELDS).items():
        torch.testing.assert_close(x, free[name])


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
    with pytest.raises(
        ValueError,
        match=r"one size in each number of dimensions, got \[\(4, 5\)",
    ):
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


def test_a_field_has_a_link_for_each_channel():
    Field(2, link=PerChannel((Exp(), Log10())))
    with pytest.raises(ValueError, match="a field of 3 channels must have as many links, got 2"):
        Field(3, link=PerChannel((Exp(), Log10())))
