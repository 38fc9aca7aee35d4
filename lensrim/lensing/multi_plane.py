r"""Light bent in several planes, one after another.

A ray seen at :math:`\theta_1 = \theta` meets plane :math:`j` at

.. math::
    \theta_j = \theta - \sum_{i < j} B_{ij} \, \alpha_i(\theta_i) \, , \qquad
    B_{ij} = \frac{D_{ij} D_s}{D_j D_{is}} \, ,

with angular diameter distances :math:`D`, and the source at
:math:`\beta = \theta - \sum_i \alpha_i(\theta_i)`. Every :math:`\alpha_i` is
reduced for the source: what the plane would do if it were alone. The effective deflection
:math:`\theta - \beta` is the gradient of no potential, so that images can be rotated. Positions in
every plane are angles seen by the observer [arcsec]; the cosmology enters by the :math:`B_{ij}`,
numbers that are computed once, in double precision.

References:
    Blandford & Narayan 1986, ApJ 310, 568; Schneider 2014, arXiv:1409.0015.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import InputError
from .cosmology import ARCSEC, distance, find_cosmology
from .jacobian import Jacobian, jacobian
from .mass import Mass, Sum
from .missing import replaced
from .time_delay import DAYS_PER_MPC


class Plane(NamedTuple):
    """Mass at one redshift; its Einstein radius is that for the source in question."""

    redshift: float
    mass: Mass


@dataclass(frozen=True)
class MultiPlane:
    r"""Creates a deflector of several planes, to be used where a mass model is.

    Arguments:
        planes: Redshifts and mass models, in any order. Those of one redshift act as their sum.
            Parameters are numbers or of shape :math:`(*)`.
        z_source: Redshift :math:`z_s` of the source.
        cosmology: One of astropy's cosmologies, or the name of one.

    Raises:
        InputError: If there is no plane, a redshift is not finite with 0 < redshift < z_source, or
            the cosmology is unknown.
    """

    planes: Sequence[Plane | tuple[float, Mass]]
    z_source: float
    cosmology: Any = "Planck18"
    redshifts: tuple[float, ...] = field(init=False, repr=False)
    masses: tuple[Mass, ...] = field(init=False, repr=False)
    factors: tuple[tuple[float, ...], ...] = field(init=False, repr=False)
    time_scales: tuple[float, ...] = field(init=False, repr=False)

    def __post_init__(self):
        if not self.planes:
            raise InputError("planes must hold at least one (redshift, mass), found none")
        for i, (z, _) in enumerate(self.planes):
            if not (isfinite(z) and isfinite(self.z_source) and 0 < z < self.z_source):
                raise InputError(
                    f"planes[{i}] must have a finite redshift with 0 < redshift < z_source, "
                    f"found redshift = {z:g} and z_source = {self.z_source:g}"
                )
        z = sorted({float(z) for z, _ in self.planes})
        groups = [[m for at, m in self.planes if float(at) == level] for level in z]
        model, n = find_cosmology(self.cosmology), len(z)
        z_all = [*z, float(self.z_source)]
        to = [distance(model, 0, at) for at in z_all]
        between = [[distance(model, a, b) for b in z_all[i:]] for i, a in enumerate(z)]
        between = [[0.0] * i + row for i, row in enumerate(between)]
        # factors[j][i] is B_ij, with the source as the last j
        factors = tuple(
            tuple(between[i][j] * to[n] / (to[j] * between[i][n]) for i in range(j))
            for j in range(n + 1)
        )
        times = tuple(
            (1 + z[i]) * to[i] * to[i + 1] / between[i][i + 1] * DAYS_PER_MPC * ARCSEC**2
            for i in range(n)
        )
        for name, value in [
            ("redshifts", tuple(z)),
            ("masses", tuple(g[0] if len(g) == 1 else Sum(g) for g in groups)),
            ("factors", factors),
            ("time_scales", times),
        ]:
            object.__setattr__(self, name, value)

    def rays(self, x: Tensor, y: Tensor) -> list[tuple[Tensor, Tensor]]:
        r"""Traces rays back through the planes.

        Arguments:
            x, y: Positions :math:`\theta` in the image [arcsec], with shape :math:`(*, H, W)` or
                :math:`(H, W)`.

        Returns:
            The positions :math:`\theta_j` in each plane, in the order of ``redshifts``, and last
            :math:`\beta` in the source's [arcsec], each with shape :math:`(*, H, W)`.
        """
        positions, alphas = [], []
        for j in range(len(self.masses) + 1):
            at_x, at_y = x, y
            for factor, (ax, ay) in zip(self.factors[j], alphas, strict=True):
                at_x, at_y = at_x - factor * ax, at_y - factor * ay
            positions.append((at_x, at_y))
            if j < len(self.masses):
                alphas.append(self.masses[j].deflection(at_x, at_y))
        return positions

    def deflection(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        r"""Computes the effective deflection :math:`\theta - \beta` [arcsec].

        Arguments:
            x, y: Positions in the image [arcsec], with shape :math:`(*, H, W)` or :math:`(H, W)`.
        """
        bx, by = self.rays(x, y)[-1]
        return x - bx, y - by

    def jacobian(self, x: Tensor, y: Tensor) -> Jacobian:
        r"""Computes the derivatives of the effective deflection, not symmetric in general."""
        return jacobian(self, x, y)

    def convergence(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes half the divergence of the effective deflection, dimensionless."""
        d = jacobian(self, x, y)
        return (d.xx + d.yy) / 2

    def arrival_time(self, x: Tensor, y: Tensor) -> Tensor:
        r"""Computes the arrival time along the rays [days], up to a constant of each source.

        .. math::
            t = \sum_i \frac{1 + z_i}{c} \frac{D_i D_{i+1}}{D_{i,i+1}} \left(
            \frac{|\theta_i - \theta_{i+1}|^2}{2} - B_{i,i+1} \psi_i(\theta_i) \right) ,

        where the last plane's neighbour is the source. It is meaningful as the difference between
        images of one source.

        Arguments:
            x, y: Positions of images [arcsec], with shape :math:`(*, H, W)` or :math:`(H, W)`.
                NaN stands for no image, and gives NaN, which no gradient knows of.
        """
        missing, x, y = replaced(x, y)
        positions = self.rays(x, y)
        total = torch.zeros_like(x)
        for i, scale in enumerate(self.time_scales):
            (x0, y0), (x1, y1) = positions[i : i + 2]
            path = ((x0 - x1) ** 2 + (y0 - y1) ** 2) / 2
            bent = self.factors[i + 1][i] * self.masses[i].potential(x0, y0)
            total = total + scale * (path - bent)
        return torch.where(missing, torch.nan, total)
