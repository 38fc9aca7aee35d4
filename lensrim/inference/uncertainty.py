"""What is stated of an answer's errors: maps, numbers, and keywords.

All are the posterior's (:mod:`~.posterior`), widened by a calibration (:mod:`~.calibration`), of
which that module says what a stated error means.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .answer import Answer
from .answer_sheet import bare_kappa, sheet_direction
from .calibration import USUAL, Calibration, Scale, packaged_calibration
from .directions import macro_directions, near, other_directions
from .frame import Array
from .macro import MacroPrior, MacroState
from .perturbation import Perturbations, packaged_prior
from .posterior import Posterior, posterior_of
from .scene import Scene
from .symptoms import Symptoms
from .traits import traits_of

KEYWORDS = {
    "theta_E": ("THETAEER", "[arcsec] error of THETAE"),
    "macro_theta_E": ("MACROTER", "[arcsec] error of MACROTE"),
    "gamma1": ("GAMMA1ER", "error of GAMMA1"),
    "gamma2": ("GAMMA2ER", "error of GAMMA2"),
    "macro_gamma1": ("MACROG1E", "error of MACROG1"),
    "macro_gamma2": ("MACROG2E", "error of MACROG2"),
    "slope": ("SLOPEERR", "error of SLOPE"),
    "q": ("MACROQER", "error of MACROQ"),
    "phi": ("MACROPHE", "[deg] error of MACROPHI"),
    "flux": ("FLUXSRCE", "error of FLUXSRC"),
    "magnification": ("MAGTOTER", "error of MAGTOT"),
}
"""Keyword and comment of the error of each number."""


UNLIKE = 2.117
"""Scale of the prior of perturbations, which is that of the median lens: some are far more unlike
a macro-model. The calibration was measured with it."""

ROUND = 0.6827 * 90.0
"""Half of the central 68.27 % of an axis that may have any direction [deg]."""


@dataclass(frozen=True)
class Uncertainty:
    """Holds a posterior with its calibration.

    Arguments:
        posterior: The posterior.
        calibration: By what its errors are multiplied.
        snr: Signal over noise of the arcs' brightest pixel.
        traits: What the answer tells of its errors; those of a usual one by default.
    """

    posterior: Posterior
    calibration: Calibration
    snr: float
    traits: Array = field(default_factory=USUAL.copy)

    def factor(self, name: str) -> float:
        """Returns what the posterior's error of a quantity is multiplied by."""
        return self.calibration.factor(name, self.snr, self.traits)

    @property
    def kappa_std(self) -> Array:
        """Error of the convergence, with shape (H, W)."""
        return self.posterior.kappa_std * self.factor("kappa")

    @property
    def source_std(self) -> Array:
        """Error of the source, with shape (n, n); for want of the mass as the convergence's,
        and with the part of its brightness that calibrations add."""
        floor = self.calibration.scales.get("source", Scale()).floor
        return np.hypot(self.factor("source") * self._source_std, floor * self.posterior.source)

    @property
    def source_widening(self) -> Array:
        """What changes of the source are multiplied by, once those by the mass are."""
        bare = self._source_std
        return np.divide(self.source_std, bare, out=np.ones_like(bare), where=bare > 0)

    @property
    def _source_std(self) -> Array:
        by_mass = self.posterior.source_axes.square().sum(0) * self.factor("kappa") ** 2
        return (by_mass + self.posterior.scatter.square().sum(0)).sqrt().numpy()

    @property
    def errors(self) -> dict[str, float]:
        """Errors of the numbers, by name."""
        return {k: self.factor(k) * each.std for k, each in self.posterior.numbers.items()}


def uncertainty_of(
    scene: Scene,
    result: Answer,
    state: MacroState,
    prior: MacroPrior,
    symptoms: Symptoms,
    *,
    calibration: Calibration | None = None,
) -> Uncertainty:
    """Finds the errors of an answer.

    Arguments:
        scene: The observation.
        result: The answer.
        state: Its macro-model, a single candidate.
        prior: The macro-model's prior.
        symptoms: The answer's symptoms.
        calibration: By what errors are multiplied; that of the package by default.
    """
    grid, p = scene.frame.grid, state.p[0, :8].cpu()
    macro = macro_directions(p, prior, grid)
    added = Perturbations.of(packaged_prior(), bare_kappa(result), p, grid).scaled(UNLIKE)
    directions = macro + other_directions(added.kappa, added.alpha, macro, near(p, grid))
    own = sheet_direction(result, p, grid) if result.sheet.std > 0 else None
    posterior = posterior_of(scene, result, p, directions.scaled(result.sheet.scale), own)
    found = packaged_calibration() if calibration is None else calibration
    snr = signal_over_noise(scene, result)
    return Uncertainty(posterior, found, snr, traits_of(symptoms, snr))


def signal_over_noise(scene: Scene, result: Answer) -> float:
    """Returns the signal over noise of the brightest pixel of an answer's arcs, as of white noise
    that tells as much as that of the sky which is fitted with, without the lens galaxy's
    structure."""
    used, sigma = scene.frame.mask, scene.frame.sigma * scene.noise_scale * scene.growth
    return float((result.arcs[used] / sigma[used]).max())


def error_cards(uncertainty: Uncertainty, *, native: float) -> dict[str, tuple[Any, str]]:
    """Returns the keywords of the errors.

    Arguments:
        uncertainty: The errors.
        native: Native pixels in a pixel of the image, in which fluxes are counted.
    """
    errors = uncertainty.errors
    flux = uncertainty.posterior.numbers["flux"].value
    units = {"flux": native, "phi": math.degrees(1.0)}
    cards: dict[str, tuple[Any, str]] = {
        "FLUXSRC": (flux * native, "flux of SOURCE, data unit of a native pixel")
    }
    for name, (key, comment) in KEYWORDS.items():
        if name in errors:
            cards[key] = errors[name] * units.get(name, 1.0), comment
    # An axis has no direction where the mass is round: no error beyond that of not knowing it.
    cards["MACROPHE"] = min(cards["MACROPHE"][0], ROUND), cards["MACROPHE"][1]
    dof = uncertainty.calibration.dof_at(uncertainty.snr)
    if math.isfinite(dof):
        cards["ERRDOF"] = dof, "errors: 68 % of a Student t of these dof"
    half = uncertainty.calibration.half_width(0.95, uncertainty.snr)
    cards["ERR95"] = half, "half of 95 % over an error"
    return cards
