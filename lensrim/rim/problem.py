r"""Scores of a user's own problem: from a score, an energy or a log-probability.

Signs, once and for all. The *score* points uphill, :math:`+\nabla \log p`; a log-probability is
:math:`\log p`; an energy is :math:`E = -\log p`, of which a :math:`\chi^2` is twice. So a score
function that returns the gradient of a misfit has the wrong sign, and an energy the right one.

Each constructor takes the user's function ``f(x, y, *args)`` and what it is called with: ``x``,
a dictionary of *physical* values by field, the batch first; the observations ``y``; and whatever
else belongs to each sample (operators, covariances, PSFs), which is handed through untouched. It
returns the function of the free variables that the machine calls,

.. math::
    \nabla_x \log p = J_f(x)^T \, \nabla_v \log p , \qquad v = f(x) ,

with the links :math:`f` of the fields. No Jacobian of the volume is added: a likelihood is no
density in :math:`x`, and a posterior stays that of :math:`v`.

A function of one sample is made one of a batch by ``torch.func.vmap``, and a gradient by
``torch.func.grad``; both can be given here. Where the state requires a gradient (that is, with
``Unroll(through_score=True)``), the score is part of the graph; otherwise it is a constant.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .fields import Aux, Fields, ScoreFn, State, to_physical

LOG_PROB = "log_prob"
"""Name among what a score function returns beside the score: log p of each sample, shape (B)."""


def linked_score(
    score_fn: Callable[..., State | tuple[State, Aux]], y: Any, *args: Any, fields: Fields
) -> ScoreFn:
    r"""Creates the score of the free variables from a score of physical values.

    Arguments:
        score_fn: Takes ``(x, y, *args)``; returns :math:`\nabla_v \log p(y | v)` by field, in the
            shapes of the values; or that and a mapping of maps that the network may see.
        y, args: What it is called with beside the values.
        fields: The fields, with their links.

    Raises:
        ValueError: By the returned function, if there is no mapping, or scores are missing or of
            another shape.
    """

    def free_score(state: State) -> tuple[State, Aux]:
        x, through = _variables(state)
        with torch.enable_grad():
            values = to_physical(x, fields)
            given = values if through else {name: v.detach() for name, v in values.items()}
            found = score_fn(given, y, *args)
            score, aux = check_pair(found if isinstance(found, tuple) else (found, {}))
            _check(score, values)
            pulled = torch.autograd.grad(
                list(values.values()),
                list(x.values()),
                grad_outputs=[score[name] for name in values],
                create_graph=through,
            )
        return dict(zip(x, pulled, strict=True)), aux

    return free_score


def log_prob_score(
    log_prob_fn: Callable[..., Tensor], y: Any, *args: Any, fields: Fields
) -> ScoreFn:
    r"""Creates the score of the free variables from a log-probability, by differentiation.

    Arguments:
        log_prob_fn: Takes ``(x, y, *args)``; returns :math:`\log p(y | v)` of each sample, with
            shape :math:`(B)`. Samples must not know each other.
        y, args: What it is called with beside the values.
        fields: The fields, with their links.

    Returns:
        The score. Beside it, it returns the value itself under ``log_prob``.

    Raises:
        ValueError: By the returned function, if there is not one number for each sample, or none
            that can be differentiated.
    """
    return _differentiated(log_prob_fn, 1.0, y, args, fields)


def energy_score(energy_fn: Callable[..., Tensor], y: Any, *args: Any, fields: Fields) -> ScoreFn:
    r"""Creates the score of the free variables from an energy :math:`E = -\log p`.

    Arguments:
        energy_fn: Takes ``(x, y, *args)``; returns :math:`E` of each sample, with shape
            :math:`(B)`.
        y, args: What it is called with beside the values.
        fields: The fields, with their links.

    Returns:
        The score :math:`-\nabla_x E`. Beside it, it returns :math:`-E` under ``log_prob``.

    Raises:
        ValueError: As :func:`log_prob_score`.
    """
    return _differentiated(energy_fn, -1.0, y, args, fields)


def _differentiated(
    function: Callable[..., Tensor], sign: float, y: Any, args: tuple[Any, ...], fields: Fields
) -> ScoreFn:
    def score_fn(state: State) -> tuple[State, Aux]:
        x, through = _variables(state)
        with torch.enable_grad():
            value = function(to_physical(x, fields), y, *args)
            check_values(value, x)
            if not value.requires_grad:
                raise ValueError(
                    "an energy or log-probability must be computed from x by operations that "
                    "torch can differentiate, got one that knows nothing of x: do not detach it, "
                    "nor compute it in numpy or under no_grad; where it is a black box, give its "
                    "score to linked_score"
                )
            value = sign * value
            score = torch.autograd.grad(
                value.sum(),
                list(x.values()),
                create_graph=through,
                allow_unused=True,
                materialize_grads=True,
            )
        known = value if through else value.detach()
        return dict(zip(x, score, strict=True)), {LOG_PROB: known}

    return score_fn


def check_pair(found: Any) -> tuple[State, Aux]:
    """Checks that a score function returned the score and what is beside it, each by name.

    Raises:
        ValueError: If it did not.
    """
    if isinstance(found, tuple) and len(found) == 2 and all(isinstance(f, Mapping) for f in found):
        return found
    kinds = [type(f).__name__ for f in (found if isinstance(found, tuple) else (found,))]
    raise ValueError(
        "a score function must return the score by field, and by name the maps beside it, got "
        f"{' and '.join(kinds)}: return ({{field: tensor, ...}}, {{}}), or make it with "
        "energy_score, log_prob_score or linked_score"
    )


def check_values(value: Any, state: State) -> None:
    """Checks that an energy or log-probability has one number for each sample of a state.

    Raises:
        ValueError: If it has not.
    """
    batch = (len(next(iter(state.values()))),)
    found = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
    if found != batch:
        raise ValueError(
            "an energy or log-probability must have one number for each sample, with shape "
            f"{batch}, got {found}: sum over all but the first axis"
        )


def _variables(state: State) -> tuple[dict[str, Tensor], bool]:
    """Returns free variables to differentiate in, and whether what follows is to be a graph.

    Raises:
        ValueError: If nothing can be differentiated here.
    """
    if torch.is_inference_mode_enabled():
        raise ValueError(
            "a score must be taken where torch can differentiate, got torch.inference_mode: use "
            "torch.no_grad in its place"
        )
    through = torch.is_grad_enabled() and any(x.requires_grad for x in state.values())
    with torch.enable_grad():
        # A view of each tensor, so that the caller's own graph is neither walked nor marked.
        x = {
            name: given.view_as(given)
            if through and given.requires_grad
            else given.detach().requires_grad_()
            for name, given in state.items()
        }
    return x, through


def _check(score: State, values: State) -> None:
    for name, value in values.items():
        found = tuple(score[name].shape) if name in score else "none"
        if found != tuple(value.shape):
            raise ValueError(
                f"the score of {name} must have the shape of its values, {tuple(value.shape)}, "
                f"got {found}"
            )
