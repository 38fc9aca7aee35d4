r"""Point spread functions of space telescopes, by Fourier optics of their pupils.

A pupil of transmission :math:`A` and wavefront error :math:`W` images a star of wavelength
:math:`\lambda` as

.. math:: P_\lambda(\theta) = \left| \int A(x) \, e^{2 \pi i W(x) / \lambda} \,
          e^{-2 \pi i \, x \cdot \theta / \lambda} \, d^2 x \right|^2 ,

computed at any angle :math:`\theta` by a matrix product (Soummer et al. 2007, Opt. Express 15,
15935), and averaged over a band with equal photons at each of ``COLOURS`` wavelengths. What else
widens it, jitter, charge diffusion and drizzling, is a round Gaussian. The width of a telescope
is not constant: it is drawn, one of ``STATES`` between the narrowest and the widest, each with
random low Zernike modes of its own.

What is not in it: the distortion of the field, mirror pads and figure, ghosts, and the halo that
is farther out than the stamp.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ...errors import InputError
from ...lensing.psf import measure_fwhm

Map = NDArray[np.float64]

COLOURS = 5
"""Wavelengths of which a band is made."""

STATES = 8
"""Widths that a telescope may have."""

SAMPLES = 192
"""Cells across a pupil."""

PER_WIDTH = 5
"""Pixels of a stamp in the diffraction's width, about."""

RIPPLES = 50
"""Diameter of a pupil over the standard deviation of the Gaussian that smooths its ripples."""

REACH = 16
"""Radius of a stamp in diffraction's widths."""


@dataclass(frozen=True)
class Pupil:
    """Creates the pupil of a telescope.

    Arguments:
        diameter: Outer diameter, for segments corner to corner [m].
        band: First and last wavelength [micron].
        obscuration: Diameter of the central obscuration over the outer one; the missing segment
            of a segmented mirror needs none.
        vanes: Position angles of the vanes that hold the secondary, counter-clockwise [deg].
        vane_width: Their width [m].
        segment: Side to side width of hexagonal segments, of which there are two rings about a
            missing one [m]; 0 for a round mirror.
        gap: Gap between segments [m].
        wavefront: Root mean square of the wavefront's low modes, which change [micron].
        figure: Root mean square of the mirrors' fixed ripples, some ten across the pupil
            [micron]; they scatter light into a halo.

    Raises:
        InputError: If a number is impossible.
    """

    diameter: float
    band: tuple[float, float]
    obscuration: float = 0.0
    vanes: tuple[float, ...] = (45.0, 135.0, 225.0, 315.0)
    vane_width: float = 0.0
    segment: float = 0.0
    gap: float = 0.0
    wavefront: float = 0.0
    figure: float = 0.0

    def __post_init__(self) -> None:
        if not (0 < self.diameter < math.inf and 0 < self.band[0] <= self.band[1] < math.inf):
            raise InputError(
                "pupil: must have a diameter and a band above 0, the lower first, found "
                f"{self.diameter} m, {self.band} micron"
            )
        if not 0 <= self.obscuration < 1:
            raise InputError(f"pupil: must be obscured by 0 to 1, found {self.obscuration}")
        if min(self.vane_width, self.segment, self.gap, self.wavefront, self.figure) < 0:
            raise InputError(f"pupil: must have lengths of 0 or more, found {self}")

    @property
    def width(self) -> float:
        """Width of the diffraction, wavelength over diameter in the middle of the band
        [arcsec]."""
        return math.degrees(sum(self.band) / 2 * 1e-6 / self.diameter) * 3600

    @property
    def scale(self) -> float:
        """Side of a pixel of its stamps [arcsec]."""
        return self.width / PER_WIDTH

    def transmission(self, samples: int = SAMPLES) -> Map:
        """Computes what passes through each of samples x samples cells across the diameter, each
        an average over 3 x 3 points."""
        fine = 3 * samples
        axis = ((np.arange(fine) + 0.5) / fine - 0.5) * self.diameter
        x, y = axis[None, :], axis[:, None]
        r = np.hypot(x, y)
        passed = _segments(x, y, self) if self.segment else r <= self.diameter / 2
        passed = passed & (r >= self.obscuration * self.diameter / 2)
        for angle in np.radians(self.vanes):
            along = x * np.cos(angle) + y * np.sin(angle)
            across = y * np.cos(angle) - x * np.sin(angle)
            passed = passed & ~((along > 0) & (np.abs(across) < self.vane_width / 2))
        blocks = passed.reshape(samples, 3, samples, 3)
        return blocks.mean((1, 3))


