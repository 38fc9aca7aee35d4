"""How good an answer is, and how plausible: the numbers by which each stage is judged."""

import math
from collections.abc import Mapping

import numpy as np

from .. import metrics
from .answer import Answer
from .lens_light import Array
from .macro import MacroPrior
from .search import Scene


def residual_of(scene: Scene, result: Answer) -> Array:
    """Computes the residuals in units of the stated noise, zero where a pixel is ignored."""
    modelled = result.arcs + result.lens_light + result.sky
    return np.where(scene.frame.mask, (scene.frame.image - modelled) / scene.frame.sigma, 0.0)


def numbers_of(scene: Scene, result: Answer) -> dict[str, float]:
    """Measures a stage's answer."""
    frame, residual = scene.frame, residual_of(scene, result)
    arcs = scene.arcs & frame.mask
    return {
        "theta_E": metrics.effective_theta_E(result.kappa, frame.grid),
        "gamma1": result.gamma[0],
        "gamma2": result.gamma[1],
        "chi2nu": float((residual[frame.mask] ** 2).mean()),
        "chi2arc": float((residual[arcs] ** 2).mean()),
        "chi2arc_fitted_noise": arc_chi2(scene, result),
        "log_evidence": result.log_evidence,
        "peff": result.effective,
    }


def arc_chi2(scene: Scene, result: Answer) -> float:
    """Computes χ² per pixel of the arcs with the noise that was fitted with."""
    modelled = result.arcs + result.lens_light + result.sky
    residual = (scene.frame.image - modelled) / scene.sigma
    return float(np.square(residual[scene.arcs & scene.frame.mask]).mean())


def doubts(p: Mapping[str, float], prior: MacroPrior, theta_e: float) -> list[str]:
    """Names what is implausible in a macro-model, whatever its χ²: one line each.

    Arguments:
        p: Parameters by name (``NAMES``).
        prior: Their prior.
        theta_e: Radius of the circle of mean κ 1 [arcsec]; NaN if there is none.
    """
    low, high = (math.log(t) for t in prior.theta_E)
    center = math.hypot(p["center_x"] - prior.center[0], p["center_y"] - prior.center[1])
    found = {
        "the shear is above 0.3": math.hypot(p["gamma1"], p["gamma2"]) > 0.3,
        "the axis ratio is below 0.3": math.hypot(p["e1"], p["e2"]) > 0.54,
        "the centre of mass is more than 4 standard deviations from its prior": center
        > 4 * prior.center_width,
        "the Einstein radius is at the end of the range that was searched": not low + 0.02
        < p["log_theta_E"]
        < high - 0.02,
        "no circle in the frame has a mean convergence of 1": math.isnan(theta_e),
    }
    return [f"doubtful: {what}" for what, is_so in found.items() if is_so]


def quality(chi2_arc: float, chi2_fit: float, noise_scale: float, doubtful: bool) -> str:
    """Judges a fit by the arcs' χ², in two units of noise, and by its doubts.

    The noise that was fitted with follows the sky where less is stated or more, but it holds the
    structure of the lens galaxy as well, which is measured on what the fit leaves over: a bad fit
    makes it large. So the arcs must be fitted in units of the stated noise, too.

    Arguments:
        chi2_arc: χ² per pixel of the arcs with the stated noise.
        chi2_fit: The same with the noise that was fitted with.
        noise_scale: Noise of the sky over the stated one; above 1, the sky's counts as stated.
        doubtful: Whether the macro-model is implausible.
    """
    ratio = max(chi2_arc / max(noise_scale, 1.0) ** 2, chi2_fit)
    if doubtful:
        return "poor"
    return "good" if ratio < 1.4 else "fair" if ratio < 2.5 else "poor"
