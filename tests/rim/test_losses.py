"""The loss of a trajectory, against sums written out."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from lensrim.rim.fields import Field, State, to_physical
from lensrim.rim.links import Exp, Sigmoid
from lensrim.rim.losses import (
    ImageLoss,
    LikelihoodLoss,
    SquaredError,
    trajectory_loss,
    weighted_sum,
)
from lensrim.rim.problem import energy_score
from lensrim.rim.trajectory import Trajectory

FIELDS = {"source": Field(2, 2, step=0.5), "line": Field(1, 1, step=2.0), "shear": Field(2, 0)}
SHAPES = {"source": (2, 3, 4), "line": (1, 5), "shear": (2,)}
BATCH, STEPS = 3, 4


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def state(seed: int) -> dict[str, Tensor]:
    return {
        name: random(BATCH, *shape, seed=10 * seed + i)
        for i, (name, shape) in enumerate(SHAPES.items())
    }


def trajectory() -> Trajectory:
    return Trajectory([state(t) for t in range(STEPS + 1)], [state(90)] * STEPS, FIELDS)


ELEMENTS = {
    "source": random(BATCH, 1, 3, 4, seed=7).abs(),  # one weight for both channels
    "line": torch.tensor([0.0, 1.0, 2.0, 0.0, 0.5]).double(),  # one for all samples
}
TIMES = [0.0, 1.0, 0.5, 3.0]


def written_out(
    fields: dict[str, float],
    elements: dict[str, Tensor],
    times: Sequence[float],
    floor: float | None,
) -> tuple[float, dict[str, np.ndarray]]:
    """The loss and the errors, one number after the other."""
    path, truth, loss, errors = trajectory(), state(50), 0.0, {}
    for name, shape in SHAPES.items():
        weights = np.broadcast_to(elements.get(name, torch.ones(())).numpy(), (BATCH, *shape))
        errors[name] = np.empty((STEPS, BATCH))
        for t in range(STEPS):
            x = path.states[t + 1][name]
            for b in range(BATCH):
                above = below = 0.0
                for at in np.ndindex(*shape):
                    w = float(weights[b][at])
                    above += w * float(x[b][at] - truth[name][b][at]) ** 2
                    below += w
                error = above / below / FIELDS[name].step ** 2
                errors[name][t, b] = error
                counted = error if floor is None else math.log(error + floor)
                loss += times[t] / sum(times) * fields.get(name, 1.0) * counted / BATCH
    return loss, errors


@pytest.mark.parametrize("floor", [None, 0.1])
@pytest.mark.parametrize("times", [None, TIMES])
@pytest.mark.parametrize("elements", [{}, ELEMENTS])
@pytest.mark.parametrize("fields", [{}, {"source": 3.0, "shear": 0.0}])
def test_the_loss_and_its_errors_are_the_sums(
    fields: dict[str, float],
    elements: dict[str, Tensor],
    times: list[float] | None,
    floor: float | None,
):
    loss, errors = trajectory_loss(
        trajectory(), state(50), fields=fields, elements=elements, times=times, floor=floor
    )
    expected, parts = written_out(fields, elements, times or [1.0] * STEPS, floor)
    assert loss.shape == () and loss.item() == pytest.approx(expected)
    assert set(errors) == {name for name in FIELDS if fields.get(name) != 0}
    for name, error in errors.items():
        assert error.shape == (STEPS, BATCH)
        np.testing.assert_allclose(error.numpy(), parts[name])


def test_what_is_not_given_counts_one():
    path, truth = trajectory(), state(50)
    loss, _ = trajectory_loss(path, truth)
    ones = {name: torch.ones(()).double() for name in FIELDS}
    same, _ = trajectory_loss(
        path, truth, fields=dict.fromkeys(FIELDS, 1.0), elements=ones, times=[2.0] * STEPS
    )
    torch.testing.assert_close(loss, same)


def test_the_truth_has_no_loss_and_the_start_does_not_count():
    truth = state(50)
    loss, errors = trajectory_loss(Trajectory([state(0), truth, truth], [], FIELDS), truth)
    assert loss.item() == 0
    assert all((error == 0).all() for error in errors.values())
    floored, _ = trajectory_loss(Trajectory([state(0), truth], [], FIELDS), truth, floor=0.1)
    assert floored.item() == pytest.approx(len(FIELDS) * math.log(0.1))


@pytest.mark.parametrize("elements", [{}, {"line": ELEMENTS["line"] + 1}])
def test_its_minimum_is_the_mean(elements: dict[str, Tensor]):
    """Of all answers that do not know the draw, the mean of the draws has the smallest loss."""
    draws = {name: random(500, *shape, seed=3) ** 2 for name, shape in SHAPES.items()}
    mean = {name: x.mean(0, keepdim=True).requires_grad_() for name, x in draws.items()}

    def loss(answer: dict[str, Tensor]) -> Tensor:
        each = {name: x.expand(500, *SHAPES[name]) for name, x in answer.items()}
        return trajectory_loss(Trajectory([each] * 3, [], FIELDS), draws, elements=elements)[0]

    best = loss(mean)
    for gradient in torch.autograd.grad(best, list(mean.values())):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))
    for seed in range(5):
        off = {name: x + 0.1 * random(*x.shape, seed=seed) for name, x in mean.items()}
        assert loss(off) > best
    median = {name: x.median(0, keepdim=True).values for name, x in draws.items()}
    assert loss(median) > best


def test_gradients_reach_every_step_and_errors_carry_none():
    path, truth = trajectory(), state(50)
    states = [{name: x.requires_grad_() for name, x in s.items()} for s in path.states]
    loss, errors = trajectory_loss(Trajectory(states, [], FIELDS), truth)
    loss.backward()
    assert not any(error.requires_grad for error in errors.values())
    for name, field in FIELDS.items():
        assert states[0][name].grad is None
        for s in states[1:]:
            count = s[name].numel() * STEPS * field.step**2
            torch.testing.assert_close(s[name].grad, 2 * (s[name] - truth[name]).detach() / count)


@pytest.mark.parametrize("times", [[1.0], [1.0] * (STEPS + 1), [0.0] * STEPS, []])
def test_times_must_fit_the_steps(times: list[float]):
    with pytest.raises(ValueError, match="one weight for each of the 4 steps and a positive sum"):
        trajectory_loss(trajectory(), state(50), times=times)


def test_wrong_weights_and_floors_are_refused():
    with pytest.raises(ValueError, match=r"weights must be those of .*, got \['sorce'\]"):
        trajectory_loss(trajectory(), state(50), fields={"sorce": 1.0})
    with pytest.raises(ValueError, match="floor must be positive, got 0"):
        trajectory_loss(trajectory(), state(50), floor=0.0)
    with pytest.raises(ValueError, match="positive sum"):
        trajectory_loss(trajectory(), state(50), times=[2.0, 2.0, 2.0, -1.0])


@pytest.mark.parametrize("truth", [{}, {"shear": torch.full((BATCH, 2), math.nan).double()}])
def test_a_field_of_weight_zero_needs_no_truth(truth: State):
    known = {name: x for name, x in state(50).items() if name != "shear"}
    expected, _ = trajectory_loss(trajectory(), state(50), fields={"shear": 0.0})
    found, errors = trajectory_loss(trajectory(), {**known, **truth}, fields={"shear": 0.0})
    assert torch.equal(found, expected) and list(errors) == list(known)


@pytest.mark.parametrize("of_image", [False, True])
def test_what_has_no_weight_may_be_anything(of_image: bool):
    """Masked data, too: neither the loss nor its gradient knows them."""
    states = [{name: x.requires_grad_() for name, x in s.items()} for s in trajectory().states]
    path, weight = Trajectory(states, [], LINKED), torch.tensor([0.0, 1.0, 2.0, 0.0]).double()

    def loss(holes: float) -> Tensor:
        spoilt = torch.where(weight > 0, 0.0, holes)
        if of_image:
            return ImageLoss(blurred, IMAGE + spoilt, weight)(path, {})
        truth = {**state(50), "source": state(50)["source"] + spoilt}
        return trajectory_loss(path, truth, elements={"source": weight})[0]

    parameters = [s["source"] for s in states[1:]]
    expected = torch.autograd.grad(loss(0.0), parameters)
    assert torch.equal(loss(math.nan), loss(0.0))
    for one, two in zip(torch.autograd.grad(loss(math.nan), parameters), expected, strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"line": random(BATCH, 5)}, r"truth of line .*state, \(3, 1, 5\), got \(3, 5\)"),
        ({"shear": random(BATCH)}, r"truth of shear must have the shape .*got \(3,\)"),
        ({"shear": random(1, 2)}, r"truth of shear must have the shape .*got \(1, 2\)"),
        ({"shear": [random(BATCH, 2)] * 5}, r"one for each of the 4 steps .*, got 5"),
    ],
)
def test_the_truth_has_the_shape_of_the_state(change: dict, message: str):
    for physical in (False, True):
        with pytest.raises(ValueError, match=message):
            trajectory_loss(trajectory(), state(50) | change, physical=physical)
    with pytest.raises(ValueError, match=r"got none of line: give it, or fields={'line': 0}"):
        trajectory_loss(trajectory(), {"source": state(50)["source"]})


def test_terms_compare_what_belongs_together():
    with pytest.raises(ValueError, match=r"image must have .*\(3, 1, 3, 4\), got \(3, 3, 4\)"):
        ImageLoss(blurred, IMAGE[:, 0])(trajectory(), {})
    with pytest.raises(ValueError, match=r"one number for each sample, .*\(3,\), got \(3, 2\)"):
        LikelihoodLoss(lambda x, _: x["shear"], None)(trajectory(), {})


def test_with_a_floor_logarithms_are_averaged():
    path, truth = trajectory(), state(50)
    loss, errors = trajectory_loss(path, truth, floor=0.1)
    expected = sum((e + 0.1).log().mean(1).mean() for e in errors.values())
    torch.testing.assert_close(loss, expected)


# Physical values.

LINKED = {
    "source": Field(2, 2, step=0.5, link=Exp()),
    "line": Field(1, 1, step=2.0, link=Sigmoid()),
    "shear": Field(2, 0),
}


def test_errors_of_physical_values_are_in_their_own_units():
    path = Trajectory(trajectory().states, [], LINKED)
    truth = to_physical(state(50), LINKED)
    options = {"fields": {"line": 3.0}, "elements": ELEMENTS, "times": TIMES, "floor": 0.1}
    loss, errors = trajectory_loss(path, truth, physical=True, **options)
    plain = {name: Field(f.channels, f.dims) for name, f in LINKED.items()}
    expected, parts = trajectory_loss(Trajectory(path.values, [], plain), truth, **options)
    torch.testing.assert_close(loss, expected)
    assert {name: e.tolist() for name, e in errors.items()} == {
        name: e.tolist() for name, e in parts.items()
    }


@pytest.mark.parametrize("physical", [False, True])
def test_the_minimum_is_the_mean_in_the_space_of_the_errors(physical: bool):
    """The mean of free variables is no mean of physical values."""
    free = {name: random(500, *shape, seed=3) for name, shape in SHAPES.items()}
    draws = to_physical(free, LINKED) if physical else free
    mean = {name: x.mean(0, keepdim=True) for name, x in draws.items()}
    if physical:
        mean = {name: LINKED[name].link.free(x) for name, x in mean.items()}
    answer = {name: x.clone().requires_grad_() for name, x in mean.items()}
    each = {name: x.expand(500, *SHAPES[name]) for name, x in answer.items()}
    path = Trajectory([each] * 3, [], LINKED)
    here, there = (trajectory_loss(path, t, physical=p)[0] for t, p in [(draws, physical), (
        free if physical else to_physical(free, LINKED), not physical)])  # fmt: skip
    for gradient in torch.autograd.grad(here, list(answer.values())):
        torch.testing.assert_close(gradient, torch.zeros_like(gradient))
    off, *_ = torch.autograd.grad(there, list(answer.values()))
    assert (off.abs() > 1e-4).all()


# Other terms.


def energy(x: State, y: Tensor, width: float) -> Tensor:
    """A misfit of the sum of all numbers, plus one of the shear."""
    total = sum(v.flatten(1).sum(1) for v in x.values())
    return (total - y).square() / (2 * width**2) + x["shear"].square().sum(1)


Y = random(BATCH, seed=60)


@pytest.mark.parametrize("times", [None, TIMES])
def test_the_term_of_the_likelihood_is_the_mean_energy(times: list[float] | None):
    path = Trajectory(trajectory().states, [], LINKED)
    found = LikelihoodLoss(energy, Y, (2.0,), times)(path, {})
    expected, weights = 0.0, times or [1.0] * STEPS
    for t, w in enumerate(weights):
        values = to_physical(path.states[t + 1], LINKED)
        for b in range(BATCH):
            one = {name: v[b : b + 1] for name, v in values.items()}
            expected += w * float(energy(one, Y[b : b + 1], 2.0)) / BATCH / sum(weights)
    assert found.item() == pytest.approx(expected)


def test_the_term_of_the_likelihood_descends_along_the_score():
    states = [{name: x.requires_grad_() for name, x in s.items()} for s in trajectory().states]
    LikelihoodLoss(energy, Y, (2.0,))(Trajectory(states, [], LINKED), {}).backward()
    for s in states[1:]:
        free = {name: x.detach() for name, x in s.items()}
        score, _ = energy_score(energy, Y, 2.0, fields=LINKED)(free)
        for name, x in s.items():
            assert x.grad is not None
            torch.testing.assert_close(x.grad, -score[name] / (STEPS * BATCH))
    assert all(x.grad is None for x in states[0].values())


def blurred(x: State) -> Tensor:
    return x["source"].sum(1, keepdim=True).roll(1, -1) + x["shear"][:, :1, None, None]


def fringes(x: State) -> Tensor:
    return torch.complex(x["shear"], x["line"][:, 0, :2])


IMAGE = random(BATCH, 1, 3, 4, seed=61)
WEIGHT = random(1, 1, 3, 4, seed=62).square()
VISIBILITIES = torch.complex(random(BATCH, 2, seed=63), random(BATCH, 2, seed=64))


@pytest.mark.parametrize("times", [None, TIMES])
@pytest.mark.parametrize(
    ("forward", "image", "weight"),
    [(blurred, IMAGE, None), (blurred, IMAGE, WEIGHT), (fringes, VISIBILITIES, None)],
)
def test_the_term_of_the_image_is_the_mean_square(forward, image, weight, times):
    path = Trajectory(trajectory().states, [], LINKED)
    found = ImageLoss(forward, image, weight, times)(path, {})
    expected, weights = 0.0, times or [1.0] * STEPS
    w_f = np.broadcast_to(1.0 if weight is None else weight.numpy(), image.shape)
    for t, w in enumerate(weights):
        square = abs((forward(path.physical(t + 1)) - image).numpy()) ** 2
        mean = [(w_f[b] * square[b]).sum() / w_f[b].sum() for b in range(BATCH)]
        expected += w * np.mean(mean) / sum(weights)
    assert not found.is_complex() and found.item() == pytest.approx(expected)


def test_a_sum_of_terms_is_their_weighted_sum():
    path, truth = trajectory(), state(50)
    squared = SquaredError(fields={"shear": 2.0}, times=TIMES, floor=0.1)
    terms = {
        "error": (1.0, squared),
        "likelihood": (0.1, LikelihoodLoss(energy, Y, (2.0,))),
        "own": (3.0, lambda path, truth: path.last["shear"].sum() - truth["shear"].sum()),
    }
    loss, values = weighted_sum(terms, path, truth)
    plain, _ = trajectory_loss(path, truth, fields={"shear": 2.0}, times=TIMES, floor=0.1)
    torch.testing.assert_close(squared(path, truth), plain)
    expected = {name: float(term(path, truth)) for name, (_, term) in terms.items()}
    assert values == pytest.approx(expected)
    total = expected["error"] + 0.1 * expected["likelihood"] + 3 * expected["own"]
    assert loss.dtype == torch.float64 and loss.item() == pytest.approx(total)
    moved = {name: x.requires_grad_() for name, x in path.last.items()}
    weighted_sum(terms, path, truth)[0].backward()
    assert all(x.grad is not None for x in moved.values())


def test_times_must_fit_the_steps_of_every_term():
    for term in (LikelihoodLoss(energy, Y, (1.0,), [1.0]), ImageLoss(blurred, IMAGE, None, [1.0])):
        with pytest.raises(ValueError, match="one weight for each of the 4 steps"):
            term(trajectory(), {})
