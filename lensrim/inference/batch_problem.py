"""The macro-model's problem for a batch of images, each with its own candidate.

All lengths are in pixels of the image, as in :mod:`lensrim.datasets.pairs.pairs`.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..grid import PixelGrid
from ..lensing.psf import PSF
from ..lensing.ray_psf import RayPSF
from .ascent import MacroProblem, ray_coordinates
from .inversion import ImageData
from .macro import MacroPrior, MacroState
from .source_modes import TUNED, SourceModes

STEP_MODES = 10
"""Highest order of the source modes of the step, whose errors hardly depend on it. Those of the
answer are the chain's: with 14, and a core that is not tuned, its misfit was 1.7 times that of the
chain's answer, 1.08 times with 18, and 1.05 with 22 (geometric means of 30 mocks, 2026-11-26)."""


@dataclass(frozen=True)
class Centers(MacroPrior):
    """Creates the prior of a batch: each sample has a centre and a width of its own.

    Arguments:
        centers: Expected centres, with shape (B, 2).
        widths: Their standard deviations, with shape (B).
    """

    centers: Tensor | None = None
    widths: Tensor | None = None

    def mean(self, like: Tensor) -> Tensor:
        assert self.centers is not None
        mean = super().mean(like).repeat(len(self.centers), 1)
        mean[:, 3:5] = self.centers.to(like)
        return mean

    def precision(self, like: Tensor) -> Tensor:
        assert self.widths is not None
        precision = super().precision(like).repeat(len(self.widths), 1)
        precision[:, 3:5] = self.widths.to(like)[:, None] ** -2
        return precision


def coarse_problem(batch: Mapping[str, Tensor], prior: MacroPrior) -> MacroProblem:
    """Sets up the problem in which the core of the source prior is found: one of few modes."""
    return problem_of(batch, prior, STEP_MODES, subsample=1, free_core=True)


def problem_of(
    batch: Mapping[str, Tensor],
    prior: MacroPrior,
    modes: int = TUNED,
    *,
    subsample: int = 2,
    free_core: bool = False,
) -> MacroProblem:
    """Sets up the macro-model's problem for a batch of images, a constant sky free.

    A source that was solved for with one ray a pixel is wrong for the forward model, which has
    four: at a signal over noise of 100 by several times the noise.
    """
    image = image_of(batch, subsample=subsample)
    return problem_on(
        image, prior, modes, arc=batch["arc"], fwhm=batch["fwhm"], free_core=free_core
    )


def image_of(
    batch: Mapping[str, Tensor],
    *,
    subsample: int = 2,
    softening: float = 0.0,
    on_rays: bool = False,
) -> ImageData:
    """Puts a batch of images in units of their noise, with a constant sky as the template.

    Arguments:
        batch: The images; with ``templates`` (B, Q, H, W), scaled to standard normal amplitudes,
            in the place of the sky where they have their own.
        subsample: Rays along each side of a pixel.
        softening: Extra noise, relative to the peak of the arcs.
        on_rays: Whether the PSF acts on each ray, not on averages.
    """
    image = batch["image"]
    (h, w), k = (image.shape[-2], image.shape[-1]), subsample
    sigma = batch["sigma"]
    if softening:
        sigma = torch.hypot(sigma, softening * batch["amplitude"][:, None, None, None])
    weight = (batch["mask"] / sigma).double().flatten(1)
    if "templates" in batch:
        templates = batch["templates"].double().flatten(2) * weight[:, None]
    else:
        half = batch["sigma"].double().flatten(1).median(1).values / 2
        templates = (weight * half[:, None])[:, None]
    return ImageData(
        data=image.double().flatten(1) * weight,
        weight=weight,
        shape=(h, w),
        subsample=k,
        psf=(RayPSF if on_rays else PSF)(batch["psf"], (h, w), subsample=k),
        templates=templates.transpose(1, 2),
    )


def problem_on(
    image: ImageData,
    prior: MacroPrior,
    modes: int = TUNED,
    *,
    arc: Tensor,
    fwhm: Tensor,
    free_core: bool = False,
) -> MacroProblem:
    """Sets up the macro-model's problem for a batch of data.

    Arguments:
        image: The data, in units of their noise.
        prior: Prior of the parameters.
        modes: Highest order of the source modes.
        arc: Weights of the arcs, with sum 1, with shape (B, 1, H, W).
        fwhm: Width of the PSF [pixel], with shape (B).
        free_core: Whether the core of the source's warp follows the evidence.
    """
    h, w = image.shape
    x, y = ray_coordinates(PixelGrid((h, w), 1.0), image.subsample, device=arc.device)
    return MacroProblem(
        image=image,
        x=x,
        y=y,
        arc=arc.double().flatten(1),
        modes=SourceModes(modes),
        prior=prior,
        size=(2 * fwhm.double(), 0.8 * min(h, w)),
        spacing=1.0,
        free_core=free_core,
    )


def first_state(p: Tensor, batch: Mapping[str, Tensor], problem: MacroProblem) -> MacroState:
    """Returns candidates with a first guess of the source prior."""
    amplitude = batch["amplitude"].double().log()
    h = problem.image.shape[0]
    hyper = torch.stack(
        [
            amplitude,
            torch.full_like(amplitude, math.log(0.1)),
            torch.full_like(amplitude, math.log(0.3 * h)),
            torch.full_like(amplitude, math.log(0.05)),
        ],
        1,
    )
    return MacroState(p, hyper, torch.zeros_like(amplitude), torch.full_like(amplitude, 0.03))
