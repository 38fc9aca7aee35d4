"""What is compared with the truth, each number with its definition.

Maps are NumPy arrays ``[y, x]`` (or anything that becomes one). Masks are boolean, True where
used.
"""

from ..lensing.einstein import effective_theta_E
from .coherence import coherence, coherence_of_moduli
from .intervals import (
    Calibration,
    binomial_interval,
    calibration,
    coverage,
    coverage_of_samples,
    crps_gaussian,
    crps_samples,
    crps_student,
    empirical_width,
    half_width,
    regression,
)
from .light import light_radii
from .maps import (
    KAPPA_FLOOR,
    annulus,
    chi2_excess,
    chi2_nu,
    deflection_error,
    deflection_gauge,
    deflection_scale,
    log_kappa_rmse,
    misfit,
    profile_slope,
    source_errors,
)

__all__ = [
    "KAPPA_FLOOR",
    "Calibration",
    "annulus",
    "binomial_interval",
    "calibration",
    "chi2_excess",
    "chi2_nu",
    "coherence",
    "coherence_of_moduli",
    "coverage",
    "coverage_of_samples",
    "crps_gaussian",
    "crps_samples",
    "crps_student",
    "deflection_error",
    "deflection_gauge",
    "deflection_scale",
    "effective_theta_E",
    "empirical_width",
    "half_width",
    "light_radii",
    "log_kappa_rmse",
    "misfit",
    "profile_slope",
    "regression",
    "source_errors",
]
