"""Maps of the source galaxy and of the lensing mass from images of strong gravitational lenses."""

__version__ = "0.1.0"
