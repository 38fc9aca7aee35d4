r"""Noise: what is known of the difference between an observed image and the model.

.. math:: y = F(x) + \eta \, , \qquad \eta \sim \mathcal{N}(0, C) \, , \qquad
          \log p(y | x) = -\tfrac{1}{2} r^T r - \tfrac{1}{2} \log |2 \pi C| \, , \quad
          r = C^{-1/2} (y - F(x)) \, .

======================== ====================================== ==================================
model                    covariance :math:`C`                   made from
======================== ====================================== ==================================
:class:`GaussianNoise`   diagonal, known                        a map of sigma, variance or weight
:class:`PoissonNoise`    diagonal, :math:`\sigma^2(F)` follows  background and exposure
                         the model image
:class:`CorrelatedNoise` stationary, known                      a power spectrum
======================== ====================================== ==================================

:class:`VisibilityNoise` is that of visibilities: diagonal and known, of data
:math:`y = \mathcal{V}(F(x)) + \eta` that an
:class:`~lensrim.lensing.visibilities.Interferometer` took of the image.

A mask says which pixels are *used* (1 or ``True``); the others have no weight, and neither the
data nor the noise is read there, so that both may be NaN.
"""

from .base import Noise
from .correlated import CorrelatedNoise, power_spectrum
from .gaussian import GaussianNoise
from .poisson import PoissonNoise
from .visibilities import VisibilityNoise

__all__ = [
    "Noise",
    "GaussianNoise",
    "PoissonNoise",
    "CorrelatedNoise",
    "VisibilityNoise",
    "power_spectrum",
]
