r"""Refinement by weights: the machine is adapted to the one image (Adam et al. 2023).

Steps of Adam on the weights :math:`w` of the machine minimise

.. math:: \frac{1}{2 N} \sum_p \left(\frac{y_p - F(x_T(w))_p}{\sigma_p}\right)^2
          + \lambda \sum_i F_i (w_i - w^0_i)^2 ,

the misfit of its last state over the N used pixels, and the elastic penalty
(:mod:`~lensrim.inference.ewc`) about the weights of the training, whose :math:`F` is measured on
lenses drawn around its answer (:mod:`~lensrim.inference.nearby`): sources by the packaged
generator, masses by the prior of perturbations. They end when :math:`\chi^2` per pixel of the
arcs (which that of the frame hides) is what a right model leaves, :meth:`.Scene.expected` with
the effective number of parameters of the source's own inversion, or when they are spent. The
source is then solved for once more, as in every answer.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from ..datasets.galaxies.generative import load_vae
from ..datasets.galaxies.learnt import LEARNT, weights_of
from ..lensing.likelihood import simulate
from ..rim.core import RIM
from .answer import adapted, answer
from .apply import Begun, batch_of
from .ewc import ElasticPenalty
from .learning import ROUNDS, Outcome
from .learnt import score_of, setting_of, start_state
from .machine import Machine, device_of
from .macro import MacroState
from .nearby import Neighbourhood
from .objective import loss_of
from .perturbation import packaged_prior
from .refinement import kept
from .scene import Scene

STRENGTH = 1.0
"""Of the penalty, whose scale is that of the training's loss."""

STEPS, RATE, SAMPLES = 20, 1e-4, 8
"""Steps of Adam, their rate, and lenses on which the penalty is measured."""


@dataclass(frozen=True)
class Adaptation:
    """Creates the adaptation.

    Arguments:
        machine: The machine, whose own weights stay as they are.
        has_light: Whether the image holds its lens galaxy.
        steps: Most steps of Adam.
        rate: Their rate.
        strength: Strength of the penalty.
        samples: Lenses on which it is measured.
        seed: Seed of those.
    """

    machine: Machine
    has_light: bool
    steps: int = STEPS
    rate: float = RATE
    strength: float = STRENGTH
    samples: int = SAMPLES
    seed: int = 0

    def __call__(self, outcome: Outcome, scene: Scene, state: MacroState) -> Outcome:
        """Adapts the machine and solves for the source.

        Where the machine was refused, or fits to the noise already, all stays, with a note.
        """
        if outcome.begun == "macro":
            note = "weights: nothing was adapted, since the answer is not the machine's"
            return replace(outcome, notes=[*outcome.notes, note])
        macro = outcome.answers["macro"]
        batch = batch_of(scene, macro, self.has_light)
        begun = Begun.of(self.machine, scene, batch, state)
        fitted = scene.arcs & scene.frame.mask
        # of the pixels' noise, in units of that of the fit, which is larger where it is correlated
        unit = np.square(scene.pixel_sigma / scene.sigma)[fitted].mean()
        expected = float(unit) * scene.expected(macro.effective, int(fitted.sum()))
        rim = adaptable(self.machine.rim)
        arcs = begun.square.pad(fitted.astype(float), 0.0).to(device_of(rim))
        with torch.no_grad():
            _, _, chi2 = run(rim, begun, arcs)
        if chi2 <= expected:
            note = (
                f"weights: nothing was adapted, chi2 {chi2:.3f} of the arcs is what noise leaves"
            )
            return replace(outcome, notes=[*outcome.notes, note])
        penalty = self._penalty(rim, batch, begun, arcs)
        last = adapt(rim, begun, arcs, penalty, expected, steps=self.steps, rate=self.rate)
        deflector, known = begun.maps_of(last)
        grid = replace(outcome.last.source_grid, center=known.center)
        found = answer(scene, deflector, state, source_grid=grid, tune=ROUNDS)
        return kept(outcome, scene, "weights", adapted(scene, found))

    def _penalty(
        self, rim: RIM, batch: Mapping[str, Tensor], begun: Begun, arcs: Tensor
    ) -> ElasticPenalty:
        """Measures the penalty on lenses like the machine's own answer.

        Their loss is the default one of trainings, whatever the machine's was: weights do not say.
        """
        last, _, _ = run(rim, begun, arcs)
        near = Neighbourhood(load_vae(weights_of(LEARNT)), packaged_prior(), mass_spread=1.0)
        drawn = near.pairs(batch, begun.start, last, self.samples, seed=self.seed)
        device, loss = device_of(rim), partial(loss_of, config=self.machine.config)
        pairs = ({name: value.to(device) for name, value in pair.items()} for pair in drawn)
        return ElasticPenalty.of(rim, pairs, loss, strength=self.strength)


def adaptable(rim: RIM) -> RIM:
    """Copies a machine with weights that may change."""
    return copy.deepcopy(rim).requires_grad_(True)


def run(rim: RIM, begun: Begun, arcs: Tensor) -> tuple[dict[str, Tensor], Tensor, float]:
    """Runs a machine on a scene: its last state, and χ² per pixel of the frame and of the arcs.

    Arguments:
        rim: The machine.
        begun: The scene.
        arcs: 1 where a pixel that is used belongs to the arcs, with shape (1, 1, H, W).
    """
    prepared = begun.prepared
    trajectory = rim(
        prepared["observation"],
        score_of(prepared, begun.simulator),
        start_state(prepared),
        prepared["conditioning"],
    )
    last = dict(trajectory.last)
    model = simulate(begun.simulator, last, setting_of(prepared))
    mask = prepared["mask"]
    square = ((prepared["image"] - model) / prepared["sigma"]).square() * mask
    return last, square.sum() / mask.sum(), float((square * arcs).detach().sum() / arcs.sum())


def adapt(
    rim: RIM,
    begun: Begun,
    arcs: Tensor,
    penalty: ElasticPenalty,
    expected: float,
    *,
    steps: int,
    rate: float,
) -> dict[str, Tensor]:
    """Adapts the weights of a machine to a scene.

    Arguments:
        rim: The machine, whose weights change.
        begun: The scene.
        arcs: Its arcs, as :func:`run` has them.
        penalty: What holds the weights.
        expected: χ² per pixel of the arcs at which the steps end.
        steps: Most steps.
        rate: Rate of Adam.

    Returns:
        The last state with the lowest χ² that was met, but for the first below what is expected.
    """
    optimiser = torch.optim.Adam(rim.parameters(), lr=rate)
    best, lowest = None, float("inf")
    for step in range(steps + 1):
        state, chi2, value = run(rim, begun, arcs)
        if best is None or value < lowest:
            best, lowest = {name: each.detach() for name, each in state.items()}, value
        if lowest <= expected or step == steps:
            break
        loss = chi2 / 2 + penalty(rim)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert best is not None
    return best
