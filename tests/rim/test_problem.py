"""Scores of a user's problem, made of a score, an energy or a log-probability."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from lensrim.rim.fields import Aux, Field, ScoreFn, State, to_physical
from lensrim.rim.links import Bijection, Bounded, Exp, Log10, PerChannel, Sinh, Softplus
from lensrim.rim.problem import energy_score, linked_score, log_prob_score

FIELDS = {
    "source": Field(2, 1, link=PerChannel((Sinh(0.5), Softplus()))),
    "log_kappa": Field(1, 3, link=Log10()),
    "shear": Field(2, 0, link=Bounded(-1.0, 2.0)),
    "theta_E": Field(1, 0, link=Exp()),
}
SHAPES = {"source": (2, 5), "log_kappa": (1, 2, 3, 4), "shear": (2,), "theta_E": (1,)}
BATCH = 3


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def state() -> dict[str, Tensor]:
    """A state of all kinds of fields."""
    return {
        name: 0.3 * random(BATCH, *shape, seed=i) for i, (name, shape) in enumerate(SHAPES.items())
    }


Y = random(BATCH, seed=10)
OPERATOR = random(BATCH, 10, 10, seed=11)
"""One for each sample."""


def log_prob(x: State, y: Tensor, operator: Tensor, width: float) -> Tensor:
    """A log-probability that couples all fields of a sample."""
    a, b, c, d = (x[name].flatten(1) for name in FIELDS)
    blurred = (operator @ a[..., None])[..., 0]
    coupled = a.sum(1) * b.sum(1) * d.sum(1) - y
    return -(blurred.square().sum(1) + coupled**2 + (c**2).sum(1)) / (2 * width**2)


def energy(x: State, y: Tensor, operator: Tensor, width: float) -> Tensor:
    return -log_prob(x, y, operator, width)


def slopes(x: State, y: Tensor, operator: Tensor, width: float) -> dict[str, Tensor]:
    """The gradient of :func:`log_prob`, by hand."""
    a, b, c, d = (x[name].flatten(1) for name in FIELDS)
    back = (operator.mT @ (operator @ a[..., None]))[..., 0]
    coupled = (a.sum(1) * b.sum(1) * d.sum(1) - y)[:, None]
    p, q, r = (v.sum(1)[:, None] for v in (a, b, d))
    found = {
        "source": back + coupled * q * r,
        "log_kappa": (coupled * p * r).expand_as(b),
        "shear": c,
        "theta_E": coupled * p * q,
    }
    return {name: -(g / width**2).reshape(x[name].shape) for name, g in found.items()}


def one_energy(x: Mapping[str, Tensor], y: Tensor, operator: Tensor) -> Tensor:
    """The energy of one sample, with a width of 0.7."""
    batch = {name: v[None] for name, v in x.items()}
    return energy(batch, y[None], operator[None], 0.7)[0]


def uphill(x: State, y: Tensor, operator: Tensor) -> tuple[State, Aux]:
    """The score of one sample by torch.func, of all by vmap; and a map."""
    down = torch.func.vmap(torch.func.grad(one_energy))(x, y, operator)
    return {name: -g for name, g in down.items()}, {"seen": x["source"]}


GIVEN = (Y, OPERATOR, 0.7)
WAYS: dict[str, Callable[[], ScoreFn]] = {
    "score": lambda: linked_score(slopes, *GIVEN, fields=FIELDS),
    "energy": lambda: energy_score(energy, *GIVEN, fields=FIELDS),
    "log-probability": lambda: log_prob_score(log_prob, *GIVEN, fields=FIELDS),
    "vmapped energy": lambda: energy_score(
        torch.func.vmap(one_energy), Y, OPERATOR, fields=FIELDS
    ),
    "vmapped gradient": lambda: linked_score(uphill, Y, OPERATOR, fields=FIELDS),
}
EVERY = pytest.mark.parametrize("make", WAYS.values(), ids=WAYS)


def by_differences(x: State) -> dict[str, Tensor]:
    """The gradient of the log-probability in free variables, by finite differences."""

    def value(free: State) -> Tensor:
        return log_prob(to_physical(free, FIELDS), *GIVEN)

    found = {name: torch.zeros_like(v) for name, v in x.items()}
    for name, v in x.items():
        for i in range(v[0].numel()):
            shift = torch.zeros(BATCH, v[0].numel()).double()
            shift[:, i] = 1e-6
            shift = shift.reshape(v.shape)
            up, down = value({**x, name: v + shift}), value({**x, name: v - shift})
            found[name].flatten(1)[:, i] = (up - down) / 2e-6
    return found


@EVERY
@pytest.mark.parametrize("grad", [True, False])
def test_every_way_gives_the_uphill_gradient_in_free_variables(make, grad: bool):
    x = state()
    expected = by_differences(x)
    with torch.set_grad_enabled(grad):
        score, _ = make()(x)
    assert list(score) == list(x)
    for name in x:
        torch.testing.assert_close(score[name], expected[name], rtol=1e-5, atol=1e-5)
        assert not x[name].requires_grad and not score[name].requires_grad


@pytest.mark.parametrize("name", ["energy", "log-probability", "vmapped energy"])
def test_the_value_is_told_with_its_sign(name: str):
    x = state()
    _, aux = WAYS[name]()(x)
    expected = log_prob(to_physical(x, FIELDS), *GIVEN)
    torch.testing.assert_close(aux["log_prob"], expected)
    assert not aux["log_prob"].requires_grad


def test_what_a_score_returns_beside_is_handed_on():
    x = state()
    score, aux = linked_score(uphill, Y, OPERATOR, fields=FIELDS)(x)
    torch.testing.assert_close(aux["seen"], to_physical(x, FIELDS)["source"])
    _, none = linked_score(slopes, *GIVEN, fields=FIELDS)(x)
    assert none == {}
    assert list(score) == list(x)


@EVERY
def test_the_score_can_be_differentiated_where_the_state_asks_for_it(make):
    x = state()
    given = {name: v.clone().requires_grad_() for name, v in x.items()}
    direction = {name: random(*v.shape, seed=90 + i) for i, (name, v) in enumerate(x.items())}
    score, _ = make()(given)
    total = sum((score[name] * direction[name]).sum() for name in x)
    found = torch.autograd.grad(total, list(given.values()))
    other = {name: random(*v.shape, seed=95 + i) for i, (name, v) in enumerate(x.items())}
    slope = sum((g * o).sum() for g, o in zip(found, other.values(), strict=True))

    def along(sign: float) -> Tensor:
        moved = {name: v + sign * 1e-5 * other[name] for name, v in x.items()}
        at, _ = make()(moved)
        return sum((at[name] * direction[name]).sum() for name in x)

    torch.testing.assert_close(slope, (along(1) - along(-1)) / 2e-5, rtol=1e-5, atol=1e-5)


@EVERY
def test_the_callers_graph_is_left_alone(make):
    """Outside of gradient mode, and in that of a state that comes from something else."""
    weight = torch.ones((), dtype=torch.float64, requires_grad=True)
    x = {name: weight * v for name, v in state().items()}
    with torch.no_grad():
        score, _ = make()(x)
    assert not any(g.requires_grad for g in score.values())
    score, _ = make()(x)
    assert weight.grad is None
    total = sum(g.sum() for g in score.values())
    total.backward(retain_graph=True)
    assert weight.grad is not None and weight.grad.abs() > 0
    before = weight.grad.clone()
    sum(v.sum() for v in x.values()).backward()  # it is still there
    torch.testing.assert_close(weight.grad - before, sum(v.sum() for v in state().values()))


@EVERY
def test_samples_do_not_know_each_other(make):
    x = state()
    other = {name: v.clone() for name, v in x.items()}
    for v in other.values():
        v[1] *= -2
    one, two = make()(x)[0], make()(other)[0]
    for name in x:
        torch.testing.assert_close(one[name][[0, 2]], two[name][[0, 2]])
        assert not torch.allclose(one[name][1], two[name][1])


def test_a_derivative_that_is_given_is_used():
    fields = {"x": Field(1, 0, link=Bijection(lambda x: x.detach().exp(), torch.log, torch.exp))}
    x = {"x": random(BATCH, 1)}
    score, _ = energy_score(
        lambda x, y: (x["x"] - y).square().sum(1) / 2, Y[:, None], fields=fields
    )(x)
    value = x["x"].exp()
    torch.testing.assert_close(score["x"], value * (Y[:, None] - value))


def test_without_links_the_score_is_handed_through():
    fields = {name: Field(f.channels, f.dims) for name, f in FIELDS.items()}
    score, _ = linked_score(slopes, *GIVEN, fields=fields)(state())
    expected = slopes(state(), *GIVEN)
    for name in FIELDS:
        assert torch.equal(score[name], expected[name])


def test_a_field_that_does_not_matter_has_the_score_zero():
    fields = {name: replace(f) for name, f in FIELDS.items()}
    score, _ = energy_score(lambda x, y: x["shear"].sum(1), None, fields=fields)(state())
    assert (score["source"] == 0).all()


@pytest.mark.parametrize("value", [lambda x: x["shear"], lambda x: x["shear"].sum()])
def test_a_log_probability_has_one_number_for_each_sample(value: Callable[[State], Tensor]):
    for make in (energy_score, log_prob_score):
        score_fn = make(lambda x, _: value(x), None, fields=FIELDS)
        with pytest.raises(ValueError, match=r"must have one number for each sample, with shape"):
            score_fn(state())


@pytest.mark.parametrize(
    "value",
    [lambda x: x["shear"].detach().sum(1), lambda x: torch.zeros(BATCH)],
    ids=["detached", "constant"],
)
def test_a_log_probability_knows_the_state(value: Callable[[State], Tensor]):
    for make in (energy_score, log_prob_score):
        with pytest.raises(ValueError, match=r"computed from x by operations that torch can diff"):
            make(lambda x, _: value(x), None, fields=FIELDS)(state())


def test_a_log_probability_is_a_tensor():
    with pytest.raises(ValueError, match=r"with shape \(3,\), got float: sum over all but"):
        energy_score(lambda x, _: 0.0, None, fields=FIELDS)(state())


@pytest.mark.parametrize(
    ("returned", "kinds"),
    [
        (torch.zeros(BATCH, 2), "Tensor and dict"),
        (({}, {}, {}), "dict and dict and dict"),
        (({}, torch.zeros(1)), "dict and Tensor"),
    ],
)
def test_a_score_is_given_by_field(returned: object, kinds: str):
    score_fn = linked_score(lambda x, _: returned, None, fields=FIELDS)
    with pytest.raises(ValueError, match=rf"by field, .*, got {kinds}: return \({{field: tensor"):
        score_fn(state())


@EVERY
def test_without_derivatives_there_is_no_score(make):
    score_fn = make()
    with (
        torch.inference_mode(),
        pytest.raises(ValueError, match=r"got torch.inference_mode: use torch.no_grad"),
    ):
        score_fn(state())


def test_a_score_has_every_field_in_its_shape():
    less = linked_score(lambda x, _: {"source": x["source"]}, None, fields=FIELDS)
    with pytest.raises(ValueError, match=r"the score of log_kappa must have .*, got none"):
        less(state())
    flat = linked_score(lambda x, _: {n: v.flatten(1) for n, v in x.items()}, None, fields=FIELDS)
    with pytest.raises(ValueError, match=r"source must have .*\(3, 2, 5\), got \(3, 10\)"):
        flat(state())
