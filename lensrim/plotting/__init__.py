"""Figures, returned and never shown."""

from .contact import contact_sheet
from .coverage import plot_coverage
from .galaxies import galaxy_sheet
from .halo_population import halo_population, kappa_sheet
from .product import plot_product
from .roc import plot_roc
from .suite import plot_suite
from .survey import survey_sheet
from .training import plot_history
from .truth import plot_truth

__all__ = [
    "contact_sheet",
    "galaxy_sheet",
    "halo_population",
    "kappa_sheet",
    "plot_coverage",
    "plot_history",
    "plot_product",
    "plot_suite",
    "plot_roc",
    "plot_truth",
    "survey_sheet",
]
