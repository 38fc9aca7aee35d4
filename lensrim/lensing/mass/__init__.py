r"""Analytic mass models: convergence, deflection, shear and potential in closed form.

Each model is a thin class whose attributes are its parameters, Python floats or tensors with shape
:math:`(*)`, and whose methods take coordinates [arcsec] with shape :math:`(*, H, W)` or
:math:`(H, W)`. The definitions are those of COOLEST: ``theta_E`` is the intermediate-axis Einstein
radius, ``gamma`` the three-dimensional logarithmic slope (2 is isothermal), and the ellipticity is

.. math:: \epsilon = e_1 + i e_2 = \frac{1 - q}{1 + q} \, e^{2 i \phi} \, ,

with :math:`\phi` the position angle of the major axis, counter-clockwise from :math:`+x`.

Positions are complex numbers :math:`z = x + i y` relative to the centre. With
:math:`w = z - \epsilon \bar z` every formula is free of angles, so that values and derivatives
are exact at :math:`q = 1`. A softening of 1e-6 arcsec keeps the singular centre finite; values
within it are not physical. The methods are pure functions of tensors, without branches that depend
on values but to save work on a CPU: they may be differentiated, batched by ``torch.func.vmap`` and
compiled.
"""

from .angular import Flexion, MassSheet, Multipole, Shear
from .base import CORE, Circular, Mass, Parameter, _maps
from .cored import DPIE, NIE
from .halo import NFW, TNFW, Hernquist, PointMass
from .many import Many
from .pixelated import PixelatedPotential
from .pixels import flux_average, pixel_average
from .power_law import EPL, SIE, SIS
from .sersic import SersicMass
from .sums import Sum, stacked_deflection

__all__ = [
    "Mass", "Circular", "Parameter", "CORE",
    "EPL", "SIE", "SIS", "NIE", "DPIE", "SersicMass",
    "NFW", "TNFW", "Hernquist", "PointMass",
    "Multipole", "Shear", "Flexion", "MassSheet",
    "PixelatedPotential", "Sum", "stacked_deflection", "Many", "pixel_average", "flux_average",
    "_maps",
]  # fmt: skip
