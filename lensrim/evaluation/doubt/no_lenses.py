"""Galaxies that are no lenses, though they have what may be taken for arcs.

In turn a ring, a spiral, clumps, and a neighbour on one side, each about a bright middle.
"""

import numpy as np
from scipy.ndimage import gaussian_filter

from ...io.observation import Observation

SIDE = 64
"""Side of the images [pixels]."""


def no_lens(number: int) -> Observation:
    """Makes the image that belongs to a number."""
    rng = np.random.default_rng([number, 3])
    y, x = np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2
    phi, q = rng.uniform(0, np.pi), rng.uniform(0.5, 1)
    u, v = x * np.cos(phi) + y * np.sin(phi), (y * np.cos(phi) - x * np.sin(phi)) / q
    radius, angle = np.hypot(u, v), np.arctan2(v, u)
    around = (_ring, _spiral, _clumps, _neighbour)[number % 4](rng, x, y, radius, angle)
    middle = np.exp(-7.67 * (radius / 4 + 1e-3) ** 0.25)
    image = gaussian_filter(around / around.max() + 3 * middle / middle.max(), 1.0)
    sigma = np.full(image.shape, 1 / 10 ** rng.uniform(1.2, 1.9))
    y, x = np.mgrid[-10:11, -10:11]
    return Observation(
        image=image + sigma * rng.standard_normal(image.shape),
        sigma=sigma,
        psf=np.exp(-(x**2 + y**2) / 2),
        mask=np.ones(image.shape, dtype=bool),
        pixel_scale=0.06,
        name=f"no_lens{number:04d}",
    )


def _ring(rng, x, y, radius, angle):
    bright = 1 + 0.5 * np.cos(angle * rng.integers(1, 4) + rng.uniform(0, 6))
    return bright * np.exp(-0.5 * ((radius - rng.uniform(9, 16)) / rng.uniform(1.5, 3)) ** 2)


def _spiral(rng, x, y, radius, angle):
    arms = np.cos(2 * (angle - rng.uniform(2, 4) * np.log(radius + 1)))
    return np.exp(-radius / 8) * (1 + 0.9 * arms)


def _clumps(rng, x, y, radius, angle):
    parts = zip(
        rng.uniform(-15, 15, 4), rng.uniform(-15, 15, 4), rng.uniform(1.5, 4, 4), strict=True
    )
    return sum(np.exp(-0.5 * ((x - a) ** 2 + (y - b) ** 2) / w**2) for a, b, w in parts)


def _neighbour(rng, x, y, radius, angle):
    beside, flat, width = rng.uniform(8, 14), rng.uniform(0.6, 1), rng.uniform(2, 4)
    return np.exp(-0.5 * ((x - beside) ** 2 + (y * flat) ** 2) / width**2)