def _segments(x: Map, y: Map, pupil: Pupil) -> NDArray[np.bool_]:
    """Two rings of hexagons with horizontal sides, and none in the middle."""
    normals = np.radians([30.0, 90.0, 150.0])
    pitch = pupil.segment + pupil.gap
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=bool)
    for a in range(-2, 3):
        for b in range(-2, 3):
            if abs(a + b) > 2 or a == b == 0:
                continue
            dx = x - pitch * b * np.cos(normals[0])
            dy = y - pitch * (a + b * np.sin(normals[0]))
            reach = [np.abs(dx * np.cos(n) + dy * np.sin(n)) for n in normals]
            inside |= np.maximum.reduce(reach) < pupil.segment / 2
    return inside


def wavefront(pupil: Pupil, passed: Map, seed: int) -> Map:
    """Draws a wavefront error [micron]: ripples, and focus, astigmatism, coma, trefoil, spherical.

    Arguments:
        pupil: The pupil.
        passed: Its transmission, with shape (S, S).
        seed: Seed of the modes' parts.
    """
    axis = (np.arange(len(passed)) + 0.5) / len(passed) * 2 - 1
    x, y = axis[None, :], axis[:, None]
    r2 = x**2 + y**2
    modes = [
        np.sqrt(3) * (2 * r2 - 1),
        np.sqrt(6) * 2 * x * y,
        np.sqrt(6) * (x**2 - y**2),
        np.sqrt(8) * (3 * r2 - 2) * x,
        np.sqrt(8) * (3 * r2 - 2) * y,
        np.sqrt(8) * (3 * x**2 - y**2) * y,
        np.sqrt(8) * (x**2 - 3 * y**2) * x,
        np.sqrt(5) * (6 * r2**2 - 6 * r2 + 1),
    ]
    parts = np.random.default_rng(seed).normal(size=len(modes))
    low = np.tensordot(parts, np.stack(modes), 1)
    ripples = blurred(np.random.default_rng(0).normal(size=passed.shape), len(passed) / RIPPLES)
    total = np.zeros_like(passed)
    for error, size in ((low, pupil.wavefront), (ripples, pupil.figure)):
        error = error - np.average(error, weights=passed)
        total += error * (size / np.sqrt(np.average(error**2, weights=passed)))
    return total


@lru_cache(maxsize=16)
def _cells(pupil: Pupil) -> Map:
    return pupil.transmission()


def diffraction(pupil: Pupil, *, state: int = 0) -> Map:
    """Computes the diffraction image of a star.

    Arguments:
        pupil: The pupil.
        state: Seed of its wavefront error.

    Returns:
        A stamp with sum 1 on pixels of ``pupil.scale``, square and odd.
    """
    passed = _cells(pupil)
    error = wavefront(pupil, passed, state)
    cells = ((np.arange(SAMPLES) + 0.5) / SAMPLES - 0.5) * pupil.diameter
    half = REACH * PER_WIDTH
    angles = np.radians(np.arange(-half, half + 1) * pupil.scale / 3600)
    image = np.zeros((len(angles), len(angles)))
    for wavelength in np.linspace(*pupil.band, COLOURS) * 1e-6:
        wave = passed * np.exp(2j * np.pi * error * 1e-6 / wavelength)
        turn = np.exp(-2j * np.pi / wavelength * angles[:, None] * cells)
        light = np.abs(turn @ wave @ turn.T) ** 2
        # Of the same photons a longer wave spreads over more angle, of whatever the stamp holds.
        image += light / wavelength**2
    return image / image.sum()


def blurred(stamp: Map, sigma: float) -> Map:
    """Convolves a stamp with a round Gaussian of a standard deviation [pixels]."""
    from scipy import ndimage

    return ndimage.gaussian_filter(stamp, sigma, mode="constant", truncate=5.0)


@lru_cache(maxsize=16)
def pupil_stamps(pupil: Pupil, fwhm: tuple[float, float]) -> tuple[tuple[Map, float], ...]:
    """Makes the stamps of a telescope's states, from the narrowest to the widest.

    Arguments:
        pupil: The pupil.
        fwhm: Smallest and largest full width at half maximum [arcsec]. A state whose diffraction
            is wider than it should be is left as it is.

    Returns:
        Optical stamps with sum 1 on pixels of ``pupil.scale``, and their widths [stamp pixels].
    """
    made = []
    for state, width in enumerate(np.linspace(*fwhm, STATES) / pupil.scale):
        sharp = diffraction(pupil, state=state)
        stamp, found, sigma2 = sharp, measure_fwhm(sharp), 0.0
        for _ in range(3):
            # Widths of Gaussians add in squares; those of diffraction nearly.
            sigma2 = sigma2 + (width**2 - found**2) / (8 * math.log(2))
            if sigma2 <= 0:
                break
            stamp = blurred(sharp, math.sqrt(sigma2))
            stamp = stamp / stamp.sum()
            found = measure_fwhm(stamp)
        made.append((stamp, found))
    return tuple(made)
