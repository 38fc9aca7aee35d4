r"""The loss of a trajectory.

.. math::
    \mathcal{L} = \sum_t w_t \sum_f \lambda_f \,
    \frac{\langle W_f (x_{t, f} - x^*_f)^2 \rangle}{\langle W_f \rangle \, \Delta_f^2} \, ,

over steps :math:`t = 1, \dots, T`, fields :math:`f` with their typical correction
:math:`\Delta_f` (``Field.step``), and elements, whose mean is taken per sample and then over the
batch. Its minimum is the posterior mean of the free variables under the prior of the training
data, not the maximum of the posterior. Other terms can be added (:func:`weighted_sum`); they move
it.

With a floor :math:`\epsilon` it is the logarithm :math:`\log(\langle \dots \rangle + \epsilon)` of
each sample that is averaged: a factor counts the same where errors are small and where they are
large, so that the few worst starts of a heavy tail do not rule the training. For maps of many
pixels its minimum is close to the posterior mean, because the mean square of a sample's error
hardly scatters about its expectation.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .fields import State
from .problem import check_values
from .trajectory import Trajectory

Truth = Mapping[str, Tensor | Sequence[Tensor]]
"""The true free variables (or physical values); of a field that is compared with another truth at
each step, one for each of the T."""

Loss = Callable[[Trajectory, Truth], Tensor]
"""A term of a loss: a number, of a trajectory and the truth."""


def trajectory_loss(
    trajectory: Trajectory,
    truth: Truth,
    *,
    fields: Mapping[str, float] | None = None,
    elements: Mapping[str, Tensor] | None = None,
    times: Sequence[float] | None = None,
    floor: float | None = None,
    physical: bool = False,
) -> tuple[Tensor, dict[str, Tensor]]:
    r"""Computes the loss, and the errors that it is made of.

    Arguments:
        trajectory: The steps.
        truth: The true free variables :math:`x^*`, as :data:`Truth`, in the shapes of the state;
            the true physical values if ``physical``.
        fields: Weights :math:`\lambda_f`; 1 where a field is not named, and 0 leaves it out: its
            truth is not looked at, and need not be known.
        elements: Weights :math:`W_f` of pixels or components, of shapes that broadcast to those of
            the fields; 1 where a field is not named. Where they are 0 the truth may be anything,
            NaN too.
        times: Weights :math:`w_t` of the T steps, normalised to a sum of 1; uniform by default.
        floor: Errors :math:`\epsilon` below which nothing is gained, in units of
            :math:`\Delta_f^2`; the errors themselves are averaged, not their logarithm, if
            ``None``.
        physical: Whether errors are those of physical values, whose posterior mean is then the
            minimum. Having no typical size, they are in their own units: :math:`\Delta_f = 1`.

    Returns:
        The loss, and by field that is not left out the weighted mean square errors at each step
        in units of :math:`\Delta_f^2`, with shape :math:`(T, B)`.

    Raises:
        ValueError: If there are not as many times as steps, a weight or the floor is wrong, or the
            truth of a field is missing or of another shape.
    """
    states = trajectory.values[1:] if physical else trajectory.states[1:]
    shares = _shares(times, len(states))
    unknown = sorted({*(fields or {}), *(elements or {})} - set(trajectory.fields))
    if unknown:
        raise ValueError(f"weights must be those of {sorted(trajectory.fields)}, got {unknown}")
    if floor is not None and not floor > 0:
        raise ValueError(f"floor must be positive, got {floor}")
    errors = {}
    loss = next(iter(states[0].values())).new_zeros(())
    factors = dict.fromkeys(trajectory.fields, 1.0) | dict(fields or {})
    for name, factor in factors.items():
        if factor == 0:
            continue
        weight = (elements or {}).get(name)
        aims = _aims(name, truth, states)
        unit = 1.0 if physical else trajectory.fields[name].step ** 2
        steps = [
            _mean_square(s[name] - aim, weight) / unit for s, aim in zip(states, aims, strict=True)
        ]
        counted = steps if floor is None else [(e + floor).log() for e in steps]
        loss = loss + factor * sum(w * e.mean() for w, e in zip(shares, counted, strict=True))
        errors[name] = torch.stack(steps).detach()
    return loss, errors


def _aims(name: str, truth: Truth, states: Sequence[State]) -> Sequence[Tensor]:
    """Returns the truth of a field at each step."""
    if name not in truth:
        raise ValueError(
            f"the truth must have every field that is not left out, got none of {name}: give it, "
            f"or fields={{{name!r}: 0}}"
        )
    aims = truth[name]
    aims = [aims] * len(states) if isinstance(aims, Tensor) else aims
    if len(aims) != len(states):
        raise ValueError(
            f"the truth of {name} must be one tensor, or one for each of the {len(states)} steps "
            f"(the start is none), got {len(aims)}"
        )
    for aim, state in zip(aims, states, strict=True):
        # One of another shape could be broadcast, and compared with what it does not belong to.
        if aim.shape != state[name].shape:
            raise ValueError(
                f"the truth of {name} must have the shape of the state, "
                f"{tuple(state[name].shape)}, got {tuple(aim.shape)}: reshape it"
            )
    return aims


def _mean_square(error: Tensor, weight: Tensor | None) -> Tensor:
    if weight is not None:
        # Before it is squared: a factor of zero makes neither NaN nor its gradient zero.
        weight = weight.expand_as(error)
        error = torch.where(weight != 0, error, 0.0)
    square = error.abs().square() if error.is_complex() else error.square()
    if weight is None:
        return square.flatten(1).mean(1)
    total = weight.flatten(1).sum(1)
    # A sample without any weight has no error to speak of, rather than none that is a number.
    return (weight * square).flatten(1).sum(1) / torch.where(total > 0, total, 1.0)


def _shares(times: Sequence[float] | None, steps: int) -> list[float]:
    """Returns weights of the steps with a sum of 1."""
    weights = [1.0] * steps if times is None else list(times)
    if len(weights) != steps or min(weights, default=0) < 0 or not sum(weights) > 0:
        raise ValueError(
            f"times must have one weight for each of the {steps} steps and a positive sum, "
            f"got {weights}"
        )
    return [weight / sum(weights) for weight in weights]


@dataclass(frozen=True)
class SquaredError:
    """Creates the term :func:`trajectory_loss`; see there for its arguments."""

    fields: Mapping[str, float] | None = None
    elements: Mapping[str, Tensor] | None = None
    times: Sequence[float] | None = None
    floor: float | None = None
    physical: bool = False

    def __call__(self, trajectory: Trajectory, truth: Truth) -> Tensor:
        loss, _ = trajectory_loss(
            trajectory,
            truth,
            fields=self.fields,
            elements=self.elements,
            times=self.times,
            floor=self.floor,
            physical=self.physical,
        )
        return loss


@dataclass(frozen=True)
class LikelihoodLoss:
    r"""Creates the term :math:`\sum_t w_t \langle E(f(x_t), y, \dots) \rangle`, the mean energy of
    all steps.

    With no other term its minimum is the maximum of the likelihood, or of whatever
    :math:`E = -\log p` is the energy: no posterior mean. It holds the observations of one batch:
    make it anew for each.

    Arguments:
        energy_fn: Takes ``(x, y, *args)`` with physical values; returns :math:`E` of each sample,
            with shape (B), as for :func:`~lensrim.rim.problem.energy_score`.
        y, args: What it is called with beside the values.
        times: Weights :math:`w_t` of the T steps, as for :func:`trajectory_loss`.
    """

    energy_fn: Callable[..., Tensor]
    y: Any
    args: Sequence[Any] = ()
    times: Sequence[float] | None = None

    def __call__(self, trajectory: Trajectory, truth: Truth) -> Tensor:
        energies = [self.energy_fn(x, self.y, *self.args) for x in trajectory.values[1:]]
        for energy, x in zip(energies, trajectory.states[1:], strict=True):
            check_values(energy, x)
        return _over_steps(energies, self.times)


@dataclass(frozen=True)
class ImageLoss:
    r"""Creates the term
    :math:`\sum_t w_t \langle W (F(f(x_t)) - y)^2 \rangle / \langle W \rangle`, in the plane of the
    observations. It holds the observations of one batch: make it anew for each.

    Arguments:
        forward_fn: The forward model :math:`F`: takes physical values; returns what is observed.
        image: What it is compared with, with the shape (B, ...) of what the model returns: the
            observations :math:`y`, or better those without noise, where they are known.
        weight: Weights :math:`W`, like the inverse variance, of a shape that broadcasts to that of
            the image.
        times: Weights :math:`w_t` of the T steps, as for :func:`trajectory_loss`.
    """

    forward_fn: Callable[[State], Tensor]
    image: Tensor
    weight: Tensor | None = None
    times: Sequence[float] | None = None

    def __call__(self, trajectory: Trajectory, truth: Truth) -> Tensor:
        errors = [self._error(x) for x in trajectory.values[1:]]
        return _over_steps(errors, self.times)

    def _error(self, values: State) -> Tensor:
        model = self.forward_fn(values)
        if model.shape != self.image.shape:
            raise ValueError(
                f"image must have the shape of what forward_fn returns, {tuple(model.shape)}, got "
                f"{tuple(self.image.shape)}: give that of this batch, in this shape"
            )
        return _mean_square(model - self.image, self.weight)


def weighted_sum(
    terms: Mapping[str, tuple[float, Loss]], trajectory: Trajectory, truth: Truth
) -> tuple[Tensor, dict[str, float]]:
    """Computes a loss of several terms.

    Arguments:
        terms: Weight and term, by name.
        trajectory: The steps.
        truth: The truth, for the terms that need it.

    Returns:
        The loss, and the value of each term before its weight.
    """
    values = {name: term(trajectory, truth) for name, (_, term) in terms.items()}
    loss = sum(
        (weight * values[name] for name, (weight, _) in terms.items()), start=torch.zeros(())
    )
    return loss, {name: float(value.detach()) for name, value in values.items()}


def _over_steps(values: Sequence[Tensor], times: Sequence[float] | None) -> Tensor:
    """Averages values (B) of each step over steps and samples."""
    return (
        torch.stack(list(values)).mean(1) * values[0].new_tensor(_shares(times, len(values)))
    ).sum()
