"""Figures, returned and never shown."""

from .product import plot_product

__all__ = ["plot_product"]
