r"""The machines: as published, as far as it is known, and ours.

*As published*: two recurrent units at one resolution; the score in units of the noise; a mean
square error of the source at all steps. *Ours*: memory at each level of a U-Net; the score of the
likelihood itself, in two encodings, from a rough inversion; beside it how much each pixel of the
source is seen, and the score divided by that; noise, PSF and lens as numbers; and for a loss the
logarithms of the source's error and of the misfit without noise, so that a faint source counts as
a bright one.
"""

from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ...rim import (
    RIM,
    Arcsinh,
    Aux,
    Field,
    Normalized,
    Raw,
    State,
    Trajectory,
    UNet,
    linked_score,
    sizes,
    trajectory_loss,
)
from ..published import Recurrent
from .inversion import pixels
from .scene import Scene

FIELDS = {"source": Field(1, 2, spread=1.0, step=0.2)}
AUX = {"information": 1, "newton": 1}

SOFT = 0.3
"""Prior standard deviation of the source in the score that is divided by the information."""

FLOOR = 0.003
"""Floor of the mean square error of the source, in units of the field's step."""

CALLS = 10
"""Iterations of our start: calls of the score like any."""

MISFIT_WEIGHT, MISFIT_FLOOR = 0.3, 0.02


@runtime_checkable
class Design(Protocol):
    """A way to build a machine, to run it and to train it."""

    def machine(self) -> RIM:
        """Creates an untrained machine."""
        ...

    def run(self, rim: nn.Module, scene: Scene) -> Trajectory:
        """Runs a machine, which may be wrapped, on what is observed."""
        ...

    def loss(self, rim: nn.Module, scene: Scene) -> Tensor:
        """Computes what the training makes small."""
        ...


def plain_score(x: State, y: Tensor, scene: Scene) -> State:
    """Computes the score in units of the typical noise of each observation."""
    return {"source": scene.data.scale * scene.score(x["source"])}


def full_score(x: State, y: Tensor, scene: Scene) -> tuple[State, Aux]:
    """Computes the score, the information of each pixel of the source, and the one divided by the
    other."""
    score, information = scene.score(x["source"]), scene.view.spread(scene.data.information)
    aux = {
        "information": 0.3 * torch.log1p(information),
        "newton": score / (information + SOFT**-2),
    }
    return {"source": score}, aux


@torch.no_grad()
def rough(scene: Scene, weight: float) -> Tensor:
    """Makes a start: a few iterations of the inversion on pixels."""
    return next(islice(pixels(scene, weight=weight), CALLS - 1, None))


@dataclass(frozen=True)
class Published:
    """Creates the published design.

    Arguments:
        features, hidden: Channels of its convolutions, and of each recurrent unit.
        kernel: Side of the outer kernels.
        steps: Steps.
    """

    features: int = 32
    hidden: tuple[int, ...] = (128, 128)
    kernel: int = 11
    steps: int = 10

    def machine(self) -> RIM:
        shape: dict[str, Any] = sizes(FIELDS, encodings=1, observation=0)
        network = Recurrent(
            **shape,
            features=self.features,
            hidden=self.hidden,
            kernel=self.kernel,
            normalised=False,
        )
        return RIM(network, FIELDS, steps=self.steps, precondition=(Raw(1.0),), observation=0)

    def run(self, rim: nn.Module, scene: Scene) -> Trajectory:
        moment = scene.data.moment
        score_fn = linked_score(plain_score, moment, scene, fields=FIELDS)
        return rim(moment, score_fn, {"source": torch.zeros_like(moment)})

    def loss(self, rim: nn.Module, scene: Scene) -> Tensor:
        return trajectory_loss(self.run(rim, scene), {"source": scene.truth})[0]


@dataclass(frozen=True)
class Ours:
    """Creates our design.

    Arguments:
        widths, lift: Channels of its U-Net.
        steps: Steps.
        weight: Weight of the gradient in the inversion that it starts from.
    """

    widths: tuple[int, ...] = (24, 40)
    lift: int = 16
    steps: int = 6
    weight: float = 30.0

    def machine(self) -> RIM:
        shape: dict[str, Any] = sizes(FIELDS, encodings=2, observation=0, aux=AUX, conditioning=3)
        network = UNet(2, **shape, widths=self.widths, lift=self.lift, embedding=32)
        return RIM(
            network,
            FIELDS,
            steps=self.steps,
            precondition=(Normalized(), Arcsinh(0.01)),
            observation=0,
            aux=AUX,
            conditioning=3,
        )

    def run(self, rim: nn.Module, scene: Scene) -> Trajectory:
        moment = scene.data.moment
        score_fn = linked_score(full_score, moment, scene, fields=FIELDS)
        start = {"source": rough(scene, self.weight)}
        return rim(moment, score_fn, start, scene.numbers())

    def loss(self, rim: nn.Module, scene: Scene) -> Tensor:
        trajectory = self.run(rim, scene)
        loss = trajectory_loss(trajectory, {"source": scene.truth}, floor=FLOOR)[0]
        bare = torch.stack([scene.bare(x["source"]) for x in trajectory.states[1:]])
        return loss + MISFIT_WEIGHT * (bare + MISFIT_FLOOR).log().mean()
