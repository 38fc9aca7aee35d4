r"""The machines: as published, narrower, and ours, whole or with a part of what we add.

*As published*: one U-Net for both maps (:mod:`~.network`), which sees the image, the state and its
score in Adam's direction; a start that it reads off the image; mean square errors of the source
and, weighted with :math:`\sqrt\kappa`, of :math:`\log_{10} \kappa`.

*Ours*: :mod:`lensrim.inference.learnt` with its loss, in which the source has a frame of its own
about the traced arcs, and a shear belongs to the state. Its settings say how much of it there is;
in any case the frame's size is that of a macro-model's source.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ...inference import lens_config
from ...inference.learnt import score_of, setting_of, shown, simulator_of, start_state
from ...inference.lens_config import LensConfig, build
from ...inference.objective import LossConfig, loss_of
from ...lensing.likelihood import score, simulate
from ...lensing.simulator import Simulator
from ...rim import RIM, Adam, Aux, Field, Learnt, Log10, State, Trajectory, sizes, trajectory_loss
from .network import SharedUNet
from .systems import Draws, kappa_of, simulator_of_paper

FIELDS = {"source": Field(1, 2), "log_kappa": Field(1, 2, link=Log10())}


@runtime_checkable
class Design(Protocol):
    """A way to build a machine, to run it and to train it."""

    def machine(self) -> RIM:
        """Creates an untrained machine."""
        ...

    def run(self, rim: nn.Module, draws: Draws) -> Trajectory:
        """Runs a machine, which may be wrapped."""
        ...

    def loss(self, rim: nn.Module, draws: Draws) -> Tensor:
        """Computes what the training makes small."""
        ...

    def image(self, state: State, draws: Draws) -> Tensor:
        """Computes the image of a state, without noise."""
        ...

    def truth(self, draws: Draws) -> dict[str, Tensor]:
        """Returns the true state."""
        ...

    def source_side(self, draws: Draws) -> Tensor:
        """Returns the sides of the sources' maps [pixel of the image], with shape (B)."""
        ...

    def imagined(self, draws: Draws, state: State, image: Tensor, clean: Tensor) -> Draws:
        """Returns the same draws with another truth, and another image of it."""
        ...


@dataclass(frozen=True)
class Published:
    """Creates the published design.

    Arguments:
        side: Side of the source's map [pixel of the image].
        widths, convolutions, kernel: See :class:`SharedUNet`.
        steps: Steps with a score; the first call has none.
    """

    side: float
    widths: tuple[int, ...] = (128, 256, 512, 1024, 1024)
    convolutions: int = 2
    kernel: int = 11
    steps: int = 7

    def machine(self) -> RIM:
        shape: dict[str, Any] = sizes(FIELDS, encodings=1, observation=1)
        network = SharedUNet(
            **shape, widths=self.widths, convolutions=self.convolutions, kernel=self.kernel
        )
        return RIM(
            network,
            FIELDS,
            steps=self.steps,
            precondition=(Adam(),),
            observation=1,
            start=Learnt(),
        )

    def run(self, rim: nn.Module, draws: Draws) -> Trajectory:
        plain = score(self._simulator(draws), draws["image"], draws["sigma"], draws["mask"])

        def score_fn(state: State) -> tuple[State, Aux]:
            return plain(state)[0], {}

        return rim(draws["image"], score_fn)

    def loss(self, rim: nn.Module, draws: Draws) -> Tensor:
        truth = self.truth(draws)
        root = kappa_of(truth).sqrt()
        return trajectory_loss(self.run(rim, draws), truth, elements={"log_kappa": root})[0]

    def image(self, state: State, draws: Draws) -> Tensor:
        return simulate(self._simulator(draws), {name: state[name] for name in FIELDS})

    def truth(self, draws: Draws) -> dict[str, Tensor]:
        return {"source": draws["fixed_source"], "log_kappa": draws["true_log_kappa"]}

    def source_side(self, draws: Draws) -> Tensor:
        return torch.full_like(draws["fov"], self.side)

    def imagined(self, draws: Draws, state: State, image: Tensor, clean: Tensor) -> Draws:
        new = {"fixed_source": state["source"], "true_log_kappa": state["log_kappa"]}
        return draws | new | {"image": image, "clean": clean}

    def _simulator(self, draws: Mapping[str, Tensor]) -> Simulator:
        return simulator_of_paper(draws["psf"], draws["image"].shape[-1], self.side)


@dataclass(frozen=True)
class Ours:
    """Creates our design, or one with a part of it.

    Arguments:
        config: The machine.
        counts: Its loss.
    """

    config: LensConfig = LensConfig()
    counts: LossConfig = LossConfig()

    def machine(self) -> RIM:
        return build(self.config)

    def run(self, rim: nn.Module, draws: Draws) -> Trajectory:
        seen = shown(draws, self.config)
        score_fn = score_of(seen, simulator_of(seen))
        return rim(seen["observation"], score_fn, start_state(seen), seen["conditioning"])

    def loss(self, rim: nn.Module, draws: Draws) -> Tensor:
        return loss_of(rim, draws, config=self.config, loss=self.counts)[0]

    def image(self, state: State, draws: Draws) -> Tensor:
        own = {name: state[name] for name in lens_config.FIELDS}
        return simulate(simulator_of(draws), own, setting_of(draws))

    def truth(self, draws: Draws) -> dict[str, Tensor]:
        return {name: draws[f"true_{name}"] for name in lens_config.FIELDS}

    def source_side(self, draws: Draws) -> Tensor:
        return draws["fov"]

    def imagined(self, draws: Draws, state: State, image: Tensor, clean: Tensor) -> Draws:
        new = {f"true_{name}": state[name] for name in lens_config.FIELDS}
        observation = torch.cat([image.clamp(-1, 2), draws["observation"][:, 1:]], 1)
        new["kappa_weight"] = torch.ones_like(draws["kappa_weight"])  # not that of the truth
        return draws | new | {"image": image, "clean": clean, "observation": observation}
