"""The macro-model's prior, and the lens light once more, jointly with the arcs."""

from dataclasses import replace

import numpy as np

from .answer import answer, mass_maps_of
from .ascent import MacroProblem
from .framing import structure_noise
from .lens_light import LensLightFitter
from .macro import MacroPrior, MacroState
from .mass_sheet import FITTED_WIDTH, SLOPE
from .scene import Scene
from .search import Stage, climb_anew, problem


def prior_of(scene: Scene, has_light: bool) -> MacroPrior:
    """Sets the prior: the mass is centred on the light where there is some, else on the frame."""
    spacing, fov = scene.frame.grid.spacing, min(scene.frame.grid.fov)
    low = max(2.5 * spacing, scene.frame.fwhm)
    return MacroPrior(
        center=scene.light.center,
        center_width=max(0.04, 0.5 * spacing) if has_light else 3 * spacing,
        theta_E=(low, max(0.45 * fov, 2 * low)),
        slope=SLOPE,
        slope_width=FITTED_WIDTH,
    )


def together(
    scene: Scene, current: MacroProblem, state: MacroState, prior: MacroPrior, stage: Stage
) -> tuple[Scene, MacroProblem, MacroState]:
    """Refits the lens light jointly with the source, then the macro-model with it.

    Arguments:
        scene: The observation.
        current, state: The problem of the search's end, and its only candidate.
        prior: The macro-model's prior.
        stage: How the macro-model is fitted: as in that stage of the search.
    """
    frame = scene.frame
    fitter = LensLightFitter(replace(frame, sigma=scene.sigma))
    start = np.array([*scene.light.center, *scene.light.ellipticity.ravel()])
    whiten = current.marginal(state)
    _, light = fitter.fit(frame.image, frame.mask, start, whiten=whiten)
    scene = replace(scene, light=light)
    result = answer(scene, mass_maps_of(scene, state), state, most=0)  # what is left, roughly
    residual = frame.image - result.arcs - result.lens_light - result.sky
    scaled = replace(frame, sigma=frame.sigma * scene.noise_scale)
    structure = structure_noise(residual, light.image, scaled, frame.distance(light.center))
    scene = replace(scene, structure=structure)
    current = problem(scene, prior, stage)
    return scene, current, climb_anew(current, state, 4, rounds=2)
