r"""What a machine for lenses is trained for.

An image does not know the mass sheet: with any :math:`\lambda` the lens and source

.. math:: 1 - \kappa_\lambda = (1 - \kappa) / \lambda , \qquad \gamma_\lambda = \gamma / \lambda ,
          \qquad s_\lambda(\beta) = s(\lambda \beta)

look the same (Falco+ 1985), and the slope of a macro-model's mass is uncertain by just that. Were
the errors taken of :math:`\kappa` and :math:`s` as they are, the part that no image can tell would
rule both, and the best source would be one smeared over all :math:`\lambda`, which fits no image.
So each state is compared with the truth *in its own gauge*: with the :math:`\lambda` for which the
true rays are :math:`\lambda` times its own. The gauge itself, of which populations of lenses know
something, is a term of its own. A sheet that ended at the square frame would bend rays like a
square; it ends at a disc, inside of which its deflection is exact.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import InputError
from ..grid import PixelGrid
from ..lensing.likelihood import State, pixels_of, rays_of, simulate
from ..lensing.simulator import Simulator
from ..rim.losses import trajectory_loss
from .learnt import Batch, score_of, setting_of, shown, simulator_of, start_state
from .lens_config import FIELDS, LensConfig

FLOOR = 0.003
"""Floor of the mean square errors, in units of the fields' steps."""

WEIGHTS = {"source": 0.5, "log_kappa": 0.5, "shear": 0.1}
MISFIT_WEIGHT, MISFIT_FLOOR = 0.5, 0.02
GAUGE_WEIGHT, GAUGE_SPREAD = 0.3, 0.05
"""Weight of the gauge's error, and its typical size in a macro-model's answer."""

RANGE = (0.5, 2.0)
r"""Of :math:`\lambda`; beyond it a state is compared with the nearest."""


def misfit(model: Tensor, prepared: Batch) -> Tensor:
    """Computes D, the noise-free misfit on the true arcs, with shape (B)."""
    arcs = (prepared["clean"] > prepared["sigma"]).float() * prepared["mask"]
    square = ((model - prepared["clean"]) / prepared["sigma"]).square() * arcs
    return square.sum((1, 2, 3)) / arcs.sum((1, 2, 3)).clamp(min=1)


@dataclass(frozen=True)
class Truth:
    """Holds the truth of a batch.

    Arguments:
        batch: The prepared batch.
        simulator: Its forward model.
        rays: True rays about the mean of the arcs, averaged over pixels, (B, 2, H, W).
    """

    batch: Batch
    simulator: Simulator
    rays: Tensor

    @classmethod
    def of(cls, batch: Batch, simulator: Simulator) -> "Truth":
        """Takes the truth of a batch."""
        plain = {name: batch[f"true_{name}"] for name in FIELDS}
        return cls(batch, simulator, _rays(simulator, plain, batch))

    def gauge(self, state: State) -> Tensor:
        r"""Computes the :math:`\lambda` of a state, with shape (B): true rays over its own."""
        own, arc = _rays(self.simulator, state, self.batch), self.batch["arc"]
        scale = (own * self.rays * arc).sum((1, 2, 3)) / (own.square() * arc).sum((1, 2, 3))
        return scale.clamp(*RANGE)

    def seen(self, gauge: Tensor) -> dict[str, Tensor]:
        """Returns the true state in a gauge (B)."""
        batch, scale = self.batch, gauge[:, None, None, None]
        kappa = (math.log(10) * batch["true_log_kappa"]).exp()
        x, y = PixelGrid((kappa.shape[-2], kappa.shape[-1]), 1.0).coordinates(device=kappa.device)
        disc = (min(kappa.shape[-2:]) / 2 - torch.hypot(x, y)).clamp(0, 1)
        sheet = torch.maximum(kappa / scale + (1 - 1 / scale) * disc, 0.3 * kappa)
        eye = torch.eye(2, 3, device=gauge.device) * gauge[:, None, None]
        source = batch["true_source"]
        grid = F.affine_grid(eye, list(source.shape), align_corners=False)
        source = F.grid_sample(source, grid, mode="bicubic", align_corners=False)
        return {
            "source": source,
            "log_kappa": sheet.log10(),
            "shear": batch["true_shear"] / gauge[:, None],
        }


def _rays(simulator: Simulator, state: State, batch: Batch) -> Tensor:
    """Rays about the source's centre, averaged over pixels, with shape (B, 2, H, W)."""
    kept = {name: state[name] for name in FIELDS}
    rays, center = rays_of(simulator, kept, setting_of(batch))
    assert center is not None
    return pixels_of(rays, simulator.subsample) - center[:, :, None, None]


