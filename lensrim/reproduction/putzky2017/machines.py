r"""The machines: as published, at any width, and ours.

*As published*: the logistic sigmoid as the link, from zero; the score
:math:`A^T (y - A x) / (\sigma^2 + \epsilon)` of the free variable; a mean square error at all
steps; one recurrent unit at half of the resolution. *Ours*: no link; the score in units of the
noise, as it is and normalised; the noise and the share of what is seen as numbers; memory at each
level of a U-Net; logarithms of the errors, so that an easy problem counts as a hard one.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ...rim import (
    RIM,
    Aux,
    Field,
    Normalized,
    Raw,
    Sigmoid,
    State,
    Trajectory,
    UNet,
    linked_score,
    sizes,
    trajectory_loss,
)
from ..published import Recurrent
from .problems import Draws

PUBLISHED_FIELDS = {"x": Field(1, 2, spread=2.0, step=1.0, link=Sigmoid())}
FIELDS = {"x": Field(1, 2, spread=0.2, step=0.1)}

EPSILON = 0.05**2
r"""The :math:`\epsilon` of the published score, which the paper learns with the weights."""

FLOOR = 1e-5
"""Mean square error below which ours are taken for nothing: a PSNR of 50 dB."""


@runtime_checkable
class Design(Protocol):
    """A way to build a machine, to run it and to train it."""

    def machine(self) -> RIM:
        """Creates an untrained machine."""
        ...

    def run(self, rim: nn.Module, draws: Draws, *, steps: int | None = None) -> Trajectory:
        """Runs a machine, which may be wrapped, on draws."""
        ...

    def loss(self, rim: nn.Module, draws: Draws) -> Tensor:
        """Computes what the training makes small."""
        ...


def score(x: State, y: Tensor, draws: Draws, epsilon: float | None) -> tuple[State, Aux]:
    """Computes the score in units of the noise, or of a noise that is never less than its root."""
    operator = draws["operator"]
    back = operator.adjoint(y - operator(x["x"]))
    if epsilon is not None:
        back = back / (draws["sigma"].square() + epsilon)[:, None, None, None]
    return {"x": back}, {}


@dataclass(frozen=True)
class Published:
    """Creates the published design.

    Arguments:
        features, hidden: Channels of its convolutions and of its recurrent unit.
        steps: Steps.
    """

    features: int = 64
    hidden: int = 256
    steps: int = 20

    def machine(self) -> RIM:
        fields = PUBLISHED_FIELDS
        shape: dict[str, Any] = sizes(fields, encodings=1, observation=0)
        network = Recurrent(**shape, features=self.features, hidden=(self.hidden,))
        return RIM(network, fields, steps=self.steps, precondition=(Raw(0.1),), observation=0)

    def run(self, rim: nn.Module, draws: Draws, *, steps: int | None = None) -> Trajectory:
        score_fn = linked_score(score, draws["y"], draws, EPSILON, fields=PUBLISHED_FIELDS)
        start = {"x": torch.zeros_like(draws["truth"])}
        return rim(draws["y"], score_fn, start, steps=steps)

    def loss(self, rim: nn.Module, draws: Draws) -> Tensor:
        truth = {"x": draws["truth"]}
        return trajectory_loss(self.run(rim, draws), truth, physical=True)[0]


@dataclass(frozen=True)
class Ours:
    """Creates our design.

    Arguments:
        widths, lift: Channels of its U-Net.
        steps: Steps.
    """

    widths: tuple[int, ...] = (24, 32)
    lift: int = 16
    steps: int = 8

    def machine(self) -> RIM:
        fields = FIELDS
        shape: dict[str, Any] = sizes(fields, encodings=2, observation=0, conditioning=2)
        network = UNet(2, **shape, widths=self.widths, lift=self.lift, embedding=32)
        encodings = (Raw(10.0), Normalized())
        return RIM(
            network,
            fields,
            steps=self.steps,
            precondition=encodings,
            observation=0,
            conditioning=2,
        )

    def run(self, rim: nn.Module, draws: Draws, *, steps: int | None = None) -> Trajectory:
        score_fn = linked_score(score, draws["y"], draws, None, fields=FIELDS)
        sigma, share = draws["sigma"], draws["operator"].share
        described = torch.stack([sigma.log() + 4, torch.full_like(sigma, share).log()], 1)
        start = {"x": torch.full_like(draws["truth"], 0.5)}
        return rim(draws["y"], score_fn, start, described, steps=steps)

    def loss(self, rim: nn.Module, draws: Draws) -> Tensor:
        return trajectory_loss(self.run(rim, draws), {"x": draws["truth"]}, floor=FLOOR)[0]
