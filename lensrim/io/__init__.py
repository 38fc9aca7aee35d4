"""FITS in, FITS out: the only home of headers, world coordinates and units."""

from lensrim.io.observation import Observation
from lensrim.io.options import ReadOptions
from lensrim.io.product import Product
from lensrim.io.product_reading import read_product
from lensrim.io.read import read_observation

__all__ = ["Observation", "Product", "ReadOptions", "read_observation", "read_product"]