@dataclass(frozen=True)
class LossConfig:
    """Describes the loss of a training.

    Arguments:
        kappa: Weights of the errors of log10 kappa: ``region`` (all between 0.3 and 2 Einstein
            radii, little outside), ``root`` (the root of the true kappa, as Adam et al. 2023) or
            ``even``.
        every: Whether the misfit D counts at every step, or at the last alone.
    """

    kappa: str = "region"
    every: bool = True

    def __post_init__(self):
        if self.kappa not in ("region", "root", "even"):
            raise InputError(
                f"kappa: must be region, root or even, found {self.kappa!r}; change it"
            )

    def weights(self, batch: Batch) -> Tensor:
        """Returns the weights of log10 kappa, with shape (B, 1, H, W)."""
        if self.kappa == "region":
            return batch["kappa_weight"]
        half = 0.5 if self.kappa == "root" else 0.0
        return (half * math.log(10) * batch["true_log_kappa"]).exp()


def loss_of(
    rim: nn.Module,
    batch: Batch,
    *,
    config: LensConfig = LensConfig(),
    loss: LossConfig = LossConfig(),
) -> tuple[Tensor, dict[str, float]]:
    """Computes the loss of a machine on a prepared batch with truth, and its errors.

    Arguments:
        rim: The machine.
        batch: The batch.
        config: Its description, which says what of the batch it is told.
        loss: What counts.

    Returns:
        The loss: logarithms of the mean square errors of the fields at all steps, each in the
        gauge of the state, and of the misfit D, with the square error of the last gauge;
        and medians over the batch of errors at the end and at the start.
    """
    batch = shown(batch, config)
    simulator = simulator_of(batch)
    start, truth = start_state(batch), Truth.of(batch, simulator)
    unroll: Any = getattr(rim, "module", rim).unroll  # processes that share it wrap a machine
    score_fn = score_of(batch, simulator, create_graph=unroll.through_score)
    trajectory = rim(batch["observation"], score_fn, start, batch["conditioning"])
    with torch.no_grad():
        aims = [truth.seen(truth.gauge(state)) for state in trajectory.states]
    total, _ = trajectory_loss(
        trajectory,
        {name: [aim[name] for aim in aims[1:]] for name in FIELDS},
        fields=WEIGHTS,
        elements={"log_kappa": loss.weights(batch)},
        floor=FLOOR,
    )
    setting = setting_of(batch)
    # At every step: else states between are free to fit nothing, those of bright arcs above all.
    judged = trajectory.states[1:] if loss.every else trajectory.states[-1:]
    misfits = [misfit(simulate(simulator, x, setting), batch) for x in judged]
    total = total + MISFIT_WEIGHT * (torch.stack(misfits) + MISFIT_FLOOR).log().mean()
    off = truth.gauge(trajectory.last) - 1
    total = total + GAUGE_WEIGHT * F.huber_loss(off / GAUGE_SPREAD, torch.zeros_like(off))
    with torch.no_grad():
        before = misfit(simulate(simulator, start, setting), batch)
        metrics = {"misfit": float(misfits[-1].median()), "misfit_start": float(before.median())}
        for label, state, aim in (("", trajectory.last, aims[-1]), ("_start", start, aims[0])):
            errors = errors_of(state, aim, batch) | {"gauge": (truth.gauge(state) - 1).abs()}
            metrics |= {f"{name}{label}": float(e.median()) for name, e in errors.items()}
    return total, metrics


def errors_of(state: State, aim: State, batch: Batch) -> dict[str, Tensor]:
    """Computes the errors of states: relative L2 of the source, and of log10 kappa [dex]: (B)."""
    region = batch["kappa_weight"] > 0.5

    def source(other: State) -> Tensor:
        error = (state["source"] - other["source"]).flatten(1).norm(dim=1)
        return error / other["source"].flatten(1).norm(dim=1)

    def kappa(other: State) -> Tensor:
        square = (state["log_kappa"] - other["log_kappa"]).square() * region
        return (square.flatten(1).sum(1) / region.flatten(1).sum(1)).sqrt()

    plain = {name: batch[f"true_{name}"] for name in FIELDS}
    return {
        "source": source(aim),
        "kappa": kappa(aim),
        "source_plain": source(plain),
        "kappa_plain": kappa(plain),
    }
