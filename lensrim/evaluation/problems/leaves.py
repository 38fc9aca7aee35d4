r"""Dead leaves: images of discs and ellipses that hide each other.

Leaves fall one upon another until the ground is covered: their radii follow
:math:`p(r) \propto r^{-3}` between two bounds, which makes the images nearly scale-invariant, as
photographs are; axis ratio, angle and place are uniform, and each leaf has a brightness with a
linear gradient. The images are periodic, with values in [0, 1], and anything but Gaussian. Of
2 000 with 48² pixels (seed 0) the mean is 0.50 and the standard deviation 0.21; the power falls as
:math:`k^{-2.7}` from 2 to 13 cycles per side; and the differences of neighbouring pixels have a
kurtosis of 17, where a Gaussian field has 3.

References:
    Matheron 1968 (the model); Lee, Mumford & Huang 2001, IJCV 41, 35 (its radii).
"""

import math

import torch
from torch import Tensor

from .problem import uniform


def dead_leaves(
    batch: int,
    size: int,
    rng: torch.Generator,
    *,
    leaves: int = 60,
    radii: tuple[float, float] = (0.1, 0.5),
) -> Tensor:
    r"""Draws images, with shape (B, 1, N, N).

    Arguments:
        batch: Number of images B.
        size: Pixels N of a side.
        rng: Random numbers.
        leaves: Number of leaves that fall on each; few pixels of the ground are left by 60.
        radii: Least and largest radius, in units of the side.
    """
    at = (torch.arange(size) + 0.5) / size
    image = uniform(batch, 0, 1, rng)[:, None, None].expand(batch, size, size)
    low, high = radii
    for _ in range(leaves):
        # The inverse of the distribution function of r^-3.
        u = torch.rand(batch, generator=rng)
        radius = ((1 - u) / low**2 + u / high**2) ** -0.5
        ratio = uniform(batch, 0.4, 1, rng)
        angle = uniform(batch, 0, math.pi, rng)
        center = torch.rand(batch, 2, generator=rng)
        dx = (at - center[:, :1] + 0.5) % 1 - 0.5
        dy = (at - center[:, 1:] + 0.5) % 1 - 0.5
        cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
        along = (dx[:, None, :] * cos + dy[:, :, None] * sin) / radius[:, None, None]
        across = (dy[:, :, None] * cos - dx[:, None, :] * sin) / radius[:, None, None]
        inside = along.square() + (across / ratio[:, None, None]).square() < 1
        level = uniform(batch, 0.15, 0.85, rng)[:, None, None]
        slope = uniform(batch, -0.15, 0.15, rng)[:, None, None]
        image = torch.where(inside, level + slope * along, image)
    return image[:, None].contiguous()
