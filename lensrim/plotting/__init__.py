"""Figures, returned and never shown."""

from .contact import contact_sheet
from .galaxies import galaxy_sheet
from .halo_population import halo_population, kappa_sheet
from .product import plot_product
from .roc import plot_roc
from .survey import survey_sheet
from .training import plot_history

__all__ = [
    "contact_sheet",
    "galaxy_sheet",
    "halo_population",
    "kappa_sheet",
    "plot_history",
    "plot_product",
    "plot_roc",
    "survey_sheet",
]
