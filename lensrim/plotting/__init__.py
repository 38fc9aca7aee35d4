"""Figures, returned and never shown."""

from .contact import contact_sheet
from .product import plot_product

__all__ = ["contact_sheet", "plot_product"]
