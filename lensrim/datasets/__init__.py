"""Populations of lenses, galaxies and point spread functions: where mock observations come from."""
