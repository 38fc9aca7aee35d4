"""Galaxies to be lensed: read from folders and catalogues, cleaned, judged, or drawn."""
