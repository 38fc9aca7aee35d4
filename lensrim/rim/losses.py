r"""The loss of a trajectory.

.. math::
    \mathcal{L} = \sum_t w_t \sum_f \lambda_f \,
    \frac{\langle W_f (x_{t, f} - x^*_f)^2 \rangle}{\langle W_f \rangle \, \Delta_f^2} \, ,

over steps :math:`t = 1, \dots, T`, fields :math:`f` with their typical correction
:math:`\Delta_f` (``Field.step``), and elements, whose mean is taken per sample and then over the
batch. Its minimum is the posterior mean of the free variables.

With a floor :math:`\epsilon` it is the logarithm :math:`\log(\langle \dots \rangle + \epsilon)` of
each sample that is averaged: a factor counts the same where errors are small and where they are
large, so that the few worst starts of a heavy tail do not rule the training. For maps of many
pixels its minimum is close to the posterior mean, because the mean square of a sample's error
hardly scatters about its expectation.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .core import Trajectory


def trajectory_loss(
    trajectory: Trajectory,
    truth: Mapping[str, Tensor | Sequence[Tensor]],
    *,
    fields: Mapping[str, float] | None = None,
    elements: Mapping[str, Tensor] | None = None,
    times: Sequence[float] | None = None,
    floor: float | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    r"""Computes the loss, and the errors that it is made of.

    Arguments:
        trajectory: The steps.
        truth: The true free variables :math:`x^*`; or, of a field that is compared with another
            truth at each step, one for each of the T.
        fields: Weights :math:`\lambda_f`; 1 where a field is not named, and 0 leaves it out.
        elements: Weights :math:`W_f` of pixels or components, of shapes that broadcast to those of
            the fields; 1 where a field is not named.
        times: Weights :math:`w_t` of the T steps, normalised to a sum of 1; uniform by default.
        floor: Errors :math:`\epsilon` below which nothing is gained, in units of
            :math:`\Delta_f^2`; the errors themselves are averaged, not their logarithm, if
            ``None``.

    Returns:
        The loss, and by field the weighted mean square errors at each step in units of
        :math:`\Delta_f^2`, with shape :math:`(T, B)`.

    Raises:
        ValueError: If there are not as many times as steps, or a weight or the floor is wrong.
    """
    states = trajectory.states[1:]
    weights = [1.0] * len(states) if times is None else list(times)
    unknown = sorted({*(fields or {}), *(elements or {})} - set(trajectory.fields))
    if unknown:
        raise ValueError(f"weights must be those of {sorted(trajectory.fields)}, got {unknown}")
    if floor is not None and not floor > 0:
        raise ValueError(f"floor must be positive, got {floor}")
    if len(weights) != len(states) or min(weights, default=0) < 0 or not sum(weights) > 0:
        raise ValueError(
            f"times must have one weight for each of the {len(states)} steps and a positive sum, "
            f"got {weights}"
        )
    errors = {}
    loss = next(iter(states[0].values())).new_zeros(())
    for name, field in trajectory.fields.items():
        weight = (elements or {}).get(name)
        aims = truth[name]
        aims = [aims] * len(states) if isinstance(aims, Tensor) else aims
        steps = [
            _mean_square(s[name] - aim, weight) / field.step**2
            for s, aim in zip(states, aims, strict=True)
        ]
        share = (fields or {}).get(name, 1.0) / sum(weights)
        counted = steps if floor is None else [(e + floor).log() for e in steps]
        loss = loss + share * sum(w * e.mean() for w, e in zip(weights, counted, strict=True))
        errors[name] = torch.stack(steps).detach()
    return loss, errors


def _mean_square(error: Tensor, weight: Tensor | None) -> Tensor:
    square = error.square()
    if weight is None:
        return square.flatten(1).mean(1)
    weight = weight.expand_as(square)
    total = weight.flatten(1).sum(1)
    # A sample without any weight has no error to speak of, rather than none that is a number.
    return (weight * square).flatten(1).sum(1) / torch.where(total > 0, total, 1.0)
