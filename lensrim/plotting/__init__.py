"""Figures, returned and never shown."""

from .product import plot_product
from .training import plot_history

__all__ = ["plot_history", "plot_product"]
