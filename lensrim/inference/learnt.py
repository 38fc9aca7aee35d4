r"""The recurrent inference machine for lenses: source, log10 κ and shear together.

It begins with the answer of a macro-model (:mod:`lensrim.inference.start`) and sees, at every
step, the state, its score in two encodings, and maps that tell where the score comes from: the
normalised residual, the model image, the score of the rays' positions in the source plane, how
much information each pixel of the source receives, and the source's score divided by it (as a
Newton step would, but for the PSF). Brightness is in units of the arcs' brightest pixel, lengths
in pixels of the image, so that one machine serves every instrument.
"""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from ..datasets.arcs import signal_to_noise
from ..datasets.pairs.systems import FINE
from ..grid import PixelGrid
from ..lensing.likelihood import ScoreFn, Setting, State, score
from ..lensing.simulator import Simulator
from ..lensing.source import PixelatedSource
from ..rim.fields import Aux
from .lens_config import FIELDS, LensConfig
from .start import Start, shear_of_map, source_grid, start_of_pairs

Batch = Mapping[str, Tensor]

SOFT = 0.1
"""Prior standard deviation of the source in the Newton step."""


def describe(batch: Batch, theta_E: Tensor) -> Tensor:
    """Describes observations by numbers of order 1, with shape (B, CONDITIONING).

    The signal over noise of the brightest pixel, the width of the PSF, whether the image held its
    lens, the Einstein radius of the start, and how much of the noise is the same everywhere.
    """
    noise = batch["sigma"].flatten(1)
    middle, low = noise.median(1).values, noise.amin(1)
    return torch.stack(
        [
            signal_to_noise(batch).log10() - 1.5,
            batch["fwhm"] / 2 - 1,
            batch["lit"],
            theta_E.log() - 2.5,
            (middle / low).log(),
        ],
        1,
    ).float()


def prepare(batch: Batch, start: Start) -> dict[str, Tensor]:
    """Puts a batch and its starts into the units of the machine.

    Arguments:
        batch: ``image``, ``sigma``, ``mask``, ``psf``, ``fwhm``, ``lit``, ``arc`` and
            ``amplitude`` of :mod:`lensrim.datasets.pairs.pairs`.
        start: The starts.

    Returns:
        Tensors, each with the batch first: ``image``, ``sigma``, ``mask``, ``psf``, ``arc``,
        ``amplitude``, ``observation``, ``conditioning``, and the start's ``source``,
        ``log_kappa`` and ``shear``.
    """
    unit = batch["amplitude"].float()[:, None, None, None]
    mask, arc = batch["mask"], batch["arc"]
    # Nothing of what is masked is shown: in use it may be a neighbour, or no number.
    image, sigma = batch["image"] / unit * mask, batch["sigma"] / unit
    typical = sigma.flatten(1).median(1).values[:, None, None, None]
    sigma = torch.where(mask > 0, sigma, typical)
    peak = arc.amax((1, 2, 3), keepdim=True)
    channels = [image.clamp(-1, 2), -sigma.log10() - 1.5, mask, arc / peak]
    return {
        "image": image,
        "sigma": sigma,
        "mask": mask,
        "psf": batch["psf"],
        "arc": arc,
        "amplitude": batch["amplitude"],
        "observation": torch.cat(channels, 1),
        "conditioning": describe(batch, start.p[:, 0].exp()),
        "source": start.source / unit,
        "log_kappa": start.kappa.log10(),
        "shear": start.shear,
        "fov": start.fov,
        "beyond": start.beyond,
    }


PLAIN = -0.5
"""log10 of the convergence that a machine without a macro-model begins with."""


def shown(prepared: Batch, config: LensConfig) -> Batch:
    """Returns a prepared batch less what a machine of this description is not told."""
    out = dict(prepared)
    if not config.conditioning:
        out["conditioning"] = torch.zeros_like(out["conditioning"])
    if config.start == "plain":
        out["log_kappa"] = torch.full_like(out["log_kappa"], PLAIN)
        out |= {name: torch.zeros_like(out[name]) for name in ("source", "shear")}
    return out


def start_state(prepared: Batch) -> dict[str, Tensor]:
    """Returns the start of a prepared batch."""
    return {name: prepared[name] for name in FIELDS}


def simulator_of(prepared: Batch) -> Simulator:
    """Creates the forward model of a prepared batch."""
    image = prepared["image"]
    shape = (image.shape[-2], image.shape[-1])
    return Simulator(
        PixelGrid(shape, 1.0),
        source_grid(shape),
        prepared["psf"],
        psf_on_rays=True,
        device=image.device,
    )


