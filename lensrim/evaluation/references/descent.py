r"""Plain descent on the pixels: what a machine's steps are worth beside as many seconds of it.

The source's pixels, those of :math:`\log_{10} \kappa`, and the shear climb the likelihood:

.. math:: x_0 + \Delta z , \qquad z = \arg\max_z \, \log p(y | x_0 + \Delta z) ,

from :math:`z = 0`, without a prior: where it is stopped is what holds it. :math:`x_0` is the start
of a machine, the macro-model's answer, and the units :math:`\Delta` are the ``step`` of the
machine's fields, the typical errors of :math:`x_0`; so both begin alike and see the same forward
model. Lens light and sky stay as the macro-model has them, and what is found has the mass sheet
that all answers of the chain have.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from ...grid import PixelGrid
from ...inference.apply import Begun
from ...inference.learnt import setting_of, start_state
from ...inference.lens_config import FIELDS
from ...io.observation import Observation
from ...lensing.likelihood import log_likelihood, simulate
from ..maps import Maps
from .reference import Solved
from .start import Beginning, begin_with_macro

EVALUATIONS = 55
"""Gradients that take as long as the six steps of the packaged machine.

Measured on a validation mock of 64 x 64 pixels, one core: 0.27 s for the machine's steps, 4.5 to
5.5 ms for a gradient. The start, 0.3 s, both have to make."""


@runtime_checkable
class Optimizer(Protocol):
    """Moves parameters downhill."""

    def __call__(
        self, parameters: list[Tensor], energy: Callable[[], Tensor], evaluations: int, /
    ) -> None:
        """Moves parameters, in place.

        Arguments:
            parameters: Leaves of the graph.
            energy: Computes what is to become small, and its gradients anew in the parameters.
            evaluations: How often it may be called.
        """
        ...


@dataclass(frozen=True)
class Adam:
    """Creates Adam.

    Arguments:
        rate: Length of a step, in the units of the parameters. Of 0.03, 0.1 and 0.3, on three
            validation mocks, the default ends with the smallest D each time.

    References:
        Kingma & Ba 2015, arXiv:1412.6980.
    """

    rate: float = 0.03

    def __call__(
        self, parameters: list[Tensor], energy: Callable[[], Tensor], evaluations: int, /
    ) -> None:
        """Takes a step at every evaluation."""
        optimizer = torch.optim.Adam(parameters, lr=self.rate)
        for _ in range(evaluations):
            optimizer.step(energy)


@dataclass(frozen=True)
class LBFGS:
    """Creates the limited-memory BFGS method, with a line search by the strong Wolfe conditions.

    Arguments:
        memory: Pairs of steps and changes of the gradient that are remembered.

    References:
        Liu & Nocedal 1989, Math. Program. 45, 503.
    """

    memory: int = 10

    def __call__(
        self, parameters: list[Tensor], energy: Callable[[], Tensor], evaluations: int, /
    ) -> None:
        """Searches along lines; the last of them may exceed the evaluations by a few."""
        if evaluations == 0:
            return
        optimizer = torch.optim.LBFGS(
            parameters,
            max_iter=evaluations,
            max_eval=evaluations,
            history_size=self.memory,
            line_search_fn="strong_wolfe",
        )
        optimizer.step(energy)


def descend(begun: Begun, optimizer: Optimizer, evaluations: int) -> dict[str, Tensor]:
    """Descends from the start of a machine.

    Arguments:
        begun: The start.
        optimizer: How.
        evaluations: How often the gradient may be computed; with 0 the start comes back.

    Returns:
        The state: ``source``, ``log_kappa`` and ``shear``.
    """
    prepared, start = begun.prepared, start_state(begun.prepared)
    z = {name: torch.zeros_like(x, requires_grad=True) for name, x in start.items()}

    def state() -> dict[str, Tensor]:
        return {name: x + FIELDS[name].step * z[name] for name, x in start.items()}

    def energy() -> Tensor:
        model = simulate(begun.simulator, state(), setting_of(prepared))
        given = (prepared[name] for name in ("image", "sigma", "mask"))
        total = -log_likelihood(model, *given).sum()
        for each, slope in zip(
            z.values(), torch.autograd.grad(total, list(z.values())), strict=True
        ):
            each.grad = slope
        return total.detach()

    optimizer(list(z.values()), energy, evaluations)
    return {name: x.detach() for name, x in state().items()}


@dataclass(frozen=True)
class PixelDescent:
    """Creates a descent.

    Arguments:
        name: What it is called.
        optimizer: How it descends.
        evaluations: Gradients that it may compute.
        begin: Finds where it starts.
    """

    name: str
    optimizer: Optimizer
    evaluations: int = EVALUATIONS
    begin: Callable[[Observation, bool], Beginning] = begin_with_macro

    def __call__(self, observation: Observation, lens_light: bool, /) -> Solved:
        """Descends from the macro-model's answer, whose own time is told apart."""
        beginning = self.begin(observation, lens_light)
        clock, cpu = time.perf_counter(), time.process_time()
        begun = beginning.begun(lens_light)
        state = descend(begun, self.optimizer, self.evaluations)
        maps = beginning.settled(maps_of_state(begun, state))
        timing = {
            "seconds": time.perf_counter() - clock,
            "cpu": time.process_time() - cpu,
            "start_seconds": beginning.seconds,
        }
        return Solved(maps, beginning.rest, timing=timing)


def maps_of_state(begun: Begun, state: dict[str, Tensor]) -> Maps:
    """Puts a state on the pixels of the observation, in its units."""
    mass, known = begun.maps_of(state)
    with torch.no_grad():
        model = simulate(begun.simulator, state, setting_of(begun.prepared))
    arcs = begun.square.cut(model[0, 0]) * float(begun.prepared["amplitude"])
    n = known.source.shape[-1]
    return Maps(
        arcs.double().numpy(),
        mass.kappa.numpy(),
        (mass.alpha[0].numpy(), mass.alpha[1].numpy()),
        known.source.numpy(),
        PixelGrid((n, n), known.fov / n, known.center),
    )


DESCENTS = (PixelDescent("adam", Adam()), PixelDescent("lbfgs", LBFGS()))
"""The descents."""
