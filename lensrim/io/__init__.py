"""FITS in, FITS out: the only home of headers, world coordinates and units."""

from lensrim.io.observation import Observation
from lensrim.io.options import ReadOptions
from lensrim.io.read import read_observation

__all__ = ["Observation", "ReadOptions", "read_observation"]