def setting_of(prepared: Batch) -> Setting:
    """Returns what is known of each sample."""
    return Setting(prepared["arc"], prepared["fov"], prepared["beyond"])


def score_of(prepared: Batch, simulator: Simulator, *, create_graph: bool = False) -> ScoreFn:
    """Creates the score of a prepared batch, with the maps of ``AUX``.

    With ``create_graph`` it can be differentiated, but for the map ``information``, whose slope
    counts as none.
    """
    return with_aux(
        score(
            simulator,
            prepared["image"],
            prepared["sigma"],
            prepared["mask"],
            setting=setting_of(prepared),
            create_graph=create_graph,
        )
    )


def with_aux(plain: ScoreFn) -> ScoreFn:
    """Puts the maps of any :func:`~lensrim.lensing.likelihood.score` into those of ``AUX``.

    The log-probability goes with them, for the trajectory.
    """

    def score_fn(state: State) -> tuple[State, Aux]:
        gradient, seen = plain(state)
        information = seen["information"]
        return gradient, {
            "residual": torch.asinh(seen["residual"]),
            "model": seen["model"],
            "pull": torch.asinh(0.3 * seen["pull"]),
            "information": 0.3 * torch.log1p(information),
            "newton": gradient["source"] / (information + SOFT**-2),
            "log_prob": seen["log_prob"],
        }

    return score_fn


def with_start(batch: Batch, seed: int) -> dict[str, Tensor]:
    """Makes the starts of a raw batch, and prepares it with its truth, on its device.

    Arguments:
        batch: From :class:`lensrim.datasets.pairs.pairs.Pairs`.
        seed: Seed of the starts' errors.
    """
    start = start_of_pairs(batch, seed=seed)
    return prepare(batch, start) | truth_of(batch, start)


def truth_of(batch: Batch, start: Start) -> dict[str, Tensor]:
    """Returns the true state in the units of the machine, and what the loss needs.

    The source is seen about the mean of the truly traced arcs, as the machine's own source is
    about the mean of its own: an image does not know a constant deflection.
    """
    unit = batch["amplitude"].float()[:, None, None, None]
    shape = (batch["image"].shape[-2], batch["image"].shape[-1])
    grid, device = PixelGrid(shape, 1.0), batch["image"].device
    theta = torch.stack(grid.coordinates(device=device))
    center = ((theta - batch["alpha"]) * batch["arc"]).sum((-2, -1))
    n = batch["source"].shape[-1]
    fine = PixelatedSource(PixelGrid((n, n), FINE))
    x, y = source_grid(shape).coordinates(2, device=device)
    places = torch.stack([x, y]) * start.fov[:, None, None, None] + center[:, :, None, None]
    source = F.avg_pool2d(fine(batch["source"], places, center=batch["origin"]), 2)
    macro = batch["macro"].float()
    radius = torch.hypot(theta[0] - macro[:, 3, None, None], theta[1] - macro[:, 4, None, None])
    radius = radius / macro[:, 0].exp()[:, None, None]
    region = (radius > 0.3) & (radius < 2.0)
    return {
        "true_source": source / unit,
        "true_log_kappa": batch["kappa"].log10(),
        "true_shear": shear_of_map(batch["alpha"] - start.beyond, batch["kappa"], batch["arc"])[0],
        "clean": batch["clean"] / unit,
        "kappa_weight": 0.05 + region[:, None].float(),
    }


SHEARS = ("shear", "true_shear")
STILL = ("amplitude", "conditioning", "fov")
"""What of a prepared batch turns as a shear does, and what does not turn."""


def turned(prepared: Batch, turns: int, flip: bool) -> dict[str, Tensor]:
    """Mirrors a prepared batch along x, if asked to, and turns it clockwise by right angles.

    Arguments:
        prepared: The batch, of square images.
        turns: Number of right angles.
        flip: Whether to mirror it first.
    """
    out = dict(prepared)
    for name, value in prepared.items():
        if name in STILL:
            continue
        if name in SHEARS:
            sign = value.new_tensor([1.0, -1.0 if flip else 1.0])
            out[name] = value * sign * (-1) ** turns
            continue
        value = torch.rot90(value.flip(-1) if flip else value, turns, (-2, -1))
        if name == "beyond":
            x, y = value.unbind(1)
            x = -x if flip else x
            for _ in range(turns % 4):
                x, y = y, -x
            value = torch.stack([x, y], 1)
        out[name] = value.contiguous()
    return out
