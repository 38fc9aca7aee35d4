"""Figures, returned and never shown."""

from .contact import contact_sheet
from .galaxies import galaxy_sheet
from .product import plot_product
from .training import plot_history

__all__ = ["contact_sheet", "galaxy_sheet", "plot_history", "plot_product"]
