r"""The recurrent inference machine: a learnt optimiser with memory, for any inverse problem.

It sees the score :math:`\nabla \log p(y | x)` of a known model at its own guess, and corrects the
guess; what it is trained on tells it the prior. Trained on squared errors it estimates the
posterior *mean* under the prior of its training data, and not the maximum of the posterior (MAP)
that the seed literature speaks of. It gives no error bars, and no draws from the posterior.

Any differentiable model serves. A spectrum that is positive and smooth, blurred and noisy::

    import torch
    from lensrim.rim import RIM, Exp, Field, Normalized, Raw, UNet
    from lensrim.rim import energy_score, sizes, to_free, to_physical, trajectory_loss

    def energy(x, y, kernel, sigma):  # -log p(y | x) of each sample
        model = torch.fft.irfft(torch.fft.rfft(x["flux"]) * torch.fft.rfft(kernel), y.shape[-1])
        return ((y - model) / sigma).square().sum((1, 2)) / 2

    fields = {"flux": Field(1, dims=1, step=0.5, link=Exp())}  # free variable: log of the flux
    encodings = (Raw(1e-3), Normalized())
    network = UNet(1, **sizes(fields, encodings=2), widths=(16, 24), lift=16)
    rim = RIM(network, fields, steps=6, precondition=encodings)
    optimiser = torch.optim.Adam(rim.parameters(), lr=3e-3)
    for step in range(TRAINING):
        flux, y, kernel, sigma = draw(32)  # your simulator: truth, data, and what belongs to them
        trajectory = rim(y, energy_score(energy, y, kernel, sigma, fields=fields))
        loss, errors = trajectory_loss(trajectory, to_free({"flux": flux}, fields))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

and then ``to_physical(rim.predict(y, energy_score(...)), fields)`` is the answer. Scores and
log-probabilities are as welcome as energies (:mod:`~lensrim.rim.problem`); states may be numbers,
vectors and maps of one to three dimensions at once (:mod:`~lensrim.rim.fields`); networks may be
your own (:class:`~lensrim.rim.networks.Network`; ``notebooks/rim.md`` has one). For less memory
and time a call, or the machine itself, takes an :class:`~lensrim.rim.unroll.Unroll`: half
precision for the networks (``autocast``), their inner values computed twice (``checkpoint``), or a
gradient that is cut off (``truncate``). ``rim.network.compile()`` compiles a network in place.

:func:`save_rim` writes a machine, :func:`load_rim` reads it; so it does what the engine leaves, if
the engine was told what it trains::

    from lensrim.training.loop import TrainConfig, fit

    fit(rim, batches, loss_fn, TrainConfig(), folder=folder, header={"rim": describe(rim)})
    rim = load_rim(folder / "ema.safetensors", known=[])  # and classes of your own

With ``validation`` there is ``best.safetensors``, too: the weights of the lowest loss.

References:
    Putzky & Welling 2017, arXiv:1706.04008.
"""

from .cells import ConvGRU, GatedResidual, MinimalGRU
from .core import RIM
from .fields import Aux, Field, Fields, ScoreFn, State, to_free, to_physical
from .layout import sizes, sizes_by_dims
from .links import (
    Bijection,
    Bounded,
    Exp,
    Identity,
    Link,
    Log10,
    PerChannel,
    Sigmoid,
    Sinh,
    Softplus,
)
from .losses import ImageLoss, LikelihoodLoss, Loss, SquaredError, trajectory_loss, weighted_sum
from .networks import MLP, Hidden, Hourglass, Network, UNet
from .preconditioning import Adam, Arcsinh, Normalized, Preconditioner, Raw, RMSProp
from .problem import energy_score, linked_score, log_prob_score
from .saving import describe, load_rim, rebuild, save_rim
from .starts import ApproximateInverse, Learnt, Start, Zeros
from .trajectory import Progress, Trajectory
from .unroll import Unroll

__all__ = [
    "RIM",
    "Unroll",
    "Trajectory",
    "Progress",
    "Field",
    "Fields",
    "State",
    "Aux",
    "ScoreFn",
    "to_free",
    "to_physical",
    "Link",
    "Identity",
    "Log10",
    "Exp",
    "Softplus",
    "Sigmoid",
    "Sinh",
    "Bounded",
    "PerChannel",
    "Bijection",
    "energy_score",
    "linked_score",
    "log_prob_score",
    "Preconditioner",
    "Raw",
    "Arcsinh",
    "Normalized",
    "RMSProp",
    "Adam",
    "Network",
    "Hidden",
    "UNet",
    "Hourglass",
    "MLP",
    "ConvGRU",
    "MinimalGRU",
    "GatedResidual",
    "sizes",
    "sizes_by_dims",
    "Start",
    "Zeros",
    "ApproximateInverse",
    "Learnt",
    "Loss",
    "trajectory_loss",
    "weighted_sum",
    "SquaredError",
    "LikelihoodLoss",
    "ImageLoss",
    "save_rim",
    "load_rim",
    "describe",
    "rebuild",
]
