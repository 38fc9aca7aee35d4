"""Macro-models of many lenses at once, without a search: the amortised start of a machine.

The network of the search (:mod:`lensrim.inference.guess`) looks at all images from ``TURNS`` sides
each; its guesses are averaged, and all lenses climb the evidence together for a few steps, one
candidate each. A search compares candidates; here nothing is compared, so that it is as fast as
the device is wide, and now and then wrong. What does not fit must go to the search.

All lengths are in pixels of the image, as in :mod:`lensrim.datasets.pairs.pairs`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .batch_problem import Centers, first_state, image_of, problem_on
from .guess.look import SLOPE as GUESSED
from .guess.look import Look
from .guess.starts import TURNS, allowed, packaged_guesser
from .macro import MacroState
from .mass_sheet import FITTED_WIDTH, SLOPE
from .start import Start, answer_of

RANGE = (2.5, 60.0)
"""Einstein radii that are allowed [pixel]: more than any packaged machine is valid for."""


@dataclass(frozen=True)
class Rung:
    """Creates a rung of the climb.

    Arguments:
        modes: Highest order of the source modes.
        steps: Levenberg-Marquardt steps, in pairs.
        softening: Extra noise, relative to the peak of the arcs.
        subsample: Rays along each side of a pixel.
        free_slope: Whether the slope is fitted.
        free_core: Whether the core of the source's warp follows the evidence: where it does not,
            and a source is cuspy, slopes are too steep (by 0.1 in the mean of 30 mocks).
        on_rays: Whether the PSF acts on each ray, not on averages.
    """

    modes: int
    steps: int
    softening: float
    subsample: int
    free_slope: bool = False
    free_core: bool = False
    on_rays: bool = False


LADDER = (
    Rung(10, steps=6, softening=0.03, subsample=1),
    Rung(14, steps=4, softening=0.0, subsample=2, free_slope=True, free_core=True, on_rays=True),
)
"""The way up; its problems are those of :data:`lensrim.inference.search.SHORT`."""


@torch.no_grad()
def guessed(batch: Mapping[str, Tensor], centers: Tensor) -> Tensor:
    """Guesses the macro-models of a batch of images.

    Arguments:
        batch: ``image``, ``sigma``, ``mask`` and ``amplitude`` of
            :mod:`lensrim.datasets.pairs.pairs`, on one device.
        centers: Where the lenses are expected [pixel], with shape (B, 2).

    Returns:
        Parameters, with shape (B, 8), in double precision: means over the sides.
    """
    device, size = batch["image"].device, len(batch["image"])
    image, sigma, mask, peak = (
        batch[name].float().repeat_interleave(TURNS, 0)
        for name in ("image", "sigma", "mask", "amplitude")
    )
    look = Look(
        centers.float().repeat_interleave(TURNS, 0),
        image.new_full((size * TURNS,), min(image.shape[-2:]) / 2),
        (torch.arange(TURNS, device=device) * (math.pi / 2)).repeat(size),
        image.new_ones(size * TURNS),
    )
    network = packaged_guesser()
    weights = {name: value.to(device) for name, value in network.state_dict().items()}
    maps = look.maps(image * mask, sigma, mask, peak, spacing=1.0)
    guess = torch.func.functional_call(network, weights, (maps,))
    p = look.told(guess.mean).double().unflatten(0, (size, TURNS)).mean(1)
    return allowed(p, RANGE, margin=0.01)


def amortised_start(
    batch: Mapping[str, Tensor], centers: Tensor, widths: Tensor
) -> tuple[Start, MacroState]:
    """Fits the macro-models of a batch of images together.

    Arguments:
        batch: ``image``, ``sigma``, ``mask``, ``psf``, ``fwhm``, ``arc`` and ``amplitude`` of
            :mod:`lensrim.datasets.pairs.pairs`, on one device.
        centers: Where the lenses are expected [pixel], with shape (B, 2).
        widths: Standard deviations of that, with shape (B).

    Returns:
        The start of a machine, and the macro-models with their source priors.
    """
    prior = Centers(
        (0.0, 0.0),
        1.0,
        RANGE,
        slope=SLOPE,
        slope_width=FITTED_WIDTH,
        centers=centers.double(),
        widths=widths.double(),
    )
    state, problem = None, None
    for rung in LADDER:
        problem = problem_on(
            image_of(
                batch,
                subsample=rung.subsample,
                softening=rung.softening,
                on_rays=rung.on_rays,
            ),
            prior if rung.free_slope else replace(prior, slope=GUESSED, slope_width=0.0),
            rung.modes,
            arc=batch["arc"],
            fwhm=batch["fwhm"],
            free_core=rung.free_core,
        )
        if state is None:
            state = first_state(guessed(batch, centers), batch, problem)
        state = replace(state, damping=torch.full_like(state.damping, 0.03))
        state = problem.tune(state, rounds=5)
        for _ in range(rung.steps // 2):
            state = problem.tune(problem.step(problem.step(state)), rounds=2, step=0.25)
    assert problem is not None and state is not None
    return answer_of(problem, state, batch), state
