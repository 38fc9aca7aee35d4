r"""Light: profiles, bases, maps and points, of the lens galaxy and of the source alike.

Whatever has ``surface_brightness(x, y)`` is a light, lensed or not: a simulator evaluates it at
its rays. Values are surface brightness at a point, in data units per image pixel; parameters are
Python floats or tensors with shape :math:`(*)`, and coordinates [arcsec] have shape
:math:`(*, H, W)` or :math:`(H, W)`. The elliptical profiles depend on

.. math:: R^2 = q x'^2 + y'^2 / q = \frac{|z - \epsilon \bar z|^2}{1 - |\epsilon|^2} \, , \qquad
          z = x + i y \, , \quad \epsilon = e_1 + i e_2 = \frac{1 - q}{1 + q} \, e^{2 i \phi} \, ,

with :math:`x'` along the major axis. :math:`R` is the *product-average* radius :math:`\sqrt{a b}`
of the ellipse (COOLEST, lenstronomy), so that the flux does not depend on :math:`q`.

Point sources have no surface brightness; :class:`PointPSF` makes their image.
"""

from .base import Light, Sum
from .gaussian import Gaussian, MultiGaussian
from .pixelated import Pixelated
from .points import PointPSF, PointSource
from .sersic import CoreSersic, Exponential, Sersic, sersic_b
from .shapelets import Shapelets

__all__ = [
    "Light",
    "Sum",
    "Sersic",
    "CoreSersic",
    "Exponential",
    "Gaussian",
    "MultiGaussian",
    "Shapelets",
    "Pixelated",
    "PointSource",
    "PointPSF",
    "sersic_b",
]
