"""Populations of lenses, galaxies and PSFs: where mock observations come from."""
