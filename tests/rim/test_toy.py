r"""The decisive test: a trained machine on a problem whose posterior is known exactly.

A smooth Gaussian random field :math:`x \sim N(0, C)` is blurred and noisy,
:math:`y = A x + \sigma n`; the posterior mean is
:math:`C A^T (A C A^T + \sigma^2 I)^{-1} y`. The machine sees :math:`y` only through the score of
the *likelihood* and has to learn the prior; its rival, Adam, is told it.
"""

import pytest
import torch
from torch import Tensor

from lensrim.rim.core import RIM, Trajectory, sizes
from lensrim.rim.fields import Aux, Field, State
from lensrim.rim.losses import trajectory_loss
from lensrim.rim.networks import UNet
from lensrim.rim.preconditioning import Normalized, Raw

SIGMA, STEPS, TRAINING, UNSEEN = 0.05, 5, 160, 500
RATES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0]

PIXELS = torch.arange(32).double()
APART = (PIXELS[:, None] - PIXELS).abs()
PRIOR = (1 + 0.35 * APART) * (-0.35 * APART).exp()
"""A Matérn covariance of order 3/2."""
BLUR = torch.softmax(-((APART / 2) ** 2) / 2, 1)
"""A Gaussian whose rows add up to 1."""
GAIN = PRIOR @ BLUR.T @ torch.linalg.inv(BLUR @ PRIOR @ BLUR.T + SIGMA**2 * torch.eye(32))
"""What makes the posterior mean of an observation."""


def draw(batch: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Fields and their observations."""
    x = torch.randn(batch, 1, 32, generator=generator) @ torch.linalg.cholesky(PRIOR).float().T
    return x, x @ BLUR.float().T + SIGMA * torch.randn(batch, 1, 32, generator=generator)


def run(rim: RIM, y: Tensor) -> Trajectory:
    blur = BLUR.float()

    def score(state: State) -> tuple[State, Aux]:
        return {"x": (y - state["x"] @ blur.T) @ blur / SIGMA**2}, {}

    return rim(y, score, {"x": torch.zeros_like(y)})


def trained(seed: int) -> RIM:
    """A machine trained for a short while, on draws that are never seen again."""
    torch.manual_seed(seed)
    fields, encodings = {"x": Field(1, 1, step=0.5)}, (Raw(SIGMA**2), Normalized())
    shape = sizes(fields, encodings=len(encodings), observation=0)
    network = UNet(1, **shape, widths=(16, 24), lift=16, embedding=16)
    rim = RIM(network, fields, steps=STEPS, precondition=encodings, observation=0)
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(rim.parameters())
    rate = torch.optim.lr_scheduler.OneCycleLR(optimiser, 5e-3, total_steps=TRAINING)
    for _ in range(TRAINING):
        x, y = draw(32, generator)
        loss, _ = trajectory_loss(run(rim, y), {"x": x})
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(rim.parameters(), 1.0)
        optimiser.step()
        rate.step()
    return rim


def adam(y: Tensor, *, rate: float, calls: int) -> Tensor:
    """Adam's answer on the log-posterior, with its own number of scores, from zero."""
    precision, blur = torch.linalg.inv(PRIOR), BLUR
    x = torch.zeros_like(y, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.Adam([x], lr=rate)
    for _ in range(calls):
        misfit = (y - x @ blur.T).square().sum() / SIGMA**2
        optimiser.zero_grad()
        ((misfit + (x @ precision * x).sum()) / 2).backward()
        optimiser.step()
    return x.detach()


def error(x: Tensor, truth: Tensor) -> float:
    """The root mean square error."""
    return float((x - truth).square().mean().sqrt())


@pytest.mark.slow
def test_a_trained_machine_beats_adam_and_is_close_to_the_posterior_mean():
    truth, y = draw(UNSEEN, torch.Generator().manual_seed(1234))
    best = error(y.double() @ GAIN.T, truth)
    rivals = {rate: error(adam(y, rate=rate, calls=STEPS), truth) for rate in RATES}
    # The problem is stated alike to both: in the end, Adam finds the posterior mean.
    assert error(adam(y, rate=0.2, calls=500), truth) == pytest.approx(best, rel=1e-2)
    machine = trained(seed=0)
    with torch.no_grad():
        errors = [error(state["x"], truth) for state in run(machine, y).states]
    assert errors[-1] < min(rivals.values()) / 2
    assert errors[-1] < 1.1 * best
    assert errors[-1] < 0.9 * errors[1]  # all the steps are used, not only the first
