"""Light of galaxies on pixels before the PSF, batched and without finer pixels."""

import math

import torch
from torch import Tensor

SOFT = 0.45
"""Radius by which galaxies are softened [pixel]."""

FINE, WIDE = 5, 7
"""Fine pixels along a pixel, and pixels about the centre on which what lacks then is added."""


def sersic_density(radius: Tensor, n: Tensor) -> Tensor:
    r"""Returns the brightness at the effective radius of a Sersic profile of flux 1 [pixel^-2].

    .. math:: \frac{b^{2n} e^{-b}}{2 \pi n R_e^2 \Gamma(2n)} \, , \qquad b = 2n - 1/3 \, .
    """
    b = 2 * n - 1 / 3
    log = 2 * n * b.log() - b - torch.lgamma(2 * n)
    return log.exp() / (2 * math.pi * n * radius.square())


def sersic_within(distance: Tensor, radius: Tensor, n: Tensor) -> Tensor:
    r"""Returns the share of the flux of a Sersic profile within a distance, of the same unit.

    .. math:: P\left( 2n, \, b \, (r / R_e)^{1/n} \right) \, , \qquad b = 2n - 1/3 \, ,

    with the regularised incomplete gamma function :math:`P`.
    """
    return torch.special.gammainc(2 * n, (2 * n - 1 / 3) * (distance / radius) ** (1 / n))


def point(dx: Tensor, dy: Tensor) -> Tensor:
    """Shares the light of a point of flux 1 among pixels at offsets from it (Keys 1981): hardly
    blurred."""
    return _cubic(dx) * _cubic(dy)


def galaxy(
    x: Tensor,
    y: Tensor,
    center: tuple[Tensor, Tensor],
    *,
    radius: Tensor,
    n: Tensor,
    q: Tensor,
    cos: Tensor,
    sin: Tensor,
) -> Tensor:
    r"""Samples Sersic profiles of flux 1 at the pixels' centres, for a PSF to follow.

    They are softened, so that no cusp falls between pixels: :math:`r` becomes
    :math:`\sqrt{r^2 + s^2}`. What lacks then near the centre is taken from fine pixels, with
    weights that interpolate. On these the profile is softened less, by which it lacks what is
    within that radius (for :math:`u^2 = r^2 + s^2` has :math:`u \, du = r \, dr`): a point.

    Arguments:
        x, y: Coordinates of the columns (W) and rows (H, 1) [pixel].
        center: Centres, with shape (*, 1, 1), as what follows.
        radius: Effective radii on the intermediate axis [pixel].
        n: Sersic indices.
        q: Axis ratios.
        cos, sin: Of the angle of the major axis.
    """
    b, density = 2 * n - 1 / 3, sersic_density(radius, n)

    def squared(dx: Tensor, dy: Tensor) -> Tensor:
        major, minor = dx * cos + dy * sin, dy * cos - dx * sin
        return q * major**2 + minor**2 / q

    def softened(r2: Tensor, soft: float) -> Tensor:
        r = (r2 + soft**2).sqrt() / radius
        return density * torch.exp(b - b * r ** (1 / n))

    fine = ((torch.arange(FINE * WIDE).to(x) + 0.5) / FINE - WIDE / 2)[:, None]
    offsets, shares, points = [], [], []
    for axis, middle in zip((x, y), center, strict=True):
        axis = axis.flatten()
        places = axis[0] + (middle - axis[0]).round() + fine  # (*, F, 1)
        shared = _cubic(torch.cat([places, middle], -2) - axis)
        shares.append(shared[..., :-1, :])
        points.append(shared[..., -1:, :])
        offsets.append(places - middle)
    near = squared(offsets[0].mT, offsets[1])
    lacks = (softened(near, SOFT / FINE) - softened(near, SOFT)) / FINE**2
    within = sersic_within(torch.full_like(radius, SOFT / FINE), radius, n)
    point_like = within * points[1].mT * points[0]
    wide = softened(squared(x - center[0], y - center[1]), SOFT)
    return wide + shares[1].mT @ lacks @ shares[0] + point_like


def _cubic(offset: Tensor) -> Tensor:
    near, far = ((reach - offset.abs()).clamp(min=0) for reach in (1, 2))
    return far**2 * (far - 1) / 2 + near**2 * (1 - 2 * near)
