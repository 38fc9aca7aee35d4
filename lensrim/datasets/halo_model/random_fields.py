r"""A Gaussian random field of the convergence: what a smooth model leaves over.

.. math:: \delta\kappa(\theta) = s \sqrt{\frac{2}{N}} \sum_{i=1}^{N}
          \cos (k_i \cdot \theta + \varphi_i) \, ,

plane waves of random phase and direction, their wave numbers drawn such that the power spectrum is
:math:`P(k) \propto k^{-n}` between two wavelengths: for many waves a Gaussian field of standard
deviation :math:`s`. It is a sum of products of functions of :math:`x` and of :math:`y`, so that
its averages over pixels, exact, cost two products of matrices.

References:
    Chatterjee & Koopmans 2018, MNRAS 474, 1762; Bayer et al. 2023, MNRAS 523, 1326; Vernardos &
    Koopmans 2022, MNRAS 516, 1347.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...grid import PixelGrid

Array = NDArray[np.float64]

WAVES = 400
"""Plane waves of a field."""


@dataclass(frozen=True, eq=False)
class RandomField:
    r"""Creates a field.

    Arguments:
        rms: Standard deviation :math:`s` of the convergence; 0 is no field.
        k_x, k_y: Wave vectors [rad / arcsec], with shape (N).
        phase: Phases [rad], with shape (N).
    """

    rms: float
    k_x: Array
    k_y: Array
    phase: Array

    def kappa(self, grid: PixelGrid) -> Array:
        """Averages the field over pixels; the result has shape (H, W)."""
        (h, w), side = grid.shape, grid.spacing
        if self.rms == 0:
            return np.zeros(grid.shape)
        x, y = grid.from_index(np.arange(w), np.arange(h))
        # numpy's sinc is sin(pi x) / (pi x)
        damped = np.sinc(self.k_x * side / 2 / np.pi) * np.sinc(self.k_y * side / 2 / np.pi)
        along_x, along_y = self.k_x[:, None] * x, self.k_y[:, None] * y + self.phase[:, None]
        cos, sin = np.cos(along_y) * damped[:, None], np.sin(along_y) * damped[:, None]
        total = cos.T @ np.cos(along_x) - sin.T @ np.sin(along_x)
        return self.rms * np.sqrt(2 / len(self.phase)) * total


def draw_field(
    rng: np.random.Generator,
    *,
    rms: float,
    index: float,
    wavelengths: tuple[float, float],
    waves: int = WAVES,
) -> RandomField:
    r"""Draws a field.

    Arguments:
        rng: Source of random numbers.
        rms: Standard deviation.
        index: :math:`n` of the power spectrum :math:`k^{-n}`.
        wavelengths: Shortest and longest wavelength [arcsec].
        waves: Number of plane waves.
    """
    low, high = (2 * np.pi / wavelength for wavelength in wavelengths[::-1])
    share, power = rng.uniform(size=waves), 2 - index
    # the density of k is k P(k): waves of all directions
    if abs(power) < 1e-6:
        k = low * (high / low) ** share
    else:
        k = (low**power + share * (high**power - low**power)) ** (1 / power)
    angle, phase = rng.uniform(0, 2 * np.pi, (2, waves))
    return RandomField(rms=rms, k_x=k * np.cos(angle), k_y=k * np.sin(angle), phase=phase)
