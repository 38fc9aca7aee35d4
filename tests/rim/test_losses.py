"""The loss of a trajectory, against sums written out."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from lensrim.rim.core import Trajectory
from lensrim.rim.fields import Field
from lensrim.rim.losses import trajectory_loss

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
    assert set(errors) == set(FIELDS)
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


def test_with_a_floor_logarithms_are_averaged():
    path, truth = trajectory(), state(50)
    loss, errors = trajectory_loss(path, truth, floor=0.1)
    expected = sum((e + 0.1).log().mean(1).mean() for e in errors.values())
    torch.testing.assert_close(loss, expected)
