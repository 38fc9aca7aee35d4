"""A trained machine applied to a scene: from the macro-model's answer to maps of its own.

The machine works in pixels and in units of the arcs' peak; here the scene is put into them, and
what it returns is put back.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..datasets.pairs import arc_weights
from ..lensing.psf import measure_fwhm, native_kernel
from ..rim.core import RIM
from .answer import Answer
from .learnt import prepare, score_of, simulator_of, start_state
from .macro import MacroPrior, MacroState
from .search import Scene
from .start import Start, answer_of, first_state, problem_of


@dataclass(frozen=True)
class Learnt:
    """Holds what a machine made of a scene.

    Arguments:
        kappa: Convergence, with shape (H, W), double precision.
        gamma: External shear that belongs to the map, with shape (2).
        beyond: Rest of the deflection, of mass beyond the map [arcsec], with shape (2, H, W).
        source: Source map, with shape (n, n), in the data's units.
        source_fov: Side of the source map [arcsec].
    """

    kappa: Tensor
    gamma: Tensor
    beyond: Tensor
    source: Tensor
    source_fov: float


def batch_of(scene: Scene, result: Answer, has_light: bool) -> dict[str, Tensor]:
    """Puts a scene into the form of the training pairs, less lens light and sky of an answer."""
    frame = scene.frame
    image = np.where(frame.mask, frame.image - result.lens_light - result.sky, 0.0)
    psf = torch.as_tensor(frame.psf, dtype=torch.float64)
    psf = native_kernel(psf, 1, psf_kind=frame.psf_kind)[None].float()
    image, sigma, mask = (
        torch.from_numpy(each)[None, None].float()
        for each in (image, scene.sigma, frame.mask.astype(float))
    )
    fwhm, lit = torch.tensor([measure_fwhm(psf[0])]), torch.tensor([float(has_light)])
    center = torch.tensor([scene.light.center]) / frame.grid.spacing
    arc, amplitude = arc_weights(
        image, sigma, mask, psf, center=center.float(), hole=1.5 * fwhm * lit
    )
    return {
        "image": image,
        "sigma": sigma,
        "mask": mask,
        "psf": psf,
        "fwhm": fwhm,
        "lit": lit,
        "arc": arc,
        "amplitude": amplitude,
    }


def start_of(batch: dict[str, Tensor], state: MacroState, spacing: float) -> Start:
    """Makes the start from a macro-model [arcsec], as those of the training were made."""
    p = state.p.cpu().clone()
    p[:, 0] -= float(np.log(spacing))
    p[:, 3:5] /= spacing
    prior = MacroPrior((0.0, 0.0), 1.0, (1.0, 100.0), slope=2.05, slope_width=0.16)
    problem = problem_of(batch, prior, 1)
    return answer_of(problem, problem.tune(first_state(p, batch, problem), rounds=5), batch)


def apply(rim: RIM, scene: Scene, state: MacroState, result: Answer, has_light: bool) -> Learnt:
    """Runs a machine on a scene.

    Arguments:
        rim: The machine.
        scene: The observation.
        state: Its macro-model.
        result: The macro-model's answer, whose lens light and sky are subtracted.
        has_light: Whether the image holds its lens galaxy.
    """
    spacing = scene.frame.grid.spacing
    batch = batch_of(scene, result, has_light)
    start = start_of(batch, state, spacing)
    prepared = prepare(batch, start)
    last = rim.predict(
        prepared["observation"],
        score_of(prepared, simulator_of(prepared)),
        start_state(prepared),
        prepared["conditioning"],
    )
    return Learnt(
        kappa=(last["log_kappa"][0, 0].double() * np.log(10)).exp(),
        gamma=last["shear"][0].double(),
        beyond=start.beyond[0].double() * spacing,
        source=last["source"][0, 0].double() * float(batch["amplitude"]),
        source_fov=float(start.fov[0]) * spacing,
    )
